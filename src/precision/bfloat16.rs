//! Rounding to bfloat16 for a TensorRT that has no such type: 8.6.
//!
//! A model has bfloat16 only between two Casts, which round a float32 tensor (`convert::carried`). Arithmetic does the same. With
//! g = x + 2^16 x, rounded to float32's 24 bits, g - (g - x) is x rounded to 8 (Veltkamp), to even where x lies in the middle.
//! 2^16 x is exact, so an engine that rounds a product and a sum once gives the same numbers. What is large is brought down by a power of two first and
//! up again after, so that g is finite and only the result may overflow. Subnormal numbers keep more digits than bfloat16 has for them.

use super::MODEL;
use crate::memory::{self, Unreadable};
use crate::proto::onnx;
use crate::proto::onnx::tensor_proto::DataType;
use bytes::Bytes;

/// What stands in the Casts' place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// The same numbers.
    Arithmetic,
    /// Nothing: the engine computes in half anyway, in which the arithmetic would go wrong.
    Left,
}

/// The serialized model `onnx` without bfloat16.
pub fn without_bfloat16(onnx: &Bytes, rounding: Rounding) -> Result<Bytes, Unreadable> {
    let mut model: onnx::ModelProto = memory::decode(MODEL, onnx.clone())?;
    if let Some(graph) = &mut model.graph
        && rewrite(graph, rounding)
    {
        graph.initializer.extend(CONSTANTS.iter().map(|&(name, value)| onnx::TensorProto {
            data_type: Some(DataType::Float as i32),
            name: Some(format!("{PREFIX}{name}")),
            raw_data: Some(value.to_le_bytes().to_vec().into()),
            ..Default::default()
        }));
    }
    Ok(memory::encode(MODEL, &model)?.into())
}

/// Whether arithmetic was put anywhere, also into a graph inside a node: its constants are those of the graph around all.
fn rewrite(graph: &mut onnx::GraphProto, rounding: Rounding) -> bool {
    let mut nodes = Vec::with_capacity(graph.node.len());
    let mut rounded = false;
    for mut node in std::mem::take(&mut graph.node) {
        for inner in node.attribute.iter_mut().flat_map(|a| a.g.iter_mut().chain(&mut a.graphs)) {
            rounded |= rewrite(inner, rounding);
        }
        if !is_rounding(&node) {
            nodes.push(node);
        } else if rounding == Rounding::Left {
            node.op_type = Some("Identity".to_string());
            node.attribute.clear();
            nodes.push(node);
        } else {
            rounded = true;
            nodes.extend(arithmetic(&node));
        }
    }
    graph.node = nodes;
    rounded
}

fn is_rounding(node: &onnx::NodeProto) -> bool {
    let to = node.attribute.iter().find(|a| a.name() == "to");
    node.op_type() == "Cast" && to.is_some_and(|a| a.i() == DataType::Bfloat16 as i64)
}

/// Before the names of the constants; no name of `convert`'s begins so.
const PREFIX: &str = "tftrt.bfloat16/";

const TWO_32: f32 = (1u64 << 32) as f32;
const CONSTANTS: &[(&str, f32)] = &[
    ("one", 1.0),
    ("two_16", 65536.0),
    ("large", TWO_32 * TWO_32 * TWO_32),
    ("down", 1.0 / TWO_32),
    ("up", TWO_32),
    ("most", f32::MAX),
];

/// The steps, each with its inputs: `x` is what is rounded, one of [`CONSTANTS`], or an earlier step.
const STEPS: &[(&str, &str, &[&str])] = &[
    ("size", "Abs", &["x"]),
    ("is_large", "Greater", &["size", "large"]),
    ("scale", "Where", &["is_large", "down", "one"]),
    ("back", "Where", &["is_large", "up", "one"]),
    ("y", "Mul", &["x", "scale"]),
    ("shifted", "Mul", &["y", "two_16"]),
    ("g", "Add", &["shifted", "y"]),
    ("low", "Sub", &["g", "y"]),
    ("high", "Sub", &["g", "low"]),
    ("scaled", "Mul", &["high", "back"]),
    // Infinity less infinity is none; and not a number is not above the largest one.
    ("is_infinite", "Greater", &["size", "most"]),
    ("rounded", "Where", &["is_infinite", "x", "scaled"]),
];

