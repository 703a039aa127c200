//! Built engines.

use super::dir::CacheDir;
use super::evict::{evict, touch};
use super::key::EngineKey;
use super::lock::Lock;
use super::once::warn_once;
use super::record::ENGINE;
use super::shelf::{Shelf, Words};
use bytes::Bytes;
use std::path::PathBuf;

const WORDS: Words = Words {
    folder: "engines",
    ending: "plan",
    cache: "the cache of engines",
    one: "this engine of the cache",
    instead: "the engine is built anew",
};

/// Engines by everything that changes them: `<folder>/engines/<key's name>.plan`, and `<folder>/engines.lock` beside that folder.
///
/// Any number of threads and processes may use one folder at once: files come, change and go whole.
#[derive(Clone, Debug)]
pub struct EngineStore {
    shelf: Shelf,
    max_bytes: Option<u64>,
}

impl EngineStore {
    /// The engines in `dir`, of which at most `max_bytes` are kept; `None`: all.
    pub fn new(dir: CacheDir, max_bytes: Option<u64>) -> EngineStore {
        EngineStore {
            shelf: Shelf::new(dir, ENGINE, WORDS),
            max_bytes,
        }
    }

    /// Where the engine of this key is kept.
    pub fn path(&self, key: &EngineKey) -> PathBuf {
        self.shelf.path(&key.name())
    }

    /// What was put under this key, byte for byte; the whole is read and its SHA-256 checked. The time of the file's last change
    /// becomes that of this use, unless the folder is read only.
    ///
    /// A file that is not what was put (cut, damaged, renamed, a symbolic link, of another format) is ignored with a warning
    /// that names it, said once; the next [`EngineStore::put`] replaces it.
    pub fn get(&self, key: &EngineKey) -> Option<Bytes> {
        let path = self.path(key);
        let engine = self.shelf.read(&path, &key.digest())?;
        if !self.shelf.dir().readonly() {
            touch(&path);
        }
        Some(engine)
    }

    /// Keeps `engine` for the next [`EngineStore::get`] of this key, of whatever process, in the place of what was there;
    /// `engine` is not copied. Whether it is on the disk now. Where there is more than the bound then, those that were not used for
    /// longest are removed; this one stays, however large it is.
    ///
    /// Nothing is written where the folder is read only. What keeps it from being written (a full disk, no permission) is said
    /// once a folder, and what was there before stays.
    pub fn put(&self, key: &EngineKey, engine: &[u8]) -> bool {
        let Some(folder) = self.shelf.open() else {
            return false;
        };
        let path = self.path(key);
        let lock = folder.with_extension("lock");
        // While somebody writes, nobody removes what he has just put there. A file system without locks is no reason not to write:
        // files change whole there, too, and nothing is removed.
        let writing = Lock::share(&lock);
        if !self.shelf.write(&path, &key.digest(), engine) {
            return false;
        }
        drop(writing);
        if let Some(most) = self.max_bytes {
            match Lock::try_take(&lock) {
                Ok(Some(_alone)) => evict(&folder, WORDS.ending, &path, most),
                // Of several who write at once, the last one finds nobody.
                Ok(None) => {}
                Err(why) => warn_once(
                    format!("lock {}", lock.display()),
                    format!("{}: cannot be locked: {why}; no old engine is removed", lock.display()),
                ),
            }
        }
        true
    }
}
