//! A loop or conditional as one node: what it is made from, and what comes of it.

use super::shape_probe::Infer;
use super::symbolic_dims::Sizes;
use crate::graph::{Graph, NodeId, Patch, Port};

/// The graph that a loop or conditional is in, and what is known of it.
pub struct LoweringCtx<'a> {
    pub graph: &'a Graph,
    /// For each node, those that take from it ([`Graph::takers`]).
    pub takers: &'a [Vec<NodeId>],
    /// All nodes, each after what it takes.
    pub order: Vec<NodeId>,
    pub sizes: &'a Sizes,
    pub infer: Infer<'a>,
}

/// A loop or conditional as one node.
pub struct Lowered {
    pub patch: Patch,
    /// The node that stands for it.
    pub node: String,
    /// Names of the nodes that give its results, each with the tensor before whose sizes it has.
    pub results: Vec<(String, Port)>,
}
