//! The third stage: each segment becomes a function and the `TRTEngineOp` node that stands for it.

use super::body::{Cut, Membership};
use super::check::{self, Wrong};
use super::names::{engine_name, native_segment_name};
use super::rewrite::Engine;
use super::{Context, Params, engine_node, inner_functions, segment_hash};
use crate::graph::Graph;
use crate::graph::native_segment::{SEGMENT_HASH, attr};
use crate::proto::tensorflow as tf;
use crate::segment::{Device, Segment};
use prost::Message as _;
use tf::attr_value::Value;

/// Engines in their graph.
#[derive(Default)]
pub struct Outlined {
    /// One for each segment, in order.
    pub engines: Vec<Engine>,
    /// The native segments, and what the loops and conditionals in them run.
    pub functions: Vec<tf::FunctionDef>,
    /// The graph's nodes with the engines in the places of their segments, in topological order.
    pub nodes: Vec<tf::NodeDef>,
}

/// Why there are no engines.
pub enum Failure {
    /// Segments that cannot be engines, by their indices in rising order, each with the reason.
    Segments(Vec<(usize, String)>),
    /// The graph with its engines is no graph.
    Graph(String),
}

/// Makes engines of segments.
pub struct Outliner<'a> {
    pub params: &'a Params,
    pub context: &'a Context<'a>,
    pub default_device: &'a Device,
    pub versions: Option<&'a tf::VersionDef>,
    /// Whether the graph holds its own quantization, so that nothing is to be calibrated.
    pub explicit_precision: bool,
}

impl Outliner<'_> {
    /// Outlines all segments and stitches the graph together. `number` is the one in the engines' names.
    pub fn outline(&self, membership: &Membership<'_>, segments: &[Segment], number: usize) -> Result<Outlined, Failure> {
        let mut made = Outlined::default();
        let mut failed = Vec::new();
        let taken = membership.taken_ports(segments.len());
        for (at, segment) in segments.iter().enumerate() {
            let cut = membership.cut(at, segment, &taken[at]);
            match cut.and_then(|cut| self.engine(&engine_name(number, at), segment, cut)) {
                Ok((engine, functions)) => {
                    made.engines.push(engine);
                    made.functions.extend(functions);
                }
                Err(why) => failed.push((at, why)),
            }
        }
        if !failed.is_empty() {
            return Err(Failure::Segments(failed));
        }
        made.nodes = check::rewritten(membership, &made.engines, segments).map_err(|wrong| match wrong {
            Wrong::Graph(why) => Failure::Graph(why),
            Wrong::Engines(mut engines, why) => {
                engines.sort_unstable();
                let why = format!("{why}; this is a bug in tftrt");
                Failure::Segments(engines.into_iter().map(|at| (at, why.clone())).collect())
            }
        })?;
        Ok(made)
    }

    /// The engine of a segment and its functions: what the loops and conditionals in it run, and the native segment.
    ///
    /// # Errors
    /// Why the segment has to stay native.
    fn engine(&self, name: &str, segment: &Segment, mut cut: Cut) -> Result<(Engine, Vec<tf::FunctionDef>), String> {
        cut.body.versions = self.versions.cloned();
        let (size, limit) = (cut.body.encoded_len(), self.context.message_limit);
        if size > limit {
            return Err(format!(
                "its body has {size} bytes, over protobuf's limit of {limit} bytes for one message"
            ));
        }
        let function_name = native_segment_name(name);
        let mut body = std::mem::take(&mut cut.body);
        let segment_hash = segment_hash::of(&body)?;
        let mut functions = Vec::new();
        inner_functions::make(self.context.host, &mut body, &function_name, &mut functions)?;
        functions.push(self.context.host.function_from_graph(body, &function_name)?);
        let mut node = engine_node::engine_node(
            name,
            &function_name,
            self.params,
            self.explicit_precision,
            segment,
            &cut,
            self.default_device,
        );
        node.attr.insert(SEGMENT_HASH.into(), attr(Value::S(segment_hash.into())));
        Ok((Engine { cut, node }, functions))
    }
}

/// Whether a graph holds its own INT8 quantization. TF-TRT knew the second version only; TensorFlow's Python function makes the fourth.
pub fn is_explicitly_quantized(graph: &Graph) -> bool {
    let mut ops = graph.nodes.iter().map(|node| node.op());
    ops.any(|op| {
        matches!(
            op,
            "QuantizeAndDequantizeV2" | "QuantizeAndDequantizeV3" | "QuantizeAndDequantizeV4"
        )
    })
}
