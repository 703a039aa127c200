//! Which loops and conditionals become one node each: the innermost that can, one at a time.

use super::as_conditional::stateless_if;
use super::as_loop::stateless_while;
use super::lowering::{Lowered, LoweringCtx};
use super::{Flow, Rules, Sizes, around, conditionals, convertible, frames, held, waits};
use crate::convert::{self, Reason};
use crate::graph::{Graph, Node, NodeId, Port, inner};
use crate::segment;
use crate::settings::ControlFlow;
use std::collections::HashSet;

/// A graph with one more node that stands for a loop or conditional.
struct Stands {
    graph: Graph,
    node: String,
    /// Nodes that give its results, and what their sizes are those of, in the graph before.
    results: Vec<(String, Port)>,
}

/// A loop or conditional that is there, and what came of it.
struct Tried {
    nodes: HashSet<NodeId>,
    stands: Result<Stands, Reason>,
}

impl Flow {
    /// Makes one node of a loop or conditional that stays otherwise; whether there was one.
    pub(super) fn make_nodes(&mut self, sizes: &mut Sizes, rules: &Rules<'_>) -> bool {
        let mut found = None;
        let mut all = self.try_all(sizes, rules);
        // What is inside another one is told of itself: the innermost come first.
        all.sort_by_key(|tried| tried.nodes.len());
        for tried in all {
            match tried.stands {
                Ok(stands) => found = Some(stands),
                Err(reason) => self.tell(&tried.nodes, &reason),
            }
        }
        let Some(stands) = found else { return false };
        for (name, port) in &stands.results {
            sizes.take_over(&self.graph, name, *port);
        }
        tracing::info!("'{}' stands for a loop or conditional now.", stands.node);
        self.graph = stands.graph;
        true
    }

    /// Tries conditionals, then loops, up to the first of which a node can be made.
    fn try_all(&self, sizes: &Sizes, rules: &Rules<'_>) -> Vec<Tried> {
        let graph = &self.graph;
        let takers = graph.takers();
        let mut tried: Vec<Tried> = Vec::new();
        let ctx = segment::topological_order(graph).map(|order| LoweringCtx {
            graph,
            takers,
            order,
            sizes,
            infer: rules.infer,
        });
        let ctx = ctx.map_err(|_| Reason::from("the graph has a cycle that is no loop"));
        let wanted = |ctx: &Result<LoweringCtx<'_>, Reason>| match rules.control_flow {
            ControlFlow::Engine => ctx.as_ref().map(|_| ()).map_err(Reason::clone),
            ControlFlow::Unroll | ControlFlow::Native => Err("TFTRT_CONTROL_FLOW leaves it out".to_string()),
        };
        let each = |make: &dyn Fn(&LoweringCtx<'_>) -> Result<Stands, Reason>| {
            wanted(&ctx)?;
            ctx.as_ref().map_err(Reason::clone).and_then(make)
        };
        for (by, switches) in conditionals::switches(graph) {
            let stands = each(&|ctx| branch_node(ctx, by, &switches, rules));
            let nodes = conditionals::parts(graph, takers, &switches);
            tried.push(Tried { nodes, stands });
            if tried.last().is_some_and(|tried| tried.stands.is_ok()) {
                return tried;
            }
        }
        for (name, enters) in frames::frames(graph) {
            let stands = each(&|ctx| loop_node(ctx, &name, &enters, rules));
            let nodes = frames::inside(graph, takers, &enters);
            tried.push(Tried { nodes, stands });
            if tried.last().is_some_and(|tried| tried.stands.is_ok()) {
                return tried;
            }
        }
        tried
    }

    /// Adds to the reasons of these nodes why they are no node, where nothing was said of that yet.
    fn tell(&mut self, nodes: &HashSet<NodeId>, reason: &str) {
        for &id in nodes {
            let told = self.stays.get_mut(self.graph.nodes[id].name());
            if let Some(told) = told.filter(|told| !told.contains(" As a node of an engine: ")) {
                told.push_str(&format!(" As a node of an engine: {}.", reason.trim_end_matches('.')));
            }
        }
    }
}

/// The graph with the conditionals on `by` as one node. Err: why they stay.
fn branch_node(ctx: &LoweringCtx<'_>, by: Port, switches: &[NodeId], rules: &Rules<'_>) -> Result<Stands, Reason> {
    let graph = ctx.graph;
    if !conditionals::is_scalar(graph, by) {
        return Err("its predicate is no single bool".into());
    }
    let branches = conditionals::read(graph, ctx.takers, switches)?;
    held(graph, branches.inside.iter().chain(&branches.switches), rules)?;
    let before = switches.iter().flat_map(|&id| graph.nodes[id].control_inputs.iter().copied());
    let before = before.filter(|id| !branches.inside.contains(id) && !switches.contains(id));
    let waits = waits(graph, &before.collect::<Vec<_>>(), rules)?;
    as_node(graph, stateless_if(ctx, by, &branches, &waits)?, rules)
}

/// The graph with the loop `name` as one node. Err: why it stays.
fn loop_node(ctx: &LoweringCtx<'_>, name: &str, enters: &[NodeId], rules: &Rules<'_>) -> Result<Stands, Reason> {
    let graph = ctx.graph;
    let frame = frames::read(graph, ctx.takers, name, enters).map_err(|unread| match unread {
        frames::Unread::Outer => "it holds another loop that stays".into(),
        frames::Unread::Because(reason) => reason,
    })?;
    held(graph, frame.nodes.iter().filter(|&&id| graph.nodes[id].op() != "Exit"), rules)?;
    let waits = waits(graph, &frame.sources, rules)?;
    let around = around(graph, ctx.takers, name, enters, &frame);
    as_node(graph, stateless_while(ctx, &frame, around, &waits)?, rules)
}

/// The graph after `lowered`, if the node may go into an engine with all that is in it.
fn as_node(graph: &Graph, lowered: Lowered, rules: &Rules<'_>) -> Result<Stands, Reason> {
    let Lowered { patch, node, results } = lowered;
    if let Some(reason) = rules.left_alone.get(&node) {
        return Err(reason.clone());
    }
    let mut new = patch.new_names(graph);
    new.retain(|name| *name != node);
    let after = patch.apply(graph, rules.preserve)?;
    convertible(&after, new.iter().map(String::as_str), rules)?;
    let id = after
        .find(&node)
        .ok_or("the node that stands for it is not there; this is a bug in tftrt")?;
    for part in &inner::open_within(&after, id)? {
        convert::may_nest(after.nodes[id].op(), &part.graph)?;
        let names = part.graph.nodes.iter().filter(|node| !matches!(node.op(), "_Arg" | "_Retval"));
        convertible(&part.graph, names.map(Node::name), rules)?;
    }
    Ok(Stands {
        graph: after,
        node,
        results,
    })
}
