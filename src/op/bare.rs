//! Plans without a container: TF-TRT 2.x stored TensorRT's own bytes.
//!
//! Such a plan says nothing of what it is for. So it is used for the model that it is part of, and for nothing else: a plan in an asset
//! file is for the segment that this model's `saved_model.pb` has under the engine's name, and one in a node is for that node. TensorRT
//! itself refuses plans of another version or GPU.

use super::attrs::Attrs;
use super::engines::{Identity, Loaded};
use super::own_engines;
use super::resource::Resource;
use super::segment::fingerprint;
use crate::engine::Backend;
use crate::engine::asset::{self, EngineInstance};
use crate::memory;
use crate::proto::tensorflow as tf;
use crate::settings::Settings;
use crate::tf::TensorflowHost;
use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};
use std::cell::OnceCell;
use std::path::{Path, PathBuf};

/// What is said of each bare plan that is not used.
pub const WHAT: &str = "it is a bare TensorRT plan, as TF-TRT 2.x saved them";

/// No SavedModel is larger: protobuf's limit.
const MOST_BYTES: u64 = 2 << 30;

/// The model that an asset file is part of, read when it is first asked for.
pub struct Model<'a> {
    file: &'a Path,
    engine: &'a str,
    identity: OnceCell<Result<Identity, String>>,
}

impl<'a> Model<'a> {
    /// Of the asset file of the engine of that name.
    pub fn of(file: &'a Path, engine: &'a str) -> Self {
        Model {
            file,
            engine,
            identity: OnceCell::new(),
        }
    }

    /// Whose the bare plans of the file are. `plan` is the first of them: where the model has no native segment, it stands for it.
    ///
    /// # Errors
    /// The model does not say, or the engines are of implicit batch, which no TensorRT here runs as they are.
    fn identity(&self, plan: &[u8]) -> Result<Identity, String> {
        self.identity.get_or_init(|| self.find(Some(plan))).clone()
    }

    fn find(&self, plan: Option<&[u8]>) -> Result<Identity, String> {
        let mut found: Vec<Identity> = Vec::new();
        let path = saved_model(asset::local(self.file))?;
        for (node, library) in nodes(&path, self.engine)? {
            let attrs = Attrs::parse(Bytes::from(node.encode_to_vec())).map_err(|e| e.message)?;
            if attrs.implicit_batch {
                return Err("its engine has an implicit batch, and is built anew with a batch from 1 to its own".to_string());
            }
            let identity = Identity {
                segment: match (attrs.segment_name.as_str(), plan) {
                    ("", Some(plan)) => Sha256::digest(plan).into(),
                    ("", None) => return Err(format!("{} has no native segment of '{}'", path.display(), self.engine)),
                    (function, _) => segment(function, library)?,
                },
                settings: own_engines::settings(&attrs),
                node: attrs.segment_hash,
            };
            if !found.contains(&identity) {
                found.push(identity);
            }
        }
        match found[..] {
            [one] => Ok(one),
            [] => Err(format!("{} has no engine '{}'", path.display(), self.engine)),
            _ => Err(format!(
                "{} has several engines '{}', and the plan does not say whose it is",
                path.display(),
                self.engine
            )),
        }
    }

    /// The hash of the native segment that the file's bare plans are for.
    ///
    /// # Errors
    /// As for loading them; and there is no native segment.
    pub fn segment(&self) -> Result<[u8; 32], String> {
        self.find(None).map(|identity| identity.segment)
    }
}

/// The `saved_model.pb` that a file in a folder `assets` is part of.
fn saved_model(file: &Path) -> Result<PathBuf, String> {
    let assets = file
        .parent()
        .filter(|folder| folder.file_name().is_some_and(|name| name == "assets"));
    let model = assets.and_then(Path::parent).map(|model| model.join("saved_model.pb"));
    let model = model.ok_or("it is in no model's folder 'assets', so nothing says which segment it is for")?;
    match std::fs::metadata(&model) {
        Ok(about) if about.is_file() && about.len() <= MOST_BYTES => Ok(model),
        Ok(_) => Err(format!("{} is no file of at most {MOST_BYTES} bytes", model.display())),
        Err(e) => Err(format!("{}, which says what it is for, cannot be read: {e}", model.display())),
    }
}

/// The nodes of an engine's name, each with the functions of its graph.
fn nodes(path: &Path, engine: &str) -> Result<Vec<(tf::NodeDef, std::rc::Rc<tf::FunctionDefLibrary>)>, String> {
    let unreadable = |why: String| format!("{} cannot be read: {why}", path.display());
    let bytes = std::fs::read(path).map_err(|e| unreadable(e.to_string()))?;
    let model: tf::SavedModel = memory::decode("the model", bytes.into()).map_err(|e| unreadable(e.to_string()))?;
    let mut found = Vec::new();
    for graph in model.meta_graphs.into_iter().filter_map(|graph| graph.graph_def) {
        let library = std::rc::Rc::new(graph.library.unwrap_or_default());
        let inside = library.function.iter().flat_map(|function| &function.node_def);
        let of_engine = |node: &&tf::NodeDef| node.op == "TRTEngineOp" && node.name.rsplit('/').next() == Some(engine);
        for node in graph.node.iter().chain(inside).filter(of_engine) {
            found.push((node.clone(), library.clone()));
        }
    }
    Ok(found)
}

