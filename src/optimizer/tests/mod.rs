//! The pass on small graphs, with a host of its own, and on any graph.

mod any_graph;
mod engine_node;
mod frames;
mod segments;

use super::{Context, Host, Item, OptimizeError, Outcome, Params, Segmenter, optimize_with};
use crate::graph::{DType, TensorInfo};
use crate::proto::{MESSAGE_LIMIT, tensorflow as tf};
use crate::segment::SegmentOptions;
use crate::segment::test_graphs::{Builder, supports};
use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use tf::attr_value::Value;

/// Keeps the graphs that it is given as functions.
#[derive(Default)]
struct Keeper {
    bodies: RefCell<HashMap<String, tf::GraphDef>>,
    /// Functions of which these ops are part are refused.
    refused: Option<&'static str>,
}

impl Host for Keeper {
    fn function_from_graph(&self, graph: tf::GraphDef, name: &str) -> Result<tf::FunctionDef, String> {
        if let Some(node) = graph.node.iter().find(|node| Some(node.op.as_str()) == self.refused) {
            return Err(format!("node '{}' cannot be in a function", node.name));
        }
        self.bodies.borrow_mut().insert(name.into(), graph);
        Ok(tf::FunctionDef {
            signature: Some(tf::OpDef {
                name: name.into(),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    fn graph_from_function(&self, function: tf::FunctionDef) -> Result<tf::GraphDef, String> {
        let name = function.signature.unwrap_or_default().name;
        self.bodies
            .borrow()
            .get(&name)
            .cloned()
            .ok_or_else(|| format!("'{name}' has no body"))
    }

    fn infer_shapes(&self, _: &tf::GraphDef) -> Option<HashMap<String, Vec<TensorInfo>>> {
        None
    }

    fn is_stateful(&self, op: &str) -> bool {
        op == "NoSuch"
    }

    fn knows(&self, _: &str) -> bool {
        true
    }
}

fn item<'a>(id: &'a str, b: &Builder, preserve: &[&str]) -> Item<'a> {
    Item {
        id,
        graph: b.def.clone(),
        shapes: b.shapes.clone(),
        sizes: HashMap::new(),
        preserve: preserve.iter().map(|name| name.to_string()).collect(),
        function_attrs: None,
        default_device: String::new(),
    }
}

fn explicit(minimum_segment_size: i64) -> Params {
    Params {
        minimum_segment_size,
        use_implicit_batch: false,
        is_dynamic_op: true,
        ..Params::default()
    }
}

/// Runs the pass with a counter of its own.
fn convert(params: &Params, item: Item<'_>, host: &Keeper, limit: usize) -> Result<Outcome, OptimizeError> {
    convert_with(params, item, host, limit, &crate::segment::segment)
}

fn convert_with(params: &Params, item: Item<'_>, host: &Keeper, limit: usize, segment: &Segmenter<'_>) -> Result<Outcome, OptimizeError> {
    let context = Context {
        host,
        options: &SegmentOptions::default(),
        supports: &supports,
        counter: &AtomicUsize::new(0),
        message_limit: limit,
        draw: false,
        segment,
    };
    optimize_with(params, item, &context)
}

fn converted(params: &Params, item: Item<'_>, host: &Keeper) -> tf::GraphDef {
    convert(params, item, host, MESSAGE_LIMIT)
        .unwrap()
        .graph
        .expect("something to convert")
}

fn node<'a>(graph: &'a tf::GraphDef, name: &str) -> &'a tf::NodeDef {
    graph.node.iter().find(|node| node.name == name).expect("the node is there")
}

fn value<'a>(node: &'a tf::NodeDef, name: &str) -> &'a Value {
    node.attr[name].value.as_ref().expect("a value")
}

/// in -> a(+w) -> b -> out, with a control edge into and one out of what will be the segment.
fn small() -> Builder {
    let mut b = Builder::default();
    b.outputs("in", "Placeholder", &[], &[(DType::FLOAT, &[-1, 4])]);
    b.outputs("w", "Const", &[], &[(DType::FLOAT, &[4, 3])]);
    b.add("first", "NoOp", &[]);
    b.outputs("a", "MatMul", &["in", "w", "^first", "^w"], &[(DType::FLOAT, &[-1, 3])]);
    b.outputs("b", "Relu", &["a"], &[(DType::FLOAT, &[-1, 3])]);
    b.add("last", "NoOp", &["^a", "^w"]);
    b.add("out", "NoSuch", &["b"]);
    b.def.versions = Some(tf::VersionDef {
        producer: 1234,
        ..Default::default()
    });
    b
}

/// Two segments, the second on the first's results.
fn two() -> Builder {
    let mut b = small();
    b.outputs("c", "Relu", &["out"], &[(DType::FLOAT, &[-1, 3])]);
    b.outputs("d", "Sum", &["c", "b"], &[(DType::FLOAT, &[-1, 3])]);
    b.add("end", "NoSuch", &["d"]);
    b
}
