//! Engines: what builds them, what runs them, and the container they are kept in.

pub mod asset;
pub mod inspect;
pub mod interface;
mod library_file;
pub mod model;
pub mod onnxruntime;
pub mod place;
pub mod plan;
pub mod tensorrt;

use crate::cuda;
use crate::graph::{DType, elements};
use crate::memory::NoMemory;
use crate::profile::Profile;
use model::{BadValues, Model, Quantization};
use std::sync::Arc;
use std::time::Duration;

/// The precision that a node asks for (`precision_mode`, guide section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    Fp32,
    Fp16,
    Int8,
}

/// A GPU as TensorFlow uses it.
#[derive(Clone, Copy)]
pub struct Gpu {
    /// The stream that TensorFlow computes on.
    pub stream: cuda::Stream,
    /// Where its tensors' memory comes from.
    pub memory: &'static dyn DeviceMemory,
}

/// An allocator of device memory. What it gives is used on streams of any kind: no work that is still under way when it is given
/// out touches it.
pub trait DeviceMemory: Send + Sync {
    /// The address of a block, or `None` where there is no such block.
    fn allocate(&self, bytes: usize, alignment: usize) -> Option<u64>;

    /// Takes a block back, after the device has done all that it was given before.
    fn free(&self, address: u64);
}

/// What an engine is built from.
pub struct BuildRequest<'a> {
    /// The node that asks, for messages.
    pub node: &'a str,
    pub model: &'a Model,
    pub profiles: &'a [Profile],
    pub precision: Precision,
    pub workspace_bytes: u64,
    /// Whether float32 may be computed in TF32, as TensorFlow is set.
    pub tf32: bool,
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
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
    /// The engine ran, and says that native TensorFlow refuses the call.
    #[error("an index or a size of the call is outside of its range")]
    Refused,
}

/// One tensor handed to an engine.
pub struct TensorView<'a> {
    pub dtype: DType,
    pub dims: &'a [i64],
    pub memory: Memory<'a>,
}

impl TensorView<'_> {
    /// How many bytes it has.
    pub fn bytes(&self) -> usize {
        elements(self.dims) as usize * self.dtype.size()
    }
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
    /// Device memory to work in; 0 where none was asked for.
    pub scratch: u64,
}

/// The inputs and outputs of one call.
pub trait Bindings {
    fn inputs(&self) -> &[TensorView<'_>];

    /// What the node says output `i` is; `None` where it has no such output.
    fn output_dtype(&self, i: usize) -> Option<DType>;

    /// The stream that the call runs on; `None` on the CPU.
    fn stream(&self) -> Option<cuda::Stream>;

    /// Input `i`'s bytes in the host's memory, after waiting for them where they are on a device.
    fn on_host(&self, i: usize) -> Result<Vec<u8>, EngineError>;

    /// Holds the shapes against the node's ([`interface::check_outputs`]), allocates every output, in order, and `scratch` bytes of
    /// device memory, and gives them beside the inputs. A second call in a run takes the place of the first.
    fn bind(&mut self, shapes: &[Vec<i64>], scratch: usize) -> Result<Bound<'_>, EngineError>;
}

/// What a run tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The time that the backend's own library took for its part: the enqueue on a GPU, the whole computation on the CPU.
    pub inside: Duration,
    /// The time that the memory of outputs and scratch took to be had.
    pub binding: Duration,
    /// Whether a captured CUDA graph was replayed.
    pub graph: bool,
}

/// What an engine has of what is not in its plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Execution contexts that there are.
    pub contexts: u64,
    /// Calls that had to wait for a context.
    pub context_waits: u64,
    /// CUDA graphs that were captured.
    pub graphs: u64,
    /// Whether its plan was found on disk and not built.
    pub from_disk: bool,
}

/// A library that builds and loads engines.
pub trait Backend: Send + Sync {
    /// The name that plans carry.
    fn name(&self) -> &'static str;

    /// The library's version, as in its plans' headers.
    fn version(&self) -> Result<String, EngineError>;

    /// Whether its profiles need bounds for the values of inputs that are shapes.
    fn wants_shape_values(&self) -> bool {
        false
    }

    /// What it does where it does not compute in the precision asked for, to complete "the backend ..."; `None` where it does.
    fn instead_of(&self, asked: Precision, model: &Model) -> Option<&'static str>;

    /// What becomes of a quantised model's own steps where INT8 is asked for. A backend that does not compute in INT8 is as exact as it
    /// can be.
    fn quantization(&self) -> Quantization {
        Quantization::Arithmetic
    }

    /// What becomes of calls that native TensorFlow refuses: as on the device that its engines are for.
    fn bad_values(&self) -> BadValues {
        BadValues::Zeroed
    }

    /// Of the GPU that its engines are for; `None` on the CPU.
    fn compute_capability(&self) -> Option<(u32, u32)> {
        None
    }

    fn build(&'static self, request: &BuildRequest<'_>) -> Result<Arc<dyn Engine>, EngineError>;

    /// Whether it runs TensorRT's plans, which TF-TRT 2.x stored without a container.
    fn takes_bare_plans(&self) -> bool {
        false
    }

    /// Loads such a plan, with the profiles that it says it has.
    fn load_bare(&'static self, node: &str, _plan: bytes::Bytes) -> Result<(Arc<dyn Engine>, Vec<Profile>), EngineError> {
        Err(EngineError::Load(format!("{node}: {} runs no plans of TensorRT's", self.name())))
    }

    /// Loads what [`Engine::payload`] gave.
    fn load(&'static self, node: &str, payload: bytes::Bytes) -> Result<Arc<dyn Engine>, EngineError>;
}

/// A built engine. Runs may overlap.
pub trait Engine: Send + Sync {
    /// Its inputs and outputs. Whoever runs it holds them against the call first ([`interface::Interface::check`]).
    fn interface(&self) -> &interface::Interface;

    /// The backend's own bytes for this engine, without the header of the container.
    fn payload(&self) -> Result<bytes::Bytes, EngineError>;

    /// What built it.
    fn backend(&self) -> &'static dyn Backend;

    /// Whether each input's values are needed on the host to know shapes (TensorRT's shape tensors). Empty where none is.
    fn shape_inputs(&self) -> &[bool] {
        &[]
    }

    /// What it has beside its plan.
    fn usage(&self) -> Usage {
        Usage::default()
    }

    /// The layers, in the backend's own JSON; `None` where the backend does not tell.
    fn inspect(&self) -> Result<Option<String>, EngineError> {
        Ok(None)
    }

    /// Runs profile `profile` of those it was built with. On a GPU it returns when the work is enqueued on the call's stream.
    fn run(&self, profile: usize, io: &mut dyn Bindings) -> Result<Run, EngineError>;
}

/// The backend for a device; on a GPU, one for each.
pub fn backend_for(gpu: Option<Gpu>) -> Result<&'static dyn Backend, EngineError> {
    if let Some(gpu) = gpu {
        return Ok(tensorrt::backend(gpu)?);
    }
    // Its library is found here, so that a process without it is told before anything is converted.
    onnxruntime::library()?;
    Ok(&onnxruntime::OnnxRuntime)
}
