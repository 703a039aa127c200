//! One invocation of TRTEngineOp, in safe Rust.

use super::contents::LargeContents;
use super::device;
use super::ffi::{self, ResourceRef};
use super::status::{Code, Status};
use crate::cuda::Stream;
use crate::engine::interface::check_outputs;
use crate::engine::{Bindings, Bound, EngineError, Gpu, Memory, MemoryMut, TensorView};
use crate::fault::{self, Fault, Point};
use crate::graph::{DType, PartialShape, contents, elements};
use crate::memory;
use crate::plain::plain;
use bytes::Bytes;
use cxx::UniquePtr;
use std::any::Any;
use std::sync::Arc;

/// The call and, read once, the shapes of its inputs. It ends by being finished, failed or run natively; dropped
/// before, it fails its step.
pub struct Call {
    raw: UniquePtr<ffi::Call>,
    shapes: Vec<Vec<i64>>,
}

/// An instantiated function. TensorFlow keeps its graph and weights until it is given back, which is when this is dropped.
pub struct NativeFunction {
    library: usize,
    handle: Handle,
}

/// What runs an instantiated function while its [`NativeFunction`] is there.
#[derive(Clone, Copy)]
pub struct Handle {
    number: u64,
    ints_on_device: bool,
}

impl NativeFunction {
    pub fn handle(&self) -> Handle {
        self.handle
    }
}

impl Drop for NativeFunction {
    fn drop(&mut self) {
        ffi::release_function(self.library, self.handle.number);
    }
}

impl Call {
    pub fn new(raw: UniquePtr<ffi::Call>) -> Self {
        let shapes = (0..raw.input_count())
            .map(|i| (0..raw.input_rank(i)).map(|d| raw.input_dim(i, d)).collect())
            .collect();
        Call { raw, shapes }
    }

    /// The shape of every input.
    pub fn shapes(&self) -> &[Vec<i64>] {
        &self.shapes
    }

    pub fn device(&self) -> String {
        self.raw.device_name()
    }

    /// What all instances of engine `name` on this device share; made if absent. It is what the hook for resources makes.
    pub fn resource(&self, name: &str, capacity: i64) -> Result<Arc<dyn Any + Send + Sync>, Status> {
        let mut outcome = ffi::Outcome::default();
        let found: UniquePtr<ResourceRef> = self.raw.resource(name, capacity, &mut outcome);
        outcome.check()?;
        Ok(found.state().get()?.clone().as_any())
    }

    /// Makes a function ready to run on this call's device. `function` is a serialized `NameAttrList`. To be kept by the call's kernel
    /// and dropped with it: until then TensorFlow keeps the runtime that it belongs to.
    pub fn instantiate(&self, function: &[u8], soft_placement: bool) -> Result<NativeFunction, Status> {
        fault::at(Point::Instantiate).map_err(failed)?;
        let made = self.raw.instantiate(function, soft_placement);
        made.outcome.check()?;
        Ok(NativeFunction {
            library: self.raw.library_id(),
            handle: Handle {
                number: made.handle,
                ints_on_device: made.ints_on_device,
            },
        })
    }

    /// Whether the function was instantiated in the function library runtime of this call.
    pub fn can_run(&self, function: &NativeFunction) -> bool {
        function.library == self.raw.library_id()
    }

    /// The body of a function as a serialized `GraphDef`, with the large contents of its constants beside it.
    pub fn function_body(&self, function: &[u8]) -> Result<(Vec<u8>, Vec<Bytes>), Status> {
        let mut contents = LargeContents {
            copied: true,
            ..Default::default()
        };
        let body = self.body(function, &mut contents)?;
        Ok((body, contents.copies))
    }

    /// As [`Self::function_body`], with the contents' CRC-32C's: nothing large is copied.
    pub fn function_outline(&self, function: &[u8]) -> Result<(Vec<u8>, Vec<u32>), Status> {
        let mut contents = LargeContents::default();
        let body = self.body(function, &mut contents)?;
        Ok((body, contents.checksums))
    }

    fn body(&self, function: &[u8], contents: &mut LargeContents) -> Result<Vec<u8>, Status> {
        fault::at(Point::Body).map_err(failed)?;
        let body = self.raw.function_body(function, contents::LARGE, contents::MARK, contents);
        body.outcome.check()?;
        contents.lacking.map_or(Ok(()), Err)?;
        Ok(body.bytes)
    }

    /// The GPU that the call runs on; `None` on the CPU.
    pub fn gpu(&self) -> Option<Gpu> {
        device::gpu(self.raw.gpu())
    }

    /// The element type of input `i`.
    pub fn input_dtype(&self, i: usize) -> DType {
        DType::from_proto(self.raw.input_dtype(i))
    }

    /// Input `i`'s bytes, after waiting for them where they are on a device.
    pub fn input_on_host(&self, i: usize) -> Result<Vec<u8>, Status> {
        fault::at(Point::Copy).map_err(failed)?;
        let mut bytes = memory::zeros("an input", self.raw.input_bytes(i))?;
        self.raw.copy_input_to_host(i, &mut bytes).check()?;
        Ok(bytes)
    }

