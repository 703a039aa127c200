//! Files of TensorFlow's file systems (gs://, s3://, hdfs://, ram://), read and written through TensorFlow.

use super::ffi;
use super::status::{Code, Status};
use crate::fault::{self, Point};
use cxx::UniquePtr;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether TensorFlow has a file system of its own for the path: it begins with a scheme, and not with `file://`.
pub fn is_remote(path: &str) -> bool {
    let Some((scheme, _)) = path.split_once("://") else {
        return false;
    };
    let letters = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    letters && scheme != "file" && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-".contains(&b))
}

fn to_io(status: Status) -> io::Error {
    let kind = match status.code {
        code if code == Code::NotFound as i32 => ErrorKind::NotFound,
        code if code == Code::PermissionDenied as i32 => ErrorKind::PermissionDenied,
        code if code == Code::ResourceExhausted as i32 => ErrorKind::StorageFull,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, status)
}

/// Whether there is such a file.
///
/// # Errors
/// Where the file system cannot tell.
pub fn exists(path: &str) -> io::Result<bool> {
    match ffi::remote_exists(path).check() {
        Ok(()) => Ok(true),
        Err(status) if status.code == Code::NotFound as i32 => Ok(false),
        Err(status) => Err(to_io(status)),
    }
}

/// An open file, read from its begin.
pub struct RemoteFile {
    file: UniquePtr<ffi::RemoteFile>,
    length: u64,
    at: u64,
}

impl RemoteFile {
    /// # Errors
    /// What the file system says.
    pub fn open(path: &str) -> io::Result<RemoteFile> {
        fault::at(Point::Open)?;
        let mut outcome = ffi::Outcome::default();
        let mut length = 0;
        let file = ffi::remote_open(path, &mut length, &mut outcome);
        outcome.check().map_err(to_io)?;
        match file.is_null() {
            true => Err(io::Error::other("TensorFlow gave no file")),
            false => Ok(RemoteFile { file, length, at: 0 }),
        }
    }

    /// How many bytes it had when it was opened.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl Read for RemoteFile {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if to.is_empty() {
            return Ok(0);
        }
        let mut read = 0;
        self.file.read(self.at, to, &mut read).check().map_err(to_io)?;
        if read > to.len() {
            return Err(io::Error::other("TensorFlow read more than it was asked for"));
        }
        self.at += read as u64;
        Ok(read)
    }
}

/// A file that is being written.
struct Writer(UniquePtr<ffi::RemoteWriter>);

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        fault::at(Point::Write)?;
        self.0.append(bytes).check().map_err(to_io)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes that go to the file system at once.
const CHUNK: usize = 4 << 20;

/// Lets `write` fill a new file, then puts it in the place of `path`: a reader sees the old one or the new one, as far as the file
/// system can rename.
///
/// # Errors
/// What the file system says. `path` is as it was, and the new file is removed.
pub fn replace(path: &str, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    static UNIQUE: AtomicU64 = AtomicU64::new(0);
    let temporary = format!("{path}.{}-{}.tmp", std::process::id(), UNIQUE.fetch_add(1, Ordering::Relaxed));
    let written = fill(&temporary, write).and_then(|()| {
        fault::at(Point::Rename)?;
        ffi::remote_rename(&temporary, path).check().map_err(to_io)
    });
    if written.is_err() {
        // The first error is the one to report.
        let _ = ffi::remote_delete(&temporary);
    }
    written
}

fn fill(path: &str, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    fault::at(Point::Create)?;
    let mut outcome = ffi::Outcome::default();
    let file = ffi::remote_create(path, &mut outcome);
    outcome.check().map_err(to_io)?;
    if file.is_null() {
        return Err(io::Error::other("TensorFlow gave no file"));
    }
    let mut out = io::BufWriter::with_capacity(CHUNK, Writer(file));
    write(&mut out)?;
    let writer = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    fault::at(Point::Sync)?;
    writer.0.close().check().map_err(to_io)
}

#[cfg(test)]
mod tests {
    use super::is_remote;

    #[test]
    fn schemes_tell_remote_paths() {
        for path in ["gs://bucket/m", "s3://b", "ram://a/b", "hdfs://h:1/x", "my.fs://x"] {
            assert!(is_remote(path), "{path}");
        }
        for path in ["/a/b", "a/b", "file:///a", "://x", "a/b://c", "1://x", ""] {
            assert!(!is_remote(path), "{path}");
        }
    }
}
