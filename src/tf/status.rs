//! TensorFlow's status codes, as far as the library gives them.

use super::ffi::Outcome;
use crate::memory::NoMemory;
use crate::plain::plain;
use std::fmt;

/// Canonical codes (`absl::StatusCode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Code {
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
    DataLoss = 15,
}

/// A failure, as TensorFlow hands it to the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    pub code: i32,
    pub message: String,
}

impl Status {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Status {
            code: code as i32,
            message: message.into(),
        }
    }

    pub fn from_io(error: &std::io::Error, message: impl Into<String>) -> Self {
        use std::io::ErrorKind as K;
        let code = match error.kind() {
            K::NotFound => Code::NotFound,
            K::PermissionDenied | K::ReadOnlyFilesystem => Code::PermissionDenied,
            K::StorageFull | K::QuotaExceeded | K::OutOfMemory => Code::ResourceExhausted,
            _ => Code::Internal,
        };
        Status::new(code, message)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

impl From<NoMemory> for Status {
    fn from(why: NoMemory) -> Status {
        Status::new(Code::ResourceExhausted, why.to_string())
    }
}

impl From<&Status> for Outcome {
    fn from(status: &Status) -> Outcome {
        Outcome {
            code: status.code,
            message: plain(&status.message).into_owned(),
        }
    }
}

impl Outcome {
    /// `Ok` for code 0.
    pub fn check(self) -> Result<(), Status> {
        if self.code == 0 {
            Ok(())
        } else {
            Err(Status {
                code: self.code,
                message: self.message,
            })
        }
    }
}
