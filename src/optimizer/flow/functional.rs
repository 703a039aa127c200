//! Loops and conditionals as one node each, of which an engine makes ONNX's Loop and If.
//!
//! What cannot be unrolled or chosen is put back into the form that it had before TensorFlow lowered it: a `StatelessWhile` of a
//! condition and a body, a `StatelessIf` of two branches. Each is a graph of its own ([`crate::graph::inner`]), with `_Arg` nodes for
//! all that comes from around: what a loop's `Enter` or a conditional's `Switch` lets in, and large constants, which stay outside so
//! that they are there once.
//!
//! TensorRT wants of a loop that its variables keep their shapes from round to round, and of a conditional that both sides give
//! one shape. An open size is one size only where shape inference says so ([`Sizes`]).

use super::Change;
use super::branch::Branches;
use super::frame::Frame;
use super::lists::{self, Lists};
use super::part::{Args, Part, SMALL, because, behind, border, device, fresh, function, hands_on, shapes, taken_out, types};
use super::sizes::Sizes;
use super::trial::{Dim, Infer, Trial};
use crate::convert::Reason;
use crate::graph::{DType, Graph, NodeId, Port, TensorInfo, inner};
use crate::optimizer::body::{attr, input_text};
use crate::proto::tensorflow as tf;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use tf::attr_value::Value;

/// The graph that a loop or conditional is in, and what is known of it.
pub struct Scene<'a> {
    pub graph: &'a Graph,
    /// Those of [`super::frame::takers`].
    pub takers: &'a [Vec<NodeId>],
    /// All nodes, each after what it takes.
    pub order: Vec<NodeId>,
    pub sizes: &'a Sizes,
    pub infer: Infer<'a>,
}

/// What becomes of a loop or a conditional.
pub struct Made {
    pub change: Change,
    /// The node that stands for it.
    pub node: String,
    /// Nodes that give its results, and what their sizes are those of.
    pub results: Vec<(String, Port)>,
}

