//! A deserialized engine: its tensors in the order of the node's, and its execution contexts.

use super::Context;
use crate::cuda::{self, Stream};
use crate::engine::tensorrt::Error;
use crate::engine::tensorrt::result::Scope;
use crate::engine::tensorrt::sys::{EngineObject, Library, RuntimeObject, Selector};
use crate::graph::{DType, PartialShape};
use parking_lot::Mutex;
use std::ffi::{CStr, CString};
use std::sync::Arc;

/// One input or output of an engine.
#[derive(Debug)]
pub struct Tensor {
    pub name: CString,
    pub dtype: DType,
    /// As far as the plan says it: open sizes are those of the profiles.
    pub shape: PartialShape,
    /// Whether TensorRT wants it in the host's memory: a shape tensor.
    pub on_host: bool,
}

pub struct Engine {
    object: Arc<EngineObject>,
    node: String,
    /// By the node's numbers; `None` for an input that the engine does not need.
    inputs: Vec<Option<Tensor>>,
    outputs: Vec<Tensor>,
    profiles: usize,
    /// Whether shapes are open, so that a context needs a profile.
    dynamic: bool,
    scratch: usize,
    /// TensorRT does not say that contexts may be made at the same time.
    making: Mutex<()>,
}

impl Engine {
    /// Loads a plan onto the current CUDA device for `node`. The plan is not needed afterwards.
    ///
    /// # Errors
    /// [`Error::Refused`] with TensorRT's own words; [`Error::Inputs`] where the plan's tensors are not numbered as a node's are.
    pub fn deserialize(library: &Arc<Library>, runtime: &Arc<RuntimeObject>, node: &str, plan: &[u8]) -> Result<Engine, Error> {
        let mut scope = Scope::enter(library, node);
        let object = runtime.deserialize(plan)?;
        let object = Arc::new(scope.some("load the plan", object)?);
        let table = library.table();
        let output = table.value("TensorIOMode", "kOUTPUT");
        let host = table.value("TensorLocation", "kHOST");
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let mut dynamic = false;
        for name in object.tensors()? {
            let number = number(&name).ok_or_else(|| scope.inputs(format!("the plan's tensor {name} has no number at its end")))?;
            let c_name = CString::new(name.as_str()).map_err(|_| scope.inputs(format!("tensor name {name:?} holds a NUL")))?;
            let facts = object.tensor_facts(&c_name)?;
            let is_output = Some(facts.mode) == output;
            let dims = object.shape(&c_name)?.0;
            dynamic |= !is_output && (facts.shape_io || dims.iter().any(|&size| size < 0));
            let list = if is_output { &mut outputs } else { &mut inputs };
            if number >= list.len() {
                if number > MOST_TENSORS {
                    return Err(scope.inputs(format!("the plan's tensor {name} has a number beyond {MOST_TENSORS}")));
                }
                list.resize_with(number + 1, || None);
            }
            let dtype = dtype(library, facts.data_type)
                .ok_or_else(|| scope.inputs(format!("{name} has TensorRT's type {}, which TensorFlow has not", facts.data_type)))?;
            let on_host = Some(facts.location) == host;
            list[number] = Some(Tensor {
                name: c_name,
                dtype,
                shape: PartialShape::from_dims(&dims),
                on_host,
            });
        }
        let outputs = outputs
            .into_iter()
            .enumerate()
            .map(|(i, output)| output.ok_or_else(|| scope.inputs(format!("the plan has no output {i}"))))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Engine {
            node: node.to_string(),
            profiles: object.profile_count()?,
            dynamic,
            scratch: object.scratch_bytes()?,
            inputs,
            outputs,
            object,
            making: Mutex::new(()),
        })
    }

    pub fn node(&self) -> &str {
        &self.node
    }

    pub fn library(&self) -> &Arc<Library> {
        self.object.library()
    }

    pub fn inputs(&self) -> &[Option<Tensor>] {
        &self.inputs
    }

    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// How many profiles it has.
    pub fn profiles(&self) -> usize {
        self.profiles
    }

    /// One end of what a profile allows an input; no sizes where the plan has no such profile or input.
    ///
    /// # Errors
    /// [`Error::Missing`] where the version does not tell.
    pub fn profile_shape(&self, input: &CStr, profile: usize, end: Selector) -> Result<Vec<i64>, Error> {
        Ok(self.object.profile_shape(input, profile, end)?.0)
    }

    /// Bytes of device memory that a run works in, whatever its shapes.
    pub fn scratch(&self) -> usize {
        self.scratch
    }

    /// Whether a tensor of it is on the host.
    pub fn has_host_tensors(&self) -> bool {
        self.inputs.iter().flatten().chain(&self.outputs).any(|tensor| tensor.on_host)
    }

    /// A context for a profile, to be used on one stream.
    ///
    /// # Errors
    /// [`Error::Refused`] with TensorRT's own words, out of memory among them.
    pub fn context(&self, profile: usize, stream: Stream) -> Result<Context, Error> {
        let mut scope = Scope::enter(self.library(), &self.node);
        if profile >= self.profiles.max(1) {
            return Err(scope.inputs(format!("profile {profile} was asked for, and the plan has {}", self.profiles)));
        }
        let _sets_up = cuda::no_capture();
        let object = {
            let _one_at_a_time = self.making.lock();
            self.object.create_context()?
        };
        let mut object = scope.some("create an execution context", object)?;
        // TensorRT itself gives a profile, the first, to an engine's first context only.
        if (self.dynamic || self.profiles > 1) && !object.set_profile(profile, stream)? {
            return Err(scope.refused("set the optimization profile"));
        }
        Ok(Context::new(object, scope.journal(), self, profile))
    }

    /// The inspector's JSON.
    ///
    /// # Errors
    /// [`Error::Missing`] where the version has no inspector.
    pub fn inspect(&self) -> Result<Option<String>, Error> {
        let _scope = Scope::enter(self.library(), &self.node);
        Ok(self.object.inspect()?)
    }

    /// The plan again.
    ///
    /// # Errors
    /// [`Error::Refused`] with TensorRT's own words.
    pub fn serialize(&self) -> Result<bytes::Bytes, Error> {
        let mut scope = Scope::enter(self.library(), &self.node);
        let memory = self.object.serialize()?;
        Ok(super::Plan::new(scope.some("serialize the engine", memory)?).into_bytes())
    }
}

/// No node has as many inputs or outputs: a plan that names one beyond is not one of a node's.
const MOST_TENSORS: usize = 100_000;

/// The number at the end of "TensorRTInputPH_3".
fn number(name: &str) -> Option<usize> {
    name.rsplit('_').next()?.parse().ok()
}

/// TensorFlow's type for a `nvinfer1::DataType`.
fn dtype(library: &Library, number: i32) -> Option<DType> {
    const TYPES: [(&str, DType); 8] = [
        ("kFLOAT", DType::FLOAT),
        ("kHALF", DType::HALF),
        ("kINT8", DType::INT8),
        ("kINT32", DType::INT32),
        ("kBOOL", DType::BOOL),
        ("kUINT8", DType::UINT8),
        ("kBF16", DType::BFLOAT16),
        ("kINT64", DType::INT64),
    ];
    TYPES
        .into_iter()
        .find(|(name, _)| library.table().value("DataType", name) == Some(number))
        .map(|(_, dtype)| dtype)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn tensors_are_numbered_by_the_end_of_their_names() {
        assert_eq!(number("TensorRTInputPH_12"), Some(12));
        assert_eq!(number("TensorRTInputPH_"), None);
        assert_eq!(number("x"), None);
        assert_eq!(number(""), None);
    }
}
