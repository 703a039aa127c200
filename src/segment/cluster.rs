//! Contraction of a directed acyclic graph that keeps it acyclic.
//!
//! Clusters stand in a total order in which every edge points forward. To merge `a` with its successor `b`, only what
//! stands between the two can hold a second way from `a` to `b`; it is searched from both ends by turns, and the search
//! ends as soon as either side has seen all that it can reach there. That side is then moved out of the gap, so the order
//! holds for the merged cluster. Searches stay local, where a walk over the whole graph for each merge would be quadratic.

use std::collections::{HashMap, HashSet};

type Id = u32;

/// Whether a merge took place, or why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    Done,
    /// A way leads from the one out through others and back into the other; later merges may take it away.
    Blocked,
    /// As `Blocked`, through a node that is never merged: it stays so.
    Never,
}

/// One direction of a cluster's edges: ids of nodes (stale ones are resolved on reading), compacted as it grows.
#[derive(Clone, Default)]
struct Edges {
    to: Vec<Id>,
    compacted: usize,
}

pub struct Clusters {
    parent: Vec<Id>,
    /// Nodes that may be merged at all.
    mergeable: Vec<bool>,
    forward: Vec<Edges>,
    backward: Vec<Edges>,
    order: Order,
    /// Pairs of clusters of which a merge is ruled out for good.
    enemies: HashMap<Id, HashSet<Id>>,
    search: [Side; 2],
    epoch: u32,
}

/// One side of a search.
#[derive(Default)]
struct Side {
    seen: Vec<u32>,
    /// Whether the way to a seen cluster goes through a node that is never merged.
    barred: Vec<bool>,
    found: Vec<Id>,
    /// The next of `found` to expand, and the next of its edges.
    at: (usize, usize),
}

impl Clusters {
    /// `mergeable[i]` for each node; `order` is a topological order of all nodes under `edges` (from, to).
    pub fn new(mergeable: Vec<bool>, order: &[usize], edges: impl Iterator<Item = (usize, usize)>) -> Clusters {
        let count = mergeable.len();
        let mut forward = vec![Edges::default(); count];
        let mut backward = vec![Edges::default(); count];
        for (from, to) in edges {
            forward[from].to.push(to as Id);
            backward[to].to.push(from as Id);
        }
        let side = || Side {
            seen: vec![0; count],
            barred: vec![false; count],
            ..Side::default()
        };
        Clusters {
            parent: (0..count as Id).collect(),
            mergeable,
            forward,
            backward,
            order: Order::new(count, order),
            enemies: HashMap::new(),
            search: [side(), side()],
            epoch: 0,
        }
    }

    /// The node that stands for the cluster of `node`.
    pub fn find(&mut self, node: usize) -> usize {
        find(&mut self.parent, node as Id) as usize
    }

    /// Merges the clusters of `from` and `to`, between which an edge leads from the first to the second, unless a cycle
    /// would come of it.
    pub fn merge(&mut self, from: usize, to: usize) -> Merge {
        let (a, b) = (find(&mut self.parent, from as Id), find(&mut self.parent, to as Id));
        if a == b {
            return Merge::Done;
        }
        if self.enemies.get(&a).is_some_and(|of_a| of_a.contains(&b)) {
            return Merge::Never;
        }
        debug_assert!(self.order.before(a, b), "edges point forward in the order");
        self.epoch += 1;
        for (side, start) in self.search.iter_mut().zip([a, b]) {
            side.found.clear();
            side.found.push(start);
            side.at = (0, 0);
            side.seen[start as usize] = self.epoch;
            side.barred[start as usize] = false;
        }
        let exhausted = loop {
            match self.step(true, a, b) {
                Step::Met { barred } => return self.blocked(a, b, barred),
                Step::Exhausted => break true,
                Step::Going => {}
            }
            match self.step(false, a, b) {
                Step::Met { barred } => return self.blocked(a, b, barred),
                Step::Exhausted => break false,
                Step::Going => {}
            }
        };
        self.contract(a, b, exhausted);
        Merge::Done
    }

    fn blocked(&mut self, a: Id, b: Id, barred: bool) -> Merge {
        if !barred {
            return Merge::Blocked;
        }
        self.enemies.entry(a).or_default().insert(b);
        self.enemies.entry(b).or_default().insert(a);
        Merge::Never
    }

