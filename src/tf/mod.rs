//! TensorFlow, in safe Rust, over `cpp_shim/`.

mod api;
pub mod c_api;
mod call;
mod convert_api;
mod device;
mod entry;
mod ffi;
mod host;
mod init;
mod log;
mod monitoring;
mod placement;
pub mod remote;
mod status;
mod versions;

pub use call::{Call, CallBindings, Handle, NativeFunction};
pub use device::tensor_float_32_enabled;
pub use host::{TensorflowHost, infer_forward, infer_shapes, is_stateful, optimize_graph};
pub use init::{BUILT_FOR, load_error};
pub use monitoring::record_build_seconds;
pub use status::{Code, Status};
