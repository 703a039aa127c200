//! One execution context: shapes in, addresses in, enqueue.

use super::Engine;
use super::engine::Tensor;
use crate::cuda::{self, Stream};
use crate::engine::tensorrt::Error;
use crate::engine::tensorrt::result::{Journal, Scope};
use crate::engine::tensorrt::sys::ContextObject;
use crate::engine::{Bindings, Bound, Memory, MemoryMut, TensorView};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A context that remembers the shapes that it was last set to: a call of the same shapes has nothing to set but addresses.
pub struct Context {
    object: ContextObject,
    journal: Arc<Journal>,
    /// The profile that it was made for, for messages.
    profile: usize,
    /// The shapes of all inputs; none where they are not known to be set.
    inputs: Option<Vec<Vec<i64>>>,
    outputs: Vec<Vec<i64>>,
    /// The addresses that TensorRT was told last, of inputs and then outputs: often it is told nothing new. 0 is none.
    addresses: Vec<u64>,
    scratch: u64,
    has_host_inputs: bool,
}

impl Context {
    pub(super) fn new(object: ContextObject, journal: Arc<Journal>, engine: &Engine, profile: usize) -> Context {
        Context {
            object,
            journal,
            profile,
            inputs: None,
            outputs: Vec::new(),
            addresses: vec![0; engine.inputs().len() + engine.outputs().len()],
            scratch: 0,
            has_host_inputs: engine.inputs().iter().flatten().any(|tensor| tensor.on_host),
        }
    }

