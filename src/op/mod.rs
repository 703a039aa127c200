//! TRTEngineOp: from a call to an engine that serves it, or to the native segment.

mod asset_file;
mod attrs;
mod background;
mod bare;
pub mod calibration;
mod engine_op;
mod engine_resource;
mod engines;
mod fallback;
mod functions;
mod host_time;
mod inner_shapes;
mod job;
mod own_engines;
mod owners;
mod resource;
mod said;
mod segment;
mod values;

pub use attrs::Attrs;
pub use bare::Model as BareModel;
pub use engine_op::EngineOp;
pub use resource::Resource;
