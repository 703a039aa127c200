//! One function for each target: whatever the bytes are, it returns. An error is what bad bytes should give; a panic is a defect.
//!
//! Files that carry checksums are read as they are, and once more with the checksums made right: otherwise hardly anything would get
//! behind them.

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};
use std::path::Path;
use tftrt::convert::{BadValues, Layout, Options, Quantization};
use tftrt::engine::asset;
use tftrt::engine::plan::Plan;
use tftrt::graph::{Graph, annotated_outputs};
use tftrt::op::{Attrs, calibration};
use tftrt::optimizer::Params;
use tftrt::proto::tensorflow as tf;

/// A target, and its name, which is that of its folder of seeds.
pub type Target = (&'static str, fn(&[u8]));

pub const ALL: &[Target] = &[
    ("asset", asset),
    ("plan", plan),
    ("attributes", attributes),
    ("parameters", parameters),
    ("segment", segment),
    ("calibration", table),
];

/// An asset file. What is read is written again and read once more: the same engines.
pub fn asset(data: &[u8]) {
    let read = |bytes: &[u8]| asset::read_records(Path::new("asset"), bytes, bytes.len() as u64);
    let _ = read(data);
    if let Ok(engines) = read(&with_checksums(data)) {
        let mut written = Vec::new();
        asset::write_records(&mut written, &engines).expect("memory takes all");
        assert_eq!(read(&written).expect("what was written is read"), engines);
        for engine in engines {
            let _ = Plan::decode(engine.plan);
        }
    }
}

/// `data` as TFRecords: lengths that fit are kept, and all checksums are made right.
fn with_checksums(data: &[u8]) -> Vec<u8> {
    let masked = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    let mut out = data.to_vec();
    let mut at = 0;
    while let Some(length) = out.get(at..at + 8) {
        let length: [u8; 8] = length.try_into().expect("eight bytes");
        let crc = masked(&length);
        let Some(to) = out.get_mut(at + 8..at + 12) else { break };
        to.copy_from_slice(&crc);
        let Some(end) = usize::try_from(u64::from_le_bytes(length))
            .ok()
            .and_then(|n| n.checked_add(at + 12))
        else {
            break;
        };
        let Some(crc) = out.get(at + 12..end).map(masked) else { break };
        let Some(to) = out.get_mut(end..end + 4) else { break };
        to.copy_from_slice(&crc);
        at = end + 4;
    }
    out
}

/// The container of an engine. What is decoded is encoded and decoded again: the same plan.
pub fn plan(data: &[u8]) {
    let _ = Plan::decode(Bytes::copy_from_slice(data));
    let mut right = data.to_vec();
    if right.len() >= 56 {
        // Lengths, too: of the header as far as there is so much, of the payload the rest.
        let rest = right.len() - 56;
        let header = u32::from_le_bytes(right[12..16].try_into().expect("four bytes")).min(rest as u32);
        right[12..16].copy_from_slice(&header.to_le_bytes());
        right[16..24].copy_from_slice(&((rest - header as usize) as u64).to_le_bytes());
        let hash = Sha256::new().chain_update(&right[..24]).chain_update(&right[56..]).finalize();
        right[24..56].copy_from_slice(&hash);
    }
    if let Ok(plan) = Plan::decode(right.into()) {
        assert_eq!(
            Plan::decode(plan.encode().expect("there is memory for it")).expect("what was encoded is decoded"),
            plan
        );
        let _ = plan.check("tensorrt", "8.6.0", Some((9, 0)), &[0; 32], &[0; 32], &None);
    }
}

/// The attributes of a TRTEngineOp, as a serialized NodeDef.
pub fn attributes(data: &[u8]) {
    if let Ok(attrs) = Attrs::parse(Bytes::copy_from_slice(data)) {
        let _ = attrs.calibrating();
        if !attrs.plan.is_empty() {
            let _ = Plan::decode(attrs.plan);
        }
    }
}

/// A calibration table. What is said of it is short, however long it is.
pub fn table(data: &[u8]) {
    assert!(calibration::unused(data).len() < calibration::unused(b"").len() + 100);
}

/// The optimizer's parameters, as a serialized CustomGraphOptimizer; and its entries as the attributes of a function.
pub fn parameters(data: &[u8]) {
    let Ok(config) = tf::rewriter_config::CustomGraphOptimizer::decode(data) else {
        return;
    };
    if let Ok(params) = Params::from_parameter_map(&config.parameter_map) {
        let _ = params.from_function_attrs(&config.parameter_map);
    }
    let _ = Params::default().from_function_attrs(&config.parameter_map);
}

/// A segment's GraphDef, with types and shapes on its nodes, to ONNX in both ways of writing quantisation and both layouts.
pub fn segment(data: &[u8]) {
    let Ok(def) = tf::GraphDef::decode(Bytes::copy_from_slice(data)) else {
        return;
    };
    let outputs = annotated_outputs(&def);
    let Ok(graph) = Graph::new(def, outputs) else {
        return;
    };
    for node in 0..graph.nodes.len() {
        let _ = tftrt::convert::supports(&graph, node);
    }
    let ways = [
        (Layout::Kept, Quantization::Arithmetic, BadValues::Told),
        (Layout::Restored, Quantization::Int8, BadValues::Zeroed),
    ];
    for (layout, quantization, bad_values) in ways {
        let options = Options {
            layout,
            quantization,
            bad_values,
        };
        if let Ok(model) = tftrt::convert::convert("fuzz", &graph, options) {
            let _ = tftrt::convert::shape_inputs(&model.onnx);
        }
    }
}
