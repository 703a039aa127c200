//! The file of both caches: a header that holds the bytes to their key, and the bytes.
//!
//! | At | Bytes | What |
//! | --- | --- | --- |
//! | 0 | 8 | magic: which of the caches |
//! | 8 | 4 | format, little-endian |
//! | 12 | 8 | length of the content, little-endian |
//! | 20 | 32 | SHA-256 of bytes 0 to 20, the key's digest and the content |
//! | 52 | | content |
//!
//! It is not the container of `engine::plan`: that one describes an engine to a reader who has not built it, while here the
//! key says everything, timings have no such description, and content of any size is written without being copied first.

use super::key::FORMAT;
use crate::fault::{self, Point};
use crate::files::{self, FileError};
use bytes::Bytes;
use rustix::fs::OFlags;
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// One of the caches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    magic: [u8; 8],
    /// Content of more bytes is neither written nor read.
    pub limit: u64,
}

/// Plans hold all weights, and so have models' sizes.
pub(super) const ENGINE: Kind = Kind {
    magic: *b"TFTRTeng",
    limit: 32 << 30,
};

/// Timing caches have some hundred bytes a kernel: megabytes after years.
pub(super) const TIMING: Kind = Kind {
    magic: *b"TFTRTtim",
    limit: 1 << 30,
};

pub(super) const HEADER: usize = 52;
const HASH_AT: usize = 20;

/// Why a file is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is a symbolic link, which is not followed")]
    Link,
    #[error("it is no regular file")]
    NotAFile,
    #[error("it has {found} bytes, and at most {limit} are read")]
    TooLarge { found: u64, limit: u64 },
    #[error("it is truncated: it has {found} bytes, and {expected} are needed")]
    Truncated { expected: u64, found: u64 },
    #[error("it is none of these files: its first eight bytes are others")]
    Foreign,
    #[error("it has format {0}, and this library reads format {FORMAT}")]
    Format(u32),
    #[error("{0} bytes follow after its end")]
    Trailing(u64),
    #[error("its bytes do not have the SHA-256 that it names, for this key")]
    Damaged,
}

/// The content of the file at `path`, which was written under the key of this digest. `Ok(None)`: there is no file.
///
/// The content is read once, to where it stays.
pub(super) fn read(path: &Path, kind: Kind, key: &[u8; 32]) -> Result<Option<Bytes>, RecordError> {
    let Some(mut file) = open(path)? else {
        return Ok(None);
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(RecordError::NotAFile);
    }
    let found = found.len();
    let mut header = [0; HEADER];
    let truncated = |expected: u64| RecordError::Truncated { expected, found };
    if found < HEADER as u64 {
        return Err(truncated(HEADER as u64));
    }
    file.read_exact(&mut header)?;
    if header[..8] != kind.magic {
        return Err(RecordError::Foreign);
    }
    let format = u32::from_le_bytes(std::array::from_fn(|i| header[8 + i]));
    if format != FORMAT {
        return Err(RecordError::Format(format));
    }
    // From here on nothing is reserved that the file does not have.
    let length = u64::from_le_bytes(std::array::from_fn(|i| header[12 + i]));
    let expected = length.saturating_add(HEADER as u64);
    if found < expected {
        return Err(truncated(expected));
    }
    if found > expected {
        return Err(RecordError::Trailing(found - expected));
    }
    if length > kind.limit {
        return Err(RecordError::TooLarge {
            found: length,
            limit: kind.limit,
        });
    }
    let content = content(&mut file, length)?;
    if content.len() as u64 != length {
        // Shortened while it was read; nobody here does that.
        return Err(truncated(expected));
    }
    if digest(&header[..HASH_AT], key, &content) != header[HASH_AT..] {
        return Err(RecordError::Damaged);
    }
    Ok(Some(content.into()))
}

fn content(file: &mut File, length: u64) -> io::Result<Vec<u8>> {
    fault::at(Point::Read)?;
    let mut content = Vec::new();
    let room = usize::try_from(length).map_err(|_| ErrorKind::OutOfMemory)?;
    content.try_reserve_exact(room).map_err(|_| ErrorKind::OutOfMemory)?;
    file.take(length).read_to_end(&mut content)?;
    Ok(content)
}

fn open(path: &Path) -> Result<Option<File>, RecordError> {
    fault::at(Point::Open).map_err(io::Error::from)?;
    // Without NONBLOCK, opening a pipe would wait for its writer.
    match OpenOptions::new()
        .read(true)
        .custom_flags(flags(OFlags::NOFOLLOW | OFlags::NONBLOCK))
        .open(path)
    {
        Ok(file) => Ok(Some(file)),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
        Err(why) if why.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Err(RecordError::Link),
        Err(why) => Err(why.into()),
    }
}

/// As `OpenOptions::custom_flags` takes them.
pub(super) fn flags(flags: OFlags) -> i32 {
    flags.bits() as i32
}

/// Puts a file with this content at `path`, readable by the user alone; all or nothing, as [`files::replace`].
pub(super) fn write(path: &Path, kind: Kind, key: &[u8; 32], content: &[u8]) -> Result<(), FileError> {
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(&kind.magic);
    header.extend_from_slice(&FORMAT.to_le_bytes());
    header.extend_from_slice(&(content.len() as u64).to_le_bytes());
    let hash = digest(&header, key, content);
    header.extend_from_slice(&hash);
    files::replace(path, |out| {
        out.get_ref().set_permissions(Permissions::from_mode(0o600))?;
        out.write_all(&header)?;
        out.write_all(content)
    })
}

fn digest(start: &[u8], key: &[u8; 32], content: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(start)
        .chain_update(key)
        .chain_update(content)
        .finalize()
        .into()
}
