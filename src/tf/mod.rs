//! TensorFlow, in safe Rust, over `cpp_shim/`. It knows neither the op nor the optimizer: see [`Hooks`].

#![allow(unsafe_code, reason = "TensorFlow's C and C++ API")]

pub mod c_api;
mod call;
mod contents;
mod device;
mod entry;
mod ffi;
mod hooks;
mod host;
mod log;
mod monitoring;
mod placement;
pub mod remote;
mod running;
mod status;
pub mod versions;

pub use call::{Call, CallBindings, Handle, NativeFunction};
pub use device::tensor_float_32_enabled;
pub use ffi::{MetricPoint, MetricText};
pub use hooks::{EngineResource, GraphPass, Hooks, Kernel, PassItem, install};
pub use host::{TensorflowHost, infer_forward, infer_shapes, is_stateful, knows, optimize_graph};
pub use log::install as install_log;
pub use monitoring::{collected as collected_metrics, record_build_seconds};
pub use running::{BUILT_FOR, built_for, running_version};
pub use status::{Code, Status};

/// Registers one op from the text of its OpDef. Returns the empty string, or why it was not registered.
pub fn register_op(op_def: &str) -> String {
    ffi::register_op(op_def)
}

/// Registers all kernels and the optimizer. Returns the empty string, or why they were not registered.
pub fn register_kernels() -> String {
    ffi::register_kernels()
}

/// Begins an activity in TensorFlow's profiler, and returns its id for [`trace_end`].
pub fn trace_begin(name: &str) -> i64 {
    ffi::trace_begin(name)
}

/// Ends an activity.
pub fn trace_end(id: i64) {
    ffi::trace_end(id);
}
