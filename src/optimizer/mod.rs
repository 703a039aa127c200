//! The Grappler pass `TensorRTOptimizer`: a graph in, the graph with `TRTEngineOp` nodes out.
//!
//! [`params`] reads what the front end asks for, [`flow`] takes out the control flow that need not be, [`crate::segment`] finds the
//! segments, [`body`] cuts each out as a function, [`engine_node`] makes the node in its place, [`rewrite`] joins the rest to it. A segment that fails on the way stays as it
//! is and the report says why; the graph never fails for it.

mod body;
mod check;
mod constants;
mod engine_node;
mod flow;
mod inner_functions;
mod params;
mod rewrite;
mod segment_hash;

pub use body::{INPUT_PREFIX, OUTPUT_PREFIX};
pub use params::{DEFAULT_MINIMUM_SEGMENT_SIZE, Params};
pub use segment_hash::ATTRIBUTE as SEGMENT_HASH;

use crate::convert::{self, Reason};
use crate::files;
use crate::graph::{Graph, GraphError, NodeId, TensorInfo, inner};
use crate::proto::{MESSAGE_LIMIT, tensorflow as tf};
use crate::report::drawing::{self, Drawing, Fate};
use crate::report::{self, NonConversionReport, Record};
use crate::segment::{self, Device, Rules, Segment, SegmentOptions};
use crate::settings::{self, Settings};
use body::{Cut, Membership};
use prost::Message as _;
use rewrite::Engine;
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use tf::attr_value::Value;

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

/// What Grappler marks a function with that it made of another one. Python loads no SavedModel with such a function.
const SPECIALIZED: &str = "_GrapplerSpecializedFunc";

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
    let mut given = Given::new(item)?;
    // Loops and conditionals that could be one node each, and came into no engine: by that node's name, why.
    let mut left_alone = HashMap::new();
    loop {
        match attempt(&params, &mut given, context, &left_alone)? {
            Attempt::Done(outcome) => return Ok(*outcome),
            Attempt::Again(without) => left_alone.extend(without),
        }
    }
}

/// An item as it is worked on.
struct Given<'a> {
    id: &'a str,
    /// Gone after an attempt that is the only one.
    graph: Option<Graph>,
    /// Whether there may be another attempt.
    steered: bool,
    library: Option<tf::FunctionDefLibrary>,
    versions: Option<tf::VersionDef>,
    version: i32,
    debug_info: Option<tf::GraphDebugInfo>,
    sizes: HashMap<String, Vec<Vec<i64>>>,
    preserve: HashSet<String>,
    default_device: String,
}

impl<'a> Given<'a> {
    fn new(item: Item<'a>) -> Result<Self, OptimizeError> {
        let Item { id, graph: mut def, .. } = item;
        let library = def.library.take();
        let versions = def.versions.take();
        #[allow(deprecated)] // Kept as it is: old graphs have it.
        let version = def.version;
        let debug_info = def.debug_info.take();
        let graph = Graph::new(def, item.shapes).map_err(|source| OptimizeError::Graph { id: id.into(), source })?;
        Ok(Given {
            id,
            preserve: preserved_nodes(item.preserve, &graph),
            steered: graph.nodes.iter().any(|node| matches!(node.op(), "Switch" | "Enter")),
            graph: Some(graph),
            library,
            versions,
            version,
            debug_info,
            sizes: item.sizes,
            default_device: item.default_device,
        })
    }

    fn graph(&mut self) -> Graph {
        let graph = if self.steered { self.graph.clone() } else { self.graph.take() };
        graph.unwrap_or_default()
    }
}

/// What came of an attempt.
enum Attempt {
    Done(Box<Outcome>),
    /// These loops and conditionals, by the names of the nodes that stood for them, are to stay as they were: why.
    Again(HashMap<String, Reason>),
}

fn done(outcome: Outcome) -> Result<Attempt, OptimizeError> {
    Ok(Attempt::Done(Box::new(outcome)))
}

