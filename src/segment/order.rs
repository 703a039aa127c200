//! Topological order in the presence of `tf.while_loop` version 1.

use crate::graph::{Graph, NodeId};

/// The op of the back edge that closes a version 1 loop.
fn is_next_iteration(op: &str) -> bool {
    matches!(op, "NextIteration" | "RefNextIteration")
}

fn is_merge(op: &str) -> bool {
    matches!(op, "Merge" | "RefMerge")
}

/// All that `node` takes data or control from, loops' back edges (NextIteration to Merge) left out; with repetitions.
pub fn predecessors(graph: &Graph, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
    let this = &graph.nodes[node];
    let merge = is_merge(this.op());
    this.inputs
        .iter()
        .map(|port| port.node)
        .chain(this.control_inputs.iter().copied())
        .filter(move |&from| !(merge && is_next_iteration(graph.nodes[from].op())))
}

/// The nodes, each after its [`predecessors`]; on a cycle that no loop explains, the names of nodes on or behind it.
pub fn topological_order(graph: &Graph) -> Result<Vec<NodeId>, Vec<String>> {
    let count = graph.nodes.len();
    let mut waiting = vec![0usize; count];
    let mut consumers: Vec<Vec<NodeId>> = vec![Vec::new(); count];
    for (node, waits_for) in waiting.iter_mut().enumerate() {
        for from in predecessors(graph, node) {
            consumers[from].push(node);
            *waits_for += 1;
        }
    }
    let mut order: Vec<NodeId> = (0..count).filter(|&id| waiting[id] == 0).collect();
    let mut done = 0;
    while done < order.len() {
        for &next in &consumers[order[done]] {
            waiting[next] -= 1;
            if waiting[next] == 0 {
                order.push(next);
            }
        }
        done += 1;
    }
    if order.len() == count {
        return Ok(order);
    }
    let stuck = (0..count).filter(|&id| waiting[id] > 0);
    Err(stuck.map(|id| graph.nodes[id].name().to_string()).collect())
}
