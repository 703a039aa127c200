//! The last look at the whole graph with its engines, loops' edges followed, before it is handed out.
//!
//! The segmenter makes no segment that closes a cycle. Were it wrong, TensorFlow would wait for ever, or give tensors that were never
//! computed and no error. So the outcome is looked at anew, by no more than its nodes and their inputs.

use super::body::Membership;
use super::names::some_of;
use super::rewrite::{Engine, rewrite};
use crate::graph::{Graph, NodeId};
use crate::proto::tensorflow as tf;
use crate::segment::{Frames, Segment};
use std::collections::HashMap;

/// What is wrong with a graph that has engines in it.
#[derive(Debug)]
pub enum Wrong {
    /// It is no graph at all, and no engine is to blame.
    Graph(String),
    /// These engines, by their indices from the first on, cannot be in it.
    Engines(Vec<usize>, String),
}

/// The nodes of the graph with `engines` in the places of `segments`, in order.
pub fn rewritten(membership: &Membership<'_>, engines: &[Engine], segments: &[Segment]) -> Result<Vec<tf::NodeDef>, Wrong> {
    let def = tf::GraphDef {
        node: rewrite(membership, engines),
        ..Default::default()
    };
    let graph = Graph::new(def, HashMap::new()).map_err(|error| Wrong::Graph(error.to_string()))?;
    let index: HashMap<&str, usize> = engines.iter().enumerate().map(|(at, e)| (e.node.name.as_str(), at)).collect();
    let engine = |id: NodeId| index.get(graph.nodes[id].name()).copied();
    let blamed = |mut found: Vec<usize>, why: String| {
        // One is enough to break a cycle: the one of the fewest nodes. Without any, all go.
        found.sort_unstable_by_key(|&at| (segments[at].nodes.len(), at));
        found.truncate(1);
        match found.is_empty() {
            true => Wrong::Engines((0..engines.len()).collect(), why),
            false => Wrong::Engines(found, why),
        }
    };
    let frames = Frames::read(&graph).map_err(|cycle| {
        let names: Vec<String> = cycle.iter().map(|&id| format!("'{}'", graph.nodes[id].name())).collect();
        let why = format!("the graph with its engine would have a cycle through {}", some_of(&names));
        blamed(cycle.iter().filter_map(|&id| engine(id)).collect(), why)
    })?;
    let before = Frames::read(membership.graph).map_err(|_| Wrong::Graph("a cycle was there before".into()))?;
    for (id, node) in graph.nodes.iter().enumerate() {
        let own = engine(id);
        let first = own.and_then(|at| segments[at].nodes.iter().find(|&&id| !membership.constants.contains(id)));
        let was = first.copied().or_else(|| membership.graph.find(node.name()));
        if let Some(was) = was.filter(|&was| before.path(was) != frames.path(id)) {
            let place = |path: Option<&str>| match path {
                None => "in several loops".to_string(),
                Some("") => "in no loop".to_string(),
                Some(path) => format!("in the loop '{}'", path.trim_start_matches('/')),
            };
            let (then, now) = (place(before.path(was)), place(frames.path(id)));
            let why = format!("the graph with its engine would have '{}' {now}, which was {then}", node.name());
            let givers = node.inputs.iter().map(|port| port.node).chain(node.control_inputs.iter().copied());
            let found = own.map_or_else(|| givers.filter_map(engine).collect(), |at| vec![at]);
            return Err(blamed(found, why));
        }
    }
    let order: Vec<NodeId> = frames.order().iter().copied().filter(|&id| id < graph.nodes.len()).collect();
    drop(frames);
    let mut nodes: Vec<Option<tf::NodeDef>> = graph.nodes.into_iter().map(|node| Some(node.def)).collect();
    Ok(order.into_iter().filter_map(|id| nodes[id].take()).collect())
}
