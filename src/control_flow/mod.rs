//! Control flow, taken out of a graph before it is cut into segments.
//!
//! What the pass is given holds no `While` and no `If`: the stock front end freezes a model with `lower_control_flow`, so calls are
//! inlined (but for some: [`inline_calls`]), loops are frames of `Enter`, `Merge`, `Switch`, `NextIteration` and `Exit` ([`frames`]), and conditionals are `Switch` and
//! `Merge` ([`conditionals`]). None of these can go into an engine by itself. So
//!
//! - a conditional of two cheap sides becomes a choice between both results;
//! - a loop of known length becomes that many copies of its body ([`unroll`]), as Keras does with `unroll=True`;
//! - any other becomes one node, a `StatelessWhile` or `StatelessIf` with its graphs inside ([`as_node`], [`tensor_lists`]).
//!
//! All only where every node that is made converts. What cannot be taken out stays as it is, with the reason in the report; what is
//! inside may still become engines of its own. So it is with a node of the third kind that comes into no engine: the pass then looks
//! at the graph anew, and leaves that loop or conditional alone.

mod as_conditional;
mod as_loop;
mod as_node;
mod conditionals;
mod const_eval;
mod frames;
mod inline_calls;
mod lowering;
mod shape_probe;
mod subgraph;
mod symbolic_dims;
mod tensor_lists;
mod unroll;

pub use inline_calls::Bodies;
pub use shape_probe::Infer;
pub use symbolic_dims::Sizes;

use crate::convert::Reason;
use crate::graph::{Graph, NodeId, Port, inner};
use crate::segment;
use crate::settings::ControlFlow;
use frames::Unread;
use std::collections::{BTreeSet, HashMap, HashSet};

/// What control flow is judged by.
pub struct Rules<'a> {
    /// Whether a node may go into an engine.
    pub supports: &'a dyn Fn(&Graph, NodeId) -> Result<(), Reason>,
    /// Whether an op, by type, does more than compute its outputs.
    pub has_effect: &'a dyn Fn(&str) -> bool,
    /// Shape inference, where the bodies that calls hold are written out in their places.
    pub infer: Infer<'a>,
    /// The bodies of functions that are called.
    pub bodies: Bodies<'a>,
    /// Names of nodes that have to stay.
    pub preserve: &'a HashSet<String>,
    /// Why nodes that stood for a loop or conditional came into no engine, by their names: these are not made.
    pub left_alone: &'a HashMap<String, Reason>,
    pub control_flow: ControlFlow,
}

/// A graph whose control flow has been looked at.
pub struct Flow {
    pub graph: Graph,
    /// By the names of nodes that stay: why their loop or conditional does.
    pub stays: HashMap<String, Reason>,
}

/// Whether an op is one of those that control flow and tensor lists are made of, and that no engine holds by itself.
pub fn is_part(op: &str) -> bool {
    segment::steers(op) || op.starts_with("TensorList") || matches!(op, "PartitionedCall" | "StatefulPartitionedCall")
}

/// Takes out of `graph` what can be, from the inside to the outside.
pub fn take_out(graph: Graph, mut sizes: Sizes, rules: &Rules<'_>) -> Flow {
    let (graph, calls) = inline_calls::opened(graph, rules);
    let mut flow = Flow {
        graph,
        stays: HashMap::new(),
    };
    if rules.control_flow == ControlFlow::Native {
        flow.keep_all("Control flow stays native by TFTRT_CONTROL_FLOW=native.");
        return flow;
    }
    loop {
        flow.stays.clear();
        flow.choose_branches(&mut sizes, rules);
        // Of a conditional, a side may have been a loop; a loop around one that is a node now may have a known length.
        if !flow.unroll_loops(rules) && !flow.make_nodes(&mut sizes, rules) {
            flow.stays.extend(calls);
            return flow;
        }
    }
}

/// The nodes of a graph that stand for a loop or conditional.
pub fn made_nodes(graph: &Graph) -> impl Iterator<Item = NodeId> {
    // A call may stay where it is: it is the same call with a graph inside as without.
    let is_made = |id: &NodeId| graph.nodes[*id].op() != "PartitionedCall" && inner::functions(&graph.nodes[*id]).is_some();
    (0..graph.nodes.len()).filter(is_made)
}

impl Flow {
    /// Remembers why nodes stay; what was said of one inside goes before.
    fn keep(&mut self, nodes: HashSet<NodeId>, reason: &str) {
        for id in nodes {
            let name = self.graph.nodes[id].name().to_string();
            self.stays.entry(name).or_insert_with(|| reason.to_string());
        }
    }

