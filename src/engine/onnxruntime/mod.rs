//! The CPU backend: ONNX Runtime runs the segment's ONNX model.
//!
//! Its plan is the model itself: ONNX Runtime compiles in memory, in milliseconds to seconds. Inputs are read where
//! TensorFlow put them. Outputs are written straight into TensorFlow's memory once their shapes are known; they are
//! known from the second run of an input shape on (the first run of a shape lets ONNX Runtime allocate, and copies). Where they
//! turn out to depend on values, every run is as a first one.

mod foreign;
mod library;
mod sys;

pub use library::{Library, library};

use super::interface::{Interface, TensorSpec};
use super::{Backend, Bindings, Bound, BuildRequest, Engine, EngineError, Memory, MemoryMut, Precision, Run, TensorView};
use crate::engine::model::{BadValues, Model, VALID_OUTPUT};
use crate::fault::{self, Point};
use crate::graph::{DType, PartialShape};
use crate::memory;
use crate::process::Mutex;
use crate::process::{self, OfProcess};
use crate::proto::onnx::ModelProto;
use bytes::Bytes;
use lru::LruCache;
use ort::session::Session;
use prost::Message;
use std::ffi::CString;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How many input shapes an engine remembers the output shapes of.
const REMEMBERED_SHAPES: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not zero");

/// What of ONNX Runtime's own passes changes results (1.31.1). Pad_Fusion lets a MaxPool swallow a Pad of zeros before it, and pads with
/// the least value instead: other numbers where all pixels at an edge are negative. MatmulTransposeFusion makes a product that writes
/// nothing where it sums over no elements, instead of zeros.
const WRONG_OPTIMIZERS: &str = "Pad_Fusion;MatmulTransposeFusion";

/// What it does wrong to a model with Resize: it moves transposes past one, whose kernel then refuses the axes that it is to work on.
const WRONG_FOR_RESIZE: &str = "TransposeOptimizer_CPUExecutionProvider";

/// What has to be free before an engine is made: so much for each byte of its model (ONNX Runtime's copies of the weights), and so much
/// beside (threads, and what TensorFlow needs to go on). An engine takes no memory that TensorFlow lacks then, for that ends the process.
const ROOM_FOR_EACH_BYTE: usize = 3;
const ROOM: usize = 256 << 20;

/// The name that plans of this backend carry.
pub const NAME: &str = "onnxruntime";

pub struct OnnxRuntime;

impl Backend for OnnxRuntime {
    fn name(&self) -> &'static str {
        NAME
    }

    fn version(&self) -> Result<String, EngineError> {
        Ok(library()?.version.clone())
    }

    fn instead_of(&self, asked: Precision, _model: &Model) -> Option<&'static str> {
        (asked != Precision::Fp32).then_some("computes in FP32")
    }

    fn bad_values(&self) -> BadValues {
        BadValues::Told
    }

    fn build(&'static self, request: &BuildRequest<'_>) -> Result<Arc<dyn Engine>, EngineError> {
        let library = library()?;
        fault::at(Point::Build).map_err(|why| EngineError::Build(why.to_string()))?;
        OrtEngine::new(library, request.model.onnx.clone())
            .map(|e| Arc::new(e) as Arc<dyn Engine>)
            .map_err(EngineError::Build)
    }

    fn load(&'static self, _node: &str, payload: Bytes) -> Result<Arc<dyn Engine>, EngineError> {
        let library = library()?;
        fault::at(Point::Deserialize).map_err(|why| EngineError::Load(why.to_string()))?;
        foreign::check(&payload).map_err(EngineError::Load)?;
        OrtEngine::new(library, payload)
            .map(|e| Arc::new(e) as Arc<dyn Engine>)
            .map_err(EngineError::Load)
    }
}

/// Whether a serialized model has a node of this type. One that does not decode has none: ONNX Runtime has the last word on it.
fn has_op(model: &Bytes, op: &str) -> bool {
    let graph = ModelProto::decode(model.clone()).ok().and_then(|model| model.graph);
    graph.is_some_and(|graph| graph.node.iter().any(|node| node.op_type() == op))
}

/// Why a forked child does not run an engine.
const INHERITED: &str = "it was made before this process was forked, and ONNX Runtime's threads are not in the child; engines that the child itself \
                         loads or builds run";

/// One shape a tensor.
type Shapes = Vec<Vec<i64>>;

/// How a run ended that did not fail.
enum Outcome {
    Good(Run),
    /// Its numbers are none that native TensorFlow gives: it refuses the call.
    Refused,
}

struct OrtEngine {
    /// Its end and its runs may wait for threads, which a forked child does not have.
    session: OfProcess<Session>,
    model: Bytes,
    memory: sys::HostMemory,
    quietly: sys::Quietly,
    input_names: Vec<CString>,
    output_names: Vec<CString>,
    /// Of the node's outputs; the guard is none.
    interface: Interface,
    /// Whether the last output is none of the node's, but says whether the call is good (see `convert::guard`).
    guarded: bool,
    /// Whether it has an Einsum: ONNX Runtime divides there by the size of tensors, and a 0 ends the process (1.31.1).
    has_einsum: bool,
    /// Output shapes by input shapes, as the last run saw them.
    shapes: Mutex<LruCache<Shapes, Arc<[Vec<i64>]>>>,
    /// Whether runs of the same input shapes gave outputs of different shapes: they depend on values, and are not known before.
    shapes_by_value: AtomicBool,
}

