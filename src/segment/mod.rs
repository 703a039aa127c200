//! Which nodes of a graph go into which engine.
//!
//! 1. [`candidates`] excludes nodes one by one, each with a reason in words.
//! 2. [`border`] excludes what would need a border that `TRTEngineOp` cannot have.
//! 3. [`cluster`] merges what is left along data edges, never to a cycle, also not through a loop ([`frames`]). Where that parts two nodes whose edge cannot be a
//!    border, both are excluded and 3 runs again.
//! 4. Constants that only one segment takes become part of it, and segments that are not worth an engine are dropped. Where
//!    others that touch are left, 3 runs again: what was dropped may have kept them apart.
//!
//! Everything is in a fixed order: the same graph gives the same segments.

mod batch;
mod border;
mod candidates;
mod cluster;
mod constants;
mod device;
mod frames;
mod options;
mod order;

pub use batch::Batch;
pub use border::OUTPUT_TYPES;
pub use constants::Constants;
pub use device::Device;
pub use frames::Frames;
pub use options::{DEFAULT_MAX_ENGINES, SegmentOptions};
pub use order::topological_order;

use crate::convert::Reason;
use crate::graph::{Graph, NodeId};
use border::Borders;
use candidates::{Judge, Traits};
pub use candidates::{keeps_to_itself, steers};
use cluster::{Clusters, Merge};
use std::collections::{BTreeMap, HashSet};

/// What the conversion's parameters say about segments.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The fewest nodes that are worth an engine; nodes that compute nothing do not count.
    pub minimum_size: i64,
    pub implicit_batch: bool,
    pub static_engine: bool,
    /// Where nodes run that are assigned nowhere.
    pub default_device: Device,
}

/// A set of nodes for one engine. No way leads out of it and back in.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// In topological order; constants that nothing else takes first.
    pub nodes: Vec<NodeId>,
    /// What all nodes agree on.
    pub device: Device,
    pub batch: Batch,
}

/// The outcome for a graph.
#[derive(Debug, Default)]
pub struct Segmentation {
    /// In topological order of their first nodes.
    pub segments: Vec<Segment>,
    /// Nodes that stay as they are, and why. Constants are left out where nothing is wrong with them.
    pub excluded: BTreeMap<NodeId, Reason>,
}

/// So many rounds settle all but contrived graphs.
const MOST_ROUNDS: usize = 8;

/// All that [`segment`] works from besides the graph.
pub struct Request<'a> {
    pub rules: &'a Rules,
    pub options: &'a SegmentOptions,
    /// Names of nodes that have to stay: feeds, fetches and the like.
    pub preserve: &'a HashSet<String>,
    /// The converter's word on a node.
    pub supports: &'a dyn Fn(&Graph, NodeId) -> Result<(), Reason>,
    /// Whether an op (by type) has a state.
    pub is_stateful: &'a dyn Fn(&str) -> bool,
}

/// Ops that hand their input on: they are no reason to build an engine.
pub fn passes_through(op: &str) -> bool {
    matches!(op, "Identity" | "Snapshot" | "StopGradient")
}

