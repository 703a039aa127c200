//! The calls. What leaves this module takes no pointer of the host's but slices; device addresses are numbers, and a wrong
//! one is an error of CUDA's, not a fault of this process.

#![allow(unsafe_code, reason = "CUDA's driver API")]

mod graph;

pub use graph::{Graph, NoCapture, OwnStream, Transfer, may_capture, no_capture};

use super::{CudaError, Properties};
use cudarc::driver::sys;
use std::ffi::{CStr, c_void};
use std::marker::PhantomData;
use std::sync::OnceLock;

fn words(result: sys::CUresult) -> String {
    let mut text = std::ptr::null();
    // SAFETY: writes a pointer to a static string, or null for a number that it does not know.
    unsafe {
        if sys::cuGetErrorString(result, &mut text) == sys::CUresult::CUDA_SUCCESS && !text.is_null() {
            return format!("{} ({result:?})", CStr::from_ptr(text).to_string_lossy());
        }
    }
    format!("{result:?}")
}

fn checked(what: &'static str, result: sys::CUresult) -> Result<(), CudaError> {
    match result {
        sys::CUresult::CUDA_SUCCESS => Ok(()),
        other => Err(CudaError { what, why: words(other) }),
    }
}

/// Whether there is a driver, asked once.
///
/// # Errors
/// Where libcuda is absent or cannot start; nothing else of this module may be called then.
pub fn available() -> Result<(), CudaError> {
    static ANSWER: OnceLock<Result<(), CudaError>> = OnceLock::new();
    ANSWER
        .get_or_init(|| {
            let what = "be found";
            // SAFETY: opens libcuda, whose constructors do nothing that a second opener could feel.
            if !unsafe { sys::is_culib_present() } {
                let why = "there is no libcuda.so.1, which NVIDIA's driver brings".to_string();
                return Err(CudaError { what, why });
            }
            // SAFETY: the library is there; cuInit may be called any number of times.
            checked("start", unsafe { sys::cuInit(0) })
        })
        .clone()
}

/// The CUDA version of the driver, as `12080` for 12.8.
pub fn driver_version() -> Result<i32, CudaError> {
    available()?;
    let mut version = 0;
    // SAFETY: writes one number.
    checked("tell its version", unsafe { sys::cuDriverGetVersion(&mut version) })?;
    Ok(version)
}

/// A CUDA context. TensorFlow and TensorRT share the device's primary one, which lives as long as the process uses the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context(usize);

impl Context {
    /// The context of a stream of TensorFlow's.
    pub fn of(stream: Stream) -> Result<Context, CudaError> {
        available()?;
        let mut context = std::ptr::null_mut();
        // SAFETY: writes one pointer; a stream that is none is an error.
        checked("tell a stream's context", unsafe {
            sys::cuStreamGetCtx(stream.raw(), &mut context)
        })?;
        Ok(Context(context as usize))
    }

    /// The primary context of a device, retained for the rest of the process.
    pub fn primary(ordinal: i32) -> Result<Context, CudaError> {
        available()?;
        let (mut device, mut context) = (0, std::ptr::null_mut());
        // SAFETY: each writes one value; a device that is none is an error.
        unsafe {
            checked("find the device", sys::cuDeviceGet(&mut device, ordinal))?;
            checked("retain the device's context", sys::cuDevicePrimaryCtxRetain(&mut context, device))?;
        }
        Ok(Context(context as usize))
    }

    /// Makes this the thread's context until the guard goes, where it is not that already: TensorFlow's threads keep the context
    /// of the GPU that they work for.
    pub fn enter(self) -> Result<Current, CudaError> {
        let mut now = std::ptr::null_mut();
        // SAFETY: writes one pointer.
        checked("tell the context", unsafe { sys::cuCtxGetCurrent(&mut now) })?;
        if now == self.0 as sys::CUcontext {
            return Ok(Current {
                pushed: false,
                _here: PhantomData,
            });
        }
        // SAFETY: the context is one that CUDA gave, of a device whose primary context is never released.
        checked("enter the device's context", unsafe {
            sys::cuCtxPushCurrent_v2(self.0 as sys::CUcontext)
        })?;
        Ok(Current {
            pushed: true,
            _here: PhantomData,
        })
    }

    /// Waits until all that was given to the device is done; within [`Graph::capture`] it does nothing, for nothing of
    /// what is captured runs.
    pub fn synchronize(self) -> Result<(), CudaError> {
        if graph::captures_here() {
            return Ok(());
        }
        let _none_captures = no_capture();
        let _current = self.enter()?;
        // SAFETY: no arguments; the context is current.
        checked("wait for the device", unsafe { sys::cuCtxSynchronize() })
    }

