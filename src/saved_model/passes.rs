//! Grappler's passes around a conversion: those that the stock front end asks for (`trt_convert._get_tensorrt_rewriter_config`, and
//! `convert_variables_to_constants_v2` for what comes before).

use crate::proto::tensorflow as tf;
use std::collections::BTreeMap;
use tf::attr_value::Value;
use tf::rewriter_config::{CustomGraphOptimizer, NumIterationsType, Toggle};

/// Puts the bodies of functions in the place of their calls; loops and conditionals become frames and switches.
pub fn inlining() -> tf::RewriterConfig {
    tf::RewriterConfig {
        // However small the graph is.
        min_graph_nodes: -1,
        optimizers: vec!["function".into()],
        ..Default::default()
    }
}

/// The conversion, with the parameters of TensorRTOptimizer: pruning and folding before it, and folding after it.
pub fn conversion(parameter_map: BTreeMap<String, tf::AttrValue>) -> tf::RewriterConfig {
    let custom = |name: &str, parameter_map| CustomGraphOptimizer {
        name: name.into(),
        parameter_map,
    };
    let names = [
        "pruning",
        "debug_stripper",
        "layout",
        "dependency",
        "constfold",
        "common_subgraph_elimination",
    ];
    tf::RewriterConfig {
        // Fused ops have no converter.
        remapping: Toggle::Off as i32,
        // Steps of a quantisation that are applied to constants are part of what is converted.
        experimental_disable_folding_quantization_emulation: true,
        meta_optimizer_iterations: NumIterationsType::One as i32,
        optimizers: names.map(String::from).into(),
        custom_optimizers: vec![custom("TensorRTOptimizer", parameter_map), custom("constfold", BTreeMap::new())],
        ..Default::default()
    }
}

pub fn integer(value: i64) -> tf::AttrValue {
    tf::AttrValue {
        value: Some(Value::I(value)),
    }
}

pub fn flag(value: bool) -> tf::AttrValue {
    tf::AttrValue {
        value: Some(Value::B(value)),
    }
}

pub fn string(value: &str) -> tf::AttrValue {
    tf::AttrValue {
        value: Some(Value::S(value.as_bytes().to_vec().into())),
    }
}

pub fn dtype(value: i32) -> tf::AttrValue {
    tf::AttrValue {
        value: Some(Value::Type(value)),
    }
}
