//! Loops as one `StatelessWhile` node, of which an engine makes ONNX's Loop.
//!
//! A loop that is not unrolled gets back the form that it had before TensorFlow lowered it. Its condition and its body are graphs of
//! their own ([`crate::graph::inner`]) with `_Arg` nodes for the loop's variables, for all that an `Enter` lets in, and for large
//! constants: they stay outside, so that they are there once. TensorRT wants the variables to keep their shapes from round to round:
//! an open size is one size only if shape inference says so.

use super::frames::Frame;
use super::lowering::{Lowered, LoweringCtx};
use super::node_error;
use super::shape_probe::{Dim, Trial};
use super::subgraph::{Args, Subgraph, backward_slice, border, device, function, identity_node, shapes, taken_out, types, unused_name};
use super::tensor_lists::{self, Lists};
use crate::convert::Reason;
use crate::graph::native_segment::{attr, input_text};
use crate::graph::{DType, NodeId, Patch, Port, inner};
use crate::proto::tensorflow as tf;
use std::collections::{BTreeMap, BTreeSet};
use tf::attr_value::Value;

/// A `StatelessWhile` of the loop `frame`. Its results wait for `waits`; `around` is a node of the loop that it is in itself.
///
/// # Errors
/// Why it stays.
pub fn stateless_while(ctx: &LoweringCtx<'_>, frame: &Frame, around: Option<NodeId>, waits: &BTreeSet<NodeId>) -> Result<Lowered, Reason> {
    let mut lowering = Lowering::new(ctx, frame)?;
    let (mut graphs, device) = lowering.subgraphs()?;
    lowering.check_shapes(&graphs[1])?;
    lowering.pass_on_invariants(&mut graphs[1]);
    let mut def = lowering.node(device, &graphs)?;
    def.input.extend(waits.iter().map(|&id| format!("^{}", ctx.graph.nodes[id].name())));
    lowering.patch(def, around)
}

/// A loop on its way to one node.
struct Lowering<'a> {
    ctx: &'a LoweringCtx<'a>,
    frame: &'a Frame,
    lists: Lists,
    /// For each variable that the condition reads, the tensor by which it does.
    heads: BTreeMap<usize, Port>,
    /// What each variable begins with, outside.
    firsts: Vec<Port>,
    /// The variables come first, then what is the same in each round.
    args: Args,
}

impl<'a> Lowering<'a> {
    fn new(ctx: &'a LoweringCtx<'a>, frame: &'a Frame) -> Result<Self, Reason> {
        let graph = ctx.graph;
        let by_condition = frame.reads.iter().filter(|(port, _)| graph.nodes[port.node].op() == "Merge");
        let heads: BTreeMap<usize, Port> = by_condition.map(|(&port, &at)| (at, port)).collect();
        let lists = tensor_lists::read(graph, frame, ctx.takers, &heads)?;
        let mut args = Args::default();
        let mut firsts = Vec::new();
        for (at, variable) in frame.variables.iter().enumerate() {
            let first = lists.tensor_of(graph, variable.first);
            let info = lists.first(graph, at, first);
            firsts.push(first);
            // Two variables may begin with one tensor: each is an argument of its own.
            args.ports.push(first);
            args.infos
                .push(info.ok_or_else(|| node_error(graph, first.node, "has an output of unknown type"))?);
        }
        Ok(Lowering {
            ctx,
            frame,
            lists,
            heads,
            firsts,
            args,
        })
    }

    /// The condition and the body, and the device that the body is placed on.
    fn subgraphs(&mut self) -> Result<([tf::GraphDef; 2], String), Reason> {
        let (graph, frame, lists) = (self.ctx.graph, self.frame, &self.lists);
        let outside = |port: Port| {
            let invariant = frame.invariants.get(&port).copied();
            invariant.or_else(|| (!frame.nodes.contains(&port.node)).then_some(port))
        };
        let ends = |port: Port| frame.reads.contains_key(&port) || outside(port).is_some();
        let part = |results: Vec<Port>| Subgraph {
            graph,
            lists,
            nodes: backward_slice(graph, &results, &self.ctx.order, ends),
            results,
            reads: &frame.reads,
            outside: &outside,
        };
        let condition = part(vec![frame.condition]);
        let decides = condition.info(frame.condition)?;
        if decides.dtype != DType::BOOL || decides.shape.rank() != Some(0) {
            return Err("its condition is no single bool".into());
        }
        let body = part(frame.variables.iter().map(|variable| variable.next).collect());
        condition.look(&mut self.args)?;
        body.look(&mut self.args)?;
        let graphs = [condition.cut(&mut self.args)?, body.cut(&mut self.args)?];
        Ok((graphs, device(graph, &body.nodes)))
    }

