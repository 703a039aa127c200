//! A SavedModel to a converted one, without Python: load, freeze, optimize, write.
//!
//! The model is loaded into a session of TensorFlow's C API, which restores its variables; their values become constants, functions
//! are inlined, and Grappler runs with TensorRTOptimizer in it. What is written has one signature, no variables, and builds its
//! engines when it is first called. Its tables are initialized as they were.

mod freeze;
mod options;
pub mod passes;
mod write;

pub use options::Options;

use crate::memory;
use crate::proto::tensorflow as tf;
use crate::tf::c_api::{Session, Tensorflow};
use crate::tf::{BUILT_FOR, optimize_graph};
use freeze::{Variable, freeze, needed, node_of, prune};
use prost::Message;
use serde_json::{Value, json};
use std::path::Path;
use tf::tensor_info::Encoding;

/// What came of a conversion.
#[derive(Debug, serde::Serialize)]
pub struct Converted {
    /// The names of the engines' nodes.
    pub engines: Vec<String>,
    /// The nodes outside of them, those of constants not counted.
    pub native_nodes: usize,
    pub variables: usize,
}

/// `ConfigProto { allow_soft_placement: true }`.
const CONFIG: [u8; 2] = [7 << 3, 1];
/// The signature that names the op by which a model initializes itself.
const INIT_SIGNATURE: &str = "__saved_model_init_op";
/// Where older models name it.
const INIT_COLLECTIONS: [&str; 2] = ["saved_model_main_op", "legacy_init_op"];

/// The answer to a request of `tftrt_request`.
pub fn answer(request: &Value) -> Value {
    let done = serde_json::from_value::<Options>(request.clone())
        .map_err(|e| format!("convert_saved_model: {e}"))
        .and_then(|options| convert(&options, None));
    match done {
        Ok(converted) => json!({"converted": converted}),
        Err(why) => json!({"error": why}),
    }
}

/// Converts the SavedModel `options.input` into the folder `options.output`. `library` is TensorFlow's C API; the loader finds it where
/// it is not given.
///
/// # Errors
/// In one sentence, with the folder, variable, node or option at fault.
pub fn convert(options: &Options, library: Option<&Path>) -> Result<Converted, String> {
    options.check()?;
    let tensorflow = Tensorflow::open(library)?;
    if tensorflow.version() != BUILT_FOR {
        return Err(format!(
            "tftrt was built for TensorFlow {BUILT_FOR}, and this is TensorFlow {}: build it for this one, or use that one",
            tensorflow.version()
        ));
    }
    let mut session = tensorflow.load_saved_model(Path::new(&options.input), &options.tags, &CONFIG)?;
    let meta =
        tf::MetaGraphDef::decode(session.meta_graph()).map_err(|e| format!("{}: its MetaGraphDef cannot be read: {e}", options.input))?;
    let mut model = Model::new(meta, options)?;
    let inlined = optimize_graph(&model.graph, &passes::inlining(), &model.tensors(), &model.keep)
        .map_err(|e| format!("{}: functions cannot be inlined: {e}", options.input))?;
    model.graph = inlined;
    model.prune();
    let within = needed(&model.graph, &model.called());
    let variables =
        freeze(&mut model.graph, &within, |variables| read(&mut session, variables)).map_err(|e| format!("{}: {e}", options.input))?;
    drop(session);
    model.prune();
    model.graph = optimize_graph(
        &model.graph,
        &passes::conversion(options.parameter_map()),
        &model.tensors(),
        &model.keep,
    )
    .map_err(|e| format!("{}: {e}", options.input))?;
    let nodes = &model.graph.node;
    let converted = Converted {
        engines: nodes
            .iter()
            .filter(|node| node.op == "TRTEngineOp")
            .map(|node| node.name.clone())
            .collect(),
        native_nodes: nodes.iter().filter(|node| node.op != "TRTEngineOp" && node.op != "Const").count(),
        variables,
    };
    write::write(model, options)?;
    Ok(converted)
}

