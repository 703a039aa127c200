//! The second stage: which nodes go into which engine, and why the others stay native.

use super::body::Membership;
use super::names::some_of;
use super::{Context, OptimizeError};
use crate::control_flow;
use crate::convert::Reason;
use crate::graph::{Graph, NodeId};
use crate::segment::{self, Constants, Rules, Segment};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A graph's segments.
pub struct Partition {
    pub segments: Vec<Segment>,
    pub constants: Constants,
    /// Why each other node stays native.
    pub native: BTreeMap<NodeId, Reason>,
}

impl Partition {
    /// Cuts `flattened` into segments. Nodes named in `preserve` stay.
    ///
    /// # Errors
    /// A cycle that is no loop.
    pub fn new(
        context: &Context<'_>,
        id: &str,
        flattened: &control_flow::Flow,
        rules: &Rules,
        preserve: &HashSet<String>,
    ) -> Result<Partition, OptimizeError> {
        let request = segment::Request {
            rules,
            options: context.options,
            preserve,
            supports: context.supports,
            is_stateful: &|op| context.host.is_stateful(op),
        };
        let graph = &flattened.graph;
        let (found, constants) = (context.segment)(graph, &request).map_err(|names| OptimizeError::Cycle {
            id: id.into(),
            names: some_of(&names),
        })?;
        let mut native = found.excluded;
        for (&node, reason) in &mut native {
            let node = &graph.nodes[node];
            // Parts of control flow have no converter by themselves: the reason is the one of the whole loop or conditional.
            if let Some(whole) = flattened.stays.get(node.name()).filter(|_| control_flow::is_part(node.op())) {
                reason.clone_from(whole);
            }
        }
        Ok(Partition {
            segments: found.segments,
            constants,
            native,
        })
    }

    pub fn membership<'a>(&'a self, graph: &'a Graph) -> Membership<'a> {
        Membership::new(graph, &self.constants, &self.segments)
    }

    /// The nodes that stand for a loop or conditional and are in no segment, each with the reason; `None` if there are none. Left as
    /// control flow, what is inside them may still become engines.
    pub fn unplaced_control_flow(&self, graph: &Graph) -> Option<HashMap<String, Reason>> {
        let mut made = control_flow::made_nodes(graph).peekable();
        made.peek()?;
        let inside: HashSet<NodeId> = self.segments.iter().flat_map(|segment| segment.nodes.iter().copied()).collect();
        let reason = |id: &NodeId| self.native.get(id).cloned().unwrap_or_else(|| "it came into no engine".into());
        let found: HashMap<String, Reason> = made
            .filter(|id| !inside.contains(id))
            .map(|id| (graph.nodes[id].name().to_string(), reason(&id)))
            .collect();
        (!found.is_empty()).then_some(found)
    }

    /// Lets segments stay native, each with the reason. `failed` has their indices in rising order.
    pub fn give_up(&mut self, graph: &Graph, id: &str, failed: Vec<(usize, String)>) {
        for (at, why) in failed.into_iter().rev() {
            let segment = self.segments.remove(at);
            let count = segment.nodes.len();
            tracing::warn!("A segment of {count} nodes of the graph '{id}' stays native: {why}.");
            self.leave_native(graph, &segment, &format!("In a segment that stays native: {why}."));
        }
    }

    /// Lets all segments stay native for one reason.
    pub fn give_up_all(&mut self, graph: &Graph, why: &str) {
        for segment in std::mem::take(&mut self.segments) {
            self.leave_native(graph, &segment, why);
        }
    }

    fn leave_native(&mut self, graph: &Graph, segment: &Segment, reason: &str) {
        let nodes = segment.nodes.iter().filter(|&&id| graph.nodes[id].op() != "Const");
        self.native.extend(nodes.map(|&id| (id, reason.to_string())));
    }
}
