//! A GPU of TensorFlow's, and its memory.

use super::ffi::{self, GpuHandle};
use crate::cuda::{Context, Stream};
use crate::engine::{DeviceMemory, Gpu};
use parking_lot::Mutex;
use std::collections::HashMap;

/// TensorFlow's allocator of one GPU, for engines.
///
/// What TensorFlow frees is given out again at once, because whoever gets it works behind the former owner on the one stream that
/// TensorFlow computes on. Engines are built and loaded on other streams: they wait for that stream where they take memory, and
/// for the device where they give it back. Neither happens while an engine runs.
struct TensorflowMemory {
    allocator: usize,
    stream: Stream,
    context: Context,
    /// The blocks that were moved up to an alignment beyond TensorFlow's own: where they really begin.
    moved: Mutex<HashMap<u64, u64>>,
}

/// The alignment of every block of TensorFlow's GPU allocators.
const ALIGNMENT: usize = 256;

impl DeviceMemory for TensorflowMemory {
    fn allocate(&self, bytes: usize, alignment: usize) -> Option<u64> {
        // TensorRT's own threads ask too: CUDA may want some context even for a stream that has one.
        let _current = self
            .context
            .enter()
            .map_err(|e| tracing::warn!("device memory for an engine: {e}"))
            .ok()?;
        let extra = if alignment > ALIGNMENT { alignment } else { 0 };
        let given = ffi::device_allocate(self.allocator, bytes.checked_add(extra)?, alignment.min(ALIGNMENT));
        if let Err(e) = given.outcome.check() {
            tracing::debug!("{bytes} bytes of device memory for an engine: {e}");
            return None;
        }
        if let Err(e) = self.stream.synchronize() {
            tracing::warn!("device memory for an engine: {e}");
            ffi::device_free(self.allocator, given.value);
            return None;
        }
        if extra == 0 {
            return Some(given.value);
        }
        let aligned = given.value.next_multiple_of(alignment as u64);
        self.moved.lock().insert(aligned, given.value);
        Some(aligned)
    }

    fn free(&self, address: u64) {
        if let Err(e) = self.context.synchronize() {
            tracing::warn!("device memory of an engine: {e}");
        }
        let begin = self.moved.lock().remove(&address).unwrap_or(address);
        ffi::device_free(self.allocator, begin);
    }
}

/// The GPU behind a handle; `None` for the CPU, and where CUDA does not know the stream.
pub fn gpu(handle: GpuHandle) -> Option<Gpu> {
    /// By allocator and stream: as many as TensorFlow has devices.
    static MEMORIES: Mutex<Vec<&'static TensorflowMemory>> = Mutex::new(Vec::new());
    if !handle.present {
        return None;
    }
    let stream = Stream(handle.stream);
    let mut memories = MEMORIES.lock();
    let known = memories
        .iter()
        .find(|memory| (memory.allocator, memory.stream) == (handle.allocator, stream));
    let memory = match known {
        Some(memory) => *memory,
        None => {
            let context = Context::of(stream).map_err(|e| tracing::error!("the GPU of a kernel: {e}")).ok()?;
            let memory: &'static TensorflowMemory = Box::leak(Box::new(TensorflowMemory {
                allocator: handle.allocator,
                stream,
                context,
                moved: Mutex::default(),
            }));
            memories.push(memory);
            memory
        }
    };
    Some(Gpu { stream, memory })
}

/// Whether TensorFlow may compute float32 in TF32.
pub fn tensor_float_32_enabled() -> bool {
    ffi::tensor_float_32_enabled()
}