/// Finds the segments of `graph`. Err: the names of nodes on a cycle that no loop explains.
pub fn segment(graph: &Graph, request: &Request<'_>) -> Result<(Segmentation, Constants), Vec<String>> {
    let name = |id: NodeId| graph.nodes[id].name().to_string();
    let frames = Frames::read(graph).map_err(|cycle| cycle.into_iter().map(name).collect::<Vec<_>>())?;
    let order: Vec<NodeId> = frames.order().iter().copied().filter(|&id| id < graph.nodes.len()).collect();
    let judge = Judge {
        graph,
        rules: request.rules,
        options: request.options,
        preserve: request.preserve,
        supports: request.supports,
        is_stateful: request.is_stateful,
    };
    let constants = Constants::new(graph, &order, |id| judge.constant(id).is_ok());
    let mut excluded = BTreeMap::new();
    let mut traits: Vec<Result<Traits, Reason>> = Vec::with_capacity(graph.nodes.len());
    for id in 0..graph.nodes.len() {
        traits.push(if constants.contains(id) {
            Err(Reason::new())
        } else if graph.nodes[id].op() == "Const" {
            judge.constant(id).and(Err(Reason::new()))
        } else {
            judge.candidate(id).and_then(|traits| match frames.path(id) {
                Some(_) => Ok(traits),
                None => Err("Its inputs come from different loops, or from inside and outside of one.".into()),
            })
        });
    }
    let borders = Borders {
        graph,
        rules: request.rules,
        constants: &constants,
    };
    borders.close(&mut traits, |_, _| false);
    let mut rounds = 0;
    let segments = loop {
        rounds += 1;
        let groups = settle(graph, &frames, &order, &borders, &mut traits);
        let mut segments = collect(graph, &order, &constants, groups);
        let mut reasons = worthless(graph, request, &constants, &segments);
        // What is dropped was in the way of others as a whole, and is not as single nodes: those that touch may be one then, also
        // with such as are too small alone. So these go last.
        let touching = touching(graph, &segments);
        let alone = |(reason, touching): (&Option<Reason>, &bool)| reason.is_some() && !touching;
        if rounds < MOST_ROUNDS && reasons.iter().zip(&touching).any(alone) {
            let last = reasons.iter_mut().zip(&touching).filter(|(_, touching)| **touching);
            last.for_each(|(reason, _)| *reason = None);
        }
        let dropped = part(&constants, &mut segments, reasons);
        let again = rounds < MOST_ROUNDS && !dropped.is_empty() && self::touching(graph, &segments).contains(&true);
        for (id, reason) in dropped {
            traits[id] = Err(reason);
        }
        if !again {
            break largest(graph, request, &constants, segments, &mut traits);
        }
        borders.close(&mut traits, |_, _| false);
    };
    for (id, verdict) in traits.into_iter().enumerate().filter(|(id, _)| !constants.contains(*id)) {
        if let Err(reason) = verdict {
            excluded.insert(id, reason);
        }
    }
    tracing::debug!(
        "a graph of {} nodes: {} segments of {} nodes; {} nodes stay native",
        graph.nodes.len(),
        segments.len(),
        segments.iter().map(|segment| segment.nodes.len()).sum::<usize>(),
        excluded.len()
    );
    for (&id, reason) in &excluded {
        let node = &graph.nodes[id];
        tracing::trace!("'{}' ({}) stays native: {reason}", node.name(), node.op());
    }
    Ok((Segmentation { segments, excluded }, constants))
}

/// Candidates in groups: for each node the one that stands for its group, and what each group agrees on.
struct Groups {
    of: Vec<NodeId>,
    traits: BTreeMap<NodeId, Traits>,
}

/// The groups that end where borders may be; candidates for which there is no such end are taken out of `traits`.
fn settle(graph: &Graph, frames: &Frames, order: &[NodeId], borders: &Borders<'_>, traits: &mut [Result<Traits, Reason>]) -> Groups {
    let mut rounds = 0;
    loop {
        let groups = grow(graph, frames, order, traits);
        rounds += 1;
        // After the last round whole groups go, so that the end is in sight.
        let parted = if rounds <= MOST_ROUNDS {
            borders.close(traits, |a, b| groups.of[a] != groups.of[b])
        } else {
            drop_parted(borders, traits, &groups)
        };
        if parted == 0 {
            return groups;
        }
    }
}

/// Merges candidates from outputs to inputs, along data edges.
fn grow(graph: &Graph, frames: &Frames, order: &[NodeId], traits: &[Result<Traits, Reason>]) -> Groups {
    let count = graph.nodes.len();
    // A node that takes nothing is on no way from one node to another: constants are kept out of the searches.
    let idle: Vec<bool> = (0..count)
        .map(|id| traits[id].is_err() && order::predecessors(graph, id).next().is_none())
        .collect();
    let edges = (0..count).flat_map(|to| {
        let idle = &idle;
        order::predecessors(graph, to)
            .filter(move |&from| !idle[from])
            .map(move |from| (from, to))
    });
    let edges = edges.chain(frames.hub_edges().iter().copied());
    let mut mergeable: Vec<bool> = traits.iter().map(Result::is_ok).collect();
    mergeable.resize(count + frames.hubs(), false);
    let mut clusters = Clusters::new(mergeable, frames.order(), edges);
    let mut agreed: Vec<Option<Traits>> = traits.iter().map(|t| t.as_ref().ok().cloned()).collect();
    let mut place = vec![0; count];
    for (at, &id) in order.iter().enumerate() {
        place[id] = at;
    }
    let mut pending: Vec<(NodeId, NodeId)> = Vec::new();
    for &to in order.iter().rev().filter(|&&id| traits[id].is_ok()) {
        let mut from: Vec<NodeId> = graph.nodes[to].inputs.iter().map(|port| port.node).collect();
        from.retain(|&id| traits[id].is_ok());
        // The latest first: it may lie on a way from the others.
        from.sort_unstable_by_key(|&id| std::cmp::Reverse(place[id]));
        from.dedup();
        pending.extend(from.into_iter().map(|from| (from, to)));
    }
    loop {
        let tried = pending.len();
        let mut blocked = Vec::new();
        let mut merged = false;
        for (from, to) in pending {
            let (a, b) = (clusters.find(from), clusters.find(to));
            if a == b {
                continue;
            }
            let Some(both) = agreed[a].as_ref().zip(agreed[b].as_ref()).and_then(|(a, b)| a.merge(b)) else {
                continue;
            };
            match clusters.merge(a, b) {
                Merge::Done => {
                    merged = true;
                    let kept = clusters.find(a);
                    agreed[if kept == a { b } else { a }] = None;
                    agreed[kept] = Some(both);
                }
                Merge::Blocked => blocked.push((from, to)),
                Merge::Never => {}
            }
        }
        // Other merges may have taken a blocking way in.
        if !merged || blocked.is_empty() || blocked.len() == tried {
            break;
        }
        pending = blocked;
    }
    let of: Vec<NodeId> = (0..count).map(|id| clusters.find(id)).collect();
    let traits = agreed
        .into_iter()
        .enumerate()
        .filter_map(|(id, traits)| Some((id, traits?)))
        .collect();
    Groups { of, traits }
}

