//! Converts segments to ONNX from the command line: `segment_to_onnx [--int8] IN OUT [IN OUT ...]`.
//!
//! Each IN is a serialized GraphDef with `_Arg` and `_Retval` nodes whose nodes carry `_output_shapes` and `_output_types`
//! attributes; each OUT becomes the ONNX model. A segment that cannot be converted is told on standard error and leaves no
//! OUT; the exit status is 1 then. With `--int8` they are written as for an engine that computes in INT8.
//!
//! `segment_to_onnx --ops` prints the op types that have a converter. `segment_to_onnx --judge IN...` prints for each node of each
//! graph what its support predicate says: path, node, op and the reason, which is empty for a node that can be converted, with tabs
//! between.

use prost::Message;
use tftrt::{convert, graph, proto};

fn main() {
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.as_slice() == ["--ops"] {
        convert::supported_ops().for_each(|op| println!("{op}"));
        return;
    }
    if paths.first().is_some_and(|first| first == "--judge") {
        for path in &paths[1..] {
            if let Err(why) = judge(path) {
                eprintln!("{path}: {why}");
                std::process::exit(1);
            }
        }
        return;
    }
    let mut quantization = convert::Quantization::Arithmetic;
    if paths.first().is_some_and(|first| first == "--int8") {
        quantization = convert::Quantization::Int8;
        paths.remove(0);
    }
    if paths.is_empty() || !paths.len().is_multiple_of(2) {
        eprintln!("usage: segment_to_onnx [--int8] IN OUT [IN OUT ...] | --ops | --judge IN...");
        std::process::exit(2);
    }
    let mut failed = false;
    for pair in paths.chunks_exact(2) {
        if let Err(why) = segment_to_onnx(&pair[0], &pair[1], quantization) {
            eprintln!("{}: {why}", pair[0]);
            failed = true;
        }
    }
    std::process::exit(failed.into());
}

fn judge(path: &str) -> Result<(), Box<dyn std::error::Error>> {
    let graph = read(path)?;
    for (id, node) in graph.nodes.iter().enumerate() {
        let reason = convert::supports(&graph, id).err().unwrap_or_default();
        println!("{path}\t{}\t{}\t{}", node.name(), node.op(), reason.replace(['\t', '\n'], " "));
    }
    Ok(())
}

fn read(path: &str) -> Result<graph::Graph, Box<dyn std::error::Error>> {
    let def = proto::tensorflow::GraphDef::decode(bytes::Bytes::from(std::fs::read(path)?))?;
    let outputs = graph::annotated_outputs(&def);
    Ok(graph::Graph::new(def, outputs)?)
}

fn segment_to_onnx(source: &str, target: &str, quantization: convert::Quantization) -> Result<(), Box<dyn std::error::Error>> {
    let graph = read(source)?;
    let options = convert::Options {
        quantization,
        ..convert::Options::default()
    };
    let model = convert::convert(source, &graph, options)?;
    Ok(std::fs::write(target, &model.onnx)?)
}