    /// Fails if a variable may change its shape from round to round, and makes the tensors that written lists begin as.
    fn check_shapes(&mut self, body: &tf::GraphDef) -> Result<(), Reason> {
        let (graph, sizes) = (self.ctx.graph, self.ctx.sizes);
        let known: Vec<Option<Vec<i64>>> = self.args.ports.iter().map(|&port| sizes.followed(graph, port)).collect();
        let trial = Trial::new(self.ctx.infer, body, &self.args.infos, &known);
        let trial = trial.ok_or("shape inference finds no sizes that fit inside it for certain")?;
        let tried = trial.results(body);
        let variables = self.frame.variables.iter().enumerate();
        for (at, variable) in variables.filter(|(_, variable)| !self.lists.is_list(variable.first)) {
            let head = self.heads.get(&at).copied().unwrap_or(variable.first);
            let same = tried[at].is_some() && tried[at].as_ref() == trial.arg(at);
            let equal = |port| sizes.equal(graph, port, self.firsts[at]);
            if !(same || equal(head) && equal(variable.next)) {
                let name = graph.nodes[head.node].name();
                return Err(format!("its variable '{name}' may have another shape in each round"));
            }
        }
        self.fill_lists(&trial)
    }

    fn fill_lists(&mut self, trial: &Trial) -> Result<(), Reason> {
        let graph = self.ctx.graph;
        let written: Vec<(usize, Port)> = self.lists.written().collect();
        for (at, item) in written {
            let item = match self.frame.reads.get(&item) {
                Some(&variable) => inner::arg_name(variable),
                None => input_text(graph.nodes[item.node].name(), item.index),
            };
            let size = |dim| match dim {
                Dim::Known(size) => tensor_lists::Size::Known(size),
                Dim::Open(open) => {
                    let (arg, axis) = trial.place(open);
                    tensor_lists::Size::Of(self.args.ports[arg], axis)
                }
            };
            let dims = trial.shape(&item).map(|dims| dims.into_iter().map(size).collect::<Vec<_>>());
            // A size that only a list of the loop has is not known before the loop.
            let of_list = |dim: &tensor_lists::Size| matches!(dim, tensor_lists::Size::Of(port, _) if self.lists.is_written(*port));
            let dims = dims.filter(|dims| !dims.iter().any(of_list));
            self.lists.fill(graph, at, dims.as_deref())?;
        }
        Ok(())
    }

    /// The body returns what does not change as it was given.
    fn pass_on_invariants(&self, body: &mut tf::GraphDef) {
        for at in self.frame.variables.len()..self.args.ports.len() {
            let (name, from) = (inner::result_name(at), inner::arg_name(at));
            body.node.push(border(name, "_Retval", at, self.args.infos[at].dtype, Some(from)));
        }
    }

    fn node(&self, device: String, graphs: &[tf::GraphDef; 2]) -> Result<tf::NodeDef, Reason> {
        let graph = self.ctx.graph;
        let text = |port: Port| input_text(graph.nodes[port.node].name(), port.index);
        let inputs = self.args.ports.iter().enumerate();
        let first = self.frame.variables.iter().flat_map(|variable| &variable.exits).next();
        let &first = first.ok_or("nothing takes what it gives")?;
        Ok(tf::NodeDef {
            name: unused_name(graph, format!("{}/tftrt_while", graph.nodes[first].name())),
            op: "StatelessWhile".into(),
            input: inputs
                .map(|(at, &port)| self.lists.empty(at).unwrap_or_else(|| text(port)))
                .collect(),
            device,
            attr: [
                ("T".to_string(), types(self.args.infos.iter())),
                ("cond".to_string(), function()),
                ("body".to_string(), function()),
                ("output_shapes".to_string(), shapes(self.args.infos.iter())),
                ("parallel_iterations".to_string(), attr(Value::I(10))),
                (inner::GRAPHS.to_string(), inner::to_attr(graphs)?),
                (inner::VARIABLES.to_string(), attr(Value::I(self.frame.variables.len() as i64))),
            ]
            .into(),
            ..Default::default()
        })
    }

    /// The edit that puts `def` in the loop's place. The loop's exits keep their names.
    fn patch(self, def: tf::NodeDef, around: Option<NodeId>) -> Result<Lowered, Reason> {
        let (graph, infos) = (self.ctx.graph, &self.args.infos);
        let node = def.name.clone();
        let mut add = self.lists.made(around.map(|id| graph.nodes[id].name()));
        add.append(&mut taken_out(graph, &self.args.taken_out, around));
        add.push((def, infos.clone()));
        let mut remove = self.frame.nodes.clone();
        let mut results = Vec::new();
        for (at, variable) in self.frame.variables.iter().enumerate() {
            let from = input_text(&node, at);
            for &exit in &variable.exits {
                if !self.lists.is_list(variable.first) {
                    add.push(identity_node(graph, exit, &from, &infos[at]));
                    results.push((graph.nodes[exit].name().to_string(), self.firsts[at]));
                    continue;
                }
                for stack in tensor_lists::stacks(graph, self.ctx.takers, exit, &mut remove)? {
                    remove.insert(stack);
                    let info = self.lists.stacked(graph, stack, &infos[at]);
                    add.push(identity_node(graph, stack, &from, &info));
                }
            }
        }
        let feeds = self.frame.sources.clone();
        Ok(Lowered {
            patch: Patch { remove, add, feeds },
            node,
            results,
        })
    }
}
