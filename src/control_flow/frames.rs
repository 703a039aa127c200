//! The loops of a graph, read back from the form that TensorFlow lowers them to.
//!
//! TensorFlow writes `While` as a frame: an `Enter` for each value that goes in; for each variable of the loop a `Merge` of what
//! entered and what the `NextIteration` of the round before gives, a `Switch` that hands it to the body while the `LoopCond`
//! holds and to an `Exit` when it does not. A constant `Enter` is the same in every round. `tf.while_loop` of TensorFlow 1 writes
//! the same.

use super::node_error;
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
    let mut ids: Vec<NodeId> = nodes.iter().copied().collect();
    ids.sort_unstable();
    let reader = Reader { graph, enters, ids };
    if reader.of_op("Enter").any(|id| !enters.contains(&id)) {
        return Err(Unread::Outer);
    }
    let conditions: Vec<NodeId> = reader.of_op("LoopCond").collect();
    let &[condition] = conditions.as_slice() else {
        return Err(Unread::Because(format!("it has {} LoopCond nodes, not one", conditions.len())));
    };
    let mut frame = Frame {
        name: name.to_string(),
        variables: Vec::new(),
        reads: HashMap::new(),
        invariants: HashMap::new(),
        condition: reader.first_input(condition)?,
        sources: Vec::new(),
        nodes,
    };
    reader.read_enters(&mut frame)?;
    let merges = reader.read_merges(&mut frame)?;
    let switches = reader.read_switches(&mut frame, condition, &merges)?;
    reader.read_exits(&mut frame, &switches)?;
    Ok(frame)
}

/// By a node, the variable that it stands for.
type Variables = HashMap<NodeId, usize>;

/// A frame's nodes on their way into a [`Frame`].
struct Reader<'a> {
    graph: &'a Graph,
    enters: &'a [NodeId],
    /// All nodes of the frame, in order.
    ids: Vec<NodeId>,
}

impl Reader<'_> {
    fn of_op(&self, op: &'static str) -> impl Iterator<Item = NodeId> {
        self.ids.iter().copied().filter(move |&id| self.graph.nodes[id].op() == op)
    }

    fn error(&self, id: NodeId, what: &str) -> Unread {
        Unread::Because(node_error(self.graph, id, what))
    }

    fn first_input(&self, id: NodeId) -> Result<Port, Unread> {
        let first = self.graph.nodes[id].inputs.first().copied();
        first.ok_or_else(|| self.error(id, "has no input"))
    }

    fn read_enters(&self, frame: &mut Frame) -> Result<(), Unread> {
        for &id in self.enters {
            let from = self.first_input(id)?;
            frame.sources.push(from.node);
            frame.sources.extend(&self.graph.nodes[id].control_inputs);
            if self.graph.nodes[id].attr_b("is_constant") == Some(true) {
                frame.invariants.insert(Port { node: id, index: 0 }, from);
            }
        }
        Ok(())
    }

    /// Each `Merge` is a variable: of what entered, and what the round before gives.
    fn read_merges(&self, frame: &mut Frame) -> Result<Variables, Unread> {
        let mut variable_of = Variables::new();
        for id in self.of_op("Merge") {
            let enters = |id: &NodeId| self.enters.contains(id);
            let next = |id: &NodeId| self.graph.nodes[*id].op() == "NextIteration";
            let ends: Vec<NodeId> = self.graph.nodes[id].inputs.iter().map(|port| port.node).collect();
            let (first, next) = match *ends.as_slice() {
                [a, b] if enters(&a) && next(&b) => (a, b),
                [a, b] if enters(&b) && next(&a) => (b, a),
                _ => return Err(self.error(id, "branches inside the loop")),
            };
            variable_of.insert(id, frame.variables.len());
            frame.reads.insert(Port { node: id, index: 0 }, frame.variables.len());
            frame.variables.push(Variable {
                first: self.first_input(first)?,
                next: self.first_input(next)?,
                exits: Vec::new(),
            });
        }
        Ok(variable_of)
    }

    /// A `Switch` hands a variable to the body while the condition holds.
    fn read_switches(&self, frame: &mut Frame, condition: NodeId, merges: &Variables) -> Result<Variables, Unread> {
        let mut switched = Variables::new();
        for id in self.of_op("Switch") {
            let inputs = &self.graph.nodes[id].inputs;
            let variable = inputs.first().and_then(|port| merges.get(&port.node).copied());
            match (variable, inputs.get(1)) {
                (Some(at), Some(by)) if by.node == condition => {
                    switched.insert(id, at);
                    frame.reads.insert(Port { node: id, index: 1 }, at);
                }
                _ => return Err(self.error(id, "branches inside the loop")),
            }
        }
        Ok(switched)
    }

    /// Finds the exits of each variable. Fails if a tensor passes the frame's border in another way.
    fn read_exits(&self, frame: &mut Frame, switches: &Variables) -> Result<(), Unread> {
        for &id in &self.ids {
            let node = &self.graph.nodes[id];
            match node.op() {
                "Exit" => {
                    let from = self.first_input(id)?;
                    let at = switches.get(&from.node).filter(|_| from.index == 0);
                    let at = *at.ok_or_else(|| self.error(id, "gives out what is no variable of the loop"))?;
                    frame.variables[at].exits.push(id);
                }
                "RefEnter" | "RefExit" | "RefMerge" | "RefSwitch" | "RefNextIteration" => {
                    return Err(self.error(id, "passes references on"));
                }
                "Enter" => {}
                _ => {
                    if let Some(port) = node.inputs.iter().find(|port| !frame.nodes.contains(&port.node)) {
                        let from = self.graph.nodes[port.node].name();
                        return Err(self.error(id, &format!("takes '{from}' from outside the loop")));
                    }
                }
            }
        }
        Ok(())
    }
}
