//! The Grappler pass `TensorRTOptimizer`: a graph in, the graph with `TRTEngineOp` nodes out.
//!
//! [`params`] reads what the front end asks for. [`pass`] then takes the graph through its stages:
//!
//! 1. flatten control flow ([`crate::control_flow`]): loops and conditionals become single nodes, or are written out;
//! 2. partition ([`partition`], by [`crate::segment`]): which nodes go into which engine;
//! 3. outline ([`outline`]): [`body`] cuts each segment out as a function, [`engine_node`] makes the node in its place;
//! 4. stitch ([`rewrite`], and [`check`] over the result): the graph around the engines;
//! 5. report ([`conversion_report`]).
//!
//! A segment that fails on the way stays native, and the report has the reason; the graph never fails for it.

mod body;
mod check;
mod constants;
mod conversion_report;
mod engine_node;
mod inner_functions;
mod names;
mod outline;
mod params;
mod partition;
mod pass;
mod rewrite;
mod segment_hash;
mod work_item;

pub use params::{DEFAULT_MINIMUM_SEGMENT_SIZE, Params};

use crate::convert::{self, Reason};
use crate::files;
use crate::graph::{Graph, GraphError, NodeId, TensorInfo};
use crate::proto::{MESSAGE_LIMIT, tensorflow as tf};
use crate::report::{self, Record, drawing};
use crate::segment::{self, SegmentOptions};
use crate::settings::{self, Settings};
use pass::Pass;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use work_item::WorkItem;

/// Why a graph could not be worked on. Grappler then goes on with the graph as it was.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum OptimizeError {
    #[error("TensorRTOptimizer's parameter '{name}' is {found} where {takes} was expected; the graph is not converted")]
    Parameter { name: String, takes: String, found: String },
    #[error("the graph '{id}' cannot be converted: {source}")]
    Graph { id: String, source: GraphError },
    #[error("the graph '{id}' cannot be converted: nodes {names} are on a cycle that is no loop")]
    Cycle { id: String, names: String },
    #[error("the graph '{id}' is not converted, because putting the engines in failed ({why}); this is a bug in tftrt")]
    Internal { id: String, why: String },
}

/// What Grappler hands over.
pub struct Item<'a> {
    /// "tf_graph", or a function's name.
    pub id: &'a str,
    pub graph: tf::GraphDef,
    /// Types and shapes of nodes' outputs, by node name.
    pub shapes: HashMap<String, Vec<TensorInfo>>,
    /// The dimensions of the same outputs, in which open ones that have the same number below -1 are equal.
    pub sizes: HashMap<String, Vec<Vec<i64>>>,
    /// Nodes that have to stay (feeds, fetches, `train_op`, ...), by name; a port behind the name is passed over.
    pub preserve: HashSet<String>,
    /// For a function, its attributes.
    pub function_attrs: Option<&'a BTreeMap<String, tf::AttrValue>>,
    /// Where nodes run that are assigned nowhere: "" on a machine without a GPU.
    pub default_device: String,
}

/// What the optimizer needs of TensorFlow.
pub trait Host {
    /// The function of a graph with `_Arg` and `_Retval` nodes (TensorFlow's GraphToFunctionDef). Err: why it is none.
    fn function_from_graph(&self, graph: tf::GraphDef, name: &str) -> Result<tf::FunctionDef, String>;

    /// The body of a function, with `_Arg` and `_Retval` nodes (TensorFlow's FunctionDefToBodyHelper). Err: why it has none.
    fn graph_from_function(&self, function: tf::FunctionDef) -> Result<tf::GraphDef, String>;

    /// What TensorFlow infers of the outputs of a graph's nodes, by name; `None` where no shapes fit.
    fn infer_shapes(&self, graph: &tf::GraphDef) -> Option<HashMap<String, Vec<TensorInfo>>>;

    /// Whether an op, by type, has a state.
    fn is_stateful(&self, op: &str) -> bool;

    /// Whether there is an op of that type.
    fn knows(&self, op: &str) -> bool;
}

/// All that a conversion depends on besides its parameters and the graph.
pub struct Context<'a> {
    pub host: &'a dyn Host,
    pub options: &'a SegmentOptions,
    /// The converter's word on a node.
    pub supports: &'a dyn Fn(&Graph, NodeId) -> Result<(), Reason>,
    /// The number of the next converted graph.
    pub counter: &'a AtomicUsize,
    /// Bytes that a serialized segment, and the whole graph, may have.
    pub message_limit: usize,
    /// Whether drawings are wanted.
    pub draw: bool,
    /// What finds the segments.
    pub segment: &'a Segmenter<'a>,
}

