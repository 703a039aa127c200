//! The functions that TensorFlow calls. None lets a panic out: each gives an `Outcome`, or fails its call.

use super::call::Call;
use super::device;
use super::ffi::{self, Blob, OptimizerItem, Outcome, Rewritten};
use super::host::{self, TensorflowHost};
use super::status::{Code, Status};
use crate::graph::contents;
use crate::memory::{self, NoMemory, Unreadable};
use crate::op::{EngineOp, Resource};
use crate::optimizer::{self, Params};
use crate::process::Mutex;
use crate::proto::tensorflow as tf;
use bytes::Bytes;
use cxx::UniquePtr;
use prost::Message;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::Ordering;
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
pub struct EngineKernel(Result<EngineOp, Status>);

pub fn engine_kernel_new(node_def: &[u8], gpu: bool) -> Box<EngineKernel> {
    Box::new(EngineKernel(guard("making TRTEngineOp", || {
        EngineOp::new(memory::copy("the node", node_def)?.into(), gpu)
    })))
}

pub fn engine_kernel_status(kernel: &EngineKernel) -> Outcome {
    outcome(&kernel.0)
}

pub fn engine_kernel_compute(kernel: &EngineKernel, call: UniquePtr<ffi::Call>) {
    // A call that a panic drops fails its step in its destructor.
    let done = guard("TRTEngineOp", || {
        match &kernel.0 {
            Ok(op) => op.compute(Call::new(call)),
            Err(status) => Call::new(call).fail(status),
        }
        Ok(())
    });
    if let Err(status) = done {
        tracing::error!("{status}");
    }
}

/// A resource as long as TensorFlow knows it, and where it goes if that ends while it has owners.
pub struct ResourceState(pub(super) Arc<Resource>, Arc<Mutex<Slot>>);

/// The resource of one name.
#[derive(Default)]
struct Slot {
    /// While it has owners and TensorFlow was told to delete it for one.
    kept: Option<Arc<Resource>>,
    /// As long as it lives: TensorFlow lets go of what it has deleted only when the last op that holds it is done, and the name may be
    /// asked for before that.
    last: Weak<Resource>,
}

