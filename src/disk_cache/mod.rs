//! Caches on disk: engines that were built before, and what the builder learnt about the speed of kernels.
//!
//! Nothing here knows TensorRT: bytes go in under a key and come out again. What comes out is what went in under that very key,
//! by its SHA-256; whatever else lies in a file is ignored with a warning that names the file. A cache never fails its caller:
//! what cannot be read is absent, and what cannot be written is not there the next time.
//!
//! Whoever can write these files has their code run, for a plan is a program. So the folder must belong to the user (or to
//! root), and nobody else may write to it. The checksums are against damage, not against that.

mod dir;
mod engines;
mod evict;
mod key;
mod lock;
mod once;
mod record;
mod shelf;
#[cfg(test)]
mod tests;
mod timing;

pub use dir::{CacheDir, CacheDirError};
pub use engines::EngineStore;
pub use key::{EngineKey, FORMAT, TFTRT_VERSION, TimingKey};
pub use timing::TimingStore;

use std::fs::{self, DirEntry};
use std::path::Path;

/// Bytes in the cache of this user, engines and timings together; 0 where there is none. It makes no folder.
pub fn bytes() -> u64 {
    let files = |folder: &Path| -> Vec<DirEntry> { fs::read_dir(folder).into_iter().flatten().flatten().collect() };
    let size = |entry: &DirEntry| entry.metadata().map_or(0, |found| if found.is_file() { found.len() } else { 0 });
    let Some(dir) = CacheDir::look() else { return 0 };
    files(dir.path())
        .iter()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .flat_map(|entry| files(&entry.path()))
        .map(|entry| size(&entry))
        .sum()
}