/// [`segment::segment`], or what a test has in its place.
pub type Segmenter<'a> = dyn Fn(&Graph, &segment::Request<'_>) -> Result<(segment::Segmentation, segment::Constants), Vec<String>> + 'a;

/// What came of a graph.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The new graph; `None` where nothing changed.
    pub graph: Option<tf::GraphDef>,
    /// What stayed native, and what was asked for; `None` where the graph was none to convert.
    pub record: Option<Record>,
    /// In Graphviz's language: before and after.
    pub drawings: Option<[String; 2]>,
}

impl Outcome {
    fn unchanged(record: Record, drawings: Option<[String; 2]>) -> Outcome {
        Outcome {
            graph: None,
            record: Some(record),
            drawings,
        }
    }
}

/// Graphs converted in this process.
static GRAPHS: AtomicUsize = AtomicUsize::new(0);

/// Puts engines into the item's graph and prints the non-conversion report. `None`: nothing changed (the item is none to
/// convert, or it has no segment that is worth an engine).
///
/// # Errors
/// Wrong parameters on a function, or a graph that is none.
pub fn optimize(params: &Params, item: Item<'_>, host: &dyn Host) -> Result<Option<tf::GraphDef>, OptimizeError> {
    let settings = Settings::current();
    let context = Context {
        host,
        options: &SegmentOptions::from(&settings),
        supports: &convert::supports,
        counter: &GRAPHS,
        message_limit: MESSAGE_LIMIT,
        draw: settings.export_graph_viz_path.is_some(),
        segment: &segment::segment,
    };
    check_op_names(host, &settings);
    let id = item.id.to_string();
    let outcome = optimize_with(params, item, &context)?;
    if let Some(record) = &outcome.record {
        report::keep(record);
        record.native.publish(&settings.detailed_report);
    }
    if let (Some(path), Some(drawings)) = (&settings.export_graph_viz_path, &outcome.drawings) {
        export_drawings(path, &id, drawings);
    }
    Ok(outcome.graph)
}

/// A word on op types in the lists of the environment that no graph can hold: a misspelt one would do nothing, and say nothing.
fn check_op_names(host: &dyn Host, settings: &Settings) {
    for (variable, ops) in [
        ("TF_TRT_OP_DENYLIST", &settings.op_denylist),
        ("TF_TRT_OP_FAKELIST", &settings.op_fakelist),
    ] {
        for op in ops.iter().filter(|op| !host.knows(op)) {
            let near = convert::supported_ops().find(|known| known.eq_ignore_ascii_case(op));
            let hint = near.map(|known| format!("; there is {known}")).unwrap_or_default();
            settings::say_once(
                variable,
                format!(
                    "\"{op}\" is no op type of this TensorFlow{hint}; it takes op types as graphs have them (Conv2D), separated by commas"
                ),
            );
        }
    }
}

/// TF_TRT_EXPORT_GRAPH_VIZ_PATH. A file that cannot be written is warned of, no more.
fn export_drawings(path: &Path, id: &str, drawings: &[String; 2]) {
    for (when, text) in ["before", "after"].into_iter().zip(drawings) {
        if let Err(why) = files::replace(&drawing::beside(path, id, when), |out| out.write_all(text.as_bytes())) {
            tracing::warn!("TF_TRT_EXPORT_GRAPH_VIZ_PATH: {why}. Conversion goes on.");
        }
    }
}

/// [`optimize`] with everything that it depends on given in; prints nothing.
pub fn optimize_with(params: &Params, item: Item<'_>, context: &Context<'_>) -> Result<Outcome, OptimizeError> {
    let Some(params) = effective_params(params, item.id, item.function_attrs)? else {
        return Ok(Outcome::default());
    };
    Pass::new(&params, context, WorkItem::new(item)?).run()
}

/// Whether [`optimize`] would look at an item of this id and these attributes at all. Grappler hands over every function of the
/// library, among them the native segments that were just made, with all their weights: those need not be read first.
pub fn concerns(params: &Params, id: &str, function_attrs: Option<&BTreeMap<String, tf::AttrValue>>) -> bool {
    // What is wrong with the attributes is said when the item is worked on.
    !matches!(effective_params(params, id, function_attrs), Ok(None))
}

/// The parameters for this item; `None` where it is none to convert.
fn effective_params(
    params: &Params,
    id: &str,
    function_attrs: Option<&BTreeMap<String, tf::AttrValue>>,
) -> Result<Option<Params>, OptimizeError> {
    if id == "tf_graph" {
        return Ok((params.minimum_segment_size != -1).then(|| params.clone()));
    }
    match function_attrs {
        Some(attrs) if params::asks_for_conversion(attrs)? => params.from_function_attrs(attrs).map(Some),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests;
