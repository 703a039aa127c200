//! TF-TRT's rule of which nodes go together, as a yardstick. On models the segmenter of this library makes no more
//! engines (test_engine_rules.py); on random graphs it makes fewer in sum, and more in a few of a hundred.
//!
//! Nodes are visited from outputs to inputs. Each is merged with the candidates that take its outputs, unless a second way leads
//! there, and again until nothing is left to merge. What a later merge would have made possible is not tried again. A second way is
//! searched over the whole graph for each edge, so this is for graphs of some thousand nodes.

use std::collections::BTreeSet;

#[derive(Clone, Copy)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    /// A control edge is a way, but nothing is merged along it.
    pub data: bool,
}

struct Contraction {
    /// For each cluster, by the node that stands for it: the clusters behind its edges, and whether one of the edges is data.
    after: Vec<BTreeSet<(usize, bool)>>,
    before: Vec<BTreeSet<(usize, bool)>>,
    group: Vec<usize>,
}

impl Contraction {
    fn new(count: usize, edges: &[Edge]) -> Self {
        let mut made = Contraction {
            after: vec![BTreeSet::new(); count],
            before: vec![BTreeSet::new(); count],
            group: (0..count).collect(),
        };
        for edge in edges {
            made.after[edge.from].insert((edge.to, edge.data));
            made.before[edge.to].insert((edge.from, edge.data));
        }
        made
    }

    /// Whether a way leads from `from` to `to` besides their own edges.
    fn second_way(&self, from: usize, to: usize) -> bool {
        let mut seen = vec![false; self.group.len()];
        let mut stack: Vec<usize> = self.before[to].iter().map(|&(id, _)| id).filter(|&id| id != from).collect();
        while let Some(id) = stack.pop() {
            if id == from {
                return true;
            }
            if !std::mem::replace(&mut seen[id], true) {
                stack.extend(self.before[id].iter().map(|&(id, _)| id));
            }
        }
        false
    }

    fn merge(&mut self, kept: usize, lost: usize) {
        for (id, data) in std::mem::take(&mut self.after[lost]) {
            self.before[id].remove(&(lost, data));
            if id != kept {
                self.before[id].insert((kept, data));
                self.after[kept].insert((id, data));
            }
        }
        for (id, data) in std::mem::take(&mut self.before[lost]) {
            self.after[id].remove(&(lost, data));
            if id != kept {
                self.after[id].insert((kept, data));
                self.before[kept].insert((id, data));
            }
        }
        for group in self.group.iter_mut().filter(|group| **group == lost) {
            *group = kept;
        }
    }
}

/// For each node the one that stands for its group. `order`: the nodes, each after all that it takes.
pub fn groups(candidate: &[bool], order: &[usize], edges: &[Edge]) -> Vec<usize> {
    let mut graph = Contraction::new(candidate.len(), edges);
    for &id in order.iter().rev().filter(|&&id| candidate[id]) {
        loop {
            let mergeable: BTreeSet<usize> = graph.after[id]
                .iter()
                .filter(|&&(to, data)| data && candidate[to] && !graph.second_way(id, to))
                .map(|&(to, _)| to)
                .collect();
            if mergeable.is_empty() {
                break;
            }
            for to in mergeable {
                graph.merge(id, to);
            }
        }
    }
    graph.group
}
