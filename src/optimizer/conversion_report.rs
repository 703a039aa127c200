//! The last stage: what a conversion reports of itself.

use super::partition::Partition;
use super::rewrite::Engine;
use super::{Context, Params};
use crate::graph::Graph;
use crate::report::drawing::{Drawing, Fate};
use crate::report::{NonConversionReport, Record};
use crate::segment::{self, Segment};
use serde_json::json;

/// Writes the record, the log and the drawings of one graph.
pub struct ReportWriter<'a> {
    pub id: &'a str,
    pub params: &'a Params,
    pub context: &'a Context<'a>,
    pub graph: &'a Graph,
    pub partition: &'a Partition,
}

impl ReportWriter<'_> {
    /// What stayed native, what was asked for, and the engines.
    pub fn record(&self, engines: &[Engine]) -> Record {
        let mut native = NonConversionReport::default();
        for (&id, reason) in &self.partition.native {
            native.add(self.graph.nodes[id].op(), reason, self.graph.nodes[id].name());
        }
        let (params, options) = (self.params, self.context.options);
        Record {
            graph: self.id.into(),
            nodes: self.graph.nodes.len(),
            engines: engines
                .iter()
                .zip(&self.partition.segments)
                .map(|(engine, segment)| (engine.node.name.clone(), segment.nodes.len()))
                .collect(),
            asked: json!({
                "minimum_segment_size": params.minimum_segment_size,
                "max_workspace_size_bytes": params.max_workspace_size_bytes,
                "precision_mode": params.precision_mode,
                "use_dynamic_shape": !params.use_implicit_batch,
                "TF_TRT_MAX_ALLOWED_ENGINES": options.max_engines,
                "TF_TRT_OP_DENYLIST": options.denied_ops,
                "TF_TRT_OP_FAKELIST": options.fake_ops,
                "TFTRT_CONTROL_FLOW": options.control_flow.name(),
                "reject_all_fp_cast_ops": options.reject_fp_casts,
            }),
            native,
        }
    }

    /// Logs each engine, its inputs and outputs, and its nodes.
    pub fn log(&self, engines: &[Engine]) {
        for (engine, segment) in engines.iter().zip(&self.partition.segments) {
            let (name, count) = (&engine.node.name, segment.nodes.len());
            tracing::info!("{name} replaces {count} nodes of the graph '{}'.", self.id);
            self.log_engine(engine, segment);
        }
    }

    fn log_engine(&self, engine: &Engine, segment: &Segment) {
        let name = &engine.node.name;
        for (what, tensors) in [("takes", &engine.cut.inputs), ("gives", &engine.cut.outputs)] {
            for (port, info) in tensors {
                let from = self.graph.nodes[port.node].name();
                tracing::debug!("{name} {what} {} {} ('{from}:{}')", info.dtype, info.shape, port.index);
            }
        }
        for &id in &segment.nodes {
            let node = &self.graph.nodes[id];
            tracing::trace!("{name} holds '{}' ({})", node.name(), node.op());
        }
    }

    /// The graph before and after, in Graphviz's language; `None` if no drawings are wanted.
    pub fn drawings(&self, engines: &[Engine]) -> Option<[String; 2]> {
        let order = self.context.draw.then(|| segment::topological_order(self.graph).ok()).flatten()?;
        let membership = self.partition.membership(self.graph);
        let native = |id| self.partition.native.get(&id).map_or("it is a constant", String::as_str);
        let fates: Vec<Fate<'_>> = (0..self.graph.nodes.len())
            .map(|id| membership.home[id].map_or_else(|| Fate::Native(native(id)), Fate::Engine))
            .collect();
        let engines: Vec<String> = engines.iter().map(|engine| engine.node.name.clone()).collect();
        let drawing = Drawing {
            id: self.id,
            graph: self.graph,
            order: &order,
            fates: &fates,
            engines: &engines,
        };
        Some([drawing.before(), drawing.after()])
    }
}
