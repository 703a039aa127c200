//! Conditionals, read back from the form that TensorFlow lowers them to, and the cheap ones made choices.
//!
//! TensorFlow writes `If` as a `Switch` for each tensor that a branch takes, which hands it to the one or the other side, and a
//! `Merge` for each result, which takes that of the side that ran. Where both sides are cheap, both are computed and a
//! `SelectV2` takes the right one: nothing then parts the graph before from the graph behind. That is the same only where
//! neither side can fail on what was meant for the other, and where both results have one shape, since a choice broadcasts. So
//! the sides may hold elementwise ops and reductions ([`is_cheap`]) whose operands fit for certain. Other conditionals stay:
//! what is in their branches may become engines of their own, of which only one side's run.

use super::node_error;
use super::symbolic_dims::Sizes;
use crate::convert::Reason;
use crate::graph::native_segment::input_text;
use crate::graph::{DType, Graph, NodeId, Patch, Port};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Nodes of both sides together. More are worth running one side only.
const MAX_NODES: usize = 32;

/// All conditionals on one predicate.
#[derive(Debug)]
pub struct Branches {
    pub switches: Vec<NodeId>,
    /// The nodes of both sides.
    pub inside: BTreeSet<NodeId>,
    pub merges: Vec<Merge>,
}

impl Branches {
    /// The tensor at `port`; what a `Switch` hands on is what it takes.
    pub fn source(&self, graph: &Graph, mut port: Port) -> Port {
        while self.switches.contains(&port.node) {
            match graph.nodes[port.node].inputs.first() {
                Some(&from) => port = from,
                None => break,
            }
        }
        port
    }
}

#[derive(Debug)]
pub struct Merge {
    pub node: NodeId,
    /// Inputs of the `Merge`: what each side gives.
    pub no: Port,
    pub yes: Port,
}

/// By its predicate, the `Switch` nodes of each conditional; those of loops left out.
pub fn switches(graph: &Graph) -> BTreeMap<Port, Vec<NodeId>> {
    let mut found: BTreeMap<Port, Vec<NodeId>> = BTreeMap::new();
    for (id, node) in graph.nodes.iter().enumerate().filter(|(_, node)| node.op() == "Switch") {
        if let Some(&by) = node.inputs.get(1).filter(|by| graph.nodes[by.node].op() != "LoopCond") {
            found.entry(by).or_default().push(id);
        }
    }
    found
}

/// All nodes on one side: those behind output `side` of the switches, up to the `Merge`s, which are given apart.
fn side(graph: &Graph, takers: &[Vec<NodeId>], switches: &[NodeId], side: usize) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
    let (mut inside, mut merges) = (BTreeSet::new(), BTreeSet::new());
    let takes = |id: &NodeId| {
        graph.nodes[*id]
            .inputs
            .iter()
            .any(|port| port.index == side && switches.contains(&port.node))
    };
    let mut waiting: Vec<NodeId> = switches.iter().flat_map(|&id| &takers[id]).copied().filter(takes).collect();
    while let Some(id) = waiting.pop() {
        if graph.nodes[id].op() == "Merge" {
            merges.insert(id);
        } else if inside.insert(id) {
            waiting.extend(&takers[id]);
        }
    }
    (inside, merges)
}

/// Reads the conditionals of these switches. Err: why they stay.
pub fn read(graph: &Graph, takers: &[Vec<NodeId>], switches: &[NodeId]) -> Result<Branches, Reason> {
    let because = |id: NodeId, what: &str| node_error(graph, id, what);
    let (no, no_merges) = side(graph, takers, switches, 0);
    let (yes, yes_merges) = side(graph, takers, switches, 1);
    if let Some(&id) = no.intersection(&yes).next() {
        return Err(because(id, "is on both sides of the conditional"));
    }
    let mut merges = Vec::new();
    for &id in no_merges.union(&yes_merges) {
        let inputs = &graph.nodes[id].inputs;
        let on = |port: &Port, nodes: &BTreeSet<NodeId>, side: usize| {
            nodes.contains(&port.node) || (port.index == side && switches.contains(&port.node))
        };
        let (&[a, b], true) = (inputs.as_slice(), graph.nodes[id].control_inputs.is_empty()) else {
            return Err(because(id, "joins other than two sides"));
        };
        let (no, yes) = match (on(&a, &no, 0), on(&b, &yes, 1), on(&a, &yes, 1), on(&b, &no, 0)) {
            (true, true, ..) => (a, b),
            (_, _, true, true) => (b, a),
            _ => return Err(because(id, "joins other than the two sides of one conditional")),
        };
        if takers[id]
            .iter()
            .any(|&to| graph.nodes[to].inputs.contains(&Port { node: id, index: 1 }))
        {
            return Err(because(id, "tells which side ran"));
        }
        merges.push(Merge { node: id, no, yes });
    }
    if merges.is_empty() {
        return Err("no result of the conditional is taken".into());
    }
    Ok(Branches {
        switches: switches.to_vec(),
        inside: no.union(&yes).copied().collect(),
        merges,
    })
}

