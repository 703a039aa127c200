//! Which files go where a folder holds more than it may: those that were not used for longest.

use super::record::flags;
use crate::fault::{self, Point};
use rustix::fs::OFlags;
use std::fs::{self, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Notes that the file was used now, in the time of its last change. It costs nobody anything where that fails: of a file of root's,
/// say.
pub(super) fn touch(path: &Path) {
    let touch = || {
        fault::at(Point::Touch)?;
        let mut how = OpenOptions::new();
        let file = how.read(true).custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK)).open(path)?;
        file.set_modified(SystemTime::now())
    };
    let _: io::Result<()> = touch();
}

/// Removes the cache's files from `folder`, those not used for longest first, until at most `most` bytes are left; never `kept`, and
/// nothing that is none of the cache's. What cannot be removed stays.
///
/// For who holds the folder's lock alone: no file is put meanwhile. One that is read at this moment is read to its end, as its reader
/// has it open; one that was used since the list was made stays.
pub(super) fn evict(folder: &Path, ending: &str, kept: &Path, most: u64) {
    let mut files = list(folder, ending);
    let mut total: u64 = files.iter().map(|file| file.bytes).sum();
    files.retain(|file| file.path != kept);
    files.sort_by_key(|file| file.used);
    for file in files {
        if total <= most {
            return;
        }
        let gone = match fs::symlink_metadata(&file.path) {
            Ok(now) if used(&now) == Some(file.used) => fault::at(Point::Remove).is_ok() && fs::remove_file(&file.path).is_ok(),
            Ok(_) => false,
            Err(why) => why.kind() == ErrorKind::NotFound,
        };
        if gone {
            total -= file.bytes;
            tracing::info!(
                "{}: removed, as the cache held more than {most} bytes and this was not used for longest",
                file.path.display()
            );
        }
    }
}

struct Kept {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

fn list(folder: &Path, ending: &str) -> Vec<Kept> {
    let of_cache = |path: &Path| {
        path.extension().is_some_and(|found| found == ending)
            && path
                .file_stem()
                .and_then(|stem| stem.to_str())
                // The names of super::key.
                .is_some_and(|stem| stem.len() == 64 && stem.bytes().all(|c| c.is_ascii_hexdigit()))
    };
    let listed = fault::at(Point::List).map_err(io::Error::from).and_then(|()| fs::read_dir(folder));
    let entries = listed.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let path = entry.path();
            // Of the entry itself: no link is followed.
            let found = entry.metadata().ok()?;
            (found.is_file() && of_cache(&path)).then_some(())?;
            Some(Kept {
                path,
                bytes: found.len(),
                used: used(&found)?,
            })
        })
        .collect()
}

fn used(found: &Metadata) -> Option<SystemTime> {
    found.modified().ok()
}
