//! TensorRT, reached by dlopen: no TensorRT is needed at build time, and one binary serves TensorRT 8.6, 10, 11 and
//! TensorRT-RTX 1.
//!
//! Three layers. [`sys`] holds all that is particular to one version (slots, enum values, the width of `Dims`, the logger's
//! layout) and all `unsafe` code; [`result`] turns refusals into errors that carry TensorRT's own messages; [`safe`] has the
//! objects that the rest of the crate uses.

mod aligned;
mod backend;
mod bare;
mod build;
mod engine;
mod precision;
mod replay;
pub mod result;
pub mod safe;
mod scratch;
pub mod sys;

pub use backend::{NAME, TensorRt, backend, backend_of_device, close};
pub use result::Error;
pub use safe::{BuildOptions, BuiltPlan, PlanRequest, Verbosity, build_plan};
pub use sys::{Library, Version};

use std::sync::{Arc, OnceLock};

/// The TensorRT of this process, looked for once.
///
/// # Errors
/// With every name that was looked for, and what became of it.
pub fn library() -> Result<Arc<Library>, sys::LibraryError> {
    static LIBRARY: OnceLock<Result<Arc<Library>, sys::LibraryError>> = OnceLock::new();
    LIBRARY.get_or_init(safe::find).clone()
}