/// A `StatelessIf` of the conditionals on `predicate`. Its results wait for `waits`.
///
/// # Errors
/// Why they stay.
pub fn of_branches(scene: &Scene<'_>, predicate: Port, branches: &Branches, waits: &BTreeSet<NodeId>) -> Result<Made, Reason> {
    let &Scene { graph, sizes, infer, .. } = scene;
    let (lists, reads) = (Lists::default(), HashMap::new());
    let outside = |port: Port| (!branches.inside.contains(&port.node)).then(|| branches.source(graph, port));
    let part = |results: Vec<Port>| Part {
        graph,
        lists: &lists,
        nodes: behind(graph, &results, &scene.order, |port| outside(port).is_some()),
        results,
        reads: &reads,
        outside: &outside,
    };
    let parts = [
        part(branches.merges.iter().map(|merge| merge.yes).collect()),
        part(branches.merges.iter().map(|merge| merge.no).collect()),
    ];
    let mut args = Args::default();
    parts.iter().try_for_each(|part| part.look(&mut args))?;
    // TensorFlow's own optimizer moves constant inputs of a StatelessIf into its branches: a weight would be in the model several times.
    if let Some(&port) = args.ports.iter().find(|&&port| graph.constant_node(port).is_some()) {
        return Err(because(
            graph,
            port.node,
            &format!("is a constant of more than {SMALL} bytes, or one from outside, in a branch"),
        ));
    }
    let graphs = [parts[0].cut(&mut args)?, parts[1].cut(&mut args)?];
    let known: Vec<Option<Vec<i64>>> = args.ports.iter().map(|&port| sizes.followed(graph, port)).collect();
    let shapes_of = |of: &tf::GraphDef| Trial::new(infer, of, &args.infos, &known).map(|trial| trial.results(of));
    // TensorRT looks at the shapes of both sides, whichever runs.
    let unfit = "shape inference finds no sizes that fit inside it for certain";
    let (yes, no) = shapes_of(&graphs[0]).zip(shapes_of(&graphs[1])).ok_or(unfit)?;
    for (at, merge) in branches.merges.iter().enumerate() {
        let tried = yes[at].is_some() && yes[at] == no[at];
        if !tried && !sizes.equal(graph, branches.source(graph, merge.no), branches.source(graph, merge.yes)) {
            return Err(because(graph, merge.node, "joins tensors whose shapes may differ"));
        }
    }
    let infos = branches.merges.iter().map(|merge| parts[0].info(branches.source(graph, merge.yes)));
    let infos: Vec<TensorInfo> = infos.collect::<Result<_, _>>()?;
    let source = branches.source(graph, predicate);
    let text = |port: Port| input_text(graph.nodes[port.node].name(), port.index);
    let mut input: Vec<String> = std::iter::once(source).chain(args.ports.iter().copied()).map(text).collect();
    input.extend(waits.iter().map(|&id| format!("^{}", graph.nodes[id].name())));
    let name = fresh(graph, format!("{}/tftrt_if", graph.nodes[branches.merges[0].node].name()));
    let def = tf::NodeDef {
        name: name.clone(),
        op: "StatelessIf".into(),
        input,
        device: device(graph, &[&parts[0].nodes[..], &parts[1].nodes[..]].concat()),
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
    let mut made = taken_out(graph, &args.taken_out, Some(source.node));
    made.push((def, infos.clone()));
    let mut gone: HashSet<NodeId> = branches.switches.iter().chain(&branches.inside).copied().collect();
    let mut results = Vec::new();
    for (at, (merge, info)) in branches.merges.iter().zip(&infos).enumerate() {
        gone.insert(merge.node);
        made.push(hands_on(graph, merge.node, &input_text(&name, at), info));
        results.push((graph.nodes[merge.node].name().to_string(), branches.source(graph, merge.yes)));
    }
    Ok(Made {
        change: Change {
            gone,
            made,
            sources: Vec::new(),
        },
        node: name,
        results,
    })
}

/// A `StatelessWhile` of the loop `frame`. Its results wait for `waits`; `around` is a node of the loop that it is in itself.
///
/// # Errors
/// Why it stays.
pub fn of_loop(scene: &Scene<'_>, frame: &Frame, around: Option<NodeId>, waits: &BTreeSet<NodeId>) -> Result<Made, Reason> {
    let &Scene {
        graph,
        takers,
        sizes,
        infer,
        ..
    } = scene;
    let heads: BTreeMap<usize, Port> = frame
        .reads
        .iter()
        .filter(|(port, _)| graph.nodes[port.node].op() == "Merge")
        .map(|(&port, &at)| (at, port))
        .collect();
    let mut lists = lists::read(graph, frame, takers, &heads)?;
    let mut args = Args::default();
    let mut firsts = Vec::new();
    for (at, variable) in frame.variables.iter().enumerate() {
        let first = lists.tensor_of(graph, variable.first);
        let info = lists
            .first(graph, at, first)
            .ok_or_else(|| because(graph, first.node, "has an output of unknown type"))?;
        firsts.push(first);
        // One tensor may be what two variables begin with.
        args.ports.push(first);
        args.infos.push(info);
    }
    let outside = |port: Port| {
        let invariant = frame.invariants.get(&port).copied();
        invariant.or_else(|| (!frame.nodes.contains(&port.node)).then_some(port))
    };
    let ends = |port: Port| frame.reads.contains_key(&port) || outside(port).is_some();
    let part = |results: Vec<Port>| Part {
        graph,
        lists: &lists,
        nodes: behind(graph, &results, &scene.order, ends),
        results,
        reads: &frame.reads,
        outside: &outside,
    };
    let condition = part(vec![frame.condition]);
    let decides = condition.info(frame.condition)?;
    if decides.dtype != DType::BOOL || decides.shape.rank() != Some(0) {
        return Err("its condition is no single bool".into());
    }
    let body = part(frame.variables.iter().map(|variable| variable.next).collect());
    condition.look(&mut args)?;
    body.look(&mut args)?;
    let mut graphs = [condition.cut(&mut args)?, body.cut(&mut args)?];
    let placed = device(graph, &body.nodes);
    let known: Vec<Option<Vec<i64>>> = args.ports.iter().map(|&port| sizes.followed(graph, port)).collect();
    let trial = Trial::new(infer, &graphs[1], &args.infos, &known);
    let trial = trial.ok_or("shape inference finds no sizes that fit inside it for certain")?;
    let tried = trial.results(&graphs[1]);
    for (at, variable) in frame.variables.iter().enumerate().filter(|(_, v)| !lists.is_list(v.first)) {
        let head = heads.get(&at).copied().unwrap_or(variable.first);
        let same = tried[at].is_some() && tried[at].as_ref() == trial.arg(at);
        let equal = |port| sizes.equal(graph, port, firsts[at]);
        if !(same || equal(head) && equal(variable.next)) {
            let name = graph.nodes[head.node].name();
            return Err(format!("its variable '{name}' may have another shape in each round"));
        }
    }
    let written: Vec<(usize, Port)> = lists.written().collect();
    for (at, item) in written {
        let item = match item {
            port if frame.reads.contains_key(&port) => inner::arg_name(frame.reads[&port]),
            port => input_text(graph.nodes[port.node].name(), port.index),
        };
        let size = |dim| match dim {
            Dim::Known(size) => lists::Size::Known(size),
            Dim::Open(open) => {
                let (arg, axis) = trial.place(open);
                lists::Size::Of(args.ports[arg], axis)
            }
        };
        let dims = trial.shape(&item).map(|dims| dims.into_iter().map(size).collect::<Vec<_>>());
        // (A size that no tensor but a list of the loop has is not known, either.)
        let of_list = |dim: &lists::Size| matches!(dim, lists::Size::Of(port, _) if lists.is_written(*port));
        let dims = dims.filter(|dims| !dims.iter().any(of_list));
        lists.fill(graph, at, dims.as_deref())?;
    }
    // What does not change is handed on.
    for at in frame.variables.len()..args.ports.len() {
        let result = border(
            inner::result_name(at),
            "_Retval",
            at,
            args.infos[at].dtype,
            Some(inner::arg_name(at)),
        );
        graphs[1].node.push(result);
    }
    let text = |port: Port| input_text(graph.nodes[port.node].name(), port.index);
    let mut made = lists.made(around.map(|id| graph.nodes[id].name()));
    let mut input: Vec<String> = Vec::new();
    for (at, &port) in args.ports.iter().enumerate() {
        let list = lists.empty(at);
        input.push(list.unwrap_or_else(|| text(port)));
    }
    input.extend(waits.iter().map(|&id| format!("^{}", graph.nodes[id].name())));
    let first = frame.variables.iter().flat_map(|variable| &variable.exits).next();
    let &first = first.ok_or("nothing takes what it gives")?;
    let name = fresh(graph, format!("{}/tftrt_while", graph.nodes[first].name()));
    let def = tf::NodeDef {
        name: name.clone(),
        op: "StatelessWhile".into(),
        input,
        device: placed,
        attr: [
            ("T".to_string(), types(args.infos.iter())),
            ("cond".to_string(), function()),
            ("body".to_string(), function()),
            ("output_shapes".to_string(), shapes(args.infos.iter())),
            ("parallel_iterations".to_string(), attr(Value::I(10))),
            (inner::GRAPHS.to_string(), inner::to_attr(&graphs)?),
            (inner::VARIABLES.to_string(), attr(Value::I(frame.variables.len() as i64))),
        ]
        .into(),
        ..Default::default()
    };
    made.append(&mut taken_out(graph, &args.taken_out, around));
    made.push((def, args.infos.clone()));
    let mut gone = frame.nodes.clone();
    let mut results = Vec::new();
    for (at, variable) in frame.variables.iter().enumerate() {
        for &exit in &variable.exits {
            let from = input_text(&name, at);
            if !lists.is_list(variable.first) {
                made.push(hands_on(graph, exit, &from, &args.infos[at]));
                results.push((graph.nodes[exit].name().to_string(), firsts[at]));
                continue;
            }
            for stack in lists::stacks(graph, takers, exit, &mut gone)? {
                gone.insert(stack);
                let info = lists.stacked(graph, stack, &args.infos[at]);
                made.push(hands_on(graph, stack, &from, &info));
            }
        }
    }
    Ok(Made {
        change: Change {
            gone,
            made,
            sources: frame.sources.clone(),
        },
        node: name,
        results,
    })
}
