use super::*;
use std::collections::HashMap;
use tf::attr_value::ListValue;

fn attr(value: Value) -> tf::AttrValue {
    tf::AttrValue { value: Some(value) }
}

fn types(types: &[DType]) -> tf::AttrValue {
    attr(Value::List(ListValue {
        r#type: types.iter().map(|dtype| dtype.0).collect(),
        ..Default::default()
    }))
}

fn named(name: &str) -> tf::AttrValue {
    attr(Value::Func(tf::NameAttrList {
        name: name.into(),
        ..Default::default()
    }))
}

fn node(name: &str, op: &str, inputs: &[&str], attrs: Vec<(&str, tf::AttrValue)>) -> tf::NodeDef {
    tf::NodeDef {
        name: name.into(),
        op: op.into(),
        input: inputs.iter().map(|input| input.to_string()).collect(),
        attr: attrs.into_iter().map(|(name, value)| (name.to_string(), value)).collect(),
        ..Default::default()
    }
}

fn border(name: &str, op: &str, inputs: &[&str], at: i64, dtype: DType) -> tf::NodeDef {
    node(
        name,
        op,
        inputs,
        vec![("index", attr(Value::I(at))), ("T", attr(Value::Type(dtype.0)))],
    )
}

fn graph(node: Vec<tf::NodeDef>) -> tf::GraphDef {
    tf::GraphDef {
        node,
        ..Default::default()
    }
}

fn mark(mut node: tf::NodeDef) -> tf::NodeDef {
    node.attr.insert(inner::GRAPHS.into(), inner::no_graphs());
    node
}

const FLOAT: DType = DType::FLOAT;

/// Of the tensors `a` and `b`, `op` of both.
fn of_two(op: &str) -> tf::GraphDef {
    graph(vec![
        border("a", "_Arg", &[], 0, FLOAT),
        border("b", "_Arg", &[], 1, FLOAT),
        node("made", op, &["a", "b"], vec![]),
        border("out", "_Retval", &["made"], 0, FLOAT),
    ])
}

fn choice(then: &str, otherwise: &str) -> tf::NodeDef {
    let attrs = vec![
        ("then_branch", named(then)),
        ("else_branch", named(otherwise)),
        ("Tin", types(&[FLOAT, FLOAT])),
        ("Tout", types(&[FLOAT])),
    ];
    node("if", "StatelessIf", &["p", "x", "y"], attrs)
}

fn call(of: &str) -> tf::NodeDef {
    let attrs = vec![("f", named(of)), ("Tin", types(&[FLOAT, FLOAT])), ("Tout", types(&[FLOAT]))];
    node("call", "PartitionedCall", &["x", "y"], attrs)
}

/// `node` after it was opened with these functions in the library.
fn opened(node: tf::NodeDef, library: &[(&str, tf::GraphDef)]) -> Result<tf::NodeDef, String> {
    let library: HashMap<&str, &tf::GraphDef> = library.iter().map(|(name, graph)| (*name, graph)).collect();
    let read = |function: &[u8]| {
        let function = tf::NameAttrList::decode(function).unwrap();
        let found = library.get(function.name.as_str()).map(|graph| (*graph).clone());
        found.ok_or_else(|| "it is not there".to_string())
    };
    let mut segment = graph(vec![node]);
    Functions::new(&read, &|op| matches!(op, "Print" | "_Arg" | "_Retval")).open(&mut segment)?;
    Ok(segment.node.remove(0))
}

fn ops(graph: &tf::GraphDef) -> Vec<String> {
    graph
        .node
        .iter()
        .map(|node| format!("{} {} {}", node.name, node.op, node.input.join(",")))
        .collect()
}

#[test]
fn a_conditional_holds_what_the_library_has_whatever_stood_there_before() {
    let mut stale = choice("f", "g");
    stale
        .attr
        .insert(inner::GRAPHS.into(), inner::to_attr(&[of_two("Stale"), of_two("Stale")]).unwrap());
    for node in [mark(choice("f", "g")), stale] {
        let found = opened(node, &[("f", of_two("Sub")), ("g", of_two("Add"))]).unwrap();
        let graphs = inner::graphs(&found).unwrap();
        let arguments = ["tftrt_arg_0 _Arg ", "tftrt_arg_1 _Arg "];
        let of = |op: &str| {
            let own = [
                format!("made {op} tftrt_arg_0,tftrt_arg_1"),
                "tftrt_result_0 _Retval made".to_string(),
            ];
            arguments.map(String::from).into_iter().chain(own).collect::<Vec<_>>()
        };
        assert_eq!(graphs.iter().map(ops).collect::<Vec<_>>(), [of("Sub"), of("Add")]);
    }
}

#[test]
fn what_the_conversion_did_not_make_is_left_alone() {
    assert_eq!(opened(choice("f", "g"), &[]).unwrap(), choice("f", "g"));
    let other = mark(node("other", "Relu", &["x"], vec![]));
    assert_eq!(opened(other.clone(), &[]).unwrap(), other);
}

#[test]
fn functions_inside_functions_are_opened() {
    let mut calls = of_two("StatefulPartitionedCall");
    calls.node[2].attr = call("h").attr;
    let found = opened(mark(choice("f", "f")), &[("f", calls), ("h", of_two("Mul"))]).unwrap();
    let graphs = inner::graphs(&found).unwrap();
    let inside = &graphs[1].node[2];
    assert_eq!(inside.op, "PartitionedCall");
    assert_eq!(inner::graphs(inside).unwrap()[0].node[2].op, "Mul");
}

