//! What both caches do alike: one folder, a file for each key, and one word for each thing that goes wrong.

use super::dir::{CacheDir, sweep};
use super::once::warn_once;
use super::record::{self, Kind};
use bytes::Bytes;
use std::fmt::Display;
use std::path::{Path, PathBuf};

/// The files of one of the caches, by the names and digests of their keys.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    dir: CacheDir,
    kind: Kind,
    words: Words,
}

/// How one of the caches is spoken of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Words {
    /// The name of its folder.
    pub folder: &'static str,
    /// What its files' names end in.
    pub ending: &'static str,
    /// "the cache of engines".
    pub cache: &'static str,
    /// "this engine of the cache".
    pub one: &'static str,
    /// What is done where one is not used: "the engine is built anew".
    pub instead: &'static str,
}

impl Shelf {
    pub fn new(dir: CacheDir, kind: Kind, words: Words) -> Shelf {
        Shelf { dir, kind, words }
    }

    pub fn dir(&self) -> &CacheDir {
        &self.dir
    }

    /// Where the file of this key is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir
            .path()
            .join(self.words.folder)
            .join(format!("{name}.{}", self.words.ending))
    }

    /// What was put at `path` under the key of this digest; the whole is read and its SHA-256 checked. What is wrong with it, or with
    /// the folder, is said once.
    pub fn read(&self, path: &Path, digest: &[u8; 32]) -> Option<Bytes> {
        // What is wrong with the folder is said where it is to be written, or here.
        self.folder()?;
        record::read(path, self.kind, digest).unwrap_or_else(|why| {
            let Words { one, instead, .. } = self.words;
            warn_once(
                format!("{one} {}: {why}", path.display()),
                format!("{}: {one} is not used: {why}; {instead}", path.display()),
            );
            None
        })
    }

    /// The folder, without what killed processes left there; `None` where nothing can be written to it.
    pub fn open(&self) -> Option<PathBuf> {
        if self.dir.readonly() {
            return None;
        }
        let folder = self.folder()?;
        sweep(&folder);
        Some(folder)
    }

    /// Puts `content` at `path`, in the place of what was there: all or nothing. Whether it is on the disk now.
    pub fn write(&self, path: &Path, digest: &[u8; 32], content: &[u8]) -> bool {
        let limit = self.kind.limit;
        if content.len() as u64 > limit {
            let size = content.len();
            return self.failed(format!("{}: it has {size} bytes, and at most {limit} are kept", path.display()));
        }
        match record::write(path, self.kind, digest, content) {
            Ok(()) => true,
            Err(why) => self.failed(why),
        }
    }

    /// Says once a folder what keeps it from being written. `false`, for who has not written.
    pub fn failed(&self, why: impl Display) -> bool {
        let Words { folder, cache, .. } = self.words;
        warn_once(
            format!("write {}", self.dir.path().join(folder).display()),
            format!("{cache} is not written: {why} (of this folder, said once)"),
        );
        false
    }

    fn folder(&self) -> Option<PathBuf> {
        self.dir.folder(self.words.folder).unwrap_or_else(|why| {
            warn_once(format!("folder {why}"), format!("{} is not used: {why}", self.words.cache));
            None
        })
    }
}