fn attempt(
    params: &Params,
    given: &mut Given<'_>,
    context: &Context<'_>,
    left_alone: &HashMap<String, Reason>,
) -> Result<Attempt, OptimizeError> {
    let graph = given.graph();
    let Given {
        id,
        library,
        versions,
        version,
        debug_info,
        sizes,
        preserve,
        default_device,
        ..
    } = given;
    let id = *id;
    // TensorFlow calls `_Arg` stateful, so that it is not pruned; it does nothing.
    let stateful = |op: &str| context.host.is_stateful(op) && !segment::keeps_to_itself(op);
    let has_effect = |op: &str| op != "_Arg" && (stateful(op) || segment::steers(op));
    let flow::Flow { mut graph, stays } = flow::take_out(
        graph,
        flow::Sizes(sizes.clone()),
        &flow::Rules {
            supports: &|graph, id| may_enter(context, graph, id),
            has_effect: &has_effect,
            infer: &|graph| {
                let mut graph = graph.clone();
                graph.node = inner::write_out_calls(graph.node).ok()?;
                context.host.infer_shapes(&graph)
            },
            bodies: &|name| {
                let functions = library.iter().flat_map(|library| &library.function);
                let mut named = functions.filter(|function| function.signature.as_ref().is_some_and(|signature| signature.name == name));
                let function = named.next().ok_or_else(|| format!("the graph has no function '{name}'"))?;
                context.host.graph_from_function(function.clone())
            },
            preserve,
            left_alone,
            control_flow: context.options.control_flow,
        },
    );
    constants::free_constants(&mut graph, has_effect);
    let rules = Rules {
        minimum_size: params.minimum_segment_size,
        implicit_batch: params.use_implicit_batch,
        static_engine: !params.is_dynamic_op,
        default_device: Device::parse(default_device).unwrap_or_default(),
    };
    let request = segment::Request {
        rules: &rules,
        options: context.options,
        preserve,
        supports: context.supports,
        is_stateful: &|op| context.host.is_stateful(op),
    };
    let (found, constants) = (context.segment)(&graph, &request).map_err(|names| OptimizeError::Cycle {
        id: id.into(),
        names: some_of(&names),
    })?;
    let mut native = found.excluded;
    for (&node, reason) in &mut native {
        let node = &graph.nodes[node];
        // What control flow is made of has no converter by itself: say what is in the way of the whole.
        if let Some(told) = stays.get(node.name()).filter(|_| flow::is_part(node.op())) {
            reason.clone_from(told);
        }
    }
    let mut segments = found.segments;
    if let Some(without) = outside(&graph, &segments, &native) {
        return Ok(Attempt::Again(without));
    }
    let told = Told {
        id,
        params,
        context,
        graph: &graph,
    };
    let maker = Maker {
        params,
        context,
        rules: &rules,
        versions,
        explicit_precision: graph.nodes.iter().any(|node| is_explicit(node.op())),
    };
    let internal = |why| OptimizeError::Internal { id: id.into(), why };
    let mut membership = Membership::new(&graph, &constants, &segments);
    let (mut engines, mut functions, mut nodes): (Vec<Engine>, Vec<tf::FunctionDef>, Vec<tf::NodeDef>) = Default::default();
    if !segments.is_empty() {
        let number = graph_number(context.counter, &graph, library.as_ref());
        // A segment that fails goes back into the graph, and the others are cut again: they may now owe it a tensor.
        loop {
            let mut failed = Vec::new();
            engines.clear();
            functions.clear();
            let taken = membership.taken_ports(segments.len());
            for (at, segment) in segments.iter().enumerate() {
                let name = format!("TRTEngineOp_{number:03}_{at:03}");
                let cut = membership.cut(at, segment, &taken[at]);
                match cut.and_then(|cut| maker.engine(&name, segment, cut)) {
                    Ok((engine, mut own)) => {
                        engines.push(engine);
                        functions.append(&mut own);
                    }
                    Err(why) => failed.push((at, why)),
                }
            }
            if segments.is_empty() {
                break;
            }
            if failed.is_empty() {
                match check::rewritten(&membership, &engines, &segments) {
                    Ok(sorted) => {
                        nodes = sorted;
                        break;
                    }
                    Err(check::Wrong::Graph(why)) => return Err(internal(why)),
                    Err(check::Wrong::Engines(wrong, why)) => {
                        failed.extend(wrong.into_iter().map(|at| (at, format!("{why}; this is a bug in tftrt"))));
                    }
                }
            }
            for (at, why) in failed.into_iter().rev() {
                let segment = segments.remove(at);
                tracing::warn!(
                    "A segment of {} nodes of the graph '{id}' stays native: {why}.",
                    segment.nodes.len()
                );
                leave_native(&mut native, &graph, &segment, &format!("In a segment that stays native: {why}."));
            }
            if let Some(without) = outside(&graph, &segments, &native) {
                return Ok(Attempt::Again(without));
            }
            membership = Membership::new(&graph, &constants, &segments);
        }
    }
    let drawings = told.drawings(&membership, &engines, &native);
    if segments.is_empty() {
        return done(Outcome::unchanged(told.record(&native, &[], &[]), drawings));
    }
    for (engine, segment) in engines.iter().zip(&segments) {
        tracing::info!("{} replaces {} nodes of the graph '{id}'.", engine.node.name, segment.nodes.len());
        told.log(engine, segment);
    }
    let record = told.record(&native, &engines, &segments);
    if let Some(first) = nodes.iter_mut().find(|node| node.name == engines[0].node.name) {
        let text = Value::S(record.json().to_string().into());
        first.attr.insert(report::ATTRIBUTE.into(), body::attr(text));
    }
    // A call that came into no engine is one as before.
    nodes.iter_mut().for_each(|node| drop(node.attr.remove(inner::GRAPHS)));
    let mut library = library.take().unwrap_or_default();
    library.function.extend(functions);
    for function in &mut library.function {
        function.attr.remove(SPECIALIZED);
    }
    #[allow(deprecated)]
    let rewritten = tf::GraphDef {
        node: nodes,
        versions: versions.take(),
        version: *version,
        library: Some(library),
        debug_info: debug_info.take(),
    };
    // Constants that several segments take are in each: that can be too much.
    let size = rewritten.encoded_len();
    if size > context.message_limit {
        let why = format!(
            "In a graph that would have {size} bytes with its engines, over protobuf's limit of {}.",
            context.message_limit
        );
        tracing::warn!("The graph '{id}' stays native: {why}");
        for segment in &segments {
            leave_native(&mut native, &graph, segment, &why);
        }
        return done(Outcome::unchanged(told.record(&native, &[], &[]), drawings));
    }
    done(Outcome {
        graph: Some(rewritten),
        record: Some(record),
        drawings,
    })
}

