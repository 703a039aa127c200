//! Control flow on small graphs, in the form in which TensorFlow lowers it.

use super::{Flow, Infer, Rules, Sizes, take_out};
use crate::graph::{DType, Graph, Node, annotated_outputs, inner};
use crate::proto::tensorflow as tf;
use crate::segment;
use crate::segment::test_graphs::{Builder, supports};
use crate::settings::ControlFlow;
use std::collections::{HashMap, HashSet};
use tf::attr_value::Value;

const FLOAT: (DType, &[i64]) = (DType::FLOAT, &[-1, 4]);
const INT: (DType, &[i64]) = (DType::INT32, &[]);
const BOOL: (DType, &[i64]) = (DType::BOOL, &[]);

fn constant(b: &mut Builder, name: &str, value: i32, controls: &[&str]) {
    let tensor = tf::TensorProto {
        dtype: DType::INT32.0,
        tensor_shape: Some(tf::TensorShapeProto::default()),
        int_val: vec![value],
        ..Default::default()
    };
    let node = b.outputs(name, "Const", controls, &[INT]);
    let value = Some(Value::Tensor(tensor));
    node.attr.insert("value".into(), tf::AttrValue { value });
}

fn enter(b: &mut Builder, name: &str, frame: &str, input: &str, output: (DType, &[i64])) {
    let node = b.outputs(name, "Enter", &[input], &[output]);
    let value = Some(Value::S(bytes::Bytes::copy_from_slice(frame.as_bytes())));
    node.attr.insert("frame_name".into(), tf::AttrValue { value });
}

/// The variable `v` of the loop `frame`, from `first` on; the body reads `v/in` and gives `next`. Its end is `v/exit`.
fn variable(b: &mut Builder, frame: &str, v: &str, first: &str, next: &str, output: (DType, &[i64])) {
    let name = |part: &str| format!("{v}/{part}");
    enter(b, &name("enter"), frame, first, output);
    b.outputs(&name("merge"), "Merge", &[&name("enter"), &name("next")], &[output, INT]);
    b.outputs(
        &name("switch"),
        "Switch",
        &[&name("merge"), &format!("{frame}/cond")],
        &[output, output],
    );
    b.outputs(&name("in"), "Identity", &[&format!("{v}/switch:1")], &[output]);
    b.outputs(&name("next"), "NextIteration", &[next], &[output]);
    b.outputs(&name("exit"), "Exit", &[&name("switch")], &[output]);
}

/// A loop over `first` that runs `body` while the counter `c` is below `limit`, a node of the frame.
fn counted(b: &mut Builder, frame: &str, first: &str, limit: &str, body: &str) {
    let c = format!("{frame}_c");
    constant(b, &format!("{frame}/zero"), 0, &[]);
    variable(b, frame, &c, &format!("{frame}/zero"), &format!("{frame}/count"), INT);
    variable(b, frame, &format!("{frame}_x"), first, body, FLOAT);
    b.outputs(&format!("{frame}/less"), "Less", &[&format!("{c}/merge"), limit], &[BOOL]);
    b.outputs(&format!("{frame}/cond"), "LoopCond", &[&format!("{frame}/less")], &[BOOL]);
    constant(b, &format!("{frame}/one"), 1, &[&format!("^{c}/in")]);
    b.outputs(
        &format!("{frame}/count"),
        "AddV2",
        &[&format!("{c}/in"), &format!("{frame}/one")],
        &[INT],
    );
}

/// in -> loop `f` of three rounds of `op` -> out
fn three_rounds(op: &str) -> Builder {
    let mut b = Builder::default();
    b.outputs("in", "Placeholder", &[], &[FLOAT]);
    constant(&mut b, "f/three", 3, &["^f_c/merge"]);
    counted(&mut b, "f", "in", "f/three", "f/body");
    b.outputs("f/body", op, &["f_x/in"], &[FLOAT]);
    b.outputs("out", "Identity", &["f_x/exit"], &[FLOAT]);
    b
}

fn run(b: &Builder, sizes: &[(&str, &[i64])], preserve: &[&str]) -> Flow {
    run_with(b, sizes, preserve, &|_| None, ControlFlow::default())
}

fn run_with(b: &Builder, sizes: &[(&str, &[i64])], preserve: &[&str], infer: Infer<'_>, control_flow: ControlFlow) -> Flow {
    let sizes = sizes.iter().map(|(name, dims)| (name.to_string(), vec![dims.to_vec()]));
    let rules = Rules {
        supports: &supports,
        has_effect: &|op| op == "Assign" || segment::steers(op),
        infer,
        bodies: &|name| Err(format!("the graph has no function '{name}'")),
        preserve: &preserve.iter().map(|name| name.to_string()).collect::<HashSet<_>>(),
        left_alone: &HashMap::new(),
        control_flow,
    };
    take_out(b.graph(), Sizes(sizes.collect::<HashMap<_, _>>()), &rules)
}