impl OrtEngine {
    fn new(library: &Library, model: Bytes) -> Result<Self, String> {
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let _inside = process::inside();
        memory::ask(
            "what an engine of ONNX Runtime's and TensorFlow beside it work in",
            model.len().saturating_mul(ROOM_FOR_EACH_BYTE).saturating_add(ROOM),
        )?;
        let builder = Session::builder(&library.environment).map_err(|e| text(&e))?;
        let mut wrong = vec![WRONG_OPTIMIZERS];
        if has_op(&model, "Resize") {
            wrong.push(WRONG_FOR_RESIZE);
        }
        let mut builder = builder.with_disabled_optimizers(wrong.join(";")).map_err(|e| text(&e))?;
        if !library.has_threads() {
            builder = builder.with_independent_thread_pool().map_err(|e| text(&e))?;
        }
        let session = builder.commit_from_memory(&model).map_err(|e| text(&e))?;
        let name = |n: &str| CString::new(n).map_err(|_| format!("the name {n:?} holds a zero byte"));
        let input_names = session.inputs().iter().map(|i| name(i.name())).collect::<Result<_, _>>()?;
        let output_names = session.outputs().iter().map(|o| name(o.name())).collect::<Result<_, _>>()?;
        let inputs = session.inputs().iter().map(|i| tensor_spec("input", i.name(), i.dtype()).map(Some));
        let outputs = session.outputs().iter().map(|o| tensor_spec("output", o.name(), o.dtype()));
        let mut interface = Interface {
            inputs: inputs.collect::<Result<_, _>>()?,
            outputs: outputs.collect::<Result<_, _>>()?,
        };
        let guarded = session.outputs().last().is_some_and(|o| o.name() == VALID_OUTPUT);
        if guarded && interface.outputs.pop().map(|spec| spec.dtype) != Some(DType::BOOL) {
            return Err(format!("its output '{}' is no bool", VALID_OUTPUT));
        }
        let (memory, quietly) = (sys::HostMemory::new()?, sys::Quietly::new()?);
        let has_einsum = has_op(&model, "Einsum");
        Ok(OrtEngine {
            has_einsum,
            session: OfProcess::new(session),
            model,
            memory,
            quietly,
            input_names,
            output_names,
            interface,
            guarded,
            shapes: Mutex::new(LruCache::new(REMEMBERED_SHAPES)),
            shapes_by_value: AtomicBool::new(false),
        })
    }

    fn session(&self) -> Result<&Session, String> {
        self.session.get().ok_or_else(|| INHERITED.to_string())
    }

    /// Runs with outputs that ONNX Runtime allocates, copies them, and remembers their shapes.
    fn run_and_learn(&self, key: Shapes, io: &mut dyn Bindings) -> Result<Outcome, String> {
        let mut outputs: Vec<_> = self.output_names.iter().map(|_| sys::Value::unallocated()).collect();
        let inside = {
            let inputs = self.values(io.inputs())?;
            let begun = Instant::now();
            fault::at(Point::Enqueue).map_err(|why| why.to_string())?;
            sys::run(
                self.session()?,
                &self.quietly,
                &self.input_names,
                &inputs,
                &self.output_names,
                &mut outputs,
            )?;
            begun.elapsed()
        };
        if self.guarded
            && let Some(word) = outputs.pop()
        {
            if word.dims()? != [1] {
                return Err(format!("its output '{}' has another shape than [1]", VALID_OUTPUT));
            }
            let mut good = [0];
            word.copy_to(DType::BOOL, &mut good)?;
            if good == [0] {
                return Ok(Outcome::Refused);
            }
        }
        let shapes = outputs.iter().map(sys::Value::dims).collect::<Result<Vec<_>, _>>()?;
        let begun = Instant::now();
        let bound = io.bind(&shapes, 0).map_err(|e| e.to_string())?;
        let binding = begun.elapsed();
        for ((value, to), spec) in outputs.iter().zip(bound.outputs).zip(&self.interface.outputs) {
            fault::at(Point::Copy).map_err(|why| why.to_string())?;
            value.copy_to(spec.dtype, host_mut(to)?)?;
        }
        let shapes: Arc<[Vec<i64>]> = shapes.into();
        if self.shapes.lock().put(key, shapes.clone()).is_some_and(|before| before != shapes) {
            self.shapes_by_value.store(true, Relaxed);
        }
        Ok(Outcome::Good(Run {
            inside,
            binding,
            graph: false,
        }))
    }

