//! Rewrites an ONNX model to half precision: `onnx_to_half [--bf16] IN.onnx OUT.onnx [IN.onnx OUT.onnx ...]`.
//!
//! Prints one line of JSON a model: nodes in half, nodes in float32, Casts added, and why nodes were kept. `onnx_to_half --table`
//! prints the table of ops instead, one line of JSON each: the op, the inputs that have its type (null: all), the halves
//! that ONNX admits. Exit code: 0 all written, 1 some not (the reason goes to stderr), 2 wrong usage.

use prost::Message;
use std::path::Path;
use tftrt::precision::keep::{Admits, Takes, rules};
use tftrt::precision::{Half, rewrite};
use tftrt::{files, proto};

fn main() {
    let mut paths: Vec<String> = std::env::args().skip(1).collect();
    if paths.as_slice() == ["--table"] {
        return table();
    }
    let to = if paths.first().is_some_and(|word| word == "--bf16") {
        paths.remove(0);
        Half::BFloat16
    } else {
        Half::Float16
    };
    if paths.is_empty() || !paths.len().is_multiple_of(2) {
        eprintln!("usage: onnx_to_half [--bf16] IN.onnx OUT.onnx [IN.onnx OUT.onnx ...] | --table");
        std::process::exit(2);
    }
    let mut failed = false;
    for pair in paths.chunks_exact(2) {
        if let Err(why) = onnx_to_half(Path::new(&pair[0]), Path::new(&pair[1]), to) {
            eprintln!("{}: {why}", pair[0]);
            failed = true;
        }
    }
    std::process::exit(failed.into());
}

fn onnx_to_half(source: &Path, target: &Path, to: Half) -> Result<(), Box<dyn std::error::Error>> {
    let model = proto::onnx::ModelProto::decode(bytes::Bytes::from(std::fs::read(source)?))?;
    let (model, summary) = rewrite(model, to)?;
    let written = model.encode_to_vec();
    files::replace(target, |file| std::io::Write::write_all(file, &written))?;
    let said = serde_json::json!({
        "model": target,
        "half": summary.half,
        "float": summary.float,
        "casts": summary.casts,
        "kept": summary.kept,
    });
    println!("{said}");
    Ok(())
}

fn table() {
    for rule in rules() {
        let takes = match rule.takes {
            Takes::All => None,
            Takes::At(positions) => Some(positions),
        };
        let admits: &[&str] = match rule.admits {
            Admits::Both => &["float16", "bfloat16"],
            Admits::Float16 => &["float16"],
            Admits::Neither => &[],
        };
        println!(
            "{}",
            serde_json::json!({"op": rule.op, "takes": takes, "admits": admits, "gives": format!("{:?}", rule.gives)})
        );
    }
}
