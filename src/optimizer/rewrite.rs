//! The graph with engines in the place of segments.

use super::body::{Cut, Membership, keep_colocations};
use crate::graph::native_segment::input_text;
use crate::graph::{NodeId, Port};
use crate::proto::tensorflow as tf;
use std::collections::{BTreeSet, HashMap, HashSet};

/// A segment with the node that takes its place.
pub struct Engine {
    pub cut: Cut,
    /// Without inputs.
    pub node: tf::NodeDef,
}

/// The nodes of the new graph, in no particular order. `engines[i]` is that of segment i.
pub fn rewrite(membership: &Membership<'_>, engines: &[Engine]) -> Vec<tf::NodeDef> {
    let graph = membership.graph;
    let engine_of = |id: NodeId| membership.home[id].map(|at| &engines[at]);
    let mut place: HashMap<Port, usize> = HashMap::new();
    for engine in engines {
        place.extend(engine.cut.outputs.iter().enumerate().map(|(at, (port, _))| (*port, at)));
    }
    let data = |port: Port| match engine_of(port.node) {
        None => input_text(graph.nodes[port.node].name(), port.index),
        Some(engine) => input_text(&engine.node.name, place[&port]),
    };
    let idle = idle_constants(membership, engines);
    // Control edges, each source once; nobody has to wait for a constant that is in an engine.
    let controls = |sources: &mut dyn Iterator<Item = NodeId>, own: &str| -> BTreeSet<String> {
        sources
            .filter_map(|id| match engine_of(id) {
                None => (!idle.contains(&id)).then(|| format!("^{}", graph.nodes[id].name())),
                Some(_) if membership.constants.is_free(id) => None,
                Some(engine) => (engine.node.name != own).then(|| format!("^{}", engine.node.name)),
            })
            .collect()
    };
    let mut nodes = Vec::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        if engine_of(id).is_some() || idle.contains(&id) {
            continue;
        }
        let mut def = node.def.clone();
        def.input = node.inputs.iter().map(|&port| data(port)).collect();
        def.input.extend(controls(&mut node.control_inputs.iter().copied(), ""));
        let there = |name: &str| graph.find(name).is_some_and(|id| engine_of(id).is_none() && !idle.contains(&id));
        keep_colocations(&mut def, there);
        nodes.push(def);
    }
    for engine in engines {
        let mut def = engine.node.clone();
        def.input = engine.cut.inputs.iter().map(|(port, _)| data(*port)).collect();
        def.input.extend(controls(&mut engine.cut.after.iter().copied(), &def.name));
        nodes.push(def);
    }
    nodes
}

/// Constants, and what hands them on, that only engines took, which now have copies.
fn idle_constants(membership: &Membership<'_>, engines: &[Engine]) -> HashSet<NodeId> {
    let graph = membership.graph;
    let copied: BTreeSet<NodeId> = engines.iter().flat_map(|e| e.cut.copied.iter().copied()).collect();
    if copied.is_empty() {
        return HashSet::new();
    }
    let mut takers = vec![0usize; graph.nodes.len()];
    for (_, node) in graph.nodes.iter().enumerate().filter(|&(to, _)| membership.home[to].is_none()) {
        // To run after a constant that waits for nothing is no order at all: such an edge can go.
        let ordered = |&&id: &&NodeId| !membership.constants.is_free(id);
        let controls = node.control_inputs.iter().filter(ordered).copied();
        for from in node.inputs.iter().map(|port| port.node).chain(controls) {
            takers[from] += 1;
        }
    }
    for cut in engines.iter().map(|engine| &engine.cut) {
        for from in cut.inputs.iter().map(|(port, _)| port.node).chain(cut.after.iter().copied()) {
            takers[from] += 1;
        }
    }
    let mut idle = HashSet::new();
    let mut waiting: Vec<NodeId> = copied.into_iter().collect();
    while let Some(id) = waiting.pop() {
        let node = &graph.nodes[id];
        if takers[id] > 0 || membership.home[id].is_some() || !idle.insert(id) {
            continue;
        }
        for port in &node.inputs {
            takers[port.node] -= 1;
            waiting.push(port.node);
        }
    }
    idle
}