    /// Remembers of all control flow why it stays.
    fn keep_all(&mut self, reason: &str) {
        let takers = self.graph.takers();
        let branches = conditionals::switches(&self.graph);
        let loops = frames::frames(&self.graph);
        let parts = branches.values().map(|switches| conditionals::parts(&self.graph, takers, switches));
        let inside = loops.values().map(|enters| frames::inside(&self.graph, takers, enters));
        let all: HashSet<NodeId> = parts.chain(inside).flatten().collect();
        self.keep(all, reason);
    }

    fn choose_branches(&mut self, sizes: &mut Sizes, rules: &Rules<'_>) {
        let mut refused: HashMap<(String, usize), Reason> = HashMap::new();
        let key = |graph: &Graph, by: Port| (graph.nodes[by.node].name().to_string(), by.index);
        loop {
            let takers = self.graph.takers();
            let mut changed = None;
            for (by, switches) in conditionals::switches(&self.graph) {
                if refused.contains_key(&key(&self.graph, by)) {
                    continue;
                }
                match chosen(&self.graph, takers, by, &switches, sizes, rules) {
                    Ok((graph, results)) => {
                        for (name, port) in results {
                            sizes.take_over(&self.graph, &name, port);
                        }
                        tracing::info!("The conditional on '{}' is a choice now.", self.graph.nodes[by.node].name());
                        changed = Some(graph);
                        break;
                    }
                    Err(reason) => {
                        refused.insert(key(&self.graph, by), reason);
                    }
                }
            }
            let Some(graph) = changed else { break };
            self.graph = graph;
            // One that was inside another is gone.
            refused.clear();
        }
        let takers = self.graph.takers();
        let mut stay: Vec<(HashSet<NodeId>, Reason)> = Vec::new();
        for (by, switches) in conditionals::switches(&self.graph) {
            if let Some(reason) = refused.get(&key(&self.graph, by)) {
                let name = self.graph.nodes[by.node].name();
                let reason = format!("In the conditional on '{name}', which stays as it is: {reason}.");
                stay.push((conditionals::parts(&self.graph, takers, &switches), reason));
            }
        }
        // What is inside another one is told of itself: the innermost come first.
        stay.sort_by_key(|(nodes, _)| nodes.len());
        for (nodes, reason) in stay {
            self.keep(nodes, &reason);
        }
    }

    /// Whether there was one to unroll.
    fn unroll_loops(&mut self, rules: &Rules<'_>) -> bool {
        let mut settled: HashSet<String> = HashSet::new();
        let mut any = false;
        while let Some(name) = next_loop(&self.graph, &settled) {
            let enters = frames::frames(&self.graph).remove(&name).unwrap_or_default();
            match unrolled(&self.graph, &name, &enters, rules) {
                Ok((graph, rounds)) => {
                    tracing::info!("The loop '{name}' is unrolled: {rounds} rounds.");
                    self.graph = graph;
                    any = true;
                }
                Err(reason) => {
                    let reason = format!("In the loop '{name}', which stays as it is: {reason}.");
                    let takers = self.graph.takers();
                    self.keep(frames::inside(&self.graph, takers, &enters), &reason);
                    settled.insert(name);
                }
            }
        }
        any
    }
}

/// A node of the loop that the loop `name` is in; `None` where it is in none.
fn around(graph: &Graph, takers: &[Vec<NodeId>], name: &str, enters: &[NodeId], frame: &frames::Frame) -> Option<NodeId> {
    let mut others = frames::frames(graph);
    others.remove(name);
    let is_in = |outer: &Vec<NodeId>| frames::inside(graph, takers, outer).contains(&enters[0]);
    others.values().any(is_in).then(|| {
        let plain = frame.sources.iter().find(|&&id| !is_part(graph.nodes[id].op()));
        *plain.unwrap_or(&frame.sources[0])
    })
}

/// The graph with the conditionals on `by` made choices, and the names of these with what one side gives. Err: why they stay.
fn chosen(
    graph: &Graph,
    takers: &[Vec<NodeId>],
    by: Port,
    switches: &[NodeId],
    sizes: &Sizes,
    rules: &Rules<'_>,
) -> Result<(Graph, Vec<(String, Port)>), Reason> {
    if !conditionals::is_scalar(graph, by) {
        return Err("its predicate is no single bool".into());
    }
    let branches = conditionals::read(graph, takers, switches)?;
    let parts = branches.inside.iter().chain(&branches.switches);
    held(graph, parts, rules)?;
    let before = switches.iter().flat_map(|&id| graph.nodes[id].control_inputs.iter().copied());
    let before = before.filter(|id| !branches.inside.contains(id) && !switches.contains(id));
    let waits = waits(graph, &before.collect::<Vec<_>>(), rules)?;
    let patch = conditionals::choose(graph, takers, by, &branches, sizes, &waits)?;
    let made: Vec<String> = patch.add.iter().map(|(def, _)| def.name.clone()).collect();
    let after = patch.apply(graph, rules.preserve)?;
    convertible(&after, made.iter().map(String::as_str), rules)?;
    let name = |id: NodeId| graph.nodes[id].name().to_string();
    let results = branches
        .merges
        .iter()
        .map(|merge| (name(merge.node), branches.source(graph, merge.yes)));
    Ok((after, results.collect()))
}

