//! Any graph: the same values, the same order of execution, no cycle.

use super::{Keeper, convert, explicit, item, value};
use crate::graph::{DType, Graph, parse_input};
use crate::optimizer::Params;
use crate::proto::{MESSAGE_LIMIT, tensorflow as tf};
use crate::segment::Device;
use crate::segment::test_graphs::{Builder, supports};
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use tf::attr_value::Value;

/// A graph's values by a made-up arithmetic: a hash of the node, its op and its inputs.
struct Interpreter<'a> {
    nodes: HashMap<&'a str, &'a tf::NodeDef>,
    bodies: &'a HashMap<String, tf::GraphDef>,
    args: Vec<u64>,
    done: HashMap<&'a str, u64>,
}

impl<'a> Interpreter<'a> {
    fn new(graph: &'a tf::GraphDef, bodies: &'a HashMap<String, tf::GraphDef>, args: Vec<u64>) -> Self {
        Interpreter {
            nodes: graph.node.iter().map(|node| (node.name.as_str(), node)).collect(),
            bodies,
            args,
            done: HashMap::new(),
        }
    }

    /// The value of "node" or "node:2". Panics on names that are not there, overflows the stack on a cycle.
    fn value(&mut self, input: &'a str) -> u64 {
        let Some(crate::graph::Input::Data(name, index)) = parse_input(input) else {
            panic!("'{input}' is no data input")
        };
        let node = self.nodes[name];
        if node.op == "TRTEngineOp" {
            let args = self.inputs(node);
            let Value::Func(function) = value(node, "segment_func") else {
                panic!("a function")
            };
            let body = &self.bodies[&function.name];
            let result = body
                .node
                .iter()
                .find(|n| n.op == "_Retval" && value(n, "index") == &Value::I(index as i64));
            let result = result.expect("the function gives that output");
            return Interpreter::new(body, self.bodies, args).value(&result.input[0]);
        }
        let base = match self.done.get(name) {
            Some(&known) => known,
            None => {
                let inputs = self.inputs(node);
                let base = match node.op.as_str() {
                    "Identity" => inputs[0],
                    "_Arg" => match value(node, "index") {
                        Value::I(index) => self.args[*index as usize],
                        other => panic!("{other:?}"),
                    },
                    _ => digest((&node.name, &node.op, inputs)),
                };
                self.done.insert(name, base);
                base
            }
        };
        match index {
            0 => base,
            _ => digest((base, index)),
        }
    }

    fn inputs(&mut self, node: &'a tf::NodeDef) -> Vec<u64> {
        let data = node.input.iter().filter(|input| !input.starts_with('^'));
        data.map(|input| self.value(input)).collect()
    }
}

fn digest(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// For each node all that runs before it, by data or control.
fn ancestors(graph: &tf::GraphDef) -> HashMap<String, HashSet<String>> {
    let sorted = Graph::new(graph.clone(), HashMap::new()).expect("a graph");
    let nodes = sorted
        .topological_order()
        .expect("no cycle")
        .into_iter()
        .map(|id| &sorted.nodes[id].def);
    let mut all: HashMap<String, HashSet<String>> = HashMap::new();
    for node in nodes {
        let mut own = HashSet::new();
        for input in &node.input {
            let from = match parse_input(input) {
                Some(crate::graph::Input::Control(from) | crate::graph::Input::Data(from, _)) => from,
                None => panic!("'{input}'"),
            };
            own.extend(all[from].iter().cloned());
            own.insert(from.to_string());
        }
        all.insert(node.name.clone(), own);
    }
    all
}

#[derive(Clone, Debug)]
struct Plan {
    op: usize,
    dtype: usize,
    shape: usize,
    device: usize,
    data: Vec<usize>,
    control: Vec<usize>,
    second_output: bool,
    preserved: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        0usize..12,
        0usize..10,
        0usize..8,
        0usize..9,
        prop::collection::vec(any::<usize>(), 0..4),
        prop::collection::vec(any::<usize>(), 0..3),
        any::<bool>(),
        0usize..10,
    )
        .prop_map(|(op, dtype, shape, device, data, control, second_output, preserved)| Plan {
            op,
            dtype,
            shape,
            device,
            data,
            // Fewer control edges than data edges.
            control: control.into_iter().filter(|c| c % 3 == 0).collect(),
            second_output,
            preserved: preserved == 0,
        })
}

