//! The calls of the runtime: plans to engines, engines to execution contexts, contexts onto a stream.
//!
//! An engine keeps its runtime alive and a context its engine: TensorRT wants them gone in the opposite order in which they came.

use super::allocator::Allocator;
use super::calls::{Builder, HostMemory, Inspector, Owned, text, vcall};
use super::calls::{CudaEngine, ExecutionContext, Runtime, Selector};
use super::dims::{Dims, Dims32, Dims64};
use super::library::Library;
use super::slots::MissingMethod;
use crate::cuda::Stream;
use parking_lot::Mutex;
use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

impl Owned<'_, Builder> {
    /// `setGpuAllocator`.
    pub fn set_gpu_allocator(&self, allocator: &'static Allocator) -> Result<(), MissingMethod> {
        let slot = self.index(self.library().slots.builder.set_gpu_allocator)?;
        // SAFETY: `void setGpuAllocator(IGpuAllocator*)`; it has the layout of this version and is never freed.
        unsafe { vcall!(self.implementation(), slot, fn(*mut c_void), allocator.as_ptr()) };
        Ok(())
    }
}

/// An `IRuntime`. Its calls are made one at a time.
pub struct RuntimeObject(Mutex<Owned<'static, Runtime>>);

// SAFETY: TensorRT binds no object to a thread; the mutex makes for one caller at a time.
unsafe impl Send for RuntimeObject {}
// SAFETY: as above.
unsafe impl Sync for RuntimeObject {}

impl RuntimeObject {
    pub(super) fn new(runtime: Owned<'static, Runtime>) -> Arc<RuntimeObject> {
        Arc::new(RuntimeObject(Mutex::new(runtime)))
    }

    /// `setGpuAllocator`: where engines and contexts made from now on take their memory.
    pub fn set_gpu_allocator(&self, allocator: &'static Allocator) -> Result<(), MissingMethod> {
        let this = self.0.lock();
        let slot = this.index(this.library().slots.runtime.set_gpu_allocator)?;
        // SAFETY: `void setGpuAllocator(IGpuAllocator*)`; it has the layout of this version and is never freed.
        unsafe { vcall!(this.implementation(), slot, fn(*mut c_void), allocator.as_ptr()) };
        Ok(())
    }

    /// `deserializeCudaEngine`; `None` where TensorRT refuses the plan. The plan is not needed afterwards.
    pub fn deserialize(self: &Arc<Self>, plan: &[u8]) -> Result<Option<EngineObject>, MissingMethod> {
        let this = self.0.lock();
        let slots = &this.library().slots.runtime;
        let (data, size) = (plan.as_ptr(), plan.len());
        let engine = if slots.deserialize_with_factory.is_there() {
            let slot = this.index(slots.deserialize_with_factory)?;
            // SAFETY: 8.6's `ICudaEngine* deserializeCudaEngine(void const*, size_t, IPluginFactory*)`, which reads the plan while
            // it runs; the factory is null, as the public method passes it.
            unsafe {
                let none = std::ptr::null_mut();
                vcall!(
                    this.implementation(),
                    slot,
                    fn(*const u8, usize, *mut c_void) -> *mut c_void,
                    data,
                    size,
                    none
                )
            }
        } else {
            let slot = this.index(slots.deserialize)?;
            // SAFETY: `ICudaEngine* deserializeCudaEngine(void const*, size_t)`, which reads the plan while it runs.
            unsafe { vcall!(this.implementation(), slot, fn(*const u8, usize) -> *mut c_void, data, size) }
        };
        // SAFETY: the engine is ours; it lives no longer than the runtime, which it holds beside it.
        let engine = unsafe { Owned::adopt(engine, this.library()) };
        Ok(engine.map(|engine| EngineObject {
            engine,
            _runtime: self.clone(),
        }))
    }
}

/// An `ICudaEngine`, and the runtime that it is of.
pub struct EngineObject {
    // Dropped in this order.
    engine: Owned<'static, CudaEngine>,
    _runtime: Arc<RuntimeObject>,
}

// SAFETY: TensorRT binds no engine to a thread.
unsafe impl Send for EngineObject {}
// SAFETY: what is called through a shared reference only reads the engine, but for making contexts, which callers do one at a
// time (`safe::Engine`).
unsafe impl Sync for EngineObject {}

impl EngineObject {
    pub fn library(&self) -> &Arc<Library> {
        self.engine.library()
    }

    /// The names of all inputs and outputs.
    pub fn tensors(&self) -> Result<Vec<String>, MissingMethod> {
        let this = &self.engine;
        let slots = &this.library().slots.engine;
        let (count, name) = (this.index(slots.tensor_count)?, this.index(slots.tensor_name)?);
        // SAFETY: `int32_t getNbIOTensors() const`.
        let count = unsafe { vcall!(this.implementation(), count, fn() -> i32,) };
        Ok((0..count)
            // SAFETY: `char const* getIOTensorName(int32_t) const`, index in range; copied at once.
            .map(|i| unsafe { text(vcall!(this.implementation(), name, fn(i32) -> *const c_char, i)) })
            .collect())
    }

    /// `getTensorIOMode`, `getTensorDataType`, `getTensorLocation`: numbers of their enumerations.
    pub fn tensor_facts(&self, name: &CStr) -> Result<TensorFacts, MissingMethod> {
        let slots = &self.library().slots.engine;
        let ask = |slot| -> Result<i32, MissingMethod> {
            let slot = self.engine.index(slot)?;
            // SAFETY: `enum ...(char const*) const` with an enumeration of four bytes; the name is one of the engine's.
            Ok(unsafe { vcall!(self.engine.implementation(), slot, fn(*const c_char) -> i32, name.as_ptr()) })
        };
        let slot = self.engine.index(slots.is_shape_io)?;
        Ok(TensorFacts {
            mode: ask(slots.tensor_mode)?,
            data_type: ask(slots.tensor_type)?,
            location: ask(slots.tensor_location)?,
            // SAFETY: `bool isShapeInferenceIO(char const*) const`.
            shape_io: unsafe { vcall!(self.engine.implementation(), slot, fn(*const c_char) -> bool, name.as_ptr()) },
        })
    }

    /// `getTensorShape`; -1 is an open size.
    pub fn shape(&self, name: &CStr) -> Result<Dims, MissingMethod> {
        let slot = self.engine.index(self.library().slots.engine.tensor_shape)?;
        // SAFETY: `Dims getTensorShape(char const*) const`.
        Ok(unsafe {
            if self.engine.wide_dims() {
                vcall!(self.engine.implementation(), slot, fn(*const c_char) -> Dims64, name.as_ptr()).shape()
            } else {
                vcall!(self.engine.implementation(), slot, fn(*const c_char) -> Dims32, name.as_ptr()).shape()
            }
        })
    }

    /// `getNbOptimizationProfiles`.
    pub fn profile_count(&self) -> Result<usize, MissingMethod> {
        let slot = self.engine.index(self.library().slots.engine.profile_count)?;
        // SAFETY: `int32_t getNbOptimizationProfiles() const`.
        let count = unsafe { vcall!(self.engine.implementation(), slot, fn() -> i32,) };
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// `getProfileShape`; no sizes where there is no such profile or input.
    pub fn profile_shape(&self, name: &CStr, profile: usize, end: Selector) -> Result<Dims, MissingMethod> {
        let slot = self.engine.index(self.library().slots.engine.profile_shape)?;
        let (this, profile) = (self.engine.implementation(), i32::try_from(profile).unwrap_or(i32::MAX));
        // SAFETY: `Dims getProfileShape(char const*, int32_t, OptProfileSelector) const`, `Dims` as wide as the version has it.
        Ok(unsafe {
            if self.engine.wide_dims() {
                vcall!(
                    this,
                    slot,
                    fn(*const c_char, i32, i32) -> Dims64,
                    name.as_ptr(),
                    profile,
                    end as i32
                )
                .shape()
            } else {
                vcall!(
                    this,
                    slot,
                    fn(*const c_char, i32, i32) -> Dims32,
                    name.as_ptr(),
                    profile,
                    end as i32
                )
                .shape()
            }
        })
    }

    /// `getDeviceMemorySizeV2`, or where there is only that, `getDeviceMemorySize`: bytes of scratch that a context needs.
    pub fn scratch_bytes(&self) -> Result<usize, MissingMethod> {
        let slots = &self.library().slots.engine;
        let slot = if slots.scratch_size_64.is_there() {
            slots.scratch_size_64
        } else {
            slots.scratch_size
        };
        let slot = self.engine.index(slot)?;
        // SAFETY: `int64_t getDeviceMemorySizeV2() const`, `size_t getDeviceMemorySize() const`: eight bytes both, and not negative.
        Ok(unsafe { vcall!(self.engine.implementation(), slot, fn() -> usize,) })
    }

    /// A context that brings no scratch memory of its own; `None` where TensorRT refuses. One caller at a time.
    pub fn create_context(self: &Arc<Self>) -> Result<Option<ContextObject>, MissingMethod> {
        let slots = &self.library().slots.engine;
        let this = self.engine.implementation();
        let context = match self.library().table().value("ExecutionContextAllocationStrategy", "kUSER_MANAGED") {
            Some(strategy) => {
                let slot = self.engine.index(slots.create_context)?;
                // SAFETY: `IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy)`.
                unsafe { vcall!(this, slot, fn(i32) -> *mut c_void, strategy) }
            }
            None => {
                let slot = self.engine.index(slots.create_context_without_memory)?;
                // SAFETY: 8.6's `IExecutionContext* createExecutionContextWithoutDeviceMemory()`.
                unsafe { vcall!(this, slot, fn() -> *mut c_void,) }
            }
        };
        // SAFETY: the context is ours; it lives no longer than the engine, which it holds beside it.
        let context = unsafe { Owned::adopt(context, self.library()) };
        Ok(context.map(|context| ContextObject {
            context,
            _engine: self.clone(),
            host: Vec::new(),
        }))
    }

    /// What the engine's layers are, as the inspector's JSON; `None` where TensorRT has no inspector for it.
    pub fn inspect(&self) -> Result<Option<String>, MissingMethod> {
        let slot = self.engine.index(self.library().slots.engine.create_inspector)?;
        // SAFETY: `IEngineInspector* createEngineInspector() const`; the inspector is ours and gone before the engine.
        let inspector: Option<Owned<'_, Inspector>> =
            unsafe { Owned::adopt(vcall!(self.engine.implementation(), slot, fn() -> *mut c_void,), self.library()) };
        let Some(inspector) = inspector else { return Ok(None) };
        let slot = inspector.index(self.library().slots.inspector.engine_information)?;
        let json = self.library().table().value("LayerInformationFormat", "kJSON").unwrap_or(1);
        // SAFETY: `char const* getEngineInformation(LayerInformationFormat) const`; copied before the inspector goes.
        Ok(Some(unsafe {
            text(vcall!(inspector.implementation(), slot, fn(i32) -> *const c_char, json))
        }))
    }

    /// `serialize`: the plan again.
    pub fn serialize(&self) -> Result<Option<Owned<'static, HostMemory>>, MissingMethod> {
        let slot = self.engine.index(self.library().slots.engine.serialize)?;
        // SAFETY: `IHostMemory* serialize() const`; the memory is ours and does not depend on the engine.
        Ok(unsafe { Owned::adopt(vcall!(self.engine.implementation(), slot, fn() -> *mut c_void,), self.library()) })
    }
}

/// What an engine says of one of its tensors; the numbers are those of TensorRT's enumerations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorFacts {
    pub mode: i32,
    pub data_type: i32,
    pub location: i32,
    /// Whether its values take part in the computation of shapes.
    pub shape_io: bool,
}

