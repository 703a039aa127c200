//! The objects of TensorRT as the crate uses them: owned, in the order of their lives, each call checked.

mod build;
mod options;
mod plan;
mod profiles;
mod timing;

pub use build::{BuiltPlan, PlanRequest, build_plan};
pub use options::{BuildOptions, Verbosity};
pub use plan::Plan;

use super::result::{Error, log};
use super::sys::{Library, LibraryError};
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