fn count(graph: &Graph, op: &str) -> usize {
    graph.nodes.iter().filter(|node| node.op() == op).count()
}

fn node<'a>(graph: &'a Graph, name: &str) -> &'a Node {
    &graph.nodes[graph.find(name).unwrap_or_else(|| panic!("'{name}' is there"))]
}

/// The input of `name`, and the input of that, and so on, as ops.
fn way(graph: &Graph, name: &str) -> Vec<String> {
    let mut at = node(graph, name);
    let mut ops = vec![at.op().to_string()];
    while let Some(port) = at.inputs.first() {
        at = &graph.nodes[port.node];
        ops.push(at.op().to_string());
    }
    ops
}

#[test]
fn a_loop_of_three_rounds_is_three_bodies() {
    let flow = run(&three_rounds("Relu"), &[], &["in", "out"]);
    assert_eq!(
        way(&flow.graph, "out"),
        ["Identity", "Identity", "Relu", "Relu", "Relu", "Placeholder"]
    );
    assert_eq!(node(&flow.graph, "f_x/exit").op(), "Identity", "what an exit is called stays");
    assert_eq!(flow.graph.nodes.iter().filter(|node| segment::steers(node.op())).count(), 0);
    assert!(flow.stays.is_empty());
    assert!(flow.graph.topological_order().is_ok());
}

#[test]
fn the_counter_is_known_in_each_round() {
    let mut b = three_rounds("Relu");
    b.outputs("f/by", "AddV2", &["f_x/in", "f_c/in"], &[FLOAT]);
    b.def.node.iter_mut().find(|node| node.name == "f/body").unwrap().input = vec!["f/by".into()];
    let graph = run(&b, &[], &[]).graph;
    let mut numbers: Vec<i64> = graph
        .nodes
        .iter()
        .filter(|node| node.op() == "AddV2")
        .map(|node| graph.constant(node.inputs[1]).unwrap().to_i64s().unwrap()[0])
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 1, 2]);
}

#[test]
fn a_loop_that_cannot_be_counted_stays_as_it_was() {
    let mut b = Builder::default();
    b.outputs("in", "Placeholder", &[], &[FLOAT]);
    b.outputs("n", "Placeholder", &[], &[INT]);
    enter(&mut b, "f/n", "f", "n", INT);
    b.def.node.last_mut().unwrap().attr.insert(
        "is_constant".into(),
        tf::AttrValue {
            value: Some(Value::B(true)),
        },
    );
    counted(&mut b, "f", "in", "f/n", "f/body");
    b.outputs("f/body", "Relu", &["f_x/in"], &[FLOAT]);
    let flow = run(&b, &[], &[]);
    let before: Vec<_> = b.graph().nodes.into_iter().map(|node| node.def).collect();
    let after: Vec<_> = flow.graph.nodes.iter().map(|node| node.def.clone()).collect();
    assert_eq!(before, after);
    assert_eq!(
        flow.stays["f_x/merge"],
        "In the loop 'f', which stays as it is: the number of its rounds is known only when it runs. \
         As a node of an engine: shape inference finds no sizes that fit inside it for certain."
    );
    assert!(!flow.stays.contains_key("in"));
}

#[test]
fn what_does_not_convert_or_has_an_effect_keeps_the_loop() {
    let flow = run(&three_rounds("NoSuch"), &[], &[]);
    assert!(flow.stays["f_x/switch"].contains("node 'f/body/round_0' (NoSuch): Op type NoSuch is not supported."));
    assert_eq!(count(&flow.graph, "Exit"), 2);
    let flow = run(&three_rounds("Assign"), &[], &[]);
    assert!(flow.stays["f_x/switch"].contains("node 'f/body' (Assign) does more than compute"));
    let flow = run(&three_rounds("Relu"), &[], &["f/body"]);
    assert!(flow.stays["f_x/switch"].contains("node 'f/body' (Relu) has to stay"));
}

#[test]
fn what_comes_out_waits_for_the_effects_before() {
    let mut b = three_rounds("Relu");
    b.add("effect", "Assign", &[]);
    b.add("harmless", "Neg", &["in"]);
    b.def
        .node
        .iter_mut()
        .find(|node| node.name == "f_c/enter")
        .unwrap()
        .input
        .extend(["^effect".into(), "^harmless".into()]);
    let graph = run(&b, &[], &[]).graph;
    assert_eq!(node(&graph, "f_x/exit").def.input[1..], ["^effect"]);
}

