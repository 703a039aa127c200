//! The raw calls of ONNX Runtime's C API that run a session on memory owned by TensorFlow.
//!
//! The `ort` crate makes environment and session. Its `run` takes `&mut Session` and allocates every output, so two
//! calls of one engine could not overlap and outputs would be copied; `OrtApi::Run` itself is thread-safe for the CPU
//! provider and writes into values that are handed to it.

#![allow(unsafe_code, reason = "ONNX Runtime's C API")]

use crate::graph::{DType, elements};
use ort::AsPointer;
use ort::session::Session;
use ort::sys;
use std::ffi::{CStr, CString, c_void};
use std::path::Path;
use std::ptr;

/// A message of ONNX Runtime's own.
pub type Message = String;

fn check(status: sys::OrtStatusPtr) -> Result<(), Message> {
    if status.0.is_null() {
        return Ok(());
    }
    let api = ort::api();
    // SAFETY: the status is not null, so it holds a message that lives until it is released, which happens once, here.
    let message = unsafe { CStr::from_ptr((api.GetErrorMessage)(status.0)).to_string_lossy().into_owned() };
    // SAFETY: the status is not used after this.
    unsafe { (api.ReleaseStatus)(status.0) };
    Err(message)
}

/// The C API's number of an element type.
fn element_type(dtype: DType) -> Option<sys::ONNXTensorElementDataType> {
    use sys::ONNXTensorElementDataType as T;
    Some(match dtype {
        DType::FLOAT => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        DType::DOUBLE => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        DType::HALF => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        DType::BFLOAT16 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        DType::INT8 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        DType::UINT8 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        DType::INT16 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        DType::UINT16 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        DType::INT32 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        DType::INT64 => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        DType::BOOL => T::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        _ => return None,
    })
}

/// The description of plain host memory that every value of a run carries.
pub struct HostMemory(*mut sys::OrtMemoryInfo);

// SAFETY: the description is never written after it was made.
unsafe impl Send for HostMemory {}
// SAFETY: as above.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    pub fn new() -> Result<Self, Message> {
        let mut info = ptr::null_mut();
        // SAFETY: writes one pointer, which `drop` releases.
        check(unsafe {
            (ort::api().CreateCpuMemoryInfo)(
                sys::OrtAllocatorType::OrtDeviceAllocator,
                sys::OrtMemType::OrtMemTypeDefault,
                &mut info,
            )
        })?;
        Ok(HostMemory(info))
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        // SAFETY: made by CreateCpuMemoryInfo, released once.
        unsafe { (ort::api().ReleaseMemoryInfo)(self.0) }
    }
}

/// How a run goes: its errors come back, and are not logged as well. A client's bad calls would fill the log.
pub struct Quietly(*mut sys::OrtRunOptions);

// SAFETY: never written after it was made.
unsafe impl Send for Quietly {}
// SAFETY: as above.
unsafe impl Sync for Quietly {}

/// ORT_LOGGING_LEVEL_FATAL.
const FATAL: std::ffi::c_int = 4;

impl Quietly {
    pub fn new() -> Result<Self, Message> {
        let mut raw = ptr::null_mut();
        // SAFETY: writes one pointer, which `drop` releases.
        check(unsafe { (ort::api().CreateRunOptions)(&mut raw) })?;
        let options = Quietly(raw);
        // SAFETY: the options were just made.
        check(unsafe { (ort::api().RunOptionsSetRunLogSeverityLevel)(options.0, FATAL) })?;
        Ok(options)
    }
}

impl Drop for Quietly {
    fn drop(&mut self) {
        // SAFETY: made by CreateRunOptions, released once.
        unsafe { (ort::api().ReleaseRunOptions)(self.0) }
    }
}

/// A tensor value; `'a` is the life of the memory that it points to.
pub struct Value<'a> {
    raw: *mut sys::OrtValue,
    memory: std::marker::PhantomData<&'a mut [u8]>,
}

impl<'a> Value<'a> {
    /// A value over `data`, which ONNX Runtime only reads: it is bound as an input.
    pub fn input(memory: &HostMemory, dtype: DType, dims: &[i64], data: &'a [u8]) -> Result<Self, Message> {
        Self::over(memory, dtype, dims, data.as_ptr().cast_mut(), data.len())
    }

    /// A value that ONNX Runtime writes `data` through.
    pub fn output(memory: &HostMemory, dtype: DType, dims: &[i64], data: &'a mut [u8]) -> Result<Self, Message> {
        Self::over(memory, dtype, dims, data.as_mut_ptr(), data.len())
    }

    /// An output that ONNX Runtime allocates itself.
    pub fn unallocated() -> Self {
        Value {
            raw: ptr::null_mut(),
            memory: std::marker::PhantomData,
        }
    }

    fn over(memory: &HostMemory, dtype: DType, dims: &[i64], data: *mut u8, len: usize) -> Result<Self, Message> {
        let element = element_type(dtype).ok_or_else(|| format!("ONNX Runtime has no tensors of type {dtype}"))?;
        let mut raw = ptr::null_mut();
        // SAFETY: `data` is valid for `len` bytes for 'a; ONNX Runtime checks `len` against shape and type, and frees nothing
        // but the value itself.
        check(unsafe {
            (ort::api().CreateTensorWithDataAsOrtValue)(memory.0, data.cast::<c_void>(), len, dims.as_ptr(), dims.len(), element, &mut raw)
        })?;
        Ok(Value {
            raw,
            memory: std::marker::PhantomData,
        })
    }

