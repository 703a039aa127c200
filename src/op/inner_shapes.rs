//! Types and shapes of what is in the graphs inside a segment's nodes, for the shapes that the segment is built for.

use crate::graph::{Graph, PartialShape, TensorInfo, annotate, contents, inner};
use crate::proto::tensorflow as tf;
use std::collections::HashMap;

/// What shape inference finds for each node, by name.
type Inference = dyn Fn(&tf::GraphDef) -> Result<HashMap<String, Vec<TensorInfo>>, String>;

/// How types and shapes are found.
#[derive(Clone, Copy)]
pub struct Infer<'a> {
    /// All that is known of a tensor, also from what its takers ask for.
    pub shapes: &'a Inference,
    /// What follows from the inputs of each node alone; where calls that TensorFlow refuses are told.
    pub forward: Option<&'a Inference>,
}

/// Has all nodes inside `graph`'s nodes, at all depths, say what their outputs are.
///
/// # Errors
/// A node inside of which it is not known, or what inference says.
pub fn add(graph: &mut Graph, infer: Infer<'_>) -> Result<(), String> {
    for id in 0..graph.nodes.len() {
        if inner::functions(&graph.nodes[id]).is_some() {
            let graphs = of_node(graph, id, infer).map_err(|why| {
                let node = &graph.nodes[id];
                format!("inside node '{}' ({}): {why}", node.name(), node.op())
            })?;
            graph.nodes[id].def.attr.insert(inner::GRAPHS.into(), inner::to_attr(&graphs)?);
        }
    }
    Ok(())
}

/// The graphs inside node `id`.
fn of_node(graph: &Graph, id: usize, infer: Infer<'_>) -> Result<Vec<tf::GraphDef>, String> {
    let node = &graph.nodes[id];
    let given = inner::given(node);
    let variables = inner::variables(node);
    let info = |port| graph.info(port).cloned().ok_or("it is given a tensor of unknown type");
    let mut args: Vec<TensorInfo> = given.iter().map(|&port| info(port)).collect::<Result<_, _>>()?;
    let constant = |(at, &port)| graph.constant_node(port).filter(|_| at >= variables);
    let constants: Vec<Option<usize>> = given.iter().enumerate().map(constant).collect();
    let constants: Vec<Option<&tf::NodeDef>> = constants.iter().map(|id| id.map(|id| &graph.nodes[id].def)).collect();
    let mut graphs = inner::graphs(&node.def)?;
    // A loop's body comes first, for its condition is asked after each round, too.
    let body = match graphs.pop() {
        Some(body) if node.op() == "StatelessWhile" => Some(settled(body, &mut args, &constants, variables, infer)?),
        Some(last) => Some(of_graph(last, &args, &constants, infer)?.0),
        None => None,
    };
    let before = graphs
        .into_iter()
        .map(|def| of_graph(def, &args, &constants, infer).map(|(def, _)| def));
    before.chain(body.map(Ok)).collect()
}

/// The body of a loop, in whose `args` those sizes of variables are open now that are others after a round.
fn settled(
    body: tf::GraphDef,
    args: &mut [TensorInfo],
    constants: &[Option<&tf::NodeDef>],
    variables: usize,
    infer: Infer<'_>,
) -> Result<tf::GraphDef, String> {
    // Each turn but the last one opens a size.
    loop {
        let (made, results) = of_graph(body.clone(), args, constants, infer)?;
        let mut changed = false;
        for (at, (arg, result)) in args.iter_mut().zip(&results).enumerate().take(variables) {
            let Some((dims, after)) = arg.shape.dims().zip(result.shape.dims()) else {
                continue;
            };
            if dims.len() != after.len() {
                return Err(format!("variable {at} has another rank after a round"));
            }
            let pairs = dims.iter().zip(after);
            let opened: Vec<Option<i64>> = pairs
                .map(|(dim, after)| dim.filter(|dim| after.is_none_or(|after| after == *dim)))
                .collect();
            if opened != dims {
                changed = true;
                arg.shape = PartialShape(Some(opened));
            }
        }
        if !changed {
            return Ok(made);
        }
    }
}