#[test]
fn inside_a_loop_that_stays_nothing_gets_outside() {
    let mut b = Builder::default();
    b.outputs("in", "Placeholder", &[], &[FLOAT]);
    b.outputs("n", "Placeholder", &[], &[INT]);
    enter(&mut b, "f/n", "f", "n", INT);
    b.def.node.last_mut().unwrap().attr.insert(
        "is_constant".into(),
        tf::AttrValue {
            value: Some(Value::B(true)),
        },
    );
    counted(&mut b, "f", "in", "f/n", "g_x/exit");
    // The body of f is a loop of three rounds, whose counter begins inside of f.
    constant(&mut b, "g/three", 3, &["^g_c/merge"]);
    counted(&mut b, "g", "f_x/in", "g/three", "g/body");
    b.def
        .node
        .iter_mut()
        .find(|node| node.name == "g/zero")
        .unwrap()
        .input
        .push("^f_c/in".into());
    b.outputs("g/weight", "Const", &["^g_c/in"], &[FLOAT]);
    b.outputs("g/body", "Mul", &["g_x/in", "g/weight"], &[FLOAT]);
    let flow = run(&b, &[], &[]);
    assert_eq!(count(&flow.graph, "Mul"), 3);
    assert!(flow.stays["f_x/merge"].contains("known only when it runs"));
    let weight = node(&flow.graph, "g/weight/unrolled");
    // A node of f, for which it waits: else it would run once, outside of f.
    assert_eq!(weight.def.input, ["^g/zero"]);
    assert_eq!(node(&flow.graph, "g/zero").def.input, ["^f_c/in"]);
}

#[test]
fn lists_are_followed_element_by_element() {
    let mut b = Builder::default();
    let list: (DType, &[i64]) = (DType::VARIANT, &[]);
    b.outputs("in", "Placeholder", &[], &[(DType::FLOAT, &[3, -1, 4])]);
    b.add("shape", "Const", &[]);
    constant(&mut b, "size", 3, &[]);
    b.outputs("read", "TensorListFromTensor", &["in", "shape"], &[list]);
    b.outputs("write", "TensorListReserve", &["shape", "size"], &[list]);
    constant(&mut b, "f/three", 3, &["^f_c/merge"]);
    counted(&mut b, "f", "read", "f/three", "f_x/in");
    b.shapes.extend(["enter", "merge", "switch", "in", "next", "exit"].map(|part| {
        let info = crate::graph::TensorInfo {
            dtype: DType::VARIANT,
            shape: crate::graph::PartialShape::scalar(),
        };
        (format!("f_x/{part}"), vec![info.clone(), info])
    }));
    variable(&mut b, "f", "w", "write", "f/set", list);
    b.outputs("f/get", "TensorListGetItem", &["f_x/in", "f_c/in", "shape_in_f"], &[FLOAT]);
    b.outputs("shape_in_f", "Const", &["^f_c/in"], &[FLOAT]);
    b.outputs("f/body", "Relu", &["f/get"], &[FLOAT]);
    b.outputs("f/set", "TensorListSetItem", &["w/in", "f_c/in", "f/body"], &[list]);
    b.outputs("stack", "TensorListStack", &["w/exit", "shape"], &[(DType::FLOAT, &[3, -1, 4])]);
    b.outputs("out", "Identity", &["stack"], &[(DType::FLOAT, &[3, -1, 4])]);
    let graph = run(&b, &[], &["out"]).graph;
    let stack = node(&graph, "stack");
    assert_eq!(stack.op(), "Pack");
    let sources: Vec<(&str, usize)> = stack
        .inputs
        .iter()
        .map(|port| {
            let from = graph.nodes[port.node].inputs[0];
            (graph.nodes[from.node].op(), from.index)
        })
        .collect();
    assert_eq!(sources, [("Unpack", 0), ("Unpack", 1), ("Unpack", 2)]);
    assert!(graph.nodes.iter().all(|node| !node.op().starts_with("TensorList")));

    // Of a list of four, one element is never written.
    let mut longer = b.clone();
    longer.def.node.retain(|node| node.name != "size");
    constant(&mut longer, "size", 4, &[]);
    let flow = run(&longer, &[], &["out"]);
    assert!(flow.stays["w/merge"].contains("node 'stack' (TensorListStack) stacks a list of which an element was never written"));
}

