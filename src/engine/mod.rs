//! Engines: what builds them, what runs them, and the container they are kept in.

pub mod asset;
pub mod onnxruntime;
pub mod plan;
pub mod tensorrt;

use crate::convert::Model;
use crate::graph::DType;
use crate::profile::Profile;
use std::sync::Arc;

/// The precision that a node asks for (`precision_mode`, guide section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    Fp32,
    Fp16,
    Int8,
}

/// What an engine is built from.
pub struct BuildRequest<'a> {
    /// The node that asks, for messages.
    pub node: &'a str,
    pub model: &'a Model,
    pub profiles: &'a [Profile],
    pub precision: Precision,
    pub workspace_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The backend's library is absent or unfit; nothing can be built or loaded with it in this process.
    #[error("{0}")]
    Unavailable(String),
    #[error("the engine cannot be built: {0}")]
    Build(String),
    #[error("the plan cannot be loaded: {0}")]
    Load(String),
    #[error("the engine failed to run: {0}")]
    Run(String),
}

/// One tensor handed to an engine.
pub struct TensorView<'a> {
    pub dtype: DType,
    pub dims: &'a [i64],
    pub memory: Memory<'a>,
}

pub enum Memory<'a> {
    Host(&'a [u8]),
    /// An address in device memory.
    Device(u64),
}

pub enum MemoryMut<'a> {
    Host(&'a mut [u8]),
    Device(u64),
}

/// A call's inputs, and the memory of its outputs.
pub struct Bound<'a> {
    pub inputs: &'a [TensorView<'a>],
    pub outputs: Vec<MemoryMut<'a>>,
}

/// The inputs and outputs of one call.
pub trait Bindings {
    fn inputs(&self) -> &[TensorView<'_>];

    /// Allocates every output, in order, and gives their memory beside the inputs. Called once a run.
    fn bind(&mut self, shapes: &[Vec<i64>]) -> Result<Bound<'_>, EngineError>;
}

/// A library that builds and loads engines.
pub trait Backend: Send + Sync {
    /// The name that plans carry.
    fn name(&self) -> &'static str;

    /// The library's version, as in its plans' headers.
    fn version(&self) -> Result<String, EngineError>;

    fn build(&self, request: &BuildRequest<'_>) -> Result<Arc<dyn Engine>, EngineError>;

    /// Loads what [`Engine::payload`] gave.
    fn load(&self, node: &str, payload: bytes::Bytes) -> Result<Arc<dyn Engine>, EngineError>;
}

/// A built engine. Runs may overlap.
pub trait Engine: Send + Sync {
    /// The backend's own bytes for this engine, without the header of the container.
    fn payload(&self) -> bytes::Bytes;

    /// What built it.
    fn backend(&self) -> &'static dyn Backend;

    /// Runs profile `profile` of those it was built with.
    fn run(&self, profile: usize, io: &mut dyn Bindings) -> Result<(), EngineError>;
}

/// What is said of engines on a GPU while there is no backend for one.
pub const NO_GPU_BACKEND: &str = "this version of tftrt runs engines on the CPU only; on a GPU every TRTEngineOp runs its native segment";

/// The backend for a device.
pub fn backend_for(gpu: bool) -> Result<&'static dyn Backend, EngineError> {
    if gpu {
        return Err(EngineError::Unavailable(NO_GPU_BACKEND.to_string()));
    }
    // Its library is found here, so that a process without it is told before anything is converted.
    onnxruntime::library()?;
    Ok(&onnxruntime::OnnxRuntime)
}