/// The values of variables, out of the session.
fn read(session: &mut Session, variables: &[Variable]) -> Result<Vec<tf::TensorProto>, String> {
    let mut names = Vec::with_capacity(variables.len());
    for (i, variable) in variables.iter().enumerate() {
        if variable.dtype == tf::DataType::DtString as i32 {
            return Err(format!("variable '{}' holds strings, which cannot be frozen here", variable.node));
        }
        names.push(match variable.reference {
            true => format!("{}:0", variable.node),
            false => {
                let name = format!("tftrt_read/{i}");
                session.add_unary("ReadVariableOp", &name, &variable.node, "dtype", variable.dtype)?;
                format!("{name}:0")
            }
        });
    }
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let values = session.run(&[], &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let proto = |tensor: &crate::tf::c_api::Tensor| {
        let dim = |size: i64| tf::tensor_shape_proto::Dim {
            size,
            ..Default::default()
        };
        Ok(tf::TensorProto {
            dtype: tensor.dtype(),
            tensor_shape: Some(tf::TensorShapeProto {
                dim: tensor.dims().into_iter().map(dim).collect(),
                unknown_rank: false,
            }),
            tensor_content: memory::copy("a variable", tensor.bytes())?.into(),
            ..Default::default()
        })
    };
    values.iter().map(proto).collect()
}

/// One signature of a model on its way.
struct Model {
    graph: tf::GraphDef,
    /// With the outputs that the converted graph has.
    signature: tf::SignatureDef,
    /// Nodes that stay whatever happens: for initialization, and the files that it reads.
    keep: Vec<String>,
    /// All the rest of what the model says of itself.
    meta: tf::MetaGraphDef,
}

impl Model {
    fn new(mut meta: tf::MetaGraphDef, options: &Options) -> Result<Model, String> {
        let known = || {
            let names = meta.signature_def.keys().filter(|name| !name.starts_with("__"));
            names.cloned().collect::<Vec<_>>().join(", ")
        };
        let Some(signature) = meta.signature_def.get(&options.signature).cloned() else {
            return Err(format!(
                "{} has no signature '{}'; it has: {}",
                options.input,
                options.signature,
                known()
            ));
        };
        let graph = meta.graph_def.take().ok_or_else(|| format!("{} has no graph", options.input))?;
        let mut keep: Vec<String> = init_op(&meta).map(|name| node_of(&name).to_string()).into_iter().collect();
        for asset in &meta.asset_file_def {
            keep.extend(asset.tensor_info.as_ref().and_then(name_of).map(|name| node_of(name).to_string()));
        }
        let mut model = Model {
            graph,
            signature,
            keep,
            meta,
        };
        model.own_outputs(&options.input)?;
        model.prune();
        Ok(model)
    }

    /// Puts a node behind each output: calls of functions, which the outputs are in models of TensorFlow 2, can then be inlined.
    fn own_outputs(&mut self, model: &str) -> Result<(), String> {
        for (key, info) in &self.signature.inputs {
            name_of(info).ok_or_else(|| format!("{model}: input '{key}' is no single tensor"))?;
        }
        let taken: std::collections::HashSet<String> = self.graph.node.iter().map(|node| node.name.clone()).collect();
        for (i, (key, info)) in self.signature.outputs.iter_mut().enumerate() {
            let from = name_of(info)
                .ok_or_else(|| format!("{model}: output '{key}' is no single tensor"))?
                .to_string();
            let name = (0..).map(|n| format!("tftrt_output_{}", i + n)).find(|name| !taken.contains(name));
            let name = name.unwrap_or_default();
            self.graph.node.push(tf::NodeDef {
                name: name.clone(),
                op: "Identity".into(),
                // A call that has an effect is inlined only where something waits for it.
                input: vec![from.clone(), format!("^{}", node_of(&from))],
                attr: [("T".to_string(), passes::dtype(info.dtype))].into(),
                ..Default::default()
            });
            info.encoding = Some(Encoding::Name(format!("{name}:0")));
        }
        Ok(())
    }

    /// The names of the tensors that calls feed and fetch.
    fn tensors(&self) -> Vec<String> {
        let infos = self.signature.inputs.values().chain(self.signature.outputs.values());
        infos.filter_map(name_of).map(str::to_string).collect()
    }

    /// The nodes that calls feed and fetch.
    fn called(&self) -> Vec<String> {
        self.tensors().iter().map(|name| node_of(name).to_string()).collect()
    }

    fn prune(&mut self) {
        let mut keep = self.keep.clone();
        keep.append(&mut self.called());
        prune(&mut self.graph, &keep);
    }
}

fn name_of(info: &tf::TensorInfo) -> Option<&str> {
    match &info.encoding {
        Some(Encoding::Name(name)) => Some(name),
        _ => None,
    }
}

/// The op by which the model initializes itself, if it has one.
fn init_op(meta: &tf::MetaGraphDef) -> Option<String> {
    let signature = meta.signature_def.get(INIT_SIGNATURE);
    if let Some(info) = signature.and_then(|signature| signature.outputs.get(INIT_SIGNATURE)) {
        return name_of(info).map(str::to_string);
    }
    INIT_COLLECTIONS
        .iter()
        .find_map(|name| match &meta.collection_def.get(*name)?.kind {
            Some(tf::collection_def::Kind::NodeList(list)) => list.value.first().cloned(),
            _ => None,
        })
}