    /// Follows one edge, forward from `a` or backward from `b`.
    fn step(&mut self, ahead: bool, a: Id, b: Id) -> Step {
        let (near, far) = if ahead { (0, 1) } else { (1, 0) };
        let edges = if ahead { &self.forward } else { &self.backward };
        let (start, goal) = if ahead { (a, b) } else { (b, a) };
        let side = &mut self.search[near];
        let node = loop {
            match side.found.get(side.at.0) {
                None => return Step::Exhausted,
                Some(&node) if side.at.1 < edges[node as usize].to.len() => break node,
                Some(_) => side.at = (side.at.0 + 1, 0),
            }
        };
        let next = find(&mut self.parent, edges[node as usize].to[side.at.1]);
        side.at.1 += 1;
        let barred = side.barred[node as usize];
        if next == goal {
            // The edge from `a` to `b` itself goes away with the merge; any longer way would become a cycle.
            return if node == start { Step::Going } else { Step::Met { barred } };
        }
        let (early, late) = if ahead { (next, b) } else { (a, next) };
        if next == node || side.seen[next as usize] == self.epoch || !self.order.before(early, late) {
            return Step::Going;
        }
        let barred = barred || !self.mergeable[next as usize];
        side.seen[next as usize] = self.epoch;
        side.barred[next as usize] = barred;
        side.found.push(next);
        if self.search[far].seen[next as usize] == self.epoch {
            return Step::Met {
                barred: barred || self.search[far].barred[next as usize],
            };
        }
        Step::Going
    }

    /// Makes one of `a` and `b`. `ahead` says whose side of the search is complete: all behind `a` and in front of `b` in
    /// the order (true), or all that leads to `b` from behind `a`.
    fn contract(&mut self, a: Id, b: Id, ahead: bool) {
        let mut moved = std::mem::take(&mut self.search[usize::from(!ahead)].found);
        moved.swap_remove(0);
        moved.sort_unstable_by_key(|&id| self.order.label[id as usize]);
        let size = |edges: &[Edges], id: Id| edges[id as usize].to.len();
        let weight = |id: Id| size(&self.forward, id) + size(&self.backward, id);
        let (keep, lose) = if weight(a) >= weight(b) { (a, b) } else { (b, a) };
        // What follows `a` goes behind the merged cluster at b's place; or what leads to `b` before it, at a's place.
        for &id in &moved {
            self.order.remove(id);
        }
        let place = if ahead { b } else { a };
        if ahead {
            self.order.insert_after(place, &moved);
        } else {
            self.order.insert_after(self.order.previous[place as usize], &moved);
        }
        if keep == place {
            self.order.remove(lose);
        } else {
            self.order.remove(keep);
            self.order.replace(place, keep);
        }
        self.search[usize::from(!ahead)].found = moved;
        self.parent[lose as usize] = keep;
        for edges in [&mut self.forward, &mut self.backward] {
            let lost = std::mem::take(&mut edges[lose as usize]);
            let kept = &mut edges[keep as usize];
            kept.to.extend(lost.to);
            if kept.to.len() > 2 * kept.compacted + 16 {
                for id in &mut kept.to {
                    *id = find(&mut self.parent, *id);
                }
                kept.to.sort_unstable();
                kept.to.dedup();
                kept.to.retain(|&id| id != keep);
                kept.compacted = kept.to.len();
            }
        }
        for enemy in self.enemies.remove(&lose).unwrap_or_default() {
            if let Some(theirs) = self.enemies.get_mut(&enemy) {
                theirs.remove(&lose);
                theirs.insert(keep);
            }
            self.enemies.entry(keep).or_default().insert(enemy);
        }
    }
}

enum Step {
    Going,
    Met { barred: bool },
    Exhausted,
}

fn find(parent: &mut [Id], node: Id) -> Id {
    let mut at = node;
    while parent[at as usize] != at {
        // Path halving.
        parent[at as usize] = parent[parent[at as usize] as usize];
        at = parent[at as usize];
    }
    at
}

/// A total order into which can be inserted: a linked list whose members carry rising labels with gaps.
struct Order {
    label: Vec<u64>,
    next: Vec<Id>,
    previous: Vec<Id>,
    /// The list's head and tail are members too, beyond the nodes' ids.
    head: Id,
}

impl Order {
    fn new(count: usize, order: &[usize]) -> Order {
        let (head, tail) = (count as Id, count as Id + 1);
        let mut list = Order {
            label: vec![0; count + 2],
            next: vec![tail; count + 2],
            previous: vec![head; count + 2],
            head,
        };
        let mut last = head;
        for &id in order {
            list.next[last as usize] = id as Id;
            list.previous[id] = last;
            last = id as Id;
        }
        list.next[last as usize] = tail;
        list.previous[tail as usize] = last;
        list.relabel();
        list
    }

    fn before(&self, a: Id, b: Id) -> bool {
        self.label[a as usize] < self.label[b as usize]
    }

    fn relabel(&mut self) {
        let tail = self.head + 1;
        let gap = u64::MAX / self.label.len() as u64;
        let (mut at, mut label) = (self.head, 0u64);
        while at != tail {
            self.label[at as usize] = label;
            label += gap;
            at = self.next[at as usize];
        }
        self.label[tail as usize] = u64::MAX;
    }

