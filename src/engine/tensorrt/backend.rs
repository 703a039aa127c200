//! The GPU backend: TensorRT on one device.

use super::engine::TrtEngine;
use super::sys::{Allocator, Library, LibraryError, RuntimeObject};
use super::{build, library, safe};
use crate::cuda::{self, CudaError, Properties};
use crate::engine::model::{Model, Quantization};
use crate::engine::{Backend, BuildRequest, DeviceMemory, Engine, EngineError, Gpu, Precision};
use crate::fault::{self, Point};
use crate::process::OfProcess;
use crate::profile::Profile;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The name that plans of this backend carry.
pub const NAME: &str = "tensorrt";

/// TensorRT on one GPU, for the rest of the process: engines and contexts refer to its runtime and to its allocator.
pub struct TensorRt {
    pub(super) library: Arc<Library>,
    pub(super) context: cuda::Context,
    pub(super) properties: Properties,
    /// The CUDA version of the driver.
    pub(super) driver: i32,
    pub(super) runtime: Arc<RuntimeObject>,
    pub(super) allocator: Option<&'static Allocator>,
    pub(super) memory: Option<&'static dyn DeviceMemory>,
    /// What builders have measured on this GPU.
    pub(super) timings: safe::Timings,
    pub(super) builders: safe::Builders,
    /// A block that tensors without elements are said to be at.
    pub(super) nowhere: Block,
    process: OfProcess<()>,
}

/// A block of device memory, from TensorFlow where there is one.
pub(super) enum Block {
    TensorFlow(&'static dyn DeviceMemory, u64),
    Cuda(cuda::Block),
}

impl Block {
    pub fn address(&self) -> u64 {
        match self {
            Block::TensorFlow(_, address) => *address,
            Block::Cuda(block) => block.address(),
        }
    }

    /// In the current context.
    pub fn new(memory: Option<&'static dyn DeviceMemory>, bytes: usize) -> Result<Block, EngineError> {
        // What TensorRT 8.6 asks of scratch memory; CUDA's own blocks have it.
        const ALIGNMENT: usize = 512;
        fault::at(Point::Allocate).map_err(|why| EngineError::Run(why.to_string()))?;
        match memory {
            None => Ok(Block::Cuda(cuda::Block::new(bytes)?)),
            Some(memory) => match memory.allocate(bytes.max(1), ALIGNMENT) {
                Some(address) => Ok(Block::TensorFlow(memory, address)),
                None => Err(EngineError::Run(format!("there is no block of {bytes} bytes of device memory"))),
            },
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Block::TensorFlow(memory, address) = self {
            memory.free(*address);
        }
    }
}

/// What became of making one, where that will not change: the backend, or why TensorRT cannot run.
type Known = Result<&'static TensorRt, String>;

/// One for each context and allocator: TensorFlow may divide one GPU into several.
static BACKENDS: Mutex<Vec<(cuda::Context, usize, Known)>> = Mutex::new(Vec::new());

/// The backend of a GPU; made at its first use.
///
/// # Errors
/// [`EngineError::Unavailable`] where there is no TensorRT, or it cannot run on this GPU.
pub fn backend(gpu: Gpu) -> Result<&'static TensorRt, EngineError> {
    let context = cuda::Context::of(gpu.stream)?;
    of(context, Some(gpu.memory))
}

/// The backend of a device of CUDA's, in a process without TensorFlow's allocator.
///
/// # Errors
/// As [`backend`].
pub fn backend_of_device(ordinal: i32) -> Result<&'static TensorRt, EngineError> {
    of(cuda::Context::primary(ordinal)?, None)
}

/// Why a forked child has no engines on a GPU.
const FORKED: &str = "TensorRT cannot be used in this process: it was forked from one that had used CUDA, and CUDA does not work in the child; \
                      fork before the GPU is used, or start processes without fork()";