/// Ops: mostly convertible ones, some refused, some refused by the host.
const OPS: [&str; 12] = [
    "Relu",
    "Add",
    "Add",
    "Relu",
    "Sum",
    "Identity",
    "Const",
    "Const",
    "NoSuch",
    "Relu",
    "Placeholder",
    "Mul",
];
const TYPES: [DType; 10] = [
    DType::FLOAT,
    DType::FLOAT,
    DType::FLOAT,
    DType::FLOAT,
    DType::HALF,
    DType::INT32,
    DType::BOOL,
    DType::INT64,
    DType::DOUBLE,
    DType::RESOURCE,
];
const SHAPES: [&[i64]; 8] = [&[-1, 4], &[-1, 4], &[8, 4], &[8, 4], &[2, -1], &[4], &[], &[8, 2, 2]];
const DEVICES: [&str; 9] = ["", "", "", "", "", "/gpu:0", "/cpu:0", "/device:GPU:1", "/device:TPU:0"];

/// The graph of the plans, and the names that are preserved. Edges only lead from earlier to later nodes.
fn build(plans: &[Plan]) -> (Builder, Vec<String>) {
    let mut b = Builder::default();
    let mut preserved = Vec::new();
    let mut ports: Vec<String> = Vec::new();
    for (at, plan) in plans.iter().enumerate() {
        let mut op = OPS[plan.op];
        let mut inputs: Vec<String> = match op {
            _ if ports.is_empty() => Vec::new(),
            "Const" | "Placeholder" => Vec::new(),
            // Near ones mostly, so that chains come about.
            _ => plan
                .data
                .iter()
                .map(|d| ports[ports.len() - 1 - (d % ports.len().min(if d % 5 == 0 { usize::MAX } else { 6 }))].clone())
                .collect(),
        };
        if op == "Identity" {
            inputs.truncate(1);
        }
        if inputs.is_empty() && op != "Const" {
            op = "Placeholder";
        }
        let name = format!("n{at}");
        if at > 0 {
            inputs.extend(plan.control.iter().map(|c| format!("^n{}", c % at)));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let info = (TYPES[plan.dtype], SHAPES[plan.shape]);
        let two = plan.second_output && !matches!(op, "Identity" | "Const");
        let outputs = if two {
            vec![info, (TYPES[(plan.dtype + plan.shape) % 10], SHAPES[plan.shape])]
        } else {
            vec![info]
        };
        b.outputs(&name, op, &inputs, &outputs).device = DEVICES[plan.device].into();
        ports.push(name.clone());
        if two {
            ports.push(format!("{name}:1"));
        }
        if plan.preserved || at + 1 == plans.len() {
            preserved.push(name);
        }
    }
    (b, preserved)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_graph_keeps_its_values_its_order_and_its_preserved_nodes(
        plans in prop::collection::vec(plan(), 2..40),
        minimum in 1i64..4,
        implicit in any::<bool>(),
        on_gpu in any::<bool>(),
        refuse in any::<bool>(),
    ) {
        let (b, preserved) = build(&plans);
        let preserve: Vec<&str> = preserved.iter().map(String::as_str).collect();
        let host = Keeper { refused: refuse.then_some("Sum"), ..Keeper::default() };
        let params = Params { use_implicit_batch: implicit, ..explicit(minimum) };
        let device = if on_gpu { "/job:localhost/replica:0/task:0/device:GPU:0" } else { "" };
        let run = || {
            let mut item = item("tf_graph", &b, &preserve);
            item.default_device = device.into();
            convert(&params, item, &host, MESSAGE_LIMIT).unwrap().graph
        };
        let Some(graph) = run() else { return Ok(()) };
        let again = run();
        prop_assert_eq!(again.as_ref(), Some(&graph), "the same graph gives the same engines");

        // No cycle, in topological order.
        let mut seen = HashSet::new();
        for node in &graph.node {
            for input in &node.input {
                let Some(crate::graph::Input::Control(from) | crate::graph::Input::Data(from, _)) = parse_input(input) else {
                    panic!("'{input}'")
                };
                prop_assert!(seen.contains(from), "'{}' stands before its input '{from}'", node.name);
            }
            prop_assert!(seen.insert(node.name.as_str()), "one node a name");
        }

        // Preserved nodes stay, and every node that stays has the value it had.
        for name in &preserve {
            prop_assert!(seen.contains(name), "'{name}' is preserved");
        }
        let bodies = host.bodies.borrow();
        let none = HashMap::new();
        let mut before = Interpreter::new(&b.def, &none, Vec::new());
        let mut after = Interpreter::new(&graph, &bodies, Vec::new());
        for node in graph.node.iter().filter(|node| node.op != "TRTEngineOp") {
            prop_assert_eq!(before.value(&node.name), after.value(&node.name), "the value of '{}'", node.name);
        }

        // What has an effect, or comes after one, still runs before what it ran before; but constants.
        let (old, new) = (ancestors(&b.def), ancestors(&graph));
        let original: HashMap<&str, &tf::NodeDef> = b.def.node.iter().map(|n| (n.name.as_str(), n)).collect();
        let constant = |name: &str| {
            let mut at = original[name];
            while at.op == "Identity" {
                at = original[at.input[0].trim_end_matches(":1")];
            }
            at.op == "Const"
        };
        let effect = |name: &str| original[name].op == "NoSuch";
        let ordered = |name: &str| effect(name) || old[name].iter().any(|n| effect(n));
        for (name, ran) in new.iter().filter(|(name, _)| original.contains_key(name.as_str())) {
            for earlier in old[name].iter().filter(|n| seen.contains(n.as_str())) {
                prop_assert!(constant(earlier) || !ordered(earlier) || ran.contains(earlier), "'{earlier}' ran before '{name}'");
            }
        }

        // Engines: large enough, legal borders, one device, nothing in them that may not be.
        for engine in graph.node.iter().filter(|node| node.op == "TRTEngineOp") {
            let body = &bodies[&format!("{}_native_segment", engine.name)];
            let inner: Vec<&tf::NodeDef> = body.node.iter().filter(|n| n.op != "_Arg" && n.op != "_Retval").collect();
            let counted = inner.iter().filter(|n| n.op != "Identity").count();
            prop_assert!(counted as i64 >= minimum);
            let (Value::List(in_types), Value::List(out_types)) = (value(engine, "InT"), value(engine, "OutT")) else {
                panic!("lists")
            };
            prop_assert!(!in_types.r#type.is_empty() && !out_types.r#type.is_empty());
            let legal = |t: i32| crate::segment::OUTPUT_TYPES.contains(&DType(t));
            prop_assert!(in_types.r#type.iter().all(|&t| legal(t) || t == DType::RESOURCE.0));
            prop_assert!(out_types.r#type.iter().all(|&t| legal(t)));
            let data = engine.input.iter().filter(|input| !input.starts_with('^')).count();
            prop_assert_eq!(data, in_types.r#type.len());
            let mut at = Device::parse(&engine.device).unwrap();
            for node in &inner {
                at = at.merge(&Device::parse(&node.device).unwrap()).expect("one device");
                // What is still in the graph, and constants, are copies.
                if node.op != "Const" && !seen.contains(node.name.as_str()) && !constant(&node.name) {
                    prop_assert!(!preserved.contains(&node.name));
                    prop_assert!(supports(&b.graph(), b.graph().find(&node.name).unwrap()).is_ok());
                }
            }
            Graph::new(body.clone(), HashMap::new()).expect("a whole body").topological_order().expect("no cycle");
        }
    }
}