/// Of the nodes that stand for loops and conditionals, those that are in no segment, and why; `None` where there are none. As they
/// were before, what is in them may be in engines still.
fn outside(graph: &Graph, segments: &[Segment], native: &BTreeMap<NodeId, Reason>) -> Option<HashMap<String, Reason>> {
    let mut made = flow::made_nodes(graph).peekable();
    made.peek()?;
    let inside: HashSet<NodeId> = segments.iter().flat_map(|segment| segment.nodes.iter().copied()).collect();
    let out = made.filter(|id| !inside.contains(id));
    let reason = |id: &NodeId| native.get(id).cloned().unwrap_or_else(|| "it came into no engine".into());
    let found: HashMap<String, Reason> = out.map(|id| (graph.nodes[id].name().to_string(), reason(&id))).collect();
    (!found.is_empty()).then_some(found)
}

/// Whether a node may be in an engine, wherever it stands in the graph.
fn may_enter(context: &Context<'_>, graph: &Graph, id: NodeId) -> Result<(), Reason> {
    let op = graph.nodes[id].op();
    if context.options.denied_ops.contains(op) && op != "Const" {
        return Err("Denylisted with the env var TF_TRT_OP_DENYLIST".into());
    }
    (context.supports)(graph, id)
}

/// What is told of a conversion.
struct Told<'a> {
    id: &'a str,
    params: &'a Params,
    context: &'a Context<'a>,
    graph: &'a Graph,
}

