//! The frames that loops run in, and the order that they leave to the nodes around and inside.
//!
//! An `Enter` leads into a frame, an `Exit` out of it into the frame around; `NextIteration` leads into the next round of its own
//! frame. All that a node takes has to come from one frame, by TensorFlow's own rule; so a plain edge never leads from one frame to
//! another, and a segment, which grows along plain edges, is in one frame.
//!
//! An edge from a `NextIteration` to a `Merge` of its frame is a back edge: it is no way from a node of the frame to another node
//! in the same round. To the frame around, the whole loop is one step: any `Exit` may wait for any `Enter`, by way of the back edges.
//! So the order here is that of a graph without the back edges, but with a *hub* for each frame, which every `Enter` of the frame
//! leads to and which leads to every `Exit`.
//!
//! Why this is enough: say a cycle is left in the whole graph. Of the frames that it touches, one is around all others. Each part
//! of the cycle in an inner frame goes in by an `Enter` and out by an `Exit`, and so it also leads over that frame's hub. What comes
//! of that has no inner back edge; it is no cycle here, so it holds a back edge of the outer frame, which is that loop's next round.

use super::order::{is_back_edge, predecessors, topological_order};
use crate::graph::{Graph, NodeId};
use std::collections::HashMap;

/// What is in no loop.
const ROOT: usize = 0;

pub struct Frames {
    /// For each node, the frame that its outputs are in; `None` where its inputs come from different ones.
    of: Vec<Option<usize>>,
    /// Of each frame, the frames around it and its own, by name.
    paths: Vec<String>,
    /// The edges to and from hubs, which are numbered behind the nodes.
    hub_edges: Vec<(usize, usize)>,
    /// Nodes and hubs, each after all that leads to it.
    order: Vec<usize>,
}

/// Why a graph is no order of steps: the nodes on a cycle that no loop explains.
pub type Cycle = Vec<NodeId>;

impl Frames {
    /// Reads the frames of `graph`. Err: a cycle that no loop explains.
    pub fn read(graph: &Graph) -> Result<Frames, Cycle> {
        let plain = topological_order(graph);
        // With a cycle there are no frames; the sort below finds it.
        let mut frames = Frames::along(graph, plain.as_deref().unwrap_or_default());
        if let Some(stray) = frames.stray_back_edge(graph) {
            return Err(stray);
        }
        frames.order = frames.sorted(graph)?;
        Ok(frames)
    }

    /// The frames, found along `order`.
    fn along(graph: &Graph, order: &[NodeId]) -> Frames {
        let count = graph.nodes.len();
        let mut of = vec![None; count];
        let mut parents = vec![None];
        let mut paths = vec![String::new()];
        let mut known: HashMap<(usize, &str), usize> = HashMap::new();
        let mut hub_edges = Vec::new();
        let hub = |frame: usize| count + frame - 1;
        for &id in order {
            let node = &graph.nodes[id];
            let mut sources = predecessors(graph, id).map(|from| of[from]);
            let first = sources.next().unwrap_or(Some(ROOT));
            let within: Option<usize> = first.filter(|_| sources.all(|other| other == first));
            of[id] = match (node.op(), within) {
                ("Enter" | "RefEnter", Some(around)) => {
                    let name = node.attr_s("frame_name").unwrap_or_default();
                    let frame = *known.entry((around, name)).or_insert(paths.len());
                    if frame == paths.len() {
                        paths.push(format!("{}/{name}", paths[around]));
                        parents.push(Some(around));
                    }
                    hub_edges.push((id, hub(frame)));
                    Some(frame)
                }
                ("Exit" | "RefExit", Some(frame)) => {
                    if frame != ROOT {
                        hub_edges.push((hub(frame), id));
                    }
                    parents[frame]
                }
                _ => within,
            };
        }
        Frames {
            of,
            paths,
            hub_edges,
            order: Vec::new(),
        }
    }

    /// An edge from a `NextIteration` to a `Merge` that is not of the same loop, or of none.
    fn stray_back_edge(&self, graph: &Graph) -> Option<Cycle> {
        let inputs = |to: NodeId| graph.nodes[to].inputs.iter().map(move |port| (port.node, to));
        let mut back = (0..graph.nodes.len())
            .flat_map(inputs)
            .filter(|&(from, to)| is_back_edge(graph, from, to));
        // What is not known stays out of all engines.
        let strays = |&(from, to): &(NodeId, NodeId)| self.of[from] != self.of[to] || self.of[to] == Some(ROOT);
        back.find(strays).map(|(from, to)| vec![from.min(to), from.max(to)])
    }

    /// All edges of the order: those of the graph but back edges, with repetitions, and those of the hubs.
    fn edges<'a>(&'a self, graph: &'a Graph) -> impl Iterator<Item = (usize, usize)> + 'a {
        let plain = (0..graph.nodes.len()).flat_map(move |to| predecessors(graph, to).map(move |from| (from, to)));
        plain.chain(self.hub_edges.iter().copied())
    }

    /// Nodes and hubs in order. Err: a cycle.
    fn sorted(&self, graph: &Graph) -> Result<Vec<usize>, Cycle> {
        let count = graph.nodes.len() + self.hubs();
        let mut waiting = vec![0usize; count];
        let mut next: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (from, to) in self.edges(graph) {
            next[from].push(to);
            waiting[to] += 1;
        }
        let mut order: Vec<usize> = (0..count).filter(|&id| waiting[id] == 0).collect();
        let mut done = 0;
        while done < order.len() {
            for &to in &next[order[done]] {
                waiting[to] -= 1;
                if waiting[to] == 0 {
                    order.push(to);
                }
            }
            done += 1;
        }
        if order.len() == count {
            return Ok(order);
        }
        // Of what waits each takes something that waits: back from any one, a cycle is met.
        let mut before = vec![usize::MAX; count];
        for (from, to) in self.edges(graph).filter(|&(from, to)| waiting[from] > 0 && waiting[to] > 0) {
            before[to] = from;
        }
        let mut seen = vec![false; count];
        let mut at = (0..count).find(|&id| waiting[id] > 0).unwrap_or_default();
        while !std::mem::replace(&mut seen[at], true) {
            at = before[at];
        }
        let (start, mut cycle) = (at, Vec::new());
        loop {
            cycle.push(at);
            at = before[at];
            if at == start {
                break;
            }
        }
        cycle.reverse();
        cycle.retain(|&id| id < graph.nodes.len());
        let first = cycle.iter().enumerate().min_by_key(|(_, id)| **id).map_or(0, |(at, _)| at);
        cycle.rotate_left(first);
        Err(cycle)
    }

    /// The number of hubs.
    pub fn hubs(&self) -> usize {
        self.paths.len() - 1
    }

    /// The edges to and from hubs; a hub's number is that of no node.
    pub fn hub_edges(&self) -> &[(usize, usize)] {
        &self.hub_edges
    }

    /// Nodes and hubs, each after all that leads to it.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The name of the frame that the node's outputs are in, with those around it: "" outside of loops. `None` where its inputs
    /// come from different frames.
    pub fn path(&self, id: NodeId) -> Option<&str> {
        self.of[id].map(|frame| self.paths[frame].as_str())
    }
}
