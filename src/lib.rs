//! TensorFlow-TensorRT for stock TensorFlow.
//!
//! `docs/design/overview.md` is the way in: what each module is for, and the way of a tensor through them.

pub mod cache;
pub mod control_flow;
pub mod convert;
pub mod cuda;
pub mod disk_cache;
pub mod engine;
pub mod fault;
pub mod files;
pub mod graph;
pub mod memory;
pub mod op;
pub mod optimizer;
mod plain;
pub mod plugin;
pub mod precision;
pub mod process;
pub mod profile;
pub mod proto;
pub mod report;
pub mod saved_model;
pub mod segment;
pub mod settings;
pub mod sync;
pub mod tf;
pub mod trace;