impl Told<'_> {
    fn record(&self, native: &BTreeMap<NodeId, Reason>, engines: &[Engine], segments: &[Segment]) -> Record {
        let mut report = NonConversionReport::default();
        for (&id, reason) in native {
            report.add(self.graph.nodes[id].op(), reason, self.graph.nodes[id].name());
        }
        let (params, options) = (self.params, self.context.options);
        Record {
            graph: self.id.into(),
            nodes: self.graph.nodes.len(),
            engines: engines
                .iter()
                .zip(segments)
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
            native: report,
        }
    }

    fn log(&self, engine: &Engine, segment: &Segment) {
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

    fn drawings(&self, membership: &Membership<'_>, engines: &[Engine], native: &BTreeMap<NodeId, Reason>) -> Option<[String; 2]> {
        let order = self.context.draw.then(|| segment::topological_order(self.graph).ok()).flatten()?;
        let fates: Vec<Fate<'_>> = (0..self.graph.nodes.len())
            .map(|id| match membership.home[id] {
                Some(at) => Fate::Engine(at),
                None => Fate::Native(native.get(&id).map_or("it is a constant", String::as_str)),
            })
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

/// The first few names, for a message.
fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(5) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Notes why the nodes of a segment stay native after all.
fn leave_native(native: &mut BTreeMap<NodeId, Reason>, graph: &Graph, segment: &Segment, reason: &str) {
    let nodes = segment.nodes.iter().filter(|&&id| graph.nodes[id].op() != "Const");
    native.extend(nodes.map(|&id| (id, reason.to_string())));
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

/// Names of nodes: "name:0" and "^name" stand for "name", unless a node is called so.
fn preserved_nodes(names: HashSet<String>, graph: &Graph) -> HashSet<String> {
    names
        .into_iter()
        .map(|name| {
            if graph.find(&name).is_some() {
                return name;
            }
            match crate::graph::parse_input(&name) {
                Some(crate::graph::Input::Control(node) | crate::graph::Input::Data(node, _)) => node.to_string(),
                None => name,
            }
        })
        .collect()
}

/// The number for this graph's engines: one that no node and no function of a graph converted before has.
fn graph_number(counter: &AtomicUsize, graph: &Graph, library: Option<&tf::FunctionDefLibrary>) -> usize {
    let number = |name: &str| -> Option<usize> { name.strip_prefix("TRTEngineOp_")?.split_once('_')?.0.parse().ok() };
    let functions = library.into_iter().flat_map(|library| &library.function);
    let functions = functions
        .filter_map(|function| function.signature.as_ref())
        .map(|signature| signature.name.as_str());
    let used: HashSet<usize> = graph
        .nodes
        .iter()
        .map(|node| node.name())
        .chain(functions)
        .filter_map(number)
        .collect();
    loop {
        let next = counter.fetch_add(1, Ordering::Relaxed);
        if !used.contains(&next) {
            return next;
        }
    }
}

/// Whether an op says of a graph that its INT8 is all in it, so that there is nothing to calibrate. TF-TRT knew the second version only;
/// TensorFlow's own Python function makes the fourth by now.
fn is_explicit(op: &str) -> bool {
    matches!(
        op,
        "QuantizeAndDequantizeV2" | "QuantizeAndDequantizeV3" | "QuantizeAndDequantizeV4"
    )
}

/// Makes engines of cut out segments.
struct Maker<'a> {
    params: &'a Params,
    context: &'a Context<'a>,
    rules: &'a Rules,
    versions: &'a Option<tf::VersionDef>,
    explicit_precision: bool,
}

impl Maker<'_> {
    /// The engine and its functions: what the loops and conditionals in it run, and the native segment. Err: why the segment has to
    /// stay native.
    fn engine(&self, name: &str, segment: &Segment, mut cut: Cut) -> Result<(Engine, Vec<tf::FunctionDef>), String> {
        cut.body.versions = self.versions.clone();
        let (size, limit) = (cut.body.encoded_len(), self.context.message_limit);
        if size > limit {
            return Err(format!(
                "its body has {size} bytes, over protobuf's limit of {limit} bytes for one message"
            ));
        }
        let function_name = format!("{name}_native_segment");
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
            &self.rules.default_device,
        );
        let segment_hash = body::attr(Value::S(segment_hash.into()));
        node.attr.insert(segment_hash::ATTRIBUTE.into(), segment_hash);
        Ok((Engine { cut, node }, functions))
    }
}

#[cfg(test)]
mod tests;