    /// Whether it is set to these shapes.
    pub fn is_set_to(&self, inputs: &[TensorView<'_>]) -> bool {
        !self.has_host_inputs
            && self
                .inputs
                .as_ref()
                .is_some_and(|set| set.len() == inputs.len() && set.iter().zip(inputs).all(|(set, input)| set == input.dims))
    }

    /// The shapes of the outputs, after [`Self::set_inputs`].
    pub fn outputs(&self) -> &[Vec<i64>] {
        &self.outputs
    }

    /// Sets the shapes of the inputs, and the values of those that TensorRT wants on the host, and finds the outputs' shapes.
    ///
    /// # Errors
    /// [`Error::Inputs`] naming the input that is not the engine's; [`Error::Refused`] with TensorRT's words.
    pub fn set_inputs(&mut self, engine: &Engine, io: &dyn Bindings) -> Result<(), Error> {
        let inputs = io.inputs();
        if self.is_set_to(inputs) {
            return Ok(());
        }
        self.inputs = None;
        let mut scope = Scope::again(engine.library(), &self.journal);
        for (i, (tensor, input)) in engine.inputs().iter().zip(inputs).enumerate() {
            let Some(tensor) = tensor else { continue };
            if !self.object.set_input_shape(&tensor.name, input.dims)? {
                let why = format!("TensorRT does not take the shape {:?}{}", input.dims, scope.take_said());
                return Err(scope.profile(self.profile, &tensor.name.to_string_lossy(), why));
            }
            if tensor.on_host {
                let values = io.on_host(i).map_err(|e| scope.inputs(e.to_string()))?;
                match self.object.set_host_buffer(i, &tensor.name, values.len())? {
                    Some(buffer) => buffer.copy_from_slice(&values),
                    None => return Err(scope.refused("take the address of a shape tensor")),
                }
            }
        }
        match self.object.infer_shapes()? {
            0 => {}
            missing if missing > 0 => return Err(scope.inputs(format!("{missing} input(s) are not set"))),
            _ => return Err(scope.refused("infer the shapes of the outputs")),
        }
        self.outputs.clear();
        for tensor in engine.outputs() {
            let shape = self.object.shape(&tensor.name)?.0;
            if shape.iter().any(|&size| size < 0) {
                return Err(scope.inputs(format!(
                    "the shape {shape:?} of output {} depends on values that only the run gives",
                    tensor.name.to_string_lossy()
                )));
            }
            self.outputs.push(shape);
        }
        self.inputs = Some(inputs.iter().map(|input| input.dims.to_vec()).collect());
        Ok(())
    }

    /// Gives the run to `stream`, behind what it holds, with the tensors at their addresses, and tells how long TensorRT took to
    /// take it. `nowhere` is a device address for tensors without elements, which TensorRT wants to have one.
    ///
    /// # Errors
    /// [`Error::Inputs`] for a tensor that is not in device memory; [`Error::Refused`] with TensorRT's words.
    pub fn enqueue(&mut self, engine: &Engine, bound: &Bound<'_>, nowhere: u64, stream: Stream) -> Result<Duration, Error> {
        let mut scope = Scope::again(engine.library(), &self.journal);
        for (i, (tensor, input)) in engine.inputs().iter().zip(bound.inputs).enumerate() {
            let Some(tensor) = tensor.as_ref().filter(|tensor| !tensor.on_host) else {
                continue;
            };
            let Memory::Device(address) = input.memory else {
                return Err(scope.inputs(format!("input {} is in the host's memory", tensor.name.to_string_lossy())));
            };
            self.address(&mut scope, i, tensor, address, nowhere)?;
        }
        let sizes: Vec<usize> = engine
            .outputs()
            .iter()
            .zip(&self.outputs)
            .map(|(tensor, shape)| shape.iter().product::<i64>() as usize * tensor.dtype.size())
            .collect();
        // Buffers of the host's outputs follow those of the inputs.
        let first = engine.inputs().len();
        for (i, (tensor, output)) in engine.outputs().iter().zip(&bound.outputs).enumerate() {
            let MemoryMut::Device(address) = *output else {
                return Err(scope.inputs(format!("output {} is in the host's memory", tensor.name.to_string_lossy())));
            };
            if !tensor.on_host {
                self.address(&mut scope, first + i, tensor, address, nowhere)?;
            } else if self.object.set_host_buffer(first + i, &tensor.name, sizes[i])?.is_none() {
                return Err(scope.refused("take the address of a shape tensor"));
            }
        }
        let scratch = if bound.scratch == 0 { nowhere } else { bound.scratch };
        if scratch != self.scratch {
            self.scratch = 0;
            self.object.set_scratch(scratch, engine.scratch())?;
            // setDeviceMemory answers nothing: where it does not take the memory, the run would work in that of an earlier call.
            if scope.has_errors() {
                return Err(scope.refused("take the scratch memory"));
            }
            self.scratch = scratch;
        }
        let begun = Instant::now();
        let taken = self.object.enqueue(stream)?;
        let inside = begun.elapsed();
        if !taken {
            // What state TensorRT leaves it in is not said: the next call sets everything again.
            self.inputs = None;
            self.addresses.fill(0);
            self.scratch = 0;
            return Err(scope.refused("enqueue the engine"));
        }
        for (i, (tensor, output)) in engine.outputs().iter().zip(&bound.outputs).enumerate() {
            if let (true, MemoryMut::Device(address)) = (tensor.on_host, output) {
                // Rare, and small: the run has to be waited for.
                let copied = stream.synchronize();
                let bytes = self.object.host_buffer(first + i, sizes[i]);
                copied
                    .and_then(|()| cuda::copy_from_host(*address, bytes, stream))
                    .map_err(|e| scope.inputs(format!("output {}: {e}", tensor.name.to_string_lossy())))?;
            }
        }
        Ok(inside)
    }

    fn address(&mut self, scope: &mut Scope, i: usize, tensor: &Tensor, address: u64, nowhere: u64) -> Result<(), Error> {
        let address = if address == 0 { nowhere } else { address };
        if self.addresses[i] == address {
            return Ok(());
        }
        self.addresses[i] = 0;
        if !self.object.set_address(&tensor.name, address)? {
            return Err(scope.refused("take the address of a tensor"));
        }
        self.addresses[i] = address;
        Ok(())
    }
}