/// x, and one of its two sides.
fn conditional(yes: &str, no: &str) -> Builder {
    let mut b = Builder::default();
    b.outputs("x", "Input", &[], &[FLOAT]);
    b.outputs("p", "Input", &[], &[BOOL]);
    b.outputs("x/switch", "Switch", &["x", "p"], &[FLOAT, FLOAT]);
    b.outputs("yes", yes, &["x/switch:1"], &[FLOAT]);
    b.outputs("no", no, &["x/switch"], &[FLOAT]);
    b.outputs("merge", "Merge", &["no", "yes"], &[FLOAT, INT]);
    b.outputs("out", "Identity", &["merge"], &[FLOAT]);
    b
}

const SAME: &[(&str, &[i64])] = &[("x", &[-2, 4]), ("yes", &[-2, 4]), ("no", &[-2, 4])];

#[test]
fn a_conditional_of_cheap_sides_is_a_choice() {
    let graph = run(&conditional("Relu", "Tanh"), SAME, &["x", "out"]).graph;
    assert_eq!(node(&graph, "merge").op(), "SelectV2");
    assert_eq!(node(&graph, "merge").def.input, ["p", "yes", "no"]);
    assert_eq!(node(&graph, "yes").def.input, ["x"]);
    assert_eq!(count(&graph, "Switch"), 0);
}

#[test]
fn a_conditional_stays_where_a_side_is_dear_or_shapes_may_differ() {
    let flow = run(&conditional("Relu", "MatMul"), SAME, &[]);
    assert!(flow.stays["merge"].contains("node 'no' (MatMul) is not computed on a side that is not taken"));
    let differ: &[(&str, &[i64])] = &[("x", &[-2, 4]), ("yes", &[-2, 4]), ("no", &[-3, 4])];
    let flow = run(&conditional("Relu", "Tanh"), differ, &[]);
    assert!(flow.stays["merge"].contains("joins tensors whose shapes may differ"));
    let unknown: &[(&str, &[i64])] = &[("x", &[-1, 4]), ("yes", &[-1, 4]), ("no", &[-1, 4])];
    assert_eq!(count(&run(&conditional("Relu", "Tanh"), unknown, &[]).graph, "Merge"), 1);
}

#[test]
fn a_side_that_something_else_takes_keeps_the_conditional() {
    let mut b = conditional("Relu", "Tanh");
    b.outputs("tells", "Identity", &["merge:1"], &[INT]);
    assert!(run(&b, SAME, &[]).stays["merge"].contains("tells which side ran"));
    let mut b = conditional("Relu", "Tanh");
    b.outputs("other", "Merge", &["yes", "yes"], &[FLOAT, INT]);
    assert_eq!(count(&run(&b, SAME, &[]).graph, "Switch"), 1);
}

#[test]
fn a_conditional_on_a_side_of_another_goes_first() {
    let mut b = conditional("Relu", "Tanh");
    // The side "yes" of an outer conditional on q.
    b.outputs("y", "Input", &[], &[FLOAT]);
    b.outputs("q", "Input", &[], &[BOOL]);
    b.outputs("y/switch", "Switch", &["y", "q"], &[FLOAT, FLOAT]);
    b.outputs("q/switch", "Switch", &["p_outside", "q"], &[BOOL, BOOL]);
    b.outputs("p_outside", "Input", &[], &[BOOL]);
    let set = |b: &mut Builder, name: &str, op: &str, input: &str| {
        let node = b.def.node.iter_mut().find(|node| node.name == name).unwrap();
        (node.op, node.input) = (op.into(), vec![input.into()]);
    };
    set(&mut b, "x", "Identity", "y/switch:1");
    set(&mut b, "p", "Identity", "q/switch:1");
    set(&mut b, "out", "Neg", "merge");
    b.outputs("outer_no", "Neg", &["y/switch"], &[FLOAT]);
    b.outputs("outer", "Merge", &["outer_no", "out"], &[FLOAT, INT]);
    b.outputs("end", "Identity", &["outer"], &[FLOAT]);
    let mut sizes = SAME.to_vec();
    let (four, one, other): (&[i64], &[i64], &[i64]) = (&[-2, 4], &[], &[-7, 4]);
    sizes.extend([("y", four), ("out", four), ("outer_no", four), ("p", one), ("merge", other)]);
    let graph = run(&b, &sizes, &["end"]).graph;
    assert_eq!(
        (count(&graph, "SelectV2"), count(&graph, "Switch"), count(&graph, "Merge")),
        (2, 0, 0)
    );
}