    /// The call's tensors for an engine; with `stream`, that of the call, their addresses are device memory. `outputs` is what the node
    /// says of the outputs' shapes.
    pub fn bindings<'a>(&'a self, stream: Option<Stream>, outputs: &'a [PartialShape]) -> CallBindings<'a> {
        let inputs = (0..self.raw.input_count())
            .map(|i| {
                let (address, bytes) = (self.raw.input_address(i), self.raw.input_bytes(i));
                let memory = if stream.is_some() {
                    Memory::Device(address as u64)
                } else {
                    Memory::Host(host(address, bytes))
                };
                TensorView {
                    dtype: DType::from_proto(self.raw.input_dtype(i)),
                    dims: &self.shapes[i],
                    memory,
                }
            })
            .collect();
        CallBindings {
            call: self,
            inputs,
            outputs,
            stream,
        }
    }

    /// Ends the call with the outputs that were bound.
    pub fn finish(self) {
        self.raw.commit_outputs();
        ffi::finish_call(self.raw);
    }

    pub fn fail(self, status: &Status) {
        self.raw.fail(status.code, &plain(&status.message));
        ffi::finish_call(self.raw);
    }

    /// Ends the call with the results of an instantiated function; `why` goes before the message of a failure.
    pub fn run_native(self, handle: Handle, why: &str) {
        ffi::run_native(self.raw, handle.number, handle.ints_on_device, &plain(why));
    }
}

fn failed(fault: Fault) -> Status {
    Status::new(Code::Internal, fault.to_string())
}

/// The bytes of an input. TensorFlow keeps inputs alive and unchanged until the call ends; the slice's life is bound
/// to the call by the signatures above.
fn host<'a>(address: usize, bytes: usize) -> &'a [u8] {
    if bytes == 0 {
        return &[];
    }
    // SAFETY: an empty tensor may have no address; any other has `bytes` bytes there.
    unsafe { std::slice::from_raw_parts(address as *const u8, bytes) }
}

/// "memory must be aligned on 512 byte boundary" (TensorRT 8.6, setDeviceMemory).
const SCRATCH_ALIGNMENT: usize = 512;

pub struct CallBindings<'a> {
    call: &'a Call,
    inputs: Vec<TensorView<'a>>,
    outputs: &'a [PartialShape],
    stream: Option<Stream>,
}

impl Bindings for CallBindings<'_> {
    fn inputs(&self) -> &[TensorView<'_>] {
        &self.inputs
    }

    fn output_dtype(&self, i: usize) -> Option<DType> {
        (i < self.call.raw.output_count()).then(|| DType::from_proto(self.call.raw.output_dtype(i)))
    }

    fn stream(&self) -> Option<Stream> {
        self.stream
    }

    fn on_host(&self, i: usize) -> Result<Vec<u8>, EngineError> {
        self.call
            .input_on_host(i)
            .map_err(|e| EngineError::Run(format!("input {i} cannot be copied to the host: {e}")))
    }

    fn bind(&mut self, shapes: &[Vec<i64>], scratch: usize) -> Result<Bound<'_>, EngineError> {
        let raw = &self.call.raw;
        check_outputs(shapes, raw.output_count(), self.outputs)?;
        let mut outputs = Vec::with_capacity(shapes.len());
        for (i, shape) in shapes.iter().enumerate() {
            fault::at(Point::Allocate).map_err(|e| EngineError::Run(format!("output {i}: {e}")))?;
            let given = raw.allocate_output(i, shape);
            given.outcome.check().map_err(|e| EngineError::Run(format!("output {i}: {e}")))?;
            let count = elements(shape);
            let bytes = count as usize * DType::from_proto(raw.output_dtype(i)).size();
            outputs.push(match (self.stream.is_some(), bytes) {
                (true, _) => MemoryMut::Device(given.value),
                (false, 0) => MemoryMut::Host(&mut []),
                // SAFETY: freshly allocated for this call with the size of type and shape, seen by nobody else until the
                // call is finished, which takes the call by value.
                (false, bytes) => MemoryMut::Host(unsafe { std::slice::from_raw_parts_mut(given.value as *mut u8, bytes) }),
            });
        }
        let scratch = match scratch {
            0 => 0,
            bytes => {
                // TensorRT wants it aligned as no block of TensorFlow's is bound to be.
                fault::at(Point::Allocate).map_err(|e| EngineError::Run(format!("{bytes} bytes of device memory to work in: {e}")))?;
                let given = raw.allocate_scratch(bytes + SCRATCH_ALIGNMENT);
                given
                    .outcome
                    .check()
                    .map_err(|e| EngineError::Run(format!("{bytes} bytes of device memory to work in: {e}")))?;
                given.value.next_multiple_of(SCRATCH_ALIGNMENT as u64)
            }
        };
        Ok(Bound {
            inputs: &self.inputs,
            outputs,
            scratch,
        })
    }
}
