//! Converts segments to ONNX from the command line: `segment_to_onnx [--int8] IN OUT [IN OUT ...]`.
//!
//! Each IN is a serialized GraphDef with `_Arg` and `_Retval` nodes whose nodes carry `_output_shapes` and `_output_types`
//! attributes; each OUT becomes the ONNX model. A segment that cannot be converted is told on standard error and leaves no
//! OUT; the exit status is 1 then. With `--int8` they are written as for an engine that computes in INT8.

use prost::Message;
use tftrt::{convert, graph, proto};

fn main() {
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.as_slice() == ["--ops"] {
        convert::supported_ops().for_each(|op| println!("{op}"));
        return;
    }
    let mut quantization = convert::Quantization::Arithmetic;
    if paths.first().is_some_and(|first| first == "--int8") {
        quantization = convert::Quantization::Int8;
        paths.remove(0);
    }
    if paths.is_empty() || !paths.len().is_multiple_of(2) {
        eprintln!("usage: segment_to_onnx [--int8] IN OUT [IN OUT ...] | --ops");
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

fn segment_to_onnx(source: &str, target: &str, quantization: convert::Quantization) -> Result<(), Box<dyn std::error::Error>> {
    let bytes = bytes::Bytes::from(std::fs::read(source)?);
    let def = proto::tensorflow::GraphDef::decode(bytes)?;
    let outputs = graph::annotated_outputs(&def);
    let graph = graph::Graph::new(def, outputs)?;
    let options = convert::Options {
        quantization,
        ..convert::Options::default()
    };
    let model = convert::convert(source, &graph, options)?;
    Ok(std::fs::write(target, &model.onnx)?)
}