/// Of a graph inside, what its nodes say themselves: for tests that have no TensorFlow to ask.
fn said(graph: &tf::GraphDef) -> Option<HashMap<String, Vec<crate::graph::TensorInfo>>> {
    Some(annotated_outputs(graph))
}

fn as_nodes(b: &Builder, sizes: &[(&str, &[i64])]) -> Flow {
    run_with(b, sizes, &["out"], &said, ControlFlow::Engine)
}

/// A loop of as many rounds as `n` says, of the one op `body`.
fn open_loop(body: &str) -> Builder {
    let mut b = Builder::default();
    b.outputs("in", "Placeholder", &[], &[FLOAT]);
    b.outputs("n", "Placeholder", &[], &[INT]);
    enter(&mut b, "f/n", "f", "n", INT);
    let always = Some(Value::B(true));
    let node = b.def.node.last_mut().unwrap();
    node.attr.insert("is_constant".into(), tf::AttrValue { value: always });
    counted(&mut b, "f", "in", "f/n", "f/body");
    b.outputs("f/body", body, &["f_x/in"], &[FLOAT]);
    b.outputs("out", "Identity", &["f_x/exit"], &[FLOAT]);
    b
}

const OPEN_LOOP: &[(&str, &[i64])] = &[
    ("in", &[-2, 4]),
    ("f_x/merge", &[-2, 4]),
    ("f_x/in", &[-2, 4]),
    ("f/body", &[-2, 4]),
    ("n", &[]),
    ("f/zero", &[]),
    ("f_c/merge", &[]),
    ("f/count", &[]),
];

/// Makes of node `name` one that holds graphs.
fn holds_graphs(mut b: Builder, name: &str) -> Builder {
    let node = b.def.node.iter_mut().find(|node| node.name == name).unwrap();
    node.attr.insert(inner::GRAPHS.into(), inner::no_graphs());
    b
}

#[test]
fn what_can_be_neither_unrolled_nor_chosen_is_one_node() {
    let graph = as_nodes(&open_loop("Relu"), OPEN_LOOP).graph;
    assert_eq!(way(&graph, "out")[..3], ["Identity", "Identity", "StatelessWhile"]);
    assert_eq!(count(&graph, "Enter") + count(&graph, "Switch"), 0);
    let graph = as_nodes(&conditional("Relu", "MatMul"), SAME).graph;
    assert_eq!(way(&graph, "out")[..3], ["Identity", "Identity", "StatelessIf"]);
    assert_eq!(count(&graph, "Merge"), 0);
}

#[test]
fn loops_and_conditionals_are_not_inside_each_other() {
    let flow = as_nodes(&holds_graphs(open_loop("StatelessIf"), "f/body"), OPEN_LOOP);
    let reason = "As a node of an engine: node 'f/body' (StatelessIf) would be a conditional inside a loop";
    assert!(flow.stays["f_x/merge"].contains(reason), "{}", flow.stays["f_x/merge"]);
    let flow = as_nodes(&holds_graphs(conditional("Relu", "StatelessWhile"), "no"), SAME);
    let reason = "As a node of an engine: node 'no' (StatelessWhile) would be a loop inside a conditional";
    assert!(flow.stays["merge"].contains(reason), "{}", flow.stays["merge"]);
    let flow = as_nodes(&conditional("Cumsum", "Relu"), SAME);
    assert!(flow.stays["merge"].contains("node 'yes' (Cumsum) would be a loop inside a conditional"));
}

#[test]
fn a_setting_leaves_them_out() {
    let run = |b: &Builder, sizes, setting| run_with(b, sizes, &["out"], &said, setting);
    let flow = run(&open_loop("Relu"), OPEN_LOOP, ControlFlow::Unroll);
    assert_eq!(count(&flow.graph, "StatelessWhile"), 0);
    assert!(flow.stays["f_x/merge"].ends_with("As a node of an engine: TFTRT_CONTROL_FLOW leaves it out."));
    let flow = run(&three_rounds("Relu"), &[], ControlFlow::Unroll);
    assert_eq!(count(&flow.graph, "Relu"), 3, "unrolled all the same");
    for (b, sizes, part) in [
        (three_rounds("Relu"), &[][..], "f_x/merge"),
        (open_loop("Relu"), OPEN_LOOP, "f_x/merge"),
        (conditional("Relu", "Tanh"), SAME, "merge"),
    ] {
        let flow = run(&b, sizes, ControlFlow::Native);
        assert_eq!(flow.graph.nodes.len(), b.graph().nodes.len());
        assert_eq!(flow.stays[part], "Control flow stays native by TFTRT_CONTROL_FLOW=native.");
    }
}
