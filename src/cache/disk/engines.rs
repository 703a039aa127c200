//! Built engines.

use super::dir::{CacheDir, sweep};
use super::key::EngineKey;
use super::once::warn_once;
use super::record::{self, ENGINE};
use bytes::Bytes;
use std::path::PathBuf;

const FOLDER: &str = "engines";

/// Engines by everything that changes them: `<folder>/engines/<key's name>.plan`.
///
/// Any number of threads and processes may use one folder at once: files come and change whole. Nothing is evicted.
#[derive(Clone, Debug)]
pub struct EngineStore {
    dir: CacheDir,
}

impl EngineStore {
    /// The engines in `dir`.
    pub fn new(dir: CacheDir) -> EngineStore {
        EngineStore { dir }
    }

    /// Where the engine of this key is kept.
    pub fn path(&self, key: &EngineKey) -> PathBuf {
        self.dir.path().join(FOLDER).join(format!("{}.plan", key.name()))
    }

    /// What was put under this key, byte for byte; the whole is read and its SHA-256 checked.
    ///
    /// A file that is not what was put (cut, damaged, renamed, a symbolic link, of another format) is ignored with a warning
    /// that names it, said once; the next [`EngineStore::put`] replaces it.
    pub fn get(&self, key: &EngineKey) -> Option<Bytes> {
        // What is wrong with the folder is said where it is to be written, or here.
        self.folder()?;
        let path = self.path(key);
        match record::read(&path, ENGINE, &key.digest()) {
            Ok(engine) => engine,
            Err(why) => {
                warn_once(
                    format!("engine {}: {why}", path.display()),
                    format!(
                        "{}: this engine of the cache is not used: {why}; the engine is built anew",
                        path.display()
                    ),
                );
                None
            }
        }
    }

    /// Keeps `engine` for the next [`EngineStore::get`] of this key, of whatever process, in the place of what was there;
    /// `engine` is not copied. Whether it is on the disk now.
    ///
    /// Nothing is written where the folder is read only. What keeps it from being written (a full disk, no permission) is said
    /// once a folder, and what was there before stays.
    pub fn put(&self, key: &EngineKey, engine: &[u8]) -> bool {
        if self.dir.readonly() {
            return false;
        }
        let Some(folder) = self.folder() else {
            return false;
        };
        sweep(&folder);
        let path = self.path(key);
        let failed = |why: String| {
            warn_once(
                format!("write {}", folder.display()),
                format!("the cache of engines is not written: {why} (of this folder, said once)"),
            );
            false
        };
        if engine.len() as u64 > ENGINE.limit {
            return failed(format!(
                "{}: the engine has {} bytes, and at most {} are kept",
                path.display(),
                engine.len(),
                ENGINE.limit
            ));
        }
        match record::write(&path, ENGINE, &key.digest(), engine) {
            Ok(()) => true,
            Err(why) => failed(why.to_string()),
        }
    }

    fn folder(&self) -> Option<PathBuf> {
        self.dir.folder(FOLDER).unwrap_or_else(|why| {
            warn_once(format!("folder {why}"), format!("the cache of engines is not used: {why}"));
            None
        })
    }
}