/// Excludes all nodes of groups between which an edge leads that cannot be a border; the number of nodes.
fn drop_parted(borders: &Borders<'_>, traits: &mut [Result<Traits, Reason>], groups: &Groups) -> usize {
    let mut probe = traits.to_vec();
    if borders.close(&mut probe, |a, b| groups.of[a] != groups.of[b]) == 0 {
        return 0;
    }
    let hit: BTreeMap<NodeId, Reason> = (0..traits.len())
        .filter(|&id| traits[id].is_ok())
        .filter_map(|id| Some((groups.of[id], probe[id].as_ref().err()?.clone())))
        .collect();
    let mut count = 0;
    for (id, verdict) in traits.iter_mut().enumerate() {
        if let (Ok(_), Some(reason)) = (&verdict, hit.get(&groups.of[id])) {
            *verdict = Err(reason.clone());
            count += 1;
        }
    }
    // What the dropped groups' neighbours now cannot give or take.
    count + borders.close(traits, |_, _| false)
}

/// The groups as segments, each with the constants that it alone takes.
fn collect(graph: &Graph, order: &[NodeId], constants: &Constants, groups: Groups) -> Vec<Segment> {
    const NOWHERE: usize = usize::MAX;
    let mut index: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut segments: Vec<Segment> = Vec::new();
    let mut home = vec![NOWHERE; graph.nodes.len()];
    for &id in order {
        let Some(traits) = groups.traits.get(&groups.of[id]) else {
            continue;
        };
        let at = *index.entry(groups.of[id]).or_insert_with(|| {
            segments.push(Segment {
                nodes: Vec::new(),
                device: traits.device.clone(),
                batch: traits.batch,
            });
            segments.len() - 1
        });
        segments[at].nodes.push(id);
        home[id] = at;
    }
    // A constant belongs to the one segment that takes it; one that others take as well is copied later.
    let mut takers: Vec<Option<usize>> = vec![None; graph.nodes.len()];
    for &id in order.iter().rev() {
        if constants.is_free(id) {
            home[id] = takers[id].unwrap_or(NOWHERE);
        }
        for port in graph.nodes[id].inputs.iter().filter(|port| constants.contains(port.node)) {
            let taker = &mut takers[port.node];
            *taker = Some(match *taker {
                Some(other) if other != home[id] => NOWHERE,
                _ => home[id],
            });
        }
    }
    let mut own: Vec<Vec<NodeId>> = vec![Vec::new(); segments.len()];
    for &id in order.iter().filter(|&&id| constants.is_free(id) && home[id] != NOWHERE) {
        own[home[id]].push(id);
    }
    for (segment, mut own) in segments.iter_mut().zip(own) {
        own.append(&mut segment.nodes);
        segment.nodes = own;
    }
    segments
}

/// For each node, which of the segments it is in.
fn homes(graph: &Graph, segments: &[Segment]) -> Vec<Option<usize>> {
    let mut home = vec![None; graph.nodes.len()];
    for (at, segment) in segments.iter().enumerate() {
        for &id in &segment.nodes {
            home[id] = Some(at);
        }
    }
    home
}

