//! The loops of a graph, read back from the form that TensorFlow lowers them to.
//!
//! TensorFlow writes `While` as a frame: an `Enter` for each value that goes in; for each variable of the loop a `Merge` of what
//! entered and what the `NextIteration` of the round before gives, a `Switch` that hands it to the body while the `LoopCond`
//! holds and to an `Exit` when it does not. A constant `Enter` is the same in every round. `tf.while_loop` of TensorFlow 1 writes
//! the same.

use crate::convert::Reason;
use crate::graph::{Graph, NodeId, Port};
use std::collections::{BTreeMap, HashMap, HashSet};

/// One variable of a loop.
#[derive(Debug)]
pub struct Variable {
    /// What it begins with: a tensor of the graph around.
    pub first: Port,
    /// Its value in the next round: a tensor of the body.
    pub next: Port,
    /// Nodes that give its last value to the graph around.
    pub exits: Vec<NodeId>,
}

/// A loop, in which no other is.
#[derive(Debug)]
pub struct Frame {
    pub name: String,
    pub variables: Vec<Variable>,
    /// The inside tensors by which the condition (of `Merge`) and the body (of `Switch`) read each variable.
    pub reads: HashMap<Port, usize>,
    /// Inside tensors that are outside tensors, the same in every round.
    pub invariants: HashMap<Port, Port>,
    /// Whether there is another round, as a tensor of the condition.
    pub condition: Port,
    /// What goes in, and what it waits for: nodes of the graph around.
    pub sources: Vec<NodeId>,
    /// All its nodes, `Exit`s included.
    pub nodes: HashSet<NodeId>,
}

/// Why a frame is left as it is.
#[derive(Debug)]
pub enum Unread {
    /// It holds a frame, which has to go first.
    Outer,
    Because(Reason),
}

/// The `Enter` nodes of each frame, by its name.
pub fn frames(graph: &Graph) -> BTreeMap<String, Vec<NodeId>> {
    let mut found: BTreeMap<String, Vec<NodeId>> = BTreeMap::new();
    for (id, node) in graph.nodes.iter().enumerate().filter(|(_, node)| node.op() == "Enter") {
        found
            .entry(node.attr_s("frame_name").unwrap_or_default().into())
            .or_default()
            .push(id);
    }
    found
}

/// All nodes of the frame that begins with `enters`, up to its `Exit`s.
pub fn inside(graph: &Graph, takers: &[Vec<NodeId>], enters: &[NodeId]) -> HashSet<NodeId> {
    let mut nodes: HashSet<NodeId> = enters.iter().copied().collect();
    let mut waiting = enters.to_vec();
    while let Some(id) = waiting.pop() {
        if graph.nodes[id].op() != "Exit" {
            waiting.extend(takers[id].iter().copied().filter(|&to| nodes.insert(to)));
        }
    }
    nodes
}

/// Reads the frame `name`, which begins with `enters`.
pub fn read(graph: &Graph, takers: &[Vec<NodeId>], name: &str, enters: &[NodeId]) -> Result<Frame, Unread> {
    let nodes = inside(graph, takers, enters);
    let own: HashSet<NodeId> = enters.iter().copied().collect();
    let op = |id: NodeId| graph.nodes[id].op();
    if nodes.iter().any(|&id| op(id) == "Enter" && !own.contains(&id)) {
        return Err(Unread::Outer);
    }
    let mut ids: Vec<NodeId> = nodes.iter().copied().collect();
    ids.sort_unstable();
    let mut frame = Frame {
        name: name.to_string(),
        variables: Vec::new(),
        reads: HashMap::new(),
        invariants: HashMap::new(),
        condition: Port { node: 0, index: 0 },
        sources: Vec::new(),
        nodes,
    };
    let because = |id: NodeId, what: &str| Unread::Because(format!("node '{}' ({}) {what}", graph.nodes[id].name(), op(id)));
    let conditions: Vec<NodeId> = ids.iter().copied().filter(|&id| op(id) == "LoopCond").collect();
    let &[condition] = conditions.as_slice() else {
        return Err(Unread::Because(format!("it has {} LoopCond nodes, not one", conditions.len())));
    };
    let first_input = |id: NodeId| graph.nodes[id].inputs.first().copied().ok_or_else(|| because(id, "has no input"));
    frame.condition = first_input(condition)?;
    let output = |node: NodeId, index: usize| Port { node, index };
    for &id in enters {
        let from = first_input(id)?;
        frame.sources.push(from.node);
        frame.sources.extend(&graph.nodes[id].control_inputs);
        if graph.nodes[id].attr_b("is_constant") == Some(true) {
            frame.invariants.insert(output(id, 0), from);
        }
    }
    let mut variable_of: HashMap<NodeId, usize> = HashMap::new();
    for &id in ids.iter().filter(|&&id| op(id) == "Merge") {
        let ends: Vec<NodeId> = graph.nodes[id].inputs.iter().map(|port| port.node).collect();
        let (first, next) = match *ends.as_slice() {
            [a, b] if own.contains(&a) && op(b) == "NextIteration" => (a, b),
            [a, b] if own.contains(&b) && op(a) == "NextIteration" => (b, a),
            _ => return Err(because(id, "branches inside the loop")),
        };
        variable_of.insert(id, frame.variables.len());
        frame.reads.insert(output(id, 0), frame.variables.len());
        frame.variables.push(Variable {
            first: first_input(first)?,
            next: first_input(next)?,
            exits: Vec::new(),
        });
    }
    let mut switched: HashMap<NodeId, usize> = HashMap::new();
    for &id in ids.iter().filter(|&&id| op(id) == "Switch") {
        let inputs = &graph.nodes[id].inputs;
        let variable = inputs.first().and_then(|port| variable_of.get(&port.node).copied());
        match (variable, inputs.get(1)) {
            (Some(at), Some(by)) if by.node == condition => {
                switched.insert(id, at);
                frame.reads.insert(output(id, 1), at);
            }
            _ => return Err(because(id, "branches inside the loop")),
        }
    }
    for &id in &ids {
        let node = &graph.nodes[id];
        match node.op() {
            "Exit" => {
                let from = first_input(id)?;
                let at = switched.get(&from.node).filter(|_| from.index == 0);
                let at = *at.ok_or_else(|| because(id, "gives out what is no variable of the loop"))?;
                frame.variables[at].exits.push(id);
            }
            "RefEnter" | "RefExit" | "RefMerge" | "RefSwitch" | "RefNextIteration" => return Err(because(id, "passes references on")),
            "Enter" => {}
            _ => {
                if let Some(port) = node.inputs.iter().find(|port| !frame.nodes.contains(&port.node)) {
                    let from = graph.nodes[port.node].name();
                    return Err(because(id, &format!("takes '{from}' from outside the loop")));
                }
            }
        }
    }
    Ok(frame)
}
