//! TensorFlow, in safe Rust, over `cpp_shim/`.

mod api;
pub mod c_api;
mod call;
mod convert_api;
mod device;
mod entry;
mod exit;
mod ffi;
mod host;
mod init;
mod log;
mod monitoring;
mod status;
mod versions;

pub use call::{Call, CallBindings, Handle, NativeFunction};
pub use device::tensor_float_32_enabled;
pub use exit::at_exit;
pub use host::{TensorflowHost, infer_shapes, is_stateful, optimize_graph};
pub use init::{BUILT_FOR, load_error};
pub use monitoring::record_build_seconds;
pub use status::{Code, Status};
