//! TRTEngineOp: from a call to an engine that serves it, or to the native segment (contract, section 2).

mod attrs;
mod engine_op;
mod engines;
mod fallback;
mod resource;
mod segment;

pub use engine_op::EngineOp;
pub use resource::Resource;