fn of(context: cuda::Context, memory: Option<&'static dyn DeviceMemory>) -> Result<&'static TensorRt, EngineError> {
    let which = memory.map_or(0, |memory| std::ptr::from_ref(memory).addr());
    let mut backends = BACKENDS.lock();
    if let Some((_, _, known)) = backends.iter().find(|(c, m, _)| (*c, *m) == (context, which)) {
        return known.clone().map_err(EngineError::Unavailable);
    }
    let made = TensorRt::new(context, memory).map(|backend| &*Box::leak(Box::new(backend)));
    // Every call asks where there is none, and TensorRT takes its time to say no.
    match &made {
        Ok(backend) => backends.push((context, which, Ok(*backend))),
        Err(EngineError::Unavailable(why)) => backends.push((context, which, Err(why.clone()))),
        Err(_) => {}
    }
    made
}

impl TensorRt {
    fn new(context: cuda::Context, memory: Option<&'static dyn DeviceMemory>) -> Result<TensorRt, EngineError> {
        let library = library().map_err(|e: LibraryError| EngineError::Unavailable(e.to_string()))?;
        let _current = context.enter()?;
        let properties = context.properties()?;
        let (runtime, allocator) = safe::runtime(&library, memory).map_err(|e| EngineError::Unavailable(e.to_string()))?;
        let backend = TensorRt {
            process: OfProcess::new(()),
            driver: cuda::driver_version()?,
            nowhere: Block::new(memory, 512)?,
            timings: safe::Timings::default(),
            builders: safe::Builders::default(),
            library,
            context,
            properties,
            runtime,
            allocator,
            memory,
        };
        tracing::info!(
            "tftrt {}: engines on {} (compute capability {}.{}) are {}'s, from {}",
            env!("CARGO_PKG_VERSION"),
            backend.properties.name,
            backend.properties.compute_capability.0,
            backend.properties.compute_capability.1,
            backend.library.version(),
            backend.library.path().display()
        );
        Ok(backend)
    }

    /// CUDA does not work in a forked child of a process that has used it, and neither does TensorRT.
    pub(super) fn in_its_process(&self) -> Result<(), EngineError> {
        match self.process.get() {
            Some(()) => Ok(()),
            None => Err(EngineError::Unavailable(FORKED.to_string())),
        }
    }

    /// Lets the builder that a build has left go when its time is over, in a thread that lives until then.
    pub(super) fn look_after_builders(&'static self) {
        if !self.builders.look_after() {
            return;
        }
        let look = || -> Result<Option<Duration>, CudaError> {
            let _current = self.context.enter()?;
            Ok(self.builders.look(Instant::now()))
        };
        let wait = move || {
            while let Ok(Some(rest)) = look() {
                thread::sleep(rest);
            }
        };
        // Without a thread, or without CUDA's context, it stays until the next build, or for good: memory, and nothing wrong.
        if let Err(why) = thread::Builder::new().name("tftrt_builders".into()).spawn(wait) {
            tracing::warn!("a builder of TensorRT's is kept for longer than TFTRT_BUILDER_IDLE_SECONDS: no thread to wait in: {why}");
        }
    }
}

/// At the end of the process, before TensorRT and CUDA are taken down: nothing is taken from them any more by threads of this library.
pub fn close() {
    for (_, _, known) in BACKENDS.lock().iter() {
        if let Ok(backend) = known {
            backend.builders.close();
        }
    }
}

impl Backend for TensorRt {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Result<String, EngineError> {
        Ok(self.library.version().to_string())
    }

    fn wants_shape_values(&self) -> bool {
        true
    }

    fn instead_of(&self, asked: Precision, model: &Model) -> Option<&'static str> {
        (asked == Precision::Int8 && !model.int8).then_some(
            "computes in FP16: INT8 needs a model that was trained with symmetric 8-bit quantisation, or calibration, which is not part of this version",
        )
    }

    fn quantization(&self) -> Quantization {
        Quantization::Int8
    }

    fn compute_capability(&self) -> Option<(u32, u32)> {
        Some(self.properties.compute_capability)
    }

    fn build(&'static self, request: &BuildRequest<'_>) -> Result<Arc<dyn Engine>, EngineError> {
        self.in_its_process()?;
        let _current = self.context.enter()?;
        let _builds = cuda::no_capture();
        let engine = build::engine(self, request)?;
        engine.check_types(request.model).map_err(EngineError::Build)?;
        Ok(Arc::new(engine))
    }

    fn takes_bare_plans(&self) -> bool {
        true
    }

    fn load_bare(&'static self, node: &str, plan: Bytes) -> Result<(Arc<dyn Engine>, Vec<Profile>), EngineError> {
        self.in_its_process()?;
        let _current = self.context.enter()?;
        let _loads = cuda::no_capture();
        let engine = TrtEngine::load(self, node, &plan, false)?;
        let profiles = engine.bare_profiles()?;
        Ok((Arc::new(engine), profiles))
    }

    fn load(&'static self, node: &str, payload: Bytes) -> Result<Arc<dyn Engine>, EngineError> {
        self.in_its_process()?;
        let _current = self.context.enter()?;
        let _loads = cuda::no_capture();
        Ok(Arc::new(TrtEngine::load(self, node, &payload, false)?))
    }
}

impl From<CudaError> for EngineError {
    fn from(error: CudaError) -> EngineError {
        EngineError::Run(error.to_string())
    }
}
