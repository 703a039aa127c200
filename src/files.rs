//! Writing files so that nobody ever sees half of one: a temporary name in the same directory, synced, renamed.

use crate::fault::{self, Point};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// What went wrong with which file.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be {action}: {source}", .path.display())]
pub struct FileError {
    pub path: PathBuf,
    /// What failed, as "written".
    pub action: &'static str,
    pub source: io::Error,
}

/// Lets `write` fill a new file, then puts it in the place of `path`: all or nothing.
///
/// On an error (a full disk, say) the new file is removed and what `path` held before is untouched.
pub fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<(), FileError> {
    static UNIQUE: AtomicU64 = AtomicU64::new(0);
    let failed = |action: &'static str| {
        move |source| FileError {
            path: path.to_path_buf(),
            action,
            source,
        }
    };
    // To put a file in the place of a device or pipe would take that away from the system; a link may lead to one.
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let why = "there is a device, pipe or socket of this name, and no regular file";
        return Err(failed("written")(io::Error::new(ErrorKind::InvalidInput, why)));
    }
    let name = path
        .file_name()
        .ok_or_else(|| failed("written")(io::Error::new(ErrorKind::InvalidInput, "it names no file")))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{}.tmp", std::process::id(), UNIQUE.fetch_add(1, Ordering::Relaxed)));
    let temporary = directory.join(temporary);

    let file = fault::at(Point::Create)
        .map_err(io::Error::from)
        .and_then(|()| OpenOptions::new().write(true).create_new(true).open(&temporary))
        .map_err(failed("written: its temporary file cannot be created"))?;
    let written = fill(&file, write)
        .map_err(failed("written"))
        .and_then(|()| rename(&temporary, path).map_err(failed("put in its place")));
    if let Err(why) = written {
        // The first error is the one to report.
        let _ = fs::remove_file(&temporary);
        return Err(why);
    }
    // The new name is on the disk only when the directory is.
    match sync_folder(directory) {
        // Some file systems have no such thing for directories.
        Err(why) if matches!(why.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => Ok(()),
        other => other.map_err(failed("flushed to the disk: its directory cannot be")),
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fault::at(Point::Rename)?;
    fs::rename(from, to)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    fault::at(Point::SyncFolder)?;
    File::open(folder)?.sync_all()
}

fn fill(file: &File, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(file);
    write(&mut out)?;
    out.flush()?;
    fault::at(Point::Write)?;
    fault::at(Point::Sync)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::unix::fs::{FileTypeExt, symlink};

    fn put(path: &Path) -> Result<(), FileError> {
        replace(path, |out| out.write_all(b"new"))
    }

    #[test]
    fn no_file_takes_the_place_of_a_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
        symlink(&pipe, &link).unwrap();
        for path in [&pipe, &link] {
            let why = put(path).unwrap_err().to_string();
            assert!(why.contains("there is a device, pipe or socket of this name"), "{why}");
        }
        assert!(fs::metadata(&link).unwrap().file_type().is_fifo());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_file_and_a_link_that_leads_nowhere_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").unwrap();
        symlink("nothing", &link).unwrap();
        for path in [&file, &link] {
            put(path).unwrap();
            assert_eq!(fs::read(path).unwrap(), b"new");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