/// Of each segment, whether a tensor goes between it and another with which it agrees on device and batch.
fn touching(graph: &Graph, segments: &[Segment]) -> Vec<bool> {
    let home = homes(graph, segments);
    let traits = |at: usize| Traits {
        device: segments[at].device.clone(),
        batch: segments[at].batch,
    };
    let mut touching = vec![false; segments.len()];
    for (to, node) in graph.nodes.iter().enumerate() {
        for from in node.inputs.iter().map(|port| port.node) {
            if let (Some(a), Some(b)) = (home[from], home[to])
                && a != b
                && !(touching[a] && touching[b])
                && traits(a).merge(&traits(b)).is_some()
            {
                touching[a] = true;
                touching[b] = true;
            }
        }
    }
    touching
}

/// The nodes of a segment that are reasons to build an engine.
fn size(graph: &Graph, segment: &Segment) -> usize {
    // A loop or conditional counts for what is in it, and at least for one.
    let weight = |id: NodeId| match crate::graph::inner::functions(&graph.nodes[id]) {
        Some(_) => crate::graph::inner::weight(&graph.nodes[id]).max(1),
        None => 1,
    };
    let counted = segment.nodes.iter().filter(|&&id| !passes_through(graph.nodes[id].op()));
    counted.map(|&id| weight(id)).sum()
}

/// For each segment, why no engine is made of it.
fn worthless(graph: &Graph, request: &Request<'_>, constants: &Constants, segments: &[Segment]) -> Vec<Option<Reason>> {
    let home = homes(graph, segments);
    let mut consumed: HashSet<NodeId> = HashSet::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        for &port in &node.inputs {
            let copied = home[id].is_some() && constants.chain(port).is_some();
            if home[port.node].is_some() && home[port.node] != home[id] && !copied {
                consumed.insert(port.node);
            }
        }
    }
    let why = |at: usize, segment: &Segment| -> Option<Reason> {
        let (count, minimum) = (size(graph, segment), request.rules.minimum_size);
        if (count as i64) < minimum {
            return Some(format!(
                "In a segment of {count} ops, fewer than the minimum_segment_size of {minimum}."
            ));
        }
        let takes_data = segment.nodes.iter().any(|&id| {
            let mut inputs = graph.nodes[id].inputs.iter();
            inputs.any(|&port| home[port.node] != Some(at) && constants.chain(port).is_none())
        });
        if !takes_data {
            return Some("In a segment without data inputs: constant folding should do it.".into());
        }
        let taken = segment.nodes.iter().any(|id| consumed.contains(id));
        (!taken).then(|| "In a segment whose results nothing takes.".into())
    };
    segments.iter().enumerate().map(|(at, segment)| why(at, segment)).collect()
}

/// The segments, at most as many as the options allow; the nodes of the others are taken out of `traits`.
fn largest(
    graph: &Graph,
    request: &Request<'_>,
    constants: &Constants,
    mut segments: Vec<Segment>,
    traits: &mut [Result<Traits, Reason>],
) -> Vec<Segment> {
    let Some(limit) = request.options.max_engines.filter(|&limit| segments.len() > limit) else {
        return segments;
    };
    let mut by_size: Vec<usize> = (0..segments.len()).collect();
    by_size.sort_by_key(|&at| std::cmp::Reverse(size(graph, &segments[at])));
    let mut reasons = vec![None; segments.len()];
    for at in by_size.into_iter().skip(limit) {
        reasons[at] = Some(format!(
            "In a segment that is not among the {limit} largest (TF_TRT_MAX_ALLOWED_ENGINES)."
        ));
    }
    for (id, reason) in part(constants, &mut segments, reasons) {
        traits[id] = Err(reason);
    }
    segments
}

/// Takes out the segments for which there is a reason: their nodes but constants, each with the reason.
fn part(constants: &Constants, segments: &mut Vec<Segment>, reasons: Vec<Option<Reason>>) -> Vec<(NodeId, Reason)> {
    let mut dropped = Vec::new();
    let mut reasons = reasons.into_iter();
    segments.retain(|segment| {
        let Some(reason) = reasons.next().flatten() else {
            return true;
        };
        let nodes = segment.nodes.iter().filter(|&&id| !constants.contains(id));
        dropped.extend(nodes.map(|&id| (id, reason.clone())));
        false
    });
    dropped
}

#[cfg(test)]
pub(crate) mod frame_tests;
#[cfg(test)]
mod random;
#[cfg(test)]
pub(crate) mod test_graphs;
#[cfg(test)]
mod tests;

#[cfg(test)]
#[path = "../../examples/engine_rules/contraction.rs"]
mod contraction;
#[cfg(test)]
mod rule_tests;