    pub fn properties(self) -> Result<Properties, CudaError> {
        use sys::CUdevice_attribute::{CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR};
        let _current = self.enter()?;
        let (mut device, mut major, mut minor) = (0, 0, 0);
        let mut name = [0; 256];
        // SAFETY: each writes one number; the name is at most as long as is said.
        unsafe {
            checked("tell the device", sys::cuCtxGetDevice(&mut device))?;
            let attribute = |out, which| checked("tell the compute capability", sys::cuDeviceGetAttribute(out, which, device));
            attribute(&mut major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
            attribute(&mut minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
            checked(
                "tell the device's name",
                sys::cuDeviceGetName(name.as_mut_ptr(), name.len() as i32, device),
            )?;
        }
        // SAFETY: CUDA terminates the name.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
        Ok(Properties {
            ordinal: device,
            name,
            compute_capability: (major.unsigned_abs(), minor.unsigned_abs()),
        })
    }
}

/// A thread's context until it is dropped. It stays on its thread.
pub struct Current {
    pushed: bool,
    _here: PhantomData<*const ()>,
}

impl Drop for Current {
    fn drop(&mut self) {
        if !self.pushed {
            return;
        }
        let mut left = std::ptr::null_mut();
        // SAFETY: takes off what `enter` put on; guards of one thread go in the opposite order in which they came.
        let _ = unsafe { sys::cuCtxPopCurrent_v2(&mut left) };
    }
}

/// A `CUstream` that somebody else owns: TensorFlow's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stream(pub u64);

impl Stream {
    fn raw(self) -> sys::CUstream {
        self.0 as sys::CUstream
    }

    /// What TensorRT's calls take.
    pub fn as_ptr(self) -> *mut c_void {
        self.0 as *mut c_void
    }

    /// Waits until all that was given to the stream is done.
    pub fn synchronize(self) -> Result<(), CudaError> {
        // SAFETY: the stream is alive while its device is; one that is none is an error.
        checked("wait for a stream", unsafe { sys::cuStreamSynchronize(self.raw()) })
    }
}

/// Copies within the device, behind what `stream` holds already.
pub fn copy_on_device(to: u64, from: u64, bytes: usize, stream: Stream) -> Result<(), CudaError> {
    if bytes == 0 {
        return Ok(());
    }
    // SAFETY: device addresses; CUDA finds out what is none.
    checked("copy on the device", unsafe {
        sys::cuMemcpyDtoDAsync_v2(to, from, bytes, stream.raw())
    })
}

/// Copies to the device and waits for it.
pub fn copy_from_host(to: u64, from: &[u8], stream: Stream) -> Result<(), CudaError> {
    if from.is_empty() {
        return Ok(());
    }
    // SAFETY: reads the slice while it is borrowed: the wait below ends the copy.
    checked("copy to the device", unsafe {
        sys::cuMemcpyHtoDAsync_v2(to, from.as_ptr().cast(), from.len(), stream.raw())
    })?;
    stream.synchronize()
}

/// Copies to the host, behind what `stream` holds already, and waits for it.
pub fn copy_to_host(to: &mut [u8], from: u64, stream: Stream) -> Result<(), CudaError> {
    if to.is_empty() {
        return Ok(());
    }
    // SAFETY: writes the slice while it is borrowed: the wait below ends the copy.
    checked("copy to the host", unsafe {
        sys::cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), from, to.len(), stream.raw())
    })?;
    stream.synchronize()
}

/// Device memory straight from CUDA, for where there is no TensorFlow.
pub struct Block(u64);

impl Block {
    /// In the current context.
    pub fn new(bytes: usize) -> Result<Block, CudaError> {
        let mut address = 0;
        // SAFETY: writes one number. CUDA has no block of no bytes.
        checked("allocate device memory", unsafe { sys::cuMemAlloc_v2(&mut address, bytes.max(1)) })?;
        Ok(Block(address))
    }

    pub fn address(&self) -> u64 {
        self.0
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: ours, dropped once; CUDA waits for the device first.
        let _ = unsafe { sys::cuMemFree_v2(self.0) };
    }
}

/// Whether libnvToolsExt can be opened.
pub(super) fn nvtx_is_present() -> bool {
    // SAFETY: opens the library, whose constructors do nothing that a second opener could feel.
    unsafe { cudarc::nvtx::sys::is_culib_present() }
}

/// `nvtxRangePushA`; only where [`nvtx_is_present`].
pub(super) fn nvtx_push(name: &'static CStr) {
    // SAFETY: a C string, copied or kept: it lives as long as the process.
    unsafe { cudarc::nvtx::sys::nvtxRangePushA(name.as_ptr()) };
}

/// `nvtxRangePop`; only where [`nvtx_is_present`].
pub(super) fn nvtx_pop() {
    // SAFETY: takes nothing; without a range it does nothing.
    unsafe { cudarc::nvtx::sys::nvtxRangePop() };
}