/// An `IExecutionContext`, and the engine that it is of. For one thread at a time.
pub struct ContextObject {
    // Dropped in this order.
    context: Owned<'static, ExecutionContext>,
    _engine: Arc<EngineObject>,
    /// The memory of tensors that TensorRT wants on the host.
    host: Vec<Vec<u64>>,
}

// SAFETY: TensorRT binds no context to a thread; it wants one caller at a time, and every call here takes the context mutably.
unsafe impl Send for ContextObject {}

impl ContextObject {
    /// `setOptimizationProfileAsync`: `false` where TensorRT refuses.
    pub fn set_profile(&mut self, profile: usize, stream: Stream) -> Result<bool, MissingMethod> {
        let slot = self.context.index(self.context.library().slots.context.set_profile)?;
        // SAFETY: `bool setOptimizationProfileAsync(int32_t, cudaStream_t)`.
        Ok(unsafe {
            vcall!(
                self.context.implementation(),
                slot,
                fn(i32, *mut c_void) -> bool,
                profile as i32,
                stream.as_ptr()
            )
        })
    }

    /// `setInputShape`: `false` where the profile does not hold it.
    pub fn set_input_shape(&mut self, name: &CStr, shape: &[i64]) -> Result<bool, MissingMethod> {
        let slot = self.context.index(self.context.library().slots.context.set_input_shape)?;
        let this = self.context.implementation();
        // SAFETY: `bool setInputShape(char const*, Dims const&)`, `Dims` as wide as the version has it; copied.
        Ok(unsafe {
            if self.context.wide_dims() {
                Dims64::of(shape)
                    .is_some_and(|dims| vcall!(this, slot, fn(*const c_char, *const Dims64) -> bool, name.as_ptr(), &raw const dims))
            } else {
                Dims32::of(shape)
                    .is_some_and(|dims| vcall!(this, slot, fn(*const c_char, *const Dims32) -> bool, name.as_ptr(), &raw const dims))
            }
        })
    }