/// The nodes in the place of the Cast `node`. The last one gives its output.
fn arithmetic(node: &onnx::NodeProto) -> impl Iterator<Item = onnx::NodeProto> {
    let (x, output) = (node.input[0].clone(), node.output[0].clone());
    STEPS.iter().enumerate().map(move |(i, &(step, op, inputs))| {
        let named = |name: &str| match name {
            "x" => x.clone(),
            _ if CONSTANTS.iter().any(|(constant, _)| *constant == name) => format!("{PREFIX}{name}"),
            _ => format!("{output}/{name}"),
        };
        let own = if i + 1 == STEPS.len() { output.clone() } else { named(step) };
        onnx::NodeProto {
            op_type: Some(op.to_string()),
            input: inputs.iter().map(|name| named(name)).collect(),
            name: Some(own.clone()),
            output: vec![own],
            ..Default::default()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;
    use prost::Message;
    use std::collections::HashMap;

    fn model() -> Bytes {
        let cast = |from: &str, to: &str, dtype: DataType| onnx::NodeProto {
            op_type: Some("Cast".to_string()),
            input: vec![from.to_string()],
            output: vec![to.to_string()],
            attribute: vec![onnx::AttributeProto {
                name: Some("to".to_string()),
                i: Some(dtype as i64),
                ..Default::default()
            }],
            ..Default::default()
        };
        let graph = onnx::GraphProto {
            node: vec![cast("x", "a", DataType::Bfloat16), cast("a", "b", DataType::Float)],
            ..Default::default()
        };
        onnx::ModelProto {
            graph: Some(graph),
            ..Default::default()
        }
        .encode_to_vec()
        .into()
    }

    fn rewritten(rounding: Rounding) -> onnx::GraphProto {
        let model = without_bfloat16(&model(), rounding).unwrap();
        onnx::ModelProto::decode(model).unwrap().graph.unwrap()
    }

    /// Runs the graph on one number; a truth is 1 or 0.
    fn run(graph: &onnx::GraphProto, x: f32) -> f32 {
        let mut values: HashMap<&str, f32> = HashMap::from([("x", x)]);
        for constant in &graph.initializer {
            let data = constant.raw_data.as_ref().unwrap();
            values.insert(constant.name(), f32::from_le_bytes(data[..].try_into().unwrap()));
        }
        for node in &graph.node {
            let at = |i: usize| values[node.input[i].as_str()];
            let value = match node.op_type() {
                "Abs" => at(0).abs(),
                "Add" => at(0) + at(1),
                "Cast" | "Identity" => at(0),
                "Greater" => f32::from(u8::from(at(0) > at(1))),
                "Mul" => at(0) * at(1),
                "Sub" => at(0) - at(1),
                "Where" => at(if at(0) == 1.0 { 1 } else { 2 }),
                op => panic!("{op}"),
            };
            values.insert(&node.output[0], value);
        }
        values["b"]
    }

    fn assert_rounds(graph: &onnx::GraphProto, x: f32) {
        let (found, expected) = (run(graph, x), bf16::from_f32(x).to_f32());
        assert!(
            found.to_bits() == expected.to_bits() || found.is_nan() && x.is_nan(),
            "{x:e}: {found:e} for {expected:e}"
        );
    }

    #[test]
    fn arithmetic_rounds_as_bfloat16_does() {
        let graph = rewritten(Rounding::Arithmetic);
        for x in [
            0.0,
            f32::MIN_POSITIVE,
            f32::MAX,
            3.39e38,
            f32::INFINITY,
            f32::NAN,
            65535.0,
            TWO_32 * TWO_32 * TWO_32,
        ] {
            assert_rounds(&graph, x);
            assert_rounds(&graph, -x);
        }
        // Each exponent, around each middle between two numbers of bfloat16's, and some between.
        for exponent in 1..255u32 {
            for mantissa in (0..1u32 << 23)
                .step_by(1 << 15)
                .flat_map(|m| [m, m + 1, m + 12345, m + (1 << 15) - 1])
            {
                assert_rounds(&graph, f32::from_bits(exponent << 23 | mantissa));
            }
        }
    }

    #[test]
    fn no_bfloat16_is_left() {
        for rounding in [Rounding::Arithmetic, Rounding::Left] {
            let graph = rewritten(rounding);
            assert!(!graph.node.iter().any(is_rounding));
            assert_eq!(graph.node.last().unwrap().output, ["b"]);
        }
        assert_eq!(run(&rewritten(Rounding::Left), 1.000_1), 1.000_1);
    }
}
