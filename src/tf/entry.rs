//! The functions that TensorFlow calls. None lets a panic out: each gives an `Outcome`, or fails its call.

use super::call::Call;
use super::contents::Contents;
use super::device;
use super::ffi::{self, Blob, OptimizerItem, Outcome, Rewritten};
use super::hooks::{EngineResource, GraphPass, Kernel, PassItem, hooks};
use super::host;
use super::status::{Code, Status};
use crate::graph::contents;
use crate::memory::{self, Unreadable};
use crate::process::Mutex;
use crate::proto::tensorflow as tf;
use cxx::UniquePtr;
use prost::Message;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Weak};

/// Runs `f`; a panic becomes an internal error that names `what`.
fn guard<T>(what: &str, f: impl FnOnce() -> Result<T, Status>) -> Result<T, Status> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("no message");
        Err(Status::new(
            Code::Internal,
            format!("tftrt: a defect in the library, please report it: {what} panicked: {text}"),
        ))
    })
}

fn outcome<T>(result: &Result<T, Status>) -> Outcome {
    result.as_ref().err().map(Outcome::from).unwrap_or_default()
}

/// A kernel instance, or why it could not be made.
pub struct EngineKernel(Result<Box<dyn Kernel>, Status>);

pub fn engine_kernel_new(node_def: &[u8], gpu: bool) -> Box<EngineKernel> {
    Box::new(EngineKernel(guard("making TRTEngineOp", || {
        (hooks()?.kernel)(memory::copy("the node", node_def)?.into(), gpu)
    })))
}

pub fn engine_kernel_status(kernel: &EngineKernel) -> Outcome {
    outcome(&kernel.0)
}

pub fn engine_kernel_compute(kernel: &EngineKernel, call: UniquePtr<ffi::Call>) {
    // A call that a panic drops fails its step in its destructor.
    let done = guard("TRTEngineOp", || {
        match &kernel.0 {
            Ok(kernel) => kernel.compute(Call::new(call)),
            Err(status) => Call::new(call).fail(status),
        }
        Ok(())
    });
    if let Err(status) = done {
        tracing::error!("{status}");
    }
}

/// A resource as long as TensorFlow knows it. If that ends while the resource has owners, its slot keeps it.
pub struct ResourceState {
    /// Why it could not be made, else.
    pub(super) resource: Result<Arc<dyn EngineResource>, Status>,
    slot: Arc<Mutex<Slot>>,
}

/// The resource of one name.
#[derive(Default)]
struct Slot {
    /// While it has owners and TensorFlow was told to delete it for one.
    kept: Option<Arc<dyn EngineResource>>,
    /// As long as it lives. TensorFlow lets go of what it has deleted only when the last op that holds it is done, and the name may be
    /// asked for before that.
    last: Option<Weak<dyn EngineResource>>,
}

impl Drop for ResourceState {
    fn drop(&mut self) {
        let Ok(resource) = &self.resource else { return };
        let mut slot = self.slot.lock();
        let was_kept = slot.kept.take();
        match resource.leave() {
            true => slot.kept = Some(resource.clone()),
            false => resource.end(),
        }
        drop((slot, was_kept));
    }
}

/// Keeps the resource of one name while TensorFlow does not know it: it was deleted for one owner and has others.
#[derive(Default)]
pub struct Keeper(Arc<Mutex<Slot>>);

pub fn keeper_new() -> Box<Keeper> {
    Box::default()
}

pub fn keeper_holds(keeper: &Keeper) -> bool {
    keeper.0.lock().kept.is_some()
}

/// The resource that `keeper` has, else a new one.
pub fn resource_new(keeper: &Keeper, name: &str, device: &str, capacity: i64) -> Box<ResourceState> {
    let mut slot = keeper.0.lock();
    let last = slot.last.as_ref().and_then(Weak::upgrade);
    let found = slot.kept.take().or(last.filter(|last| !last.has_ended()));
    let resource = found.map_or_else(|| hooks().map(|hooks| (hooks.resource)(name, device, capacity)), Ok);
    if let Ok(resource) = &resource {
        slot.last = Some(Arc::downgrade(resource));
    }
    let slot = keeper.0.clone();
    Box::new(ResourceState { resource, slot })
}

impl ResourceState {
    /// The resource.
    ///
    /// # Errors
    /// Why it could not be made.
    pub fn get(&self) -> Result<&Arc<dyn EngineResource>, Status> {
        self.resource.as_ref().map_err(Status::clone)
    }
}

pub fn resource_describe(state: &ResourceState) -> String {
    guard("describing a resource", || Ok(state.get()?.describe())).unwrap_or_else(|e| e.message)
}

