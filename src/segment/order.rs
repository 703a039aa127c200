//! Topological order in the presence of `tf.while_loop` version 1.

use crate::graph::{Graph, NodeId};

/// The op of the back edge that closes a version 1 loop.
fn is_next_iteration(op: &str) -> bool {
    matches!(op, "NextIteration" | "RefNextIteration")
}

fn is_merge(op: &str) -> bool {
    matches!(op, "Merge" | "RefMerge")
}

/// Whether an edge closes a loop: from a NextIteration to a Merge.
pub fn is_back_edge(graph: &Graph, from: NodeId, to: NodeId) -> bool {
    is_merge(graph.nodes[to].op()) && is_next_iteration(graph.nodes[from].op())
}

/// All that `node` takes data or control from, loops' back edges left out; with repetitions.
pub fn predecessors(graph: &Graph, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
    let this = &graph.nodes[node];
    let sources = this.inputs.iter().map(|port| port.node).chain(this.control_inputs.iter().copied());
    sources.filter(move |&from| !is_back_edge(graph, from, node))
}

/// The nodes, each after its [`predecessors`]; on a cycle that no loop explains, the names of nodes on or behind it.
pub fn topological_order(graph: &Graph) -> Result<Vec<NodeId>, Vec<String>> {
    graph.topological_order_of(|from, to| !is_back_edge(graph, from, to))
}
