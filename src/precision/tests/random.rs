//! What holds for every graph and every weight.

use super::{FLOAT, FLOAT16, Graph, Types, weight};
use crate::precision::{Half, rewrite};
use crate::proto::onnx;
use half::{bf16, f16};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};

/// A node of a random graph: an op, and which of the earlier tensors it takes.
fn random_graph() -> impl Strategy<Value = (Graph, Vec<String>)> {
    let constants = prop::sample::select(vec![1.0f32, 0.5, 0.1, 1e-12, 1e-5, -10000.0, -1e9, 7e4, f32::MIN, f32::INFINITY]);
    let node = (0..20usize, any::<prop::sample::Index>(), any::<prop::sample::Index>(), constants);
    (
        prop::collection::vec(node, 1..40),
        prop::collection::vec(any::<prop::sample::Index>(), 1..4),
    )
        .prop_map(|(nodes, outputs)| {
            let mut g = Graph::default();
            let mut tensors = vec!["x".to_string()];
            for (op, a, b, value) in nodes {
                let (a, b) = (a.get(&tensors).clone(), b.get(&tensors).clone());
                let new = match op {
                    0..3 => g.product(&a),
                    3 => g.op("MatMul", &[&a, &b]),
                    4 => g.op("Add", &[&a, &b]),
                    5 => g.op("Mul", &[&a, &b]),
                    6 => g.op("Softmax", &[&a]),
                    7 => g.op("Exp", &[&a]),
                    8 => g.op("Transpose", &[&a]),
                    9 => g.op("Relu", &[&a]),
                    10 => g.mean(&a),
                    11 => g.layer_norm(&a),
                    12 | 13 => {
                        let c = g.scalar(value);
                        g.op(if op == 12 { "Add" } else { "Mul" }, &[&c, &a])
                    }
                    14 => {
                        let above = g.op("Greater", &[&a, &b]);
                        g.op("Where", &[&above, &b, &a])
                    }
                    15 => {
                        let infinite = g.op("IsInf", &[&a]);
                        g.op("Where", &[&infinite, &b, &a])
                    }
                    16 => {
                        let down = g.node("Cast", &[&a], &[("to", i64::from(FLOAT16))]);
                        let twice = g.op("Neg", &[&down]);
                        g.node("Cast", &[&twice], &[("to", i64::from(FLOAT))])
                    }
                    17 => g.op("Concat", &[&a, &b]),
                    18 => {
                        let v = g.constant(&[4], &[0.1, 1.0, value, 2.0]);
                        g.op("BatchNormalization", &[&a, &v, &v, &v, &v])
                    }
                    _ => g.op("Erf", &[&a]),
                };
                tensors.push(new);
            }
            let mut chosen: Vec<String> = outputs.iter().map(|i| i.get(&tensors).clone()).collect();
            let mut seen = HashSet::new();
            chosen.retain(|name| seen.insert(name.clone()));
            (g, chosen)
        })
}

proptest! {
    /// Types fit everywhere, borders keep theirs, nothing is cast twice or back, and the summary tells the truth.
    #[test]
    fn every_graph_stays_sound((g, outputs) in random_graph(), bf16 in any::<bool>()) {
        let to = if bf16 { Half::BFloat16 } else { Half::Float16 };
        let outputs: Vec<(&str, i32)> = outputs.iter().map(|o| (o.as_str(), FLOAT)).collect();
        let before = g.model(&outputs);
        let (after, summary) = rewrite(before.clone(), to).unwrap();
        Types::check(&after, to);
        let (old, new) = (before.graph.unwrap(), after.graph.unwrap());
        prop_assert_eq!(&old.input, &new.input);
        prop_assert_eq!(&old.output, &new.output);

        let is_cast = |n: &&onnx::NodeProto| n.op_type() == "Cast";
        let casts: Vec<_> = new.node.iter().filter(is_cast).collect();
        let made: HashMap<&str, &onnx::NodeProto> = casts.iter().map(|n| (n.output[0].as_str(), *n)).collect();
        for cast in &casts {
            if let Some(earlier) = made.get(cast.input[0].as_str()) {
                // Not there and back; FP16 that the model had made itself, on its way to BF16, does go through float32.
                let from = earlier.attribute[0].i() as i32;
                prop_assert!(from != to.data_type() && cast.attribute[0].i() as i32 != FLOAT, "{} behind {}", cast.name(), earlier.name());
            }
        }
        // All nodes that are no Casts are there, in their order, but for their names' endings.
        let ops = |nodes: &[onnx::NodeProto]| nodes.iter().filter(|n| n.op_type() != "Cast").map(|n| n.name().to_string()).collect::<Vec<_>>();
        prop_assert_eq!(ops(&old.node), ops(&new.node));
        // No more Casts than one a tensor, and none without half nodes.
        prop_assert!(summary.casts <= old.node.len() + old.input.len());
        prop_assert!(summary.half > 0 || summary.casts == 0 || bf16 || old.node.iter().any(|n| n.op_type() == "Cast"));
        let own = new.node.iter().filter(is_cast).filter(|n| n.name().ends_with("/Cast")).count();
        prop_assert!(summary.casts <= own, "{} of {own}", summary.casts);
    }

    /// A finite weight never becomes infinite or changes by more than half a step; what half cannot hold stays float32.
    #[test]
    fn weights_are_rounded_to_nearest_or_kept(values in prop::collection::vec(any::<f32>(), 16), scale in -30i32..30, bf16 in any::<bool>()) {
        let to = if bf16 { Half::BFloat16 } else { Half::Float16 };
        let values: Vec<f32> = values.iter().map(|v| if v.is_finite() { v.signum() * (v.abs().fract() + 0.5) * 2f32.powi(scale) } else { *v }).collect();
        let mut g = Graph::default();
        let constant = g.constant(&[4, 4], &values);
        let y = g.op("MatMul", &["x", &constant]);
        let (model, summary) = g.rewritten(&y, to);
        let wanted: Vec<u16> = values.iter().map(|v| if bf16 { bf16::from_f32(*v).to_bits() } else { f16::from_f32(*v).to_bits() }).collect();
        let back = |bits: u16| if bf16 { bf16::from_bits(bits).to_f32() } else { f16::from_bits(bits).to_f32() };
        let overflows = values.iter().zip(&wanted).any(|(v, w)| v.is_finite() && back(*w).is_infinite());
        match weight(&model, &format!("c0/{}", to.name())) {
            Some(half) => {
                prop_assert!(!overflows && summary.half == 1);
                let found: Vec<u16> = half.raw_data().chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect();
                for ((found, wanted), value) in found.iter().zip(&wanted).zip(&values) {
                    prop_assert!(found == wanted || value.is_nan() && back(*found).is_nan());
                }
            }
            None => prop_assert!(summary.half == 0 && weight(&model, "c0").is_some()),
        }
    }
}
