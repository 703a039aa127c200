//! The objects of TensorRT as the crate uses them: owned, in the order of their lives, each call checked.

mod build;
mod context;
mod engine;
mod options;
mod plan;
mod profiles;
mod timing;

pub use super::sys::Selector;
pub use build::{Builders, BuiltPlan, PlanRequest, build_plan};
pub use context::Context;
pub use engine::{Engine, Tensor};
pub use options::{BuildOptions, Verbosity};
pub use plan::Plan;
pub use timing::{Timings, Written, combine as combine_timings};

use super::result::{Error, Scope, log};
use super::sys::{Allocator, Library, LibraryError, RuntimeObject};
use crate::engine::DeviceMemory;
use std::path::Path;
use std::sync::Arc;

/// The library of this machine ([`Library::find`]), its log going where [`super::result`] says.
///
/// # Errors
/// With every name that was looked for, and what became of it.
pub fn find() -> Result<Arc<Library>, LibraryError> {
    Library::find(log)
}

/// The library in this file or folder.
///
/// # Errors
/// As [`find`].
pub fn open(path: &Path) -> Result<Arc<Library>, LibraryError> {
    Library::open(path, log)
}

/// A runtime on the current CUDA device, and the allocator that it takes device memory from (`None`: CUDA itself).
///
/// # Errors
/// [`Error::Refused`] with TensorRT's own words; [`Error::Library`] where the library cannot run engines.
pub fn runtime(
    library: &Arc<Library>,
    memory: Option<&'static dyn DeviceMemory>,
) -> Result<(Arc<RuntimeObject>, Option<&'static Allocator>), Error> {
    let mut scope = Scope::enter(library, "(all)");
    let runtime = library.create_runtime()?;
    let runtime = scope.some("create a runtime", runtime)?;
    let allocator = memory.and_then(|memory| Allocator::leak(library.table(), memory));
    if let Some(allocator) = allocator {
        runtime.set_gpu_allocator(allocator)?;
    }
    Ok((runtime, allocator))
}

/// The number of an enumerator that the loaded version must have.
fn required(library: &Library, class: &'static str, member: &'static str) -> Result<i32, Error> {
    library
        .table()
        .value(class, member)
        .ok_or(Error::Missing(super::sys::MissingMethod {
            class,
            member,
            version: library.version(),
        }))
}
