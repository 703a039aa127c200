//! One engine on the GPU: a call takes a context from the pool of its profile and stream, or replays a captured graph.

use super::aligned::Copies;
use super::backend::{Block, TensorRt};
use super::bare;
use super::replay::Replays;
use super::safe::{self, Context};
use crate::cuda::{self, Stream};
use crate::engine::interface::{Interface, TensorSpec};
use crate::engine::model::Model;
use crate::engine::{Backend, Bindings, Engine, EngineError, Run, Usage};
use crate::fault::{self, Point};
use crate::profile::Profile;
use crate::settings::Settings;
use crate::sync::pool::Pool;
use crate::trace;
use bytes::Bytes;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Instant;

/// An engine with no more scratch memory than this keeps a block of it with each context, which saves a call an allocation.
const MOST_KEPT: usize = 8 << 20;

/// What one call at a time has until all of it is given to the stream.
struct Slot {
    context: Context,
    /// Of an engine that keeps it, from the first call on.
    scratch: Option<Block>,
}

/// The contexts of one profile on one stream.
type ContextPool = (usize, Stream, Arc<Pool<Slot>>);

pub struct TrtEngine {
    backend: &'static TensorRt,
    // Contexts and graphs go before their engine.
    pools: RwLock<Vec<ContextPool>>,
    replays: Option<Replays>,
    engine: Option<Arc<safe::Engine>>,
    shape_inputs: Vec<bool>,
    interface: Interface,
    max_contexts: usize,
    from_disk: bool,
}

impl TrtEngine {
    /// In the backend's context.
    pub(super) fn load(backend: &'static TensorRt, node: &str, plan: &[u8], from_disk: bool) -> Result<TrtEngine, EngineError> {
        fault::at(Point::Deserialize).map_err(|why| EngineError::Load(why.to_string()))?;
        let engine =
            safe::Engine::deserialize(&backend.library, &backend.runtime, node, plan).map_err(|e| EngineError::Load(e.to_string()))?;
        let shape_inputs: Vec<bool> = engine
            .inputs()
            .iter()
            .map(|input| input.as_ref().is_some_and(|tensor| tensor.on_host))
            .collect();
        let spec = |tensor: &safe::Tensor| TensorSpec {
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
        };
        let interface = Interface {
            inputs: engine.inputs().iter().map(|input| input.as_ref().map(spec)).collect(),
            outputs: engine.outputs().iter().map(spec).collect(),
        };
        let settings = Settings::current();
        Ok(TrtEngine {
            interface,
            backend,
            pools: RwLock::default(),
            replays: settings.cuda_graphs.then(|| Replays::new(backend, &engine)).flatten(),
            engine: Some(Arc::new(engine)),
            shape_inputs: if shape_inputs.contains(&true) { shape_inputs } else { Vec::new() },
            max_contexts: settings.max_contexts,
            from_disk,
        })
    }

    fn engine(&self) -> &Arc<safe::Engine> {
        self.engine
            .as_ref()
            .unwrap_or_else(|| unreachable!("it is taken by the destructor only"))
    }

    /// Whether the engine's types are those of the segment: TensorRT 8.6 has no int64, and reads it as int32.
    pub(super) fn check_types(&self, model: &Model) -> Result<(), String> {
        let engine = self.engine();
        let outputs = engine.outputs().iter().map(Some).zip(&model.outputs);
        let inputs = engine.inputs().iter().map(Option::as_ref).zip(&model.inputs);
        for (tensor, binding) in inputs.chain(outputs) {
            if let Some(tensor) = tensor.filter(|tensor| tensor.dtype != binding.dtype) {
                return Err(format!(
                    "{} is {} in the segment, and {} makes it {}",
                    binding.name,
                    binding.dtype,
                    engine.library().version(),
                    tensor.dtype
                ));
            }
        }
        match (
            engine.inputs().len() <= model.inputs.len(),
            engine.outputs().len() == model.outputs.len(),
        ) {
            (true, true) => Ok(()),
            _ => Err(format!(
                "the engine has {} inputs and {} outputs, the segment {} and {}",
                engine.inputs().len(),
                engine.outputs().len(),
                model.inputs.len(),
                model.outputs.len()
            )),
        }
    }

    /// The profiles of a plan that came without a container.
    pub(super) fn bare_profiles(&self) -> Result<Vec<Profile>, EngineError> {
        bare::profiles(self.engine())
    }

    fn pool(&self, profile: usize, stream: Stream) -> Arc<Pool<Slot>> {
        let find = |pools: &[ContextPool]| {
            pools
                .iter()
                .find(|(p, s, _)| (*p, *s) == (profile, stream))
                .map(|(_, _, pool)| pool.clone())
        };
        if let Some(pool) = find(&self.pools.read()) {
            return pool;
        }
        let mut pools = self.pools.write();
        find(&pools).unwrap_or_else(|| {
            let pool = Arc::new(Pool::new(self.max_contexts));
            pools.push((profile, stream, pool.clone()));
            pool
        })
    }
}