    /// `inferShapes`: 0 where every shape is known, else how many inputs are not set enough; below zero for an error.
    pub fn infer_shapes(&mut self) -> Result<i32, MissingMethod> {
        let slot = self.context.index(self.context.library().slots.context.infer_shapes)?;
        let none: *mut *const c_char = std::ptr::null_mut();
        // SAFETY: `int32_t inferShapes(int32_t, char const**)`; with no room for names it writes none.
        Ok(unsafe { vcall!(self.context.implementation(), slot, fn(i32, *mut *const c_char) -> i32, 0, none) })
    }

    /// `getTensorShape`; -1 where it depends on values that only a run gives.
    pub fn shape(&mut self, name: &CStr) -> Result<Dims, MissingMethod> {
        let slot = self.context.index(self.context.library().slots.context.tensor_shape)?;
        let this = self.context.implementation();
        // SAFETY: `Dims getTensorShape(char const*) const`.
        Ok(unsafe {
            if self.context.wide_dims() {
                vcall!(this, slot, fn(*const c_char) -> Dims64, name.as_ptr()).shape()
            } else {
                vcall!(this, slot, fn(*const c_char) -> Dims32, name.as_ptr()).shape()
            }
        })
    }

    /// `setTensorAddress`: where in device memory the next run reads or writes a tensor.
    pub fn set_address(&mut self, name: &CStr, address: u64) -> Result<bool, MissingMethod> {
        let slot = self.context.index(self.context.library().slots.context.set_address)?;
        // SAFETY: `bool setTensorAddress(char const*, void*)`. A device address is not followed by the host.
        Ok(unsafe {
            vcall!(
                self.context.implementation(),
                slot,
                fn(*const c_char, *mut c_void) -> bool,
                name.as_ptr(),
                address as *mut c_void
            )
        })
    }