#[test]
fn a_function_that_does_not_fit_is_refused_with_its_name() {
    let with = |change: &dyn Fn(&mut Vec<tf::NodeDef>)| {
        let mut body = of_two("Sub");
        change(&mut body.node);
        opened(mark(choice("f", "f")), &[("f", body)]).unwrap_err()
    };
    let of = |at: i64, dtype| border("more", "_Arg", &[], at, dtype);
    for (error, expected) in [
        (with(&|nodes| nodes.push(of(2, FLOAT))), "takes a tensor 2, and the node has 2"),
        (with(&|nodes| nodes[1] = of(0, FLOAT)), "has index 0, as another one has"),
        (
            with(&|nodes| nodes[1] = of(1, DType::INT32)),
            "takes int32 as tensor 1, and the node has float32",
        ),
        (with(&|nodes| nodes[1] = of(-1, FLOAT)), "has no index"),
        (with(&|nodes| nodes.truncate(3)), "returns no tensor 0"),
        (
            with(&|nodes| nodes[3] = border("out", "_Retval", &["a"], 0, DType::BOOL)),
            "returns bool as tensor 0",
        ),
        (
            with(&|nodes| nodes.push(border("o", "_Retval", &["a"], 1, FLOAT))),
            "returns a tensor 1, and the node has 1",
        ),
        (
            with(&|nodes| nodes.push(node("say", "Print", &["a"], vec![]))),
            "(Print) inside does more than compute",
        ),
    ] {
        let start = "node 'if' (StatelessIf) runs the function 'f': ";
        assert!(error.starts_with(start) && error.contains(expected), "{error}");
    }
}

#[test]
fn a_node_that_does_not_fit_itself_is_refused() {
    let library = [("f", of_two("Sub"))];
    let error = opened(mark(choice("f", "none")), &library).unwrap_err();
    assert!(error.contains("'none': it is not there"), "{error}");
    let mut fewer = mark(choice("f", "f"));
    fewer.input.pop();
    fewer.input.push("^y".into());
    let error = opened(fewer, &library).unwrap_err();
    assert!(error.contains("has 1 inputs for it, and 2 types"), "{error}");
    let mut without = mark(choice("f", "f"));
    without.attr.remove("else_branch");
    let error = opened(without, &library).unwrap_err();
    assert!(error.contains("names no function as 'else_branch'"), "{error}");
}

#[test]
fn functions_without_end_are_refused() {
    let mut own = of_two("PartitionedCall");
    own.node[2].attr = call("f").attr;
    let error = opened(mark(call("f")), &[("f", own)]).unwrap_err();
    assert!(error.contains("too many functions inside each other"), "{error}");
    // Each calls the next one thrice.
    let names: Vec<String> = (0..12).map(|at| format!("f{at}")).collect();
    let mut library = vec![("f11", of_two("Sub"))];
    for at in 0..11 {
        let mut body = of_two("PartitionedCall");
        body.node[2].attr = call(&names[at + 1]).attr;
        let (mut second, mut third) = (body.node[2].clone(), body.node[2].clone());
        (second.name, second.input) = ("second".into(), vec!["made".into(), "b".into()]);
        (third.name, third.input) = ("third".into(), vec!["second".into(), "b".into()]);
        body.node.extend([second, third]);
        body.node[3].input = vec!["third".into()];
        library.push((&names[at], body));
    }
    let error = opened(mark(call("f0")), &library).unwrap_err();
    assert!(error.contains("holds too many functions"), "{error}");
}

#[test]
fn a_loop_tells_how_many_of_its_inputs_change() {
    let condition = graph(vec![
        border("a", "_Arg", &[], 0, FLOAT),
        border("b", "_Arg", &[], 1, FLOAT),
        border("c", "_Arg", &[], 2, FLOAT),
        node("less", "Less", &["a", "c"], vec![]),
        border("out", "_Retval", &["less"], 0, DType::BOOL),
    ]);
    let body = |results: [&str; 3]| {
        let mut nodes = condition.node[..3].to_vec();
        nodes.push(node("sum", "Add", &["a", "b"], vec![]));
        nodes.push(node("same", "Identity", &["c:0"], vec![]));
        for (at, result) in results.into_iter().enumerate() {
            nodes.push(border(&format!("out{at}"), "_Retval", &[result], at as i64, FLOAT));
        }
        graph(nodes)
    };
    let attrs = vec![("cond", named("c")), ("body", named("b")), ("T", types(&[FLOAT; 3]))];
    let made = mark(node("loop", "StatelessWhile", &["x", "y", "z"], attrs));
    let variables = |results| {
        let found = opened(made.clone(), &[("c", condition.clone()), ("b", body(results))]).unwrap();
        found.attr[inner::VARIABLES].value.clone()
    };
    assert_eq!(variables(["sum", "b", "same"]), Some(Value::I(1)));
    assert_eq!(variables(["a", "sum", "c"]), Some(Value::I(2)));
    assert_eq!(variables(["a", "c", "b"]), Some(Value::I(3)));
    assert_eq!(variables(["a", "b", "c"]), Some(Value::I(0)));
}
