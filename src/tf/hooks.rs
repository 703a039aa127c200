//! What TensorFlow calls, as traits. [`crate::tf`] knows neither the op nor the optimizer: the plugin installs both when it is loaded.

use super::call::Call;
use super::ffi::{MetricPoint, MetricText};
use super::status::{Code, Status};
use crate::engine::Gpu;
use crate::graph::TensorInfo;
use crate::proto::tensorflow as tf;
use bytes::Bytes;
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// One kernel of TRTEngineOp.
pub trait Kernel: Send + Sync {
    /// Runs one call, and ends it.
    fn compute(&self, call: Call);
}

/// What all kernels of one engine on one device share: an object in TensorFlow's resource manager.
pub trait EngineResource: Send + Sync {
    /// One line for TensorFlow's messages.
    fn describe(&self) -> String;

    /// InitializeTRTResource: reads an engine file for a new owner.
    ///
    /// # Errors
    /// The file cannot be read.
    fn initialize(&self, file: &Path, capacity: i64, gpu: Option<Gpu>) -> Result<(), Status>;

    /// SerializeTRTResource: writes the engines to a file.
    ///
    /// # Errors
    /// The file cannot be written.
    fn serialize(&self, file: &Path, save_engines: bool) -> Result<(), Status>;

    /// GetCalibrationDataOp.
    ///
    /// # Errors
    /// There is no calibration table.
    fn calibration_table(&self) -> Result<Vec<u8>, Status>;

    /// TensorFlow was told to delete the resource for one owner. Returns whether another owner is left.
    fn leave(&self) -> bool;

    /// TensorFlow has given the resource up: later calls get another one of its name.
    fn end(&self);

    fn has_ended(&self) -> bool;

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// A graph that Grappler hands to TensorRTOptimizer.
pub struct PassItem {
    /// "tf_graph", or a function's name.
    pub id: String,
    pub graph: tf::GraphDef,
    /// Types and shapes of nodes' outputs, by node name.
    pub shapes: HashMap<String, Vec<TensorInfo>>,
    /// The dimensions of the same outputs. Open ones with the same number below -1 are equal.
    pub sizes: HashMap<String, Vec<Vec<i64>>>,
    /// Names of nodes that have to stay.
    pub preserve: HashSet<String>,
    /// For a function, its attributes.
    pub function_attrs: Option<tf::NameAttrList>,
    /// Where nodes run that are assigned nowhere; empty on a machine without a GPU.
    pub default_device: String,
}

/// TensorRTOptimizer with its parameters.
pub trait GraphPass: Send + Sync {
    /// Whether the pass would look at an item of this id, and with these attributes.
    fn concerns(&self, id: &str, function_attrs: Option<&tf::NameAttrList>) -> bool;

    /// The new graph; `None` if nothing changed.
    ///
    /// # Errors
    /// Parameters or a graph that are wrong.
    fn run(&self, item: PassItem) -> Result<Option<tf::GraphDef>, Status>;
}

/// The implementations.
#[derive(Clone, Copy)]
pub struct Hooks {
    /// A kernel of a serialized `NodeDef`, on a GPU or not.
    pub kernel: fn(Bytes, bool) -> Result<Box<dyn Kernel>, Status>,
    /// A resource of that name, device and capacity.
    pub resource: fn(&str, &str, i64) -> Arc<dyn EngineResource>,
    pub pass: fn(tf::rewriter_config::CustomGraphOptimizer) -> Result<Box<dyn GraphPass>, Status>,
    /// The metrics that TensorFlow's monitoring gets.
    pub metrics: fn() -> Vec<MetricText>,
    /// The points of the metric at that index, as they are now.
    pub metric_points: fn(usize) -> Vec<MetricPoint>,
    /// The histogram of build times.
    pub build_seconds: fn() -> MetricText,
}

static HOOKS: OnceLock<Hooks> = OnceLock::new();

/// Installs the implementations. The first ones stay.
pub fn install(hooks: Hooks) {
    let _ = HOOKS.set(hooks);
}

/// The implementations.
///
/// # Errors
/// The plugin's initializer has not run.
pub fn hooks() -> Result<&'static Hooks, Status> {
    let missing = || Status::new(Code::Internal, "tftrt: the library's initializer has not run");
    HOOKS.get().ok_or_else(missing)
}