    /// `setTensorAddress` for a tensor that TensorRT wants in the host's memory (a shape tensor): a buffer of the context's own,
    /// number `buffer`, of `bytes` bytes, which the caller fills or reads.
    pub fn set_host_buffer(&mut self, buffer: usize, name: &CStr, bytes: usize) -> Result<Option<&mut [u8]>, MissingMethod> {
        if self.host.len() <= buffer {
            self.host.resize_with(buffer + 1, Vec::new);
        }
        // Words of eight bytes, so that it is aligned for every element type; never of no size, so that it has an address.
        self.host[buffer].resize(bytes.div_ceil(8).max(1), 0);
        let address = self.host[buffer].as_mut_ptr() as u64;
        if !self.set_address(name, address)? {
            return Ok(None);
        }
        Ok(Some(self.host_buffer(buffer, bytes)))
    }

    /// What is in a buffer of [`Self::set_host_buffer`]'s.
    pub fn host_buffer(&mut self, buffer: usize, bytes: usize) -> &mut [u8] {
        let words = self.host.get_mut(buffer).map(Vec::as_mut_slice).unwrap_or_default();
        let bytes = bytes.min(words.len() * 8);
        // SAFETY: as many bytes as the words have, and any bytes make a word.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), bytes) }
    }

    /// `setDeviceMemoryV2`, or where there is only that, `setDeviceMemory`: the scratch memory of the next run.
    pub fn set_scratch(&mut self, address: u64, bytes: usize) -> Result<(), MissingMethod> {
        let slots = &self.context.library().slots.context;
        let this = self.context.implementation();
        let address = address as *mut c_void;
        if slots.set_scratch_64.is_there() {
            let slot = self.context.index(slots.set_scratch_64)?;
            // SAFETY: `void setDeviceMemoryV2(void*, int64_t)`; device memory.
            unsafe { vcall!(this, slot, fn(*mut c_void, i64), address, bytes as i64) };
        } else {
            let slot = self.context.index(slots.set_scratch)?;
            // SAFETY: `void setDeviceMemory(void*)`; device memory of the size that the engine named.
            unsafe { vcall!(this, slot, fn(*mut c_void), address) };
        }
        Ok(())
    }

    /// `enqueueV3`: `false` where TensorRT could not.
    pub fn enqueue(&mut self, stream: Stream) -> Result<bool, MissingMethod> {
        let slot = self.context.index(self.context.library().slots.context.enqueue)?;
        // SAFETY: `bool enqueueV3(cudaStream_t)`.
        Ok(unsafe { vcall!(self.context.implementation(), slot, fn(*mut c_void) -> bool, stream.as_ptr()) })
    }
}