/// `def` with its nodes' types and shapes, and those of its results.
fn of_graph(
    mut def: tf::GraphDef,
    args: &[TensorInfo],
    constants: &[Option<&tf::NodeDef>],
    infer: Infer<'_>,
) -> Result<(tf::GraphDef, Vec<TensorInfo>), String> {
    def.node = inner::write_out_calls(def.node)?;
    let of_arg: HashMap<String, usize> = (0..args.len()).map(|at| (inner::arg_name(at), at)).collect();
    let is_arg = |node: &tf::NodeDef| of_arg.get(&node.name).copied().filter(|_| node.op == "_Arg");
    for node in &mut def.node {
        if let Some(at) = is_arg(node) {
            *node = annotate(std::mem::take(node), &args[at..=at]);
        }
    }
    let mut tried = def.clone();
    for node in &mut tried.node {
        if let Some(constant) = is_arg(node).and_then(|at| constants[at]) {
            node.op = "Const".into();
            node.attr.extend(constant.attr.clone());
        }
    }
    // No shape follows from weights.
    contents::take_out(&mut tried.node);
    let mut found = (infer.shapes)(&tried)?;
    let forward = infer.forward.map(|forward| forward(&tried)).transpose()?;
    for (name, &at) in &of_arg {
        found.insert(name.clone(), vec![args[at].clone()]);
    }
    let mut graph = Graph::new(tried, found).map_err(|error| format!("what is inside is no graph: {error}"))?;
    add(&mut graph, infer)?;
    for node in &mut def.node {
        let Some(id) = graph.find(&node.name) else { continue };
        let same = &graph.nodes[id];
        if let Some(graphs) = same.def.attr.get(inner::GRAPHS) {
            node.attr.insert(inner::GRAPHS.into(), graphs.clone());
        }
        if node.op != "_Retval" {
            *node = annotate(std::mem::take(node), &same.outputs);
        }
        if let Some(forward) = &forward {
            let proven = forward.get(&node.name).map(Vec::as_slice).unwrap_or_default();
            inner::note_forward(node, proven);
        }
    }
    let mut results = Vec::new();
    while let Some(id) = graph.find(&inner::result_name(results.len())) {
        let port = *graph.nodes[id].inputs.first().ok_or("a result inside has no input")?;
        let info = graph.info(port).cloned();
        results.push(info.ok_or_else(|| format!("node '{}' has an output of unknown type", graph.nodes[port.node].name()))?);
    }
    Ok((def, results))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;
    use tf::attr_value::Value;

    fn node(name: &str, op: &str, inputs: &[&str], at: Option<i64>) -> tf::NodeDef {
        let attr = at.map(|at| ("index".to_string(), tf::AttrValue { value: Some(Value::I(at)) }));
        tf::NodeDef {
            name: name.into(),
            op: op.into(),
            input: inputs.iter().map(|input| input.to_string()).collect(),
            attr: attr.into_iter().collect(),
            ..Default::default()
        }
    }

    fn def(node: Vec<tf::NodeDef>) -> tf::GraphDef {
        tf::GraphDef {
            node,
            ..Default::default()
        }
    }

    fn shapes_only(shapes: &Inference) -> Infer<'_> {
        Infer { shapes, forward: None }
    }

    fn info(dims: &[i64]) -> TensorInfo {
        TensorInfo {
            dtype: DType::FLOAT,
            shape: PartialShape::from_dims(dims),
        }
    }

    /// A loop of two variables and an invariant; its second variable changes its first size from round to round.
    fn looped() -> Graph {
        let arg = |at| node(&inner::arg_name(at), "_Arg", &[], Some(at as i64));
        let condition = def(vec![
            arg(0),
            arg(1),
            arg(2),
            node("tftrt_result_0", "_Retval", &["tftrt_arg_0"], Some(0)),
        ]);
        let body = def(vec![
            arg(0),
            arg(1),
            arg(2),
            node("grown", "Grown", &["tftrt_arg_1"], None),
            node("tftrt_result_0", "_Retval", &["tftrt_arg_0"], Some(0)),
            node("tftrt_result_1", "_Retval", &["grown"], Some(1)),
            node("tftrt_result_2", "_Retval", &["tftrt_arg_2"], Some(2)),
        ]);
        let mut made = node("loop", "StatelessWhile", &["a", "b", "c"], None);
        made.attr.insert(inner::GRAPHS.into(), inner::to_attr(&[condition, body]).unwrap());
        let variables = Some(Value::I(2));
        made.attr.insert(inner::VARIABLES.into(), tf::AttrValue { value: variables });
        let nodes = vec![
            node("a", "A", &[], None),
            node("b", "B", &[], None),
            node("c", "Const", &[], None),
            made,
        ];
        let infos = [("a", info(&[2])), ("b", info(&[3, 4])), ("c", info(&[5]))];
        let infos = infos.into_iter().map(|(name, info)| (name.to_string(), vec![info])).collect();
        Graph::new(def(nodes), infos).unwrap()
    }

    #[test]
    fn a_size_that_changes_in_a_round_is_open_in_all() {
        let mut graph = looped();
        let infer = |graph: &tf::GraphDef| {
            let has_constant = graph.node.iter().any(|node| node.op == "Const" && node.name == "tftrt_arg_2");
            assert!(has_constant, "inference sees the constant that the loop is given");
            Ok(HashMap::from([("grown".to_string(), vec![info(&[7, 4])])]))
        };
        add(&mut graph, shapes_only(&infer)).unwrap();
        let id = graph.find("loop").unwrap();
        let opened = inner::open(&graph, id).unwrap();
        let shape = |at: usize| {
            let port = crate::graph::Port {
                node: opened[1].args[at],
                index: 0,
            };
            opened[1].graph.info(port).cloned()
        };
        assert_eq!(shape(0), Some(info(&[2])));
        assert_eq!(shape(1), Some(info(&[-1, 4])));
        assert_eq!(shape(2), Some(info(&[5])));
    }

    #[test]
    fn another_rank_after_a_round_is_refused() {
        let mut graph = looped();
        let infer = |_: &tf::GraphDef| Ok(HashMap::from([("grown".to_string(), vec![info(&[7])])]));
        let error = add(&mut graph, shapes_only(&infer)).unwrap_err();
        assert!(error.contains("'loop' (StatelessWhile)") && error.contains("variable 1"), "{error}");
    }
}
