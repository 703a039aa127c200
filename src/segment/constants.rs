//! Constants, of which each segment takes in what its nodes need.

use super::passes_through;
use crate::graph::{Graph, NodeId, Port};

/// The constants that engines may hold copies of: `Const` nodes, and nodes that only hand such a constant on. They are no
/// candidates themselves, so no engine ever gives one out; each segment takes in what its nodes need.
pub struct Constants {
    /// For each node, what hands the constant to it: itself for a `Const`.
    source: Vec<Option<NodeId>>,
    /// Constants that wait for nothing. To run after one of these is no order at all.
    free: Vec<bool>,
}

impl Constants {
    pub(super) fn new(graph: &Graph, order: &[NodeId], usable: impl Fn(NodeId) -> bool) -> Constants {
        let mut source: Vec<Option<NodeId>> = vec![None; graph.nodes.len()];
        let mut free = vec![false; graph.nodes.len()];
        for &id in order {
            let node = &graph.nodes[id];
            source[id] = match node.op() {
                "Const" => Some(id),
                op if passes_through(op) => node
                    .inputs
                    .first()
                    .filter(|port| port.index == 0 && source[port.node].is_some())
                    .map(|port| port.node),
                _ => None,
            }
            .filter(|_| usable(id));
            free[id] = node.control_inputs.is_empty() && source[id].is_some_and(|from| from == id || free[from]);
        }
        Constants { source, free }
    }

    /// Whether `id` gives a constant.
    pub fn contains(&self, id: NodeId) -> bool {
        self.source[id].is_some()
    }

    /// Whether `id` gives a constant that waits for nothing.
    pub fn is_free(&self, id: NodeId) -> bool {
        self.free[id]
    }

    /// The nodes that give the constant at `port`, from the `Const` on; `None` where it is none that may be copied.
    pub fn chain(&self, port: Port) -> Option<Vec<NodeId>> {
        if port.index != 0 {
            return None;
        }
        let mut at = port.node;
        let mut chain = vec![at];
        loop {
            let next = self.source[at]?;
            if next == at {
                chain.reverse();
                return Some(chain);
            }
            chain.push(next);
            at = next;
        }
    }
}
