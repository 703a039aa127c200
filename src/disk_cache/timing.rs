//! What the builder measured of its kernels.

use super::dir::CacheDir;
use super::key::TimingKey;
use super::lock::Lock;
use super::record::TIMING;
use super::shelf::{Shelf, Words};
use bytes::Bytes;
use std::path::PathBuf;

const WORDS: Words = Words {
    folder: "timing",
    ending: "cache",
    cache: "the timing cache",
    one: "this timing cache",
    instead: "timings are taken anew",
};

/// Timing caches by what they depend on: `<folder>/timing/<key's name>.cache`, each with a file `.lock` beside it.
///
/// Any number of threads and processes may use one folder at once.
#[derive(Clone, Debug)]
pub struct TimingStore {
    shelf: Shelf,
}

impl TimingStore {
    /// The timing caches in `dir`.
    pub fn new(dir: CacheDir) -> TimingStore {
        TimingStore {
            shelf: Shelf::new(dir, TIMING, WORDS),
        }
    }

    /// Where the timings of this key are kept.
    pub fn path(&self, key: &TimingKey) -> PathBuf {
        self.shelf.path(&key.name())
    }

    /// What was last written under this key, if anything.
    ///
    /// A file that is not what was written (cut, damaged, renamed, a symbolic link, of another format) is ignored with a warning
    /// that names it, said once; the next [`TimingStore::update`] replaces it.
    pub fn read(&self, key: &TimingKey) -> Option<Bytes> {
        self.shelf.read(&self.path(key), &key.digest())
    }

    /// Lets `merge` make new content of what is there now, and writes it. Whether what `merge` gave is on the disk now.
    ///
    /// No other update of this key, in any thread or process, comes in between: of many that add something, nothing is lost.
    /// They wait for each other, so `merge` should be quick; it must not update the same key itself. `merge` gets `None` where
    /// there is nothing or what is there is not to be used, as in [`TimingStore::read`]; it gives `None` to leave things as they
    /// are.
    ///
    /// Where the folder is read only, `merge` is not called. What keeps the file from being locked or written is said once a
    /// folder, and what was there before stays.
    pub fn update(&self, key: &TimingKey, merge: impl FnOnce(Option<Bytes>) -> Option<Vec<u8>>) -> bool {
        if self.shelf.open().is_none() {
            return false;
        }
        let path = self.path(key);
        let lock = path.with_extension("lock");
        let _held = match Lock::take(&lock) {
            Ok(held) => held,
            Err(why) => return self.shelf.failed(format!("{}: cannot be locked: {why}", lock.display())),
        };
        let before = self.read(key);
        let Some(after) = merge(before.clone()) else {
            return false;
        };
        before.is_some_and(|before| before == after) || self.shelf.write(&path, &key.digest(), &after)
    }
}