impl Engine for TrtEngine {
    fn payload(&self) -> Result<Bytes, EngineError> {
        let _current = self.backend.context.enter()?;
        self.engine().serialize().map_err(|e| EngineError::Run(e.to_string()))
    }

    fn backend(&self) -> &'static dyn Backend {
        self.backend
    }

    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn shape_inputs(&self) -> &[bool] {
        &self.shape_inputs
    }

    fn usage(&self) -> Usage {
        let pools = self.pools.read();
        Usage {
            contexts: pools.iter().map(|(_, _, pool)| pool.count() as u64).sum(),
            context_waits: pools.iter().map(|(_, _, pool)| pool.waits()).sum(),
            from_disk: self.from_disk,
            graphs: self.replays.as_ref().map_or(0, Replays::count),
        }
    }

    fn inspect(&self) -> Result<Option<String>, EngineError> {
        let _current = self.backend.context.enter()?;
        self.engine().inspect().map_err(|e| EngineError::Run(e.to_string()))
    }

    fn run(&self, profile: usize, io: &mut dyn Bindings) -> Result<Run, EngineError> {
        let stream = io
            .stream()
            .ok_or_else(|| EngineError::Run("an engine of TensorRT's was called without a GPU".to_string()))?;
        self.backend.in_its_process()?;
        let _current = self.backend.context.enter()?;
        if let Some(replays) = &self.replays
            && let Some(run) = replays.run(self.engine(), profile, stream, io)?
        {
            return Ok(run);
        }
        let engine = self.engine();
        let failed = |e: super::Error| EngineError::Run(e.to_string());
        let pool = self.pool(profile, stream);
        let new = || {
            fault::at(Point::Context).map_err(|why| EngineError::Run(why.to_string()))?;
            let context = engine.context(profile, stream).map_err(failed)?;
            Ok::<_, EngineError>(Slot { context, scratch: None })
        };
        let mut slot = pool.take(|slot| slot.context.is_set_to(io.inputs()), new)?;
        let Slot { context, scratch } = &mut *slot;
        fault::at(Point::Bind).map_err(|why| EngineError::Run(why.to_string()))?;
        context.set_inputs(engine, io).map_err(failed)?;
        let copies = Copies::needed(io.inputs(), engine.scratch());
        let begun = Instant::now();
        if scratch.is_none() && (1..=MOST_KEPT).contains(&engine.scratch()) {
            // Where there is no memory for it, the call's own attempt says so.
            *scratch = Block::new(self.backend.memory, engine.scratch()).ok();
        }
        let mut bound = {
            let _range = trace::range(c"tftrt bind");
            let bytes = match (&copies, &scratch) {
                (Some(copies), _) => copies.scratch,
                (None, Some(_)) => 0,
                (None, None) => engine.scratch(),
            };
            io.bind(context.outputs(), bytes)?
        };
        if let (None, Some(block)) = (&copies, &scratch) {
            bound.scratch = block.address();
        }
        let binding = begun.elapsed();
        let aligned;
        if let Some(copies) = copies {
            aligned = copies.make(bound.inputs, bound.scratch, stream)?;
            bound.inputs = &aligned;
        }
        let _range = trace::range(c"tftrt enqueue");
        fault::at(Point::Enqueue).map_err(|why| EngineError::Run(why.to_string()))?;
        let inside = context
            .enqueue(engine, &bound, self.backend.nowhere.address(), stream)
            .map_err(failed)?;
        Ok(Run {
            inside,
            binding,
            graph: false,
        })
    }
}

impl Drop for TrtEngine {
    fn drop(&mut self) {
        // Runs may be under way that read the weights, and the memory may go to somebody on another stream. The context has to be
        // current while TensorRT frees what is on the device.
        let current = self.backend.in_its_process().and_then(|()| Ok(self.backend.context.enter()?));
        let _current = match current {
            Ok(current) => current,
            Err(e) => {
                // The process is ending, and CUDA has gone before (or the process is a forked child, which has no CUDA): so has what is on
                // the device, and TensorRT would call CUDA.
                tracing::debug!("the end of an engine: {e}");
                std::mem::forget((self.replays.take(), std::mem::take(&mut *self.pools.write()), self.engine.take()));
                return;
            }
        };
        if let Err(e) = self.backend.context.synchronize() {
            tracing::warn!("the end of an engine: {e}");
        }
        let _ends = cuda::no_capture();
        self.replays = None;
        self.pools.write().clear();
        self.engine = None;
    }
}
