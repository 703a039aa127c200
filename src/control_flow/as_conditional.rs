//! Conditionals as one `StatelessIf` node, of which an engine makes ONNX's If.
//!
//! A conditional that is no choice gets back the form that it had before TensorFlow lowered it. Each branch is a graph of its own
//! ([`crate::graph::inner`]) with an `_Arg` node for each tensor that a `Switch` lets in. TensorRT wants one shape of both branches: an
//! open size is one size only if shape inference says so.

use super::conditionals::Branches;
use super::lowering::{Lowered, LoweringCtx};
use super::node_error;
use super::shape_probe::Trial;
use super::subgraph::{Args, SMALL, Subgraph, backward_slice, device, function, identity_node, shapes, taken_out, types, unused_name};
use super::tensor_lists::Lists;
use crate::convert::Reason;
use crate::graph::native_segment::{attr, input_text};
use crate::graph::{DType, Patch, Port, TensorInfo, inner};
use crate::proto::tensorflow as tf;
use std::collections::{BTreeSet, HashMap, HashSet};
use tf::attr_value::Value;

/// A `StatelessIf` of the conditionals on `predicate`. Its results wait for `waits`.
///
/// # Errors
/// Why they stay.
pub fn stateless_if(ctx: &LoweringCtx<'_>, predicate: Port, branches: &Branches, waits: &BTreeSet<usize>) -> Result<Lowered, Reason> {
    let graph = ctx.graph;
    let (lists, reads) = (Lists::default(), HashMap::new());
    let outside = |port: Port| (!branches.inside.contains(&port.node)).then(|| branches.source(graph, port));
    let side = |results: Vec<Port>| Subgraph {
        graph,
        lists: &lists,
        nodes: backward_slice(graph, &results, &ctx.order, |port| outside(port).is_some()),
        results,
        reads: &reads,
        outside: &outside,
    };
    let sides = [
        side(branches.merges.iter().map(|merge| merge.yes).collect()),
        side(branches.merges.iter().map(|merge| merge.no).collect()),
    ];
    let mut args = Args::default();
    sides.iter().try_for_each(|side| side.look(&mut args))?;
    // TensorFlow's own optimizer moves constant inputs of a StatelessIf into its branches: a weight would be in the model several times.
    if let Some(&port) = args.ports.iter().find(|&&port| graph.constant_node(port).is_some()) {
        let what = format!("is a constant of more than {SMALL} bytes, or one from outside, in a branch");
        return Err(node_error(graph, port.node, &what));
    }
    let graphs = [sides[0].cut(&mut args)?, sides[1].cut(&mut args)?];
    check_shapes(ctx, branches, &args, &graphs)?;
    let infos = branches.merges.iter().map(|merge| sides[0].info(branches.source(graph, merge.yes)));
    let infos: Vec<TensorInfo> = infos.collect::<Result<_, _>>()?;
    let source = branches.source(graph, predicate);
    let text = |port: Port| input_text(graph.nodes[port.node].name(), port.index);
    let mut input: Vec<String> = std::iter::once(source).chain(args.ports.iter().copied()).map(text).collect();
    input.extend(waits.iter().map(|&id| format!("^{}", graph.nodes[id].name())));
    let name = unused_name(graph, format!("{}/tftrt_if", graph.nodes[branches.merges[0].node].name()));
    let def = tf::NodeDef {
        name: name.clone(),
        op: "StatelessIf".into(),
        input,
        device: device(graph, &[&sides[0].nodes[..], &sides[1].nodes[..]].concat()),
        attr: [
            ("Tcond".to_string(), attr(Value::Type(DType::BOOL.0))),
            ("Tin".to_string(), types(args.infos.iter())),
            ("Tout".to_string(), types(infos.iter())),
            ("then_branch".to_string(), function()),
            ("else_branch".to_string(), function()),
            ("output_shapes".to_string(), shapes(infos.iter())),
            (inner::GRAPHS.to_string(), inner::to_attr(&graphs)?),
        ]
        .into(),
        ..Default::default()
    };
    let mut add = taken_out(graph, &args.taken_out, Some(source.node));
    add.push((def, infos.clone()));
    let mut remove: HashSet<usize> = branches.switches.iter().chain(&branches.inside).copied().collect();
    let mut results = Vec::new();
    for (at, (merge, info)) in branches.merges.iter().zip(&infos).enumerate() {
        remove.insert(merge.node);
        add.push(identity_node(graph, merge.node, &input_text(&name, at), info));
        results.push((graph.nodes[merge.node].name().to_string(), branches.source(graph, merge.yes)));
    }
    let feeds = Vec::new();
    Ok(Lowered {
        patch: Patch { remove, add, feeds },
        node: name,
        results,
    })
}

/// Fails if the results of both branches may differ in shape. TensorRT looks at both, whichever runs.
fn check_shapes(ctx: &LoweringCtx<'_>, branches: &Branches, args: &Args, graphs: &[tf::GraphDef; 2]) -> Result<(), Reason> {
    let (graph, sizes) = (ctx.graph, ctx.sizes);
    let known: Vec<Option<Vec<i64>>> = args.ports.iter().map(|&port| sizes.followed(graph, port)).collect();
    let shapes_of = |of: &tf::GraphDef| Trial::new(ctx.infer, of, &args.infos, &known).map(|trial| trial.results(of));
    let unfit = "shape inference finds no sizes that fit inside it for certain";
    let (yes, no) = shapes_of(&graphs[0]).zip(shapes_of(&graphs[1])).ok_or(unfit)?;
    for (at, merge) in branches.merges.iter().enumerate() {
        let tried = yes[at].is_some() && yes[at] == no[at];
        if !tried && !sizes.equal(graph, branches.source(graph, merge.no), branches.source(graph, merge.yes)) {
            return Err(node_error(graph, merge.node, "joins tensors whose shapes may differ"));
        }
    }
    Ok(())
}
