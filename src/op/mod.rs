//! TRTEngineOp: from a call to an engine that serves it, or to the native segment (contract, section 2).

mod attrs;
mod background;
pub mod calibration;
mod engine_op;
mod engines;
mod fallback;
mod functions;
mod host_time;
mod inner_shapes;
mod job;
mod owners;
mod resource;
mod segment;
mod values;

pub use attrs::Attrs;
pub use engine_op::EngineOp;
pub use resource::Resource;