/// The next loop to look at: one that holds no other that was not looked at.
fn next_loop(graph: &Graph, settled: &HashSet<String>) -> Option<String> {
    let frames = frames::frames(graph);
    let names: Vec<&String> = frames.keys().filter(|name| !settled.contains(*name)).collect();
    let first = names.first()?;
    let takers = graph.takers();
    let holds_open = |name: &String| {
        let nodes = frames::inside(graph, takers, &frames[name]);
        names
            .iter()
            .any(|&other| other != name && frames[other].iter().any(|id| nodes.contains(id)))
    };
    let inner = names.iter().find(|name| !holds_open(name));
    // Frames that hold each other are no loops of TensorFlow's; each is looked at, and refused.
    Some(inner.unwrap_or(first).to_string())
}

/// The graph with the loop `name` unrolled, and the number of its rounds. Err: why it stays.
fn unrolled(graph: &Graph, name: &str, enters: &[NodeId], rules: &Rules<'_>) -> Result<(Graph, usize), Reason> {
    let takers = graph.takers();
    let frame = match frames::read(graph, takers, name, enters) {
        Ok(frame) => frame,
        Err(Unread::Outer) => return Err("it holds another loop that stays".into()),
        Err(Unread::Because(reason)) => return Err(reason),
    };
    held(graph, frame.nodes.iter().filter(|&&id| graph.nodes[id].op() != "Exit"), rules)?;
    let order = segment::topological_order(graph).map_err(|_| Reason::from("the graph has a cycle that is no loop"))?;
    let waits = waits(graph, &frame.sources, rules)?;
    let around = around(graph, takers, name, enters, &frame);
    let (patch, rounds) = unroll::unroll(graph, &frame, takers, &order, around, &waits)?;
    // Names that the graph has already are the loop's borders; they are judged like all others later.
    let made = patch.new_names(graph);
    let after = patch.apply(graph, rules.preserve)?;
    convertible(&after, made.iter().map(String::as_str), rules)?;
    Ok((after, rounds))
}

/// Fails where one of `nodes` has to stay, or does more than compute.
fn held<'a>(graph: &Graph, nodes: impl Iterator<Item = &'a NodeId>, rules: &Rules<'_>) -> Result<(), Reason> {
    for node in nodes.map(|&id| &graph.nodes[id]) {
        let (name, op) = (node.name(), node.op());
        if rules.preserve.contains(name) {
            return Err(format!("node '{name}' ({op}) has to stay"));
        }
        if (rules.has_effect)(op) && !segment::steers(op) {
            return Err(format!("node '{name}' ({op}) does more than compute"));
        }
    }
    Ok(())
}

/// Those of the nodes `before` for which what comes after has to wait still: they have an effect, or steer what runs, or come
/// after such a node. (Of a branch that is not taken, nothing may come out.)
fn waits(graph: &Graph, before: &[NodeId], rules: &Rules<'_>) -> Result<BTreeSet<NodeId>, Reason> {
    let order = segment::topological_order(graph).map_err(|_| Reason::from("the graph has a cycle that is no loop"))?;
    let mut ordered = vec![false; graph.nodes.len()];
    for id in order {
        let node = &graph.nodes[id];
        let mut from = node.inputs.iter().map(|port| port.node).chain(node.control_inputs.iter().copied());
        ordered[id] = (rules.has_effect)(node.op()) || from.any(|from| ordered[from]);
    }
    Ok(before.iter().copied().filter(|&id| ordered[id]).collect())
}

/// Fails where one of the nodes of these names does not convert.
fn convertible<'a>(graph: &Graph, names: impl Iterator<Item = &'a str>, rules: &Rules<'_>) -> Result<(), Reason> {
    for id in names.filter_map(|name| graph.find(name)) {
        let node = &graph.nodes[id];
        (rules.supports)(graph, id).map_err(|reason| format!("node '{}' ({}): {reason}", node.name(), node.op()))?;
    }
    Ok(())
}

/// Why a node is in the way.
fn node_error(graph: &Graph, id: NodeId, what: &str) -> Reason {
    let node = &graph.nodes[id];
    format!("node '{}' ({}) {what}", node.name(), node.op())
}

#[cfg(test)]
mod tests;