    fn remove(&mut self, id: Id) {
        let (previous, next) = (self.previous[id as usize], self.next[id as usize]);
        self.next[previous as usize] = next;
        self.previous[next as usize] = previous;
    }

    /// Puts `new`, which is in no list, at the place of `old`.
    fn replace(&mut self, old: Id, new: Id) {
        let (previous, next) = (self.previous[old as usize], self.next[old as usize]);
        self.next[previous as usize] = new;
        self.previous[next as usize] = new;
        self.next[new as usize] = next;
        self.previous[new as usize] = previous;
        self.label[new as usize] = self.label[old as usize];
    }

    /// Puts `ids` behind `at`, in their order.
    fn insert_after(&mut self, at: Id, ids: &[Id]) {
        if ids.is_empty() {
            return;
        }
        let next = self.next[at as usize];
        let mut last = at;
        for &id in ids {
            self.next[last as usize] = id;
            self.previous[id as usize] = last;
            last = id;
        }
        self.next[last as usize] = next;
        self.previous[next as usize] = last;
        let room = self.label[next as usize] - self.label[at as usize];
        let gap = room / (ids.len() as u64 + 1);
        if gap == 0 {
            return self.relabel();
        }
        let mut label = self.label[at as usize];
        for &id in ids {
            label += gap;
            self.label[id as usize] = label;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clusters(count: usize, never: &[usize], edges: &[(usize, usize)]) -> Clusters {
        let order: Vec<usize> = (0..count).collect();
        let mergeable = order.iter().map(|i| !never.contains(i)).collect();
        Clusters::new(mergeable, &order, edges.iter().copied())
    }

    #[test]
    fn a_way_around_blocks_until_it_is_taken_in() {
        let mut c = clusters(3, &[], &[(0, 1), (1, 2), (0, 2)]);
        assert_eq!(c.merge(0, 2), Merge::Blocked);
        assert_eq!(c.merge(1, 2), Merge::Done);
        assert_eq!(c.merge(0, 2), Merge::Done);
        assert_eq!(c.find(0), c.find(1));
    }

    #[test]
    fn a_way_through_an_unmergeable_node_blocks_for_good() {
        let mut c = clusters(4, &[1], &[(0, 1), (1, 2), (0, 2), (2, 3)]);
        assert_eq!(c.merge(0, 2), Merge::Never);
        assert_eq!(c.merge(2, 3), Merge::Done);
        assert_eq!(c.merge(0, 3), Merge::Never);
    }

    /// Whether the clusters' graph has a cycle, found the plain way.
    fn cyclic(count: usize, of: &dyn Fn(usize) -> usize, edges: &[(usize, usize)]) -> bool {
        let edges: HashSet<(usize, usize)> = edges.iter().map(|&(a, b)| (of(a), of(b))).filter(|(a, b)| a != b).collect();
        let mut alive: HashSet<usize> = (0..count).map(of).collect();
        loop {
            let free: Vec<usize> = alive
                .iter()
                .copied()
                .filter(|n| !edges.iter().any(|(a, b)| b == n && alive.contains(a)))
                .collect();
            if free.is_empty() {
                return !alive.is_empty();
            }
            for n in free {
                alive.remove(&n);
            }
        }
    }

    proptest! {
        /// A merge is done exactly where the plain search finds no cycle in the graph that would come of it.
        #[test]
        fn merges_are_done_exactly_where_no_cycle_comes_of_them(
            count in 2usize..14,
            raw in prop::collection::vec((0usize..14, 0usize..14), 1..40),
            never in prop::collection::vec(0usize..14, 0..4),
        ) {
            let edges: Vec<(usize, usize)> = raw.iter().map(|&(a, b)| (a % count, b % count)).filter(|(a, b)| a < b).collect();
            let mut c = clusters(count, &never, &edges);
            for &(a, b) in raw.iter().map(|(a, b)| (a % count, b % count)).collect::<Vec<_>>().iter().filter(|e| edges.contains(e)) {
                if never.contains(&a) || never.contains(&b) {
                    continue;
                }
                let now: Vec<usize> = (0..count).map(|n| c.find(n)).collect();
                let (ra, rb) = (now[a], now[b]);
                let merged = |n: usize| if now[n] == rb { ra } else { now[n] };
                let would_cycle = cyclic(count, &merged, &edges);
                prop_assert_eq!(c.merge(a, b) == Merge::Done, !would_cycle);
                let after: Vec<usize> = (0..count).map(|n| c.find(n)).collect();
                prop_assert!(!cyclic(count, &|n| after[n], &edges));
                for &(x, y) in &edges {
                    let (x, y) = (after[x], after[y]);
                    prop_assert!(x == y || c.order.before(x as Id, y as Id));
                }
            }
        }
    }
}
