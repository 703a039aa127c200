//! What the builder measured of its kernels.

use super::dir::{CacheDir, sweep};
use super::key::TimingKey;
use super::once::warn_once;
use super::record::{self, TIMING, flags};
use bytes::Bytes;
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const FOLDER: &str = "timing";

/// Timing caches by what they depend on: `<folder>/timing/<key's name>.cache`, each with a file `.lock` beside it.
///
/// Any number of threads and processes may use one folder at once.
#[derive(Clone, Debug)]
pub struct TimingStore {
    dir: CacheDir,
}

impl TimingStore {
    /// The timing caches in `dir`.
    pub fn new(dir: CacheDir) -> TimingStore {
        TimingStore { dir }
    }

    /// Where the timings of this key are kept.
    pub fn path(&self, key: &TimingKey) -> PathBuf {
        self.dir.path().join(FOLDER).join(format!("{}.cache", key.name()))
    }

    /// What was last written under this key, if anything.
    ///
    /// A file that is not what was written (cut, damaged, renamed, a symbolic link, of another format) is ignored with a warning
    /// that names it, said once; the next [`TimingStore::update`] replaces it.
    pub fn read(&self, key: &TimingKey) -> Option<Bytes> {
        self.folder()?;
        let path = self.path(key);
        record::read(&path, TIMING, &key.digest()).unwrap_or_else(|why| {
            warn_once(
                format!("timing {}: {why}", path.display()),
                format!("{}: this timing cache is not used: {why}; timings are taken anew", path.display()),
            );
            None
        })
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
                format!("the timing cache is not written: {why} (of this folder, said once)"),
            );
            false
        };
        let lock = path.with_extension("lock");
        let _held = match Lock::take(&lock) {
            Ok(held) => held,
            Err(why) => return failed(format!("{}: cannot be locked: {why}", lock.display())),
        };
        let before = self.read(key);
        let Some(after) = merge(before.clone()) else {
            return false;
        };
        if before.is_some_and(|before| before == after) {
            return true;
        }
        if after.len() as u64 > TIMING.limit {
            return failed(format!(
                "{}: it would have {} bytes, and at most {} are kept",
                path.display(),
                after.len(),
                TIMING.limit
            ));
        }
        match record::write(&path, TIMING, &key.digest(), &after) {
            Ok(()) => true,
            Err(why) => failed(why.to_string()),
        }
    }

    fn folder(&self) -> Option<PathBuf> {
        self.dir.folder(FOLDER).unwrap_or_else(|why| {
            warn_once(format!("folder {why}"), format!("the timing cache is not used: {why}"));
            None
        })
    }
}

/// An exclusive lock on a file, which stays there: were it removed, two processes could hold locks on two files of its name.
pub(super) struct Lock(pub(super) File);

impl Lock {
    /// Waits for it.
    pub(super) fn take(path: &Path) -> io::Result<Lock> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
            .open(path)?;
        loop {
            match file.lock() {
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                other => return other.map(|()| Lock(file)),
            }
        }
    }
}

impl Drop for Lock {
    /// In so many words, and not by closing the file: a process forked meanwhile holds the file open, and the lock with it.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}
