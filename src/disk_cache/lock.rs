//! Locks on files, among threads and processes.

use super::record::flags;
use crate::fault::{self, Point};
use rustix::fs::OFlags;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A lock on a file, which stays there: were it removed, two processes could hold locks on two files of its name.
pub(super) struct Lock(pub(super) File);

impl Lock {
    /// Waits until nobody else holds it.
    pub(super) fn take(path: &Path) -> io::Result<Lock> {
        Lock::wait(path, File::lock)
    }

    /// Waits until nobody holds it alone.
    pub(super) fn share(path: &Path) -> io::Result<Lock> {
        Lock::wait(path, File::lock_shared)
    }

    /// `None` where somebody holds it.
    pub(super) fn try_take(path: &Path) -> io::Result<Option<Lock>> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(why)) => Err(why),
        }
    }

    fn wait(path: &Path, lock: impl Fn(&File) -> io::Result<()>) -> io::Result<Lock> {
        let file = open(path)?;
        loop {
            match lock(&file) {
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

fn open(path: &Path) -> io::Result<File> {
    fault::at(Point::Lock)?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
        .open(path)
}
