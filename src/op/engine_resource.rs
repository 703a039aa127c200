//! The resource, as TensorFlow calls it.

use super::resource::Resource;
use crate::engine::Gpu;
use crate::tf::{EngineResource, Status};
use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

impl EngineResource for Resource {
    fn describe(&self) -> String {
        Resource::describe(self)
    }

    fn initialize(&self, file: &Path, capacity: i64, gpu: Option<Gpu>) -> Result<(), Status> {
        Resource::initialize(self, file, capacity, gpu)
    }

    fn serialize(&self, file: &Path, save_engines: bool) -> Result<(), Status> {
        Resource::serialize(self, file, save_engines)
    }

    fn calibration_table(&self) -> Result<Vec<u8>, Status> {
        Resource::calibration_table(self)
    }

    fn leave(&self) -> bool {
        Resource::leave(self)
    }

    fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
