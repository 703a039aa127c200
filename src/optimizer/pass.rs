//! The pass over one graph: flatten control flow -> partition -> outline and stitch -> report.

use super::conversion_report::ReportWriter;
use super::names::graph_number;
use super::outline::{Failure, Outlined, Outliner, is_explicitly_quantized};
use super::partition::Partition;
use super::work_item::WorkItem;
use super::{Context, OptimizeError, Outcome, Params, constants};
use crate::control_flow;
use crate::convert::Reason;
use crate::graph::{Graph, NodeId, inner, native_segment::attr};
use crate::proto::tensorflow::attr_value::Value;
use crate::report;
use crate::segment::{self, Device, Rules};
use prost::Message as _;
use std::collections::HashMap;

/// One graph on its way through the stages.
pub struct Pass<'a> {
    params: &'a Params,
    context: &'a Context<'a>,
    item: WorkItem<'a>,
    /// Loops and conditionals that stay as they are, by the names of the nodes that stood for them, each with the reason.
    kept_control_flow: HashMap<String, Reason>,
}

/// What came of outlining.
enum Engines {
    /// The engines and their graph; none if no segment is left.
    Made(Outlined),
    /// These loops and conditionals came into no engine, so the pass starts again without them.
    StartAgain(HashMap<String, Reason>),
}

impl<'a> Pass<'a> {
    pub fn new(params: &'a Params, context: &'a Context<'a>, item: WorkItem<'a>) -> Self {
        Pass {
            params,
            context,
            item,
            kept_control_flow: HashMap::new(),
        }
    }

    /// # Errors
    /// The graph has a cycle that is no loop, or is none with its engines.
    pub fn run(mut self) -> Result<Outcome, OptimizeError> {
        let rules = self.rules();
        loop {
            let flattened = self.flatten_control_flow();
            let mut partition = Partition::new(self.context, self.item.id, &flattened, &rules, &self.item.preserve)?;
            match self.outline(&flattened.graph, &mut partition, &rules.default_device)? {
                Engines::StartAgain(kept) => self.kept_control_flow.extend(kept),
                Engines::Made(outlined) => return Ok(self.report(&flattened.graph, partition, outlined)),
            }
        }
    }

    fn rules(&self) -> Rules {
        Rules {
            minimum_size: self.params.minimum_segment_size,
            implicit_batch: self.params.use_implicit_batch,
            static_engine: !self.params.is_dynamic_op,
            default_device: Device::parse(&self.item.default_device).unwrap_or_default(),
        }
    }

    /// The graph, its loops and conditionals as single nodes or written out, as far as that can be.
    fn flatten_control_flow(&mut self) -> control_flow::Flow {
        let graph = self.item.graph();
        let (context, item) = (self.context, &self.item);
        // TensorFlow calls `_Arg` stateful, so that it is not pruned; it has no effect.
        let stateful = |op: &str| context.host.is_stateful(op) && !segment::keeps_to_itself(op);
        let has_effect = |op: &str| op != "_Arg" && (stateful(op) || segment::steers(op));
        let rules = control_flow::Rules {
            supports: &|graph, id| may_enter(context, graph, id),
            has_effect: &has_effect,
            infer: &|graph| {
                let mut graph = graph.clone();
                graph.node = inner::write_out_calls(graph.node).ok()?;
                context.host.infer_shapes(&graph)
            },
            bodies: &|name| context.host.graph_from_function(item.function(name)?.clone()),
            preserve: &item.preserve,
            left_alone: &self.kept_control_flow,
            control_flow: context.options.control_flow,
        };
        let mut flattened = control_flow::take_out(graph, control_flow::Sizes(item.sizes.clone()), &rules);
        constants::free_constants(&mut flattened.graph, has_effect);
        flattened
    }

    /// Engines of all segments. A segment that fails goes back into the graph, and the others are outlined again: they may now owe it
    /// a tensor.
    fn outline(&self, graph: &Graph, partition: &mut Partition, default_device: &Device) -> Result<Engines, OptimizeError> {
        let id = self.item.id;
        let outliner = Outliner {
            params: self.params,
            context: self.context,
            default_device,
            versions: self.item.versions(),
            explicit_precision: is_explicitly_quantized(graph),
        };
        let mut number = None;
        loop {
            if let Some(kept) = partition.unplaced_control_flow(graph) {
                return Ok(Engines::StartAgain(kept));
            }
            if partition.segments.is_empty() {
                return Ok(Engines::Made(Outlined::default()));
            }
            let number = *number.get_or_insert_with(|| graph_number(self.context.counter, graph, self.item.library.as_ref()));
            match outliner.outline(&partition.membership(graph), &partition.segments, number) {
                Ok(outlined) => return Ok(Engines::Made(outlined)),
                Err(Failure::Segments(failed)) => partition.give_up(graph, id, failed),
                Err(Failure::Graph(why)) => return Err(OptimizeError::Internal { id: id.into(), why }),
            }
        }
    }

    /// The new graph with its record and drawings.
    fn report(mut self, graph: &Graph, mut partition: Partition, outlined: Outlined) -> Outcome {
        let writer = ReportWriter {
            id: self.item.id,
            params: self.params,
            context: self.context,
            graph,
            partition: &partition,
        };
        let Outlined {
            engines,
            functions,
            mut nodes,
        } = outlined;
        let drawings = writer.drawings(&engines);
        let record = writer.record(&engines);
        if engines.is_empty() {
            return Outcome::unchanged(record, drawings);
        }
        writer.log(&engines);
        if let Some(first) = nodes.iter_mut().find(|node| node.name == engines[0].node.name) {
            let text = Value::S(record.json().to_string().into());
            first.attr.insert(report::ATTRIBUTE.into(), attr(text));
        }
        // A call that came into no engine is one as before.
        nodes.iter_mut().for_each(|node| drop(node.attr.remove(inner::GRAPHS)));
        let rewritten = self.item.assemble(nodes, functions);
        // A constant that several segments take is in each of them.
        let (size, limit) = (rewritten.encoded_len(), self.context.message_limit);
        if size > limit {
            let why = format!("In a graph that would have {size} bytes with its engines, over protobuf's limit of {limit}.");
            tracing::warn!("The graph '{}' stays native: {why}", self.item.id);
            partition.give_up_all(graph, &why);
            let writer = ReportWriter {
                id: self.item.id,
                params: self.params,
                context: self.context,
                graph,
                partition: &partition,
            };
            return Outcome::unchanged(writer.record(&[]), drawings);
        }
        Outcome {
            graph: Some(rewritten),
            record: Some(record),
            drawings,
        }
    }
}

/// Whether a node may be in an engine, wherever it stands in the graph.
fn may_enter(context: &Context<'_>, graph: &Graph, id: NodeId) -> Result<(), Reason> {
    let op = graph.nodes[id].op();
    if context.options.denied_ops.contains(op) && op != "Const" {
        return Err("Denylisted with the env var TF_TRT_OP_DENYLIST".into());
    }
    (context.supports)(graph, id)
}