/// The system's paths are bytes, UTF-8 or not.
fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

pub fn resource_initialize(state: &ResourceState, file: &[u8], capacity: i64, gpu: ffi::GpuHandle) -> Outcome {
    outcome(&guard("InitializeTRTResource", || {
        state.get()?.initialize(path(file), capacity, device::gpu(gpu))
    }))
}

pub fn resource_serialize(state: &ResourceState, file: &[u8], save_engines: bool) -> Outcome {
    outcome(&guard("SerializeTRTResource", || state.get()?.serialize(path(file), save_engines)))
}

pub fn resource_calibration_table(state: &ResourceState) -> Blob {
    match guard("GetCalibrationDataOp", || state.get()?.calibration_table()) {
        Ok(bytes) => Blob {
            outcome: Outcome::default(),
            bytes,
        },
        Err(status) => Blob {
            outcome: Outcome::from(&status),
            bytes: Vec::new(),
        },
    }
}

/// The pass with its parameters, or why there is none.
pub struct OptimizerState(Result<Box<dyn GraphPass>, Status>);

pub fn optimizer_new(config: &[u8]) -> Box<OptimizerState> {
    Box::new(OptimizerState(guard("TensorRTOptimizer", || {
        let config = tf::rewriter_config::CustomGraphOptimizer::decode(config)
            .map_err(|e| Status::new(Code::InvalidArgument, format!("TensorRTOptimizer: unreadable parameters: {e}")))?;
        (hooks()?.pass)(config)
    })))
}

pub fn optimizer_status(state: &OptimizerState) -> Outcome {
    outcome(&state.0)
}

/// Whether the pass would look at an item of this id, and with these attributes (a serialized NameAttrList; empty: no function).
pub fn optimizer_concerns(state: &OptimizerState, id: &str, function_attrs: &[u8]) -> bool {
    let Ok(pass) = &state.0 else {
        return true;
    };
    if function_attrs.is_empty() {
        return pass.concerns(id, None);
    }
    tf::NameAttrList::decode(function_attrs).map_or(true, |list| pass.concerns(id, Some(&list)))
}

pub fn optimizer_run(state: &OptimizerState, item: OptimizerItem) -> Rewritten {
    let run = guard("TensorRTOptimizer", || {
        let pass = state.0.as_ref().map_err(Status::clone)?;
        pass.run(pass_item(item)?)?.map(written).transpose()
    });
    let mut rewritten = Rewritten {
        outcome: outcome(&run),
        changed: false,
        graph: Vec::new(),
        mark: contents::MARK,
        contents: Box::default(),
    };
    if let Ok(Some((graph, contents))) = run {
        rewritten.changed = true;
        rewritten.contents = Box::new(contents);
        rewritten.graph = graph;
    }
    rewritten
}

fn pass_item(item: OptimizerItem) -> Result<PassItem, Status> {
    let id = item.id;
    let unreadable = |e: Unreadable| {
        let code = match e {
            Unreadable::NoMemory(_) => Code::ResourceExhausted,
            Unreadable::Message(_) => Code::Internal,
        };
        Status::new(code, format!("TensorRTOptimizer: unreadable graph '{id}': {e}"))
    };
    let mut graph: tf::GraphDef = memory::decode("the graph", item.graph.into()).map_err(unreadable)?;
    contents::make(all_nodes(&mut graph)).map_err(|why| unreadable(why.into()))?;
    let read = |bytes: Vec<u8>| memory::decode::<tf::NameAttrList>("a function's attributes", bytes.into());
    Ok(PassItem {
        graph,
        function_attrs: match item.function_attrs.is_empty() {
            true => None,
            false => Some(read(item.function_attrs).map_err(unreadable)?),
        },
        sizes: host::sizes(&item.nodes),
        shapes: host::shapes(item.nodes),
        preserve: item.preserve.into_iter().collect(),
        default_device: item.device,
        id,
    })
}

/// The nodes of the graph and of its functions.
fn all_nodes(graph: &mut tf::GraphDef) -> impl Iterator<Item = &mut tf::NodeDef> {
    let functions = graph.library.iter_mut().flat_map(|library| &mut library.function);
    functions.flat_map(|function| &mut function.node_def).chain(&mut graph.node)
}

/// A graph as bytes, without its large contents, and these.
fn written(mut graph: tf::GraphDef) -> Result<(Vec<u8>, Contents), Status> {
    let contents = Contents(contents::take_out(all_nodes(&mut graph)));
    Ok((memory::encode("the converted graph", &graph)?, contents))
}