    /// Runs with outputs in TensorFlow's memory. ONNX Runtime refuses where it computes other shapes than these:
    /// this is no error yet. `None` where native TensorFlow refuses the call.
    fn run_bound(&self, shapes: &[Vec<i64>], bound: Bound<'_>) -> Result<Option<Duration>, String> {
        let mut good = [1];
        let inputs = self.values(bound.inputs)?;
        let mut outputs = bound
            .outputs
            .into_iter()
            .zip(shapes)
            .zip(&self.interface.outputs)
            .map(|((to, dims), spec)| sys::Value::output(&self.memory, spec.dtype, dims, host_mut(to)?))
            .collect::<Result<Vec<_>, _>>()?;
        if self.guarded {
            outputs.push(sys::Value::output(&self.memory, DType::BOOL, &[1], &mut good)?);
        }
        let begun = Instant::now();
        fault::at(Point::Enqueue).map_err(|why| why.to_string())?;
        sys::run(
            self.session()?,
            &self.quietly,
            &self.input_names,
            &inputs,
            &self.output_names,
            &mut outputs,
        )?;
        let inside = begun.elapsed();
        drop(outputs);
        Ok((good != [0]).then_some(inside))
    }

    fn values<'a>(&self, inputs: &'a [TensorView<'a>]) -> Result<Vec<sys::Value<'a>>, String> {
        fault::at(Point::Bind).map_err(|why| why.to_string())?;
        inputs
            .iter()
            .map(|input| match input.memory {
                Memory::Host(data) => sys::Value::input(&self.memory, input.dtype, input.dims, data),
                Memory::Device(_) => Err("ONNX Runtime's CPU backend was handed device memory".to_string()),
            })
            .collect()
    }
}

impl Engine for OrtEngine {
    fn payload(&self) -> Result<Bytes, EngineError> {
        Ok(self.model.clone())
    }

    fn backend(&self) -> &'static dyn Backend {
        &OnnxRuntime
    }

    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn run(&self, _profile: usize, io: &mut dyn Bindings) -> Result<Run, EngineError> {
        if io.inputs().len() != self.input_names.len() {
            return Err(EngineError::Run(format!(
                "the plan takes {} inputs, the node has {}",
                self.input_names.len(),
                io.inputs().len()
            )));
        }
        if self.has_einsum && io.inputs().iter().any(|input| input.dims.contains(&0)) {
            return Err(EngineError::Run(
                "ONNX Runtime's Einsum takes no tensors without elements".to_string(),
            ));
        }
        // Before anything is bound: no second try would help.
        self.session().map_err(EngineError::Run)?;
        let _inside = process::inside();
        let key: Shapes = io.inputs().iter().map(|i| i.dims.to_vec()).collect();
        let known = match self.shapes_by_value.load(Relaxed) {
            true => None,
            false => self.shapes.lock().get(&key).cloned(),
        };
        let bound = match &known {
            Some(shapes) => {
                let begun = Instant::now();
                let bound = io.bind(shapes, 0)?;
                let binding = begun.elapsed();
                let run = |inside| Run {
                    inside,
                    binding,
                    graph: false,
                };
                let inside = self.run_bound(shapes, bound).ok();
                inside.map(|inside| inside.map_or(Outcome::Refused, |inside| Outcome::Good(run(inside))))
            }
            None => None,
        };
        let outcome = match bound {
            Some(outcome) => outcome,
            // Also where a run with the shapes of an earlier one fails: these may depend on values. What fails for another reason
            // fails again, and says why.
            None => self.run_and_learn(key, io).map_err(EngineError::Run)?,
        };
        match outcome {
            Outcome::Good(run) => Ok(run),
            Outcome::Refused => Err(EngineError::Refused),
        }
    }
}

fn host_mut(memory: MemoryMut<'_>) -> Result<&mut [u8], String> {
    match memory {
        MemoryMut::Host(bytes) => Ok(bytes),
        MemoryMut::Device(_) => Err("ONNX Runtime's CPU backend was handed device memory".to_string()),
    }
}

/// What the session says of an input or output.
fn tensor_spec(what: &str, name: &str, value: &ort::value::ValueType) -> Result<TensorSpec, String> {
    use ort::value::TensorElementType as T;
    let (Some(element), Some(dims)) = (value.tensor_type(), value.tensor_shape()) else {
        return Err(format!("{what} '{name}' is no tensor"));
    };
    // ONNX Runtime says the same of a scalar and of a tensor of unknown rank.
    let shape = match dims.is_empty() {
        true => PartialShape::unknown(),
        false => PartialShape::from_dims(dims),
    };
    let dtype = match element {
        T::Float32 => DType::FLOAT,
        T::Float64 => DType::DOUBLE,
        T::Float16 => DType::HALF,
        T::Bfloat16 => DType::BFLOAT16,
        T::Int8 => DType::INT8,
        T::Int16 => DType::INT16,
        T::Int32 => DType::INT32,
        T::Int64 => DType::INT64,
        T::Uint8 => DType::UINT8,
        T::Uint16 => DType::UINT16,
        T::Bool => DType::BOOL,
        other => {
            return Err(format!(
                "{what} '{name}' has the element type {other:?}, which TensorFlow's engine op has not"
            ));
        }
    };
    Ok(TensorSpec { dtype, shape })
}
