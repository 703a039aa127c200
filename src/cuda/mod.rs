//! CUDA's driver interface as far as engines need it: whose context a stream is in, copies, and graphs.
//!
//! The driver is opened at run time (`cudarc`, dynamic loading): a machine without one loads the library all the same.
//! All `unsafe` is in [`sys`].

pub mod nvtx;
mod sys;

pub use sys::{
    Block, Context, Current, Graph, NoCapture, OwnStream, Stream, Transfer, available, copy_from_host, copy_on_device, copy_to_host,
    driver_version, may_capture, no_capture,
};

/// Why a CUDA call failed, in CUDA's own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("CUDA could not {what}: {why}")]
pub struct CudaError {
    pub what: &'static str,
    pub why: String,
}

/// What engines depend on of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// CUDA's number of the device in this process.
    pub ordinal: i32,
    /// "NVIDIA H200".
    pub name: String,
    /// (9, 0) for 9.0.
    pub compute_capability: (u32, u32),
}