    /// The sizes of an allocated tensor.
    pub fn dims(&self) -> Result<Vec<i64>, Message> {
        let api = ort::api();
        let mut info = ptr::null_mut();
        // SAFETY: `raw` is a tensor after a successful run; `info` is released below on every way out.
        check(unsafe { (api.GetTensorTypeAndShape)(self.raw, &mut info) })?;
        let mut rank = 0;
        // SAFETY: `info` is valid until it is released below.
        let read = check(unsafe { (api.GetDimensionsCount)(info, &mut rank) }).and_then(|()| {
            let mut dims = vec![0; rank];
            // SAFETY: `dims` has room for `rank` sizes.
            check(unsafe { (api.GetDimensions)(info, dims.as_mut_ptr(), rank) }).map(|()| dims)
        });
        // SAFETY: `info` is not used after this.
        unsafe { (api.ReleaseTensorTypeAndShapeInfo)(info) };
        read
    }

    /// The C API's number of an allocated tensor's element type.
    fn element(&self) -> Result<sys::ONNXTensorElementDataType, Message> {
        let api = ort::api();
        let mut info = ptr::null_mut();
        // SAFETY: `raw` is a tensor after a successful run; `info` is released below on every way out.
        check(unsafe { (api.GetTensorTypeAndShape)(self.raw, &mut info) })?;
        let mut element = sys::ONNXTensorElementDataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
        // SAFETY: `info` is valid until it is released below.
        let read = check(unsafe { (api.GetTensorElementType)(info, &mut element) });
        // SAFETY: `info` is not used after this.
        unsafe { (api.ReleaseTensorTypeAndShapeInfo)(info) };
        read.map(|()| element)
    }

    /// Copies an allocated tensor's elements to `to`.
    ///
    /// # Errors
    /// The tensor has other elements than `dtype`, or another size than `to`.
    pub fn copy_to(&self, dtype: DType, to: &mut [u8]) -> Result<(), Message> {
        let bytes = elements(&self.dims()?) as usize * dtype.size();
        if element_type(dtype) != Some(self.element()?) || bytes != to.len() {
            let to = to.len();
            return Err(format!("a result is not the {to} bytes of {dtype} that it was taken for"));
        }
        let mut data = ptr::null_mut();
        // SAFETY: the pointer is the tensor's own memory. Its size is that of `to`, by type and shape, as was just found.
        check(unsafe { (ort::api().GetTensorMutableData)(self.raw, &mut data) })?;
        if !to.is_empty() {
            // SAFETY: both sides have `to.len()` bytes, and the tensor's memory is ONNX Runtime's own.
            unsafe { ptr::copy_nonoverlapping(data.cast::<u8>(), to.as_mut_ptr(), to.len()) };
        }
        Ok(())
    }
}

impl Drop for Value<'_> {
    fn drop(&mut self) {
        if !self.raw.is_null() {
            // SAFETY: made by this API, released once; memory handed in stays TensorFlow's.
            unsafe { (ort::api().ReleaseValue)(self.raw) }
        }
    }
}

/// Runs `session`. Unallocated outputs come back allocated.
pub fn run(
    session: &Session,
    options: &Quietly,
    input_names: &[CString],
    inputs: &[Value<'_>],
    output_names: &[CString],
    outputs: &mut [Value<'_>],
) -> Result<(), Message> {
    let names_in: Vec<_> = input_names.iter().map(|n| n.as_ptr()).collect();
    let names_out: Vec<_> = output_names.iter().map(|n| n.as_ptr()).collect();
    let values_in: Vec<_> = inputs.iter().map(|v| v.raw.cast_const()).collect();
    let mut values_out: Vec<_> = outputs.iter().map(|v| v.raw).collect();
    // SAFETY: run may be called by several threads on one session (CPU provider); names and values outlive the call; the
    // session is not changed through the pointer.
    let status = unsafe {
        (ort::api().Run)(
            session.ptr().cast_mut(),
            options.0.cast_const(),
            names_in.as_ptr(),
            values_in.as_ptr(),
            values_in.len(),
            names_out.as_ptr(),
            names_out.len(),
            values_out.as_mut_ptr(),
        )
    };
    for (value, raw) in outputs.iter_mut().zip(values_out) {
        value.raw = raw;
    }
    check(status)
}

/// The version of the library at `path` ("1.31.1"), as it gives it itself.
pub fn version(path: &Path) -> Result<String, Message> {
    // SAFETY: loading runs the library's own initializers: the path is the user's choice of ONNX Runtime.
    let library = unsafe { libloading::Library::new(path) }.map_err(|e| e.to_string())?;
    // SAFETY: the symbol has this signature in every release.
    let base = unsafe { library.get::<unsafe extern "C" fn() -> *const sys::OrtApiBase>(b"OrtGetApiBase") }
        .map_err(|_| format!("{} is no ONNX Runtime: it has no OrtGetApiBase", path.display()))?;
    // SAFETY: what it returns is null or static in the library.
    let base =
        unsafe { base().as_ref() }.ok_or_else(|| format!("{} is no ONNX Runtime: its OrtGetApiBase gives nothing", path.display()))?;
    // SAFETY: the version is a static string that ends in a zero.
    let version = unsafe { CStr::from_ptr((base.GetVersionString)()) }.to_string_lossy().into_owned();
    Ok(version)
}