/// The fingerprint of a function, as a call of the model takes it.
fn segment(name: &str, library: std::rc::Rc<tf::FunctionDefLibrary>) -> Result<[u8; 32], String> {
    let function = library
        .function
        .iter()
        .find(|function| function.signature.as_ref().is_some_and(|signature| signature.name == name))
        .ok_or_else(|| format!("its model has no function '{name}'"))?;
    let (outline, checksums) = TensorflowHost::new((*library).clone())?.function_outline(function.clone())?;
    // Segments that run functions of the library are this library's own, whose plans are not bare.
    let functions = |_: &[u8]| Err("a bare plan is of a segment without functions inside".to_string());
    fingerprint(outline, &checksums, &functions)
}

/// Whether bare plans are used at all.
fn allowed() -> Result<(), String> {
    match Settings::current().allow_bare_plans {
        true => Ok(()),
        false => Err(format!("{WHAT}, and TFTRT_ALLOW_BARE_PLANS=false forbids those")),
    }
}

impl Resource {
    /// Loads a bare plan of an asset file, for the model that the file is part of. `present` as for other plans.
    pub(super) fn load_bare(
        &self,
        backend: &'static dyn Backend,
        instance: EngineInstance,
        model: &Model<'_>,
        is_there: impl FnOnce(Identity) -> bool,
    ) -> Result<(), String> {
        allowed()?;
        if !backend.takes_bare_plans() {
            return Err(not_tried(backend));
        }
        let identity = model.identity(&instance.plan).map_err(|why| format!("{WHAT}: {why}"))?;
        if is_there(identity) {
            return Ok(());
        }
        let loaded = backend.load_bare(self.name(), instance.plan);
        let (engine, profiles) = loaded.map_err(|e| format!("{WHAT}: {e}"))?;
        tracing::debug!("engine '{}': a bare plan is loaded, for {} profiles", self.name(), profiles.len());
        self.set(identity).keep(Loaded {
            key: instance.input_shapes,
            profiles,
            engine,
        });
        Ok(())
    }
}

/// The bare plan of a static engine: it is part of the node, and for it alone.
pub fn open_static(attrs: &Attrs, backend: &'static dyn Backend) -> Result<Loaded, String> {
    allowed()?;
    if !backend.takes_bare_plans() {
        return Err(not_tried(backend));
    }
    if attrs.implicit_batch {
        return Err(format!(
            "{WHAT}: its engine has an implicit batch, and is built anew with a batch from 1 to the node's"
        ));
    }
    let (engine, profiles) = backend
        .load_bare(&attrs.node, attrs.plan.clone())
        .map_err(|e| format!("{WHAT}: {e}"))?;
    Ok(Loaded {
        key: Vec::new(),
        profiles,
        engine,
    })
}

fn not_tried(backend: &dyn Backend) -> String {
    format!(
        "{WHAT}; it does not say for which TensorRT and GPU, and {} does not try it",
        backend.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tf::attr_value::Value;

    fn node(name: &str) -> tf::NodeDef {
        let attr = |value| tf::AttrValue { value: Some(value) };
        tf::NodeDef {
            name: name.into(),
            op: "TRTEngineOp".into(),
            attr: [
                ("precision_mode".to_string(), attr(Value::S("FP16".into()))),
                ("_use_implicit_batch".to_string(), attr(Value::B(true))),
            ]
            .into(),
            ..Default::default()
        }
    }

    fn model(nodes: Vec<tf::NodeDef>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let graph = tf::MetaGraphDef {
            graph_def: Some(tf::GraphDef {
                node: nodes,
                ..Default::default()
            }),
            ..Default::default()
        };
        let saved = tf::SavedModel {
            meta_graphs: vec![graph],
            ..Default::default()
        };
        std::fs::create_dir(folder.path().join("assets")).unwrap();
        std::fs::write(folder.path().join("saved_model.pb"), saved.encode_to_vec()).unwrap();
        folder
    }

    fn said(folder: &Path, file: &str, engine: &str) -> String {
        let file = folder.join(file);
        Model::of(&file, engine).segment().err().unwrap_or_default()
    }

    #[test]
    fn a_plan_is_its_own_models_or_nobodys() {
        let folder = model(vec![node("scope/a"), node("b")]);
        assert!(said(folder.path(), "assets/f", "a").contains("implicit batch"));
        assert!(said(folder.path(), "assets/f", "c").contains("has no engine 'c'"));
        assert!(said(folder.path(), "elsewhere/f", "a").contains("in no model's folder"));
        std::fs::write(folder.path().join("saved_model.pb"), b"\xff\xff").unwrap();
        assert!(said(folder.path(), "assets/f", "a").contains("cannot be read"));
        std::fs::remove_file(folder.path().join("saved_model.pb")).unwrap();
        assert!(said(folder.path(), "assets/f", "a").contains("cannot be read"));
    }
}