impl Drop for ResourceState {
    fn drop(&mut self) {
        let mut slot = self.1.lock();
        let was_kept = slot.kept.take();
        match self.0.leave() {
            true => slot.kept = Some(self.0.clone()),
            false => self.0.ended.store(true, Ordering::Relaxed),
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
    let living = slot.last.upgrade().filter(|last| !last.ended.load(Ordering::Relaxed));
    let found = slot.kept.take().or(living);
    let resource = found.unwrap_or_else(|| Resource::new(name, device, capacity));
    slot.last = Arc::downgrade(&resource);
    Box::new(ResourceState(resource, keeper.0.clone()))
}

pub fn resource_describe(state: &ResourceState) -> String {
    guard("describing a resource", || Ok(state.0.describe())).unwrap_or_else(|e| e.message)
}

/// The system's paths are bytes, UTF-8 or not.
fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

pub fn resource_initialize(state: &ResourceState, file: &[u8], capacity: i64, gpu: ffi::GpuHandle) -> Outcome {
    outcome(&guard("InitializeTRTResource", || {
        state.0.initialize(path(file), capacity, device::gpu(gpu))
    }))
}

pub fn resource_serialize(state: &ResourceState, file: &[u8], save_engines: bool) -> Outcome {
    outcome(&guard("SerializeTRTResource", || state.0.serialize(path(file), save_engines)))
}

pub fn resource_calibration_table(state: &ResourceState) -> Blob {
    match guard("GetCalibrationDataOp", || state.0.calibration_table()) {
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

/// The pass's parameters, or why they are none.
pub struct OptimizerState(Result<Params, Status>);

pub fn optimizer_new(config: &[u8]) -> Box<OptimizerState> {
    Box::new(OptimizerState(guard("TensorRTOptimizer", || {
        let config = tf::rewriter_config::CustomGraphOptimizer::decode(config)
            .map_err(|e| Status::new(Code::InvalidArgument, format!("TensorRTOptimizer: unreadable parameters: {e}")))?;
        Params::from_parameter_map(&config.parameter_map).map_err(|e| Status::new(Code::InvalidArgument, format!("TensorRTOptimizer: {e}")))
    })))
}

pub fn optimizer_status(state: &OptimizerState) -> Outcome {
    outcome(&state.0)
}

/// Whether the pass would look at an item of this id, and with these attributes (a serialized NameAttrList; empty: no function).
pub fn optimizer_concerns(state: &OptimizerState, id: &str, function_attrs: &[u8]) -> bool {
    let Ok(params) = &state.0 else {
        return true;
    };
    if function_attrs.is_empty() {
        return optimizer::concerns(params, id, None);
    }
    tf::NameAttrList::decode(function_attrs).map_or(true, |list| optimizer::concerns(params, id, Some(&list.attr)))
}

pub fn optimizer_run(state: &OptimizerState, item: OptimizerItem) -> Rewritten {
    let run = guard("TensorRTOptimizer", || {
        let params = state.0.as_ref().map_err(Status::clone)?;
        let unreadable = |e: Unreadable| {
            let code = match e {
                Unreadable::NoMemory(_) => Code::ResourceExhausted,
                Unreadable::Message(_) => Code::Internal,
            };
            Status::new(code, format!("TensorRTOptimizer: unreadable graph '{}': {e}", item.id))
        };
        let mut graph: tf::GraphDef = memory::decode("the graph", item.graph.into()).map_err(unreadable)?;
        contents::make(all_nodes(&mut graph)).map_err(|why| unreadable(why.into()))?;
        let read = |bytes: Vec<u8>| memory::decode::<tf::NameAttrList>("a function's attributes", bytes.into());
        let attrs = match item.function_attrs.is_empty() {
            true => None,
            false => Some(read(item.function_attrs).map_err(unreadable)?.attr),
        };
        let tensorflow = TensorflowHost::new(graph.library.clone().unwrap_or_default())?;
        let request = optimizer::Item {
            id: &item.id,
            graph,
            sizes: host::sizes(&item.nodes),
            shapes: host::shapes(item.nodes),
            preserve: item.preserve.into_iter().collect(),
            function_attrs: attrs.as_ref(),
            default_device: item.device,
        };
        optimizer::optimize(params, request, &tensorflow)
            .map_err(|e| Status::new(Code::Internal, format!("TensorRTOptimizer: graph '{}': {e}", item.id)))?
            .map(written)
            .transpose()
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

/// The large contents of a graph's constants, by their marks.
#[derive(Default)]
pub struct Contents(Vec<Bytes>);

pub fn content_at(contents: &Contents, place: i64) -> &[u8] {
    usize::try_from(place)
        .ok()
        .and_then(|place| contents.0.get(place))
        .map(|content| &content[..])
        .unwrap_or_default()
}

/// What is taken of the large contents of a function's constants: copies, or else checksums alone.
#[derive(Default)]
pub struct LargeContents {
    pub copied: bool,
    pub copies: Vec<Bytes>,
    /// CRC-32C's.
    pub checksums: Vec<u32>,
    /// Why a content was not copied: what was taken is of no use then.
    pub lacking: Option<NoMemory>,
}

pub fn large_contents_take(contents: &mut LargeContents, content: &[u8]) {
    match contents.copied {
        true => match memory::copy("a constant's elements", content) {
            Ok(copy) => contents.copies.push(copy.into()),
            Err(why) => contents.lacking = Some(why),
        },
        false => contents.checksums.push(crc32c::crc32c(content)),
    }
}

pub fn new_bytes(len: usize) -> Vec<u8> {
    memory::zeros("a message", len).unwrap_or_default()
}