/// Ops that compute something for whatever values they are given, and little: elementwise, reductions along constant axes, and
/// what only hands on. (Integers are not divided, and nothing is indexed.)
fn is_cheap(op: &str) -> bool {
    #[rustfmt::skip]
    const OPS: &[&str] = &[
        "Abs", "Add", "AddV2", "BiasAdd", "Cast", "Ceil", "Const", "Cos", "Elu", "Equal", "Erf", "Exp", "Expm1", "Floor", "Greater",
        "GreaterEqual", "Identity", "LeakyRelu", "Less", "LessEqual", "Log", "Log1p", "LogicalAnd", "LogicalNot", "LogicalOr", "Max",
        "Maximum", "Mean", "Min", "Minimum", "Mul", "Neg", "NoOp", "NotEqual", "OnesLike", "RealDiv", "Reciprocal", "Relu", "Relu6",
        "Round", "Rsqrt", "SelectV2", "Selu", "Sigmoid", "Sign", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt", "Square",
        "SquaredDifference", "StopGradient", "Sub", "Sum", "Tan", "Tanh", "ZerosLike",
    ];
    OPS.contains(&op)
}

/// Whether the operands of an op of two are the second's axes rather than broadcast together.
fn reduces(op: &str) -> bool {
    matches!(op, "Max" | "Mean" | "Min" | "Sum")
}

/// Why both sides cannot be computed whatever the predicate is.
fn check(graph: &Graph, branches: &Branches, sizes: &Sizes) -> Result<(), Reason> {
    let because = |id: NodeId, what: &str| node_error(graph, id, what);
    let source = |port| branches.source(graph, port);
    let size = branches
        .inside
        .iter()
        .filter(|&&id| !matches!(graph.nodes[id].op(), "Const" | "Identity" | "NoOp"))
        .count();
    if size > MAX_NODES {
        return Err(format!(
            "its sides are {size} ops, and only up to {MAX_NODES} are computed on both sides"
        ));
    }
    for &id in &branches.inside {
        let node = &graph.nodes[id];
        if !is_cheap(node.op()) {
            return Err(because(id, "is not computed on a side that is not taken"));
        }
        let known = |i: usize| node.inputs.get(i).is_some_and(|&port| graph.constant(port).is_some());
        if reduces(node.op()) && !known(1) {
            return Err(because(id, "reduces axes that are no constant"));
        }
        let operands = if reduces(node.op()) { &node.inputs[..1] } else { &node.inputs[..] };
        for (at, &a) in operands.iter().enumerate() {
            if operands[..at].iter().any(|&b| !sizes.broadcast(graph, source(a), source(b))) {
                return Err(because(id, "takes operands whose shapes may not fit"));
            }
        }
    }
    for merge in &branches.merges {
        if !sizes.equal(graph, source(merge.no), source(merge.yes)) {
            return Err(because(merge.node, "joins tensors whose shapes may differ"));
        }
    }
    Ok(())
}

/// Makes choices of the conditionals on `predicate`. `takers` are those of [`super::frame::takers`]. Their results are made to wait for `waits`.
///
/// # Errors
/// Why they stay.
pub fn choose(
    graph: &Graph,
    takers: &[Vec<NodeId>],
    predicate: Port,
    branches: &Branches,
    sizes: &Sizes,
    waits: &BTreeSet<NodeId>,
) -> Result<Patch, Reason> {
    check(graph, branches, sizes)?;
    let text = |port: Port| input_text(graph.nodes[port.node].name(), port.index);
    let mut gone: HashSet<NodeId> = branches.switches.iter().copied().collect();
    let source = |port| branches.source(graph, port);
    let mut made = Vec::new();
    for &id in &branches.inside {
        let node = &graph.nodes[id];
        gone.insert(id);
        // What only says that a side runs.
        let taken = takers[id]
            .iter()
            .any(|&to| graph.nodes[to].inputs.iter().any(|port| port.node == id));
        if node.op() == "NoOp" || !taken {
            continue;
        }
        let mut def = node.def.clone();
        def.input = node.inputs.iter().map(|&port| text(source(port))).collect();
        if def.input.is_empty() {
            // Inside a loop, this is what puts it there.
            def.input.push(format!("^{}", graph.nodes[source(predicate).node].name()));
        }
        def.attr.remove("_class");
        made.push((def, node.outputs.clone()));
    }
    for merge in &branches.merges {
        gone.insert(merge.node);
        let node = &graph.nodes[merge.node];
        let info = graph.info(source(merge.yes)).cloned().ok_or("the type of a result is unknown")?;
        let mut def = node.def.clone();
        def.op = "SelectV2".into();
        def.attr.retain(|name, _| name == "T");
        def.input = vec![text(source(predicate)), text(source(merge.yes)), text(source(merge.no))];
        def.input.extend(waits.iter().map(|&id| format!("^{}", graph.nodes[id].name())));
        made.push((def, vec![info]));
    }
    Ok(Patch {
        remove: gone,
        add: made,
        feeds: Vec::new(),
    })
}

/// Whether a predicate is one that a choice can be made by.
pub fn is_scalar(graph: &Graph, predicate: Port) -> bool {
    graph
        .info(predicate)
        .is_some_and(|info| info.dtype == DType::BOOL && info.shape.rank() == Some(0))
}

/// The nodes of a conditional as far as they can be told, for the report.
pub fn parts(graph: &Graph, takers: &[Vec<NodeId>], switches: &[NodeId]) -> HashSet<NodeId> {
    let mut parts: HashSet<NodeId> = switches.iter().copied().collect();
    for at in 0..2 {
        let (inside, merges) = side(graph, takers, switches, at);
        parts.extend(inside.into_iter().chain(merges));
    }
    parts
}
