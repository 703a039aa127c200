use super::*;
use crate::graph::{DType, PartialShape, parse_input};
use crate::segment::test_graphs::{Builder, supports};
use proptest::prelude::*;
use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
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

    fn is_stateful(&self, op: &str) -> bool {
        op == "NoSuch"
    }
}

fn item<'a>(id: &'a str, b: &Builder, preserve: &[&str]) -> Item<'a> {
    Item {
        id,
        graph: b.def.clone(),
        shapes: b.shapes.clone(),
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
    let context = Context {
        host,
        options: &SegmentOptions::default(),
        supports: &supports,
        counter: &AtomicUsize::new(0),
        message_limit: limit,
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

#[test]
fn the_engine_node_stands_in_for_its_segment() {
    let host = Keeper::default();
    let graph = converted(&explicit(3), item("tf_graph", &small(), &["out"]), &host);
    let names: Vec<&str> = graph.node.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["in", "first", "TRTEngineOp_000_000", "last", "out"]);
    let engine = node(&graph, "TRTEngineOp_000_000");
    assert_eq!((engine.op.as_str(), engine.device.as_str()), ("TRTEngineOp", ""));
    assert_eq!(engine.input, ["in", "^first"]);
    assert_eq!(node(&graph, "out").input, ["TRTEngineOp_000_000"]);
    assert_eq!(node(&graph, "last").input, ["^TRTEngineOp_000_000"]);
    assert_eq!(graph.versions.as_ref().unwrap().producer, 1234);
    let library = graph.library.unwrap();
    assert_eq!(
        library.function[0].signature.as_ref().unwrap().name,
        "TRTEngineOp_000_000_native_segment"
    );
    let body = &host.bodies.borrow()["TRTEngineOp_000_000_native_segment"];
    let lines: Vec<String> = body
        .node
        .iter()
        .map(|n| format!("{} = {}({})", n.name, n.op, n.input.join(", ")))
        .collect();
    assert_eq!(
        lines,
        [
            "TensorRTInputPH_0 = _Arg()",
            "w = Const()",
            "a = MatMul(TensorRTInputPH_0, w)",
            "b = Relu(a)",
            "TensorRTOutputPH_0 = _Retval(b)"
        ]
    );
    assert_eq!(body.versions.as_ref().unwrap().producer, 1234);
    let arg = &body.node[0];
    assert_eq!((value(arg, "T"), value(arg, "index")), (&Value::Type(DType::FLOAT.0), &Value::I(0)));
    let Value::List(shapes) = value(arg, "_output_shapes") else {
        panic!("a list of shapes")
    };
    assert_eq!(shapes.shape, [PartialShape::from_dims(&[-1, 4]).to_proto()]);
}

#[test]
fn the_engine_node_has_every_attribute_of_the_op() {
    let host = Keeper::default();
    let params = Params {
        precision_mode: "FP16".into(),
        maximum_cached_engines: 5,
        max_workspace_size_bytes: 77,
        allow_build_at_runtime: false,
        profile_strategy: "Optimal".into(),
        ..explicit(1)
    };
    let mut item = item("tf_graph", &small(), &["out"]);
    item.default_device = "/job:localhost/replica:0/task:0/device:GPU:0".into();
    let graph = converted(&params, item, &host);
    let engine = node(&graph, "TRTEngineOp_000_000");
    assert_eq!(engine.device, "/job:localhost/replica:0/task:0/device:GPU:0");
    let op_def = include_str!("../../op_defs/TRTEngineOp.pbtxt");
    let mut in_op_def: Vec<&str> = op_def
        .split("\nattr {\n  name: \"")
        .skip(1)
        .map(|rest| &rest[..rest.find('"').unwrap()])
        .collect();
    in_op_def.extend(["_use_implicit_batch", "_allow_build_at_runtime", "_profile_generation_mode"]);
    in_op_def.sort_unstable();
    assert_eq!(engine.attr.keys().collect::<Vec<_>>(), in_op_def);
    for (name, expected) in [
        ("precision_mode", Value::S("FP16".into())),
        ("max_cached_engines_count", Value::I(5)),
        ("workspace_size_bytes", Value::I(77)),
        ("max_batch_size", Value::I(-1)),
        ("static_engine", Value::B(false)),
        ("use_calibration", Value::B(false)),
        ("use_explicit_precision", Value::B(false)),
        ("_allow_build_at_runtime", Value::B(false)),
        ("_use_implicit_batch", Value::B(false)),
        ("_profile_generation_mode", Value::B(false)),
        ("profile_strategy", Value::S("Optimal".into())),
        ("serialized_segment", Value::S("".into())),
    ] {
        assert_eq!(value(engine, name), &expected, "{name}");
    }
    let (Value::List(types), Value::List(shapes)) = (value(engine, "InT"), value(engine, "input_shapes")) else {
        panic!("lists")
    };
    assert_eq!(types.r#type, [DType::FLOAT.0]);
    assert_eq!(shapes.shape, [PartialShape::from_dims(&[-1, 4]).to_proto()]);
    let Value::Func(function) = value(engine, "segment_func") else {
        panic!("a function")
    };
    assert_eq!(function.name, "TRTEngineOp_000_000_native_segment");
}

#[test]
fn calibration_is_for_int8_without_explicit_precision() {
    let flags = |precision: &str, b: &Builder| {
        let params = Params {
            precision_mode: precision.into(),
            ..explicit(1)
        };
        let graph = converted(&params, item("tf_graph", b, &["out"]), &Keeper::default());
        let engine = node(&graph, "TRTEngineOp_000_000");
        (
            value(engine, "use_calibration").clone(),
            value(engine, "use_explicit_precision").clone(),
        )
    };
    let mut b = small();
    assert_eq!(flags("FP32", &b), (Value::B(false), Value::B(false)));
    assert_eq!(flags("INT8", &b), (Value::B(true), Value::B(false)));
    b.def.node[4].op = "QuantizeAndDequantizeV2".into();
    assert_eq!(flags("INT8", &b), (Value::B(false), Value::B(true)));
}

#[test]
fn only_the_main_graph_and_functions_that_ask_are_converted() {
    let host = Keeper::default();
    let b = small();
    let outcome = |id, params: &Params, attrs: Option<&BTreeMap<String, tf::AttrValue>>| {
        let mut item = item(id, &b, &["out"]);
        item.function_attrs = attrs;
        convert(params, item, &host, MESSAGE_LIMIT).unwrap().graph.is_some()
    };
    let ask = |flag| {
        let value = Some(Value::B(flag));
        BTreeMap::from([("_tftrt_convert_function".to_string(), tf::AttrValue { value })])
    };
    assert!(outcome("tf_graph", &explicit(1), None));
    assert!(!outcome("tf_graph", &explicit(-1), None));
    assert!(!outcome("some_function", &explicit(1), None));
    assert!(!outcome("some_function", &explicit(1), Some(&ask(false))));
    assert!(outcome("some_function", &explicit(1), Some(&ask(true))));
    assert!(outcome("some_function", &explicit(-1), Some(&ask(true))));
}

#[test]
fn numbers_that_are_taken_are_passed_over() {
    let host = Keeper::default();
    let mut b = small();
    b.add("TRTEngineOp_000_004", "NoSuch", &[]);
    b.def.library = Some(tf::FunctionDefLibrary {
        function: vec![
            host.function_from_graph(b.def.clone(), "TRTEngineOp_001_000_native_segment")
                .unwrap(),
        ],
        ..Default::default()
    });
    let graph = converted(&explicit(1), item("tf_graph", &b, &["out"]), &host);
    node(&graph, "TRTEngineOp_002_000");
    let functions = &graph.library.as_ref().unwrap().function;
    let names: Vec<&str> = functions.iter().map(|f| f.signature.as_ref().unwrap().name.as_str()).collect();
    assert_eq!(names, ["TRTEngineOp_001_000_native_segment", "TRTEngineOp_002_000_native_segment"]);
}

#[test]
fn preserved_names_may_carry_ports() {
    let outcome = convert(
        &explicit(1),
        item("tf_graph", &small(), &["a:0", "^b"]),
        &Keeper::default(),
        MESSAGE_LIMIT,
    )
    .unwrap();
    assert!(outcome.graph.is_none());
    let report = outcome.report.unwrap();
    let reason = "excluded by segmenter option. Most likely an input or output node.";
    let entries: Vec<_> = report.entries().filter(|(_, why, _)| *why == reason).map(|(op, _, _)| op).collect();
    assert_eq!(entries, ["MatMul", "Relu"]);
}

/// Two segments, the second on the first's results.
fn two() -> Builder {
    let mut b = small();
    b.outputs("c", "Relu", &["out"], &[(DType::FLOAT, &[-1, 3])]);
    b.outputs("d", "Sum", &["c", "b"], &[(DType::FLOAT, &[-1, 3])]);
    b.add("end", "NoSuch", &["d"]);
    b
}

#[test]
fn a_segment_that_fails_stays_native_and_the_others_go_on() {
    let host = Keeper {
        refused: Some("MatMul"),
        ..Keeper::default()
    };
    let outcome = convert(&explicit(1), item("tf_graph", &two(), &["end"]), &host, MESSAGE_LIMIT).unwrap();
    let graph = outcome.graph.unwrap();
    assert_eq!(node(&graph, "TRTEngineOp_000_000").input, ["out", "b"]);
    node(&graph, "a");
    node(&graph, "w");
    let report = outcome.report.unwrap();
    let why = "In a segment that stays native: node 'a' cannot be in a function.";
    assert!(
        report
            .entries()
            .any(|(op, reason, count)| (op, reason, count) == ("MatMul", why, 1))
    );
}

#[test]
fn a_segment_over_the_message_limit_stays_native() {
    let mut b = two();
    let weights = tf::TensorProto {
        tensor_content: vec![0u8; 100_000].into(),
        ..Default::default()
    };
    let value = Some(Value::Tensor(weights));
    b.def.node[1].attr.insert("value".into(), tf::AttrValue { value });
    let outcome = convert(&explicit(1), item("tf_graph", &b, &["end"]), &Keeper::default(), 50_000).unwrap();
    assert!(outcome.graph.is_none(), "the whole graph is over the limit as well");
    let report = outcome.report.unwrap();
    let reasons: Vec<&str> = report.entries().filter(|(op, ..)| *op == "MatMul").map(|(_, why, _)| why).collect();
    assert!(
        reasons[0].contains("over protobuf's limit of 50000 bytes for one message"),
        "{reasons:?}"
    );
}

#[test]
fn shared_constants_are_copied_and_leave_no_rest() {
    let host = Keeper::default();
    let mut b = two();
    b.def.node.iter_mut().find(|n| n.name == "d").unwrap().input.push("w".into());
    let graph = converted(&explicit(1), item("tf_graph", &b, &["end"]), &host);
    assert!(!graph.node.iter().any(|node| node.name == "w"));
    for body in host.bodies.borrow().values() {
        assert!(body.node.iter().any(|node| node.name == "w"));
    }
    // With a taker outside it stays as well; its control edges are gone from the engines.
    b.add("taker", "NoSuch", &["w"]);
    let graph = converted(&explicit(1), item("tf_graph", &b, &["end"]), &host);
    assert_eq!(node(&graph, "taker").input, ["w"]);
    assert_eq!(node(&graph, "TRTEngineOp_000_000").input, ["in", "^first"]);
}

#[test]
fn what_a_copied_constant_waits_for_the_engine_waits_for() {
    let mut b = small();
    b.def.node.iter_mut().find(|n| n.name == "first").unwrap().op = "NoSuch".into();
    b.def.node[1].input.push("^first".into());
    b.def.node[3].input.retain(|input| !input.starts_with('^'));
    b.add("taker", "NoSuch", &["w"]);
    let graph = converted(&explicit(1), item("tf_graph", &b, &["out"]), &Keeper::default());
    assert_eq!(node(&graph, "TRTEngineOp_000_000").input, ["in", "^w"]);
}

#[test]
fn colocation_with_nodes_that_went_away_is_dropped() {
    let host = Keeper::default();
    let mut b = small();
    let class = |targets: &[&str]| {
        let s = targets.iter().map(|t| bytes::Bytes::from(format!("loc:@{t}"))).collect();
        let list = tf::attr_value::ListValue { s, ..Default::default() };
        tf::AttrValue {
            value: Some(Value::List(list)),
        }
    };
    b.def.node[4].attr.insert("_class".into(), class(&["a", "in"]));
    b.def.node[6].attr.insert("_class".into(), class(&["a"]));
    b.def.node[5].attr.insert("_class".into(), class(&["out", "b"]));
    let graph = converted(&explicit(1), item("tf_graph", &b, &["out"]), &host);
    assert!(!node(&graph, "out").attr.contains_key("_class"));
    assert_eq!(node(&graph, "last").attr["_class"], class(&["out"]));
    let body = &host.bodies.borrow()["TRTEngineOp_000_000_native_segment"];
    assert_eq!(node(body, "b").attr["_class"], class(&["a"]));
}

#[test]
fn bad_graphs_are_errors_that_name_the_node() {
    let mut b = small();
    b.def.node[4].input.push("nowhere".into());
    let message = |b: &Builder| {
        convert(&explicit(1), item("tf_graph", b, &[]), &Keeper::default(), MESSAGE_LIMIT)
            .unwrap_err()
            .to_string()
    };
    assert!(message(&b).contains("node 'b' takes input 'nowhere'"));
    b.def.node[4].input = vec!["a".into(), "^out".into()];
    assert!(message(&b).contains("b, out are on or behind a cycle"));
}

// ---- Any graph: the same values, the same order of execution, no cycle. ----

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
    let nodes = rewrite::sorted(graph.node.clone()).expect("no cycle");
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
        all.insert(node.name, own);
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
