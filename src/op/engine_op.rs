//! One kernel instance of TRTEngineOp.

use super::attrs::Attrs;
use super::engines::{EngineSet, Identity, Loaded};
use super::fallback::{Fallback, Kind};
use super::resource::Resource;
use super::segment::Segment;
use crate::cache::{Built, EngineCache, Found, Hit, Key, Lookup, Mode};
use crate::engine::{Backend, BuildRequest, Engine, Precision, backend_for};
use crate::files;
use crate::optimizer::INPUT_PREFIX;
use crate::profile::{Bounds, Profile};
use crate::settings::Settings;
use crate::tf::{Call, Code, Status};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};

pub struct EngineOp {
    attrs: Attrs,
    gpu: bool,
    /// Handles of the native segment, one a function library runtime.
    native: Mutex<Vec<(usize, u64)>>,
    identity: OnceLock<Identity>,
}

impl EngineOp {
    /// From a serialized `NodeDef`; `gpu` tells the device of the kernel.
    pub fn new(node_def: Bytes, gpu: bool) -> Result<EngineOp, Status> {
        Ok(EngineOp {
            attrs: Attrs::parse(node_def)?,
            gpu,
            native: Mutex::default(),
            identity: OnceLock::new(),
        })
    }

    /// Runs one call: on an engine, else natively, else it fails with the reason of both.
    pub fn compute(&self, call: Call) {
        let resource = match call.resource(&self.attrs.engine, self.attrs.capacity) {
            Ok(resource) => resource,
            Err(status) => return call.fail(&status),
        };
        match self.run_engine(&call, &resource) {
            Ok(()) => {
                resource.engine_calls.fetch_add(1, Relaxed);
                call.finish();
            }
            Err(fallback) => self.run_native(call, &resource, &fallback),
        }
    }

    fn run_engine(&self, call: &Call, resource: &Resource) -> Result<(), Fallback> {
        self.check_inputs(call.shapes())
            .map_err(|why| Fallback::new(Kind::InputMismatch, why))?;
        if self.attrs.profile_generation {
            return Err(self.record(call, resource));
        }
        if self.attrs.calibrating() {
            let why = "INT8 calibration is not part of this version of tftrt; the native segment runs in TensorFlow's own precision";
            return Err(Fallback::new(Kind::Calibration, why));
        }
        let backend = backend_for(self.gpu).map_err(|e| Fallback::new(Kind::NoBackend, e.to_string()))?;
        let set = self.set(call, resource)?;
        let cache = set.cache(self.mode(), || self.static_engine(resource, backend));
        let hit = self.engine(call, resource, backend, &set, cache)?;
        let mut io = call.bindings(self.gpu);
        hit.engine
            .run(hit.profile, &mut io)
            .map_err(|e| Fallback::new(Kind::EngineFailed, e.to_string()))
    }

    fn mode(&self) -> Mode {
        if self.attrs.implicit_batch {
            Mode::ImplicitBatch
        } else {
            Mode::ExplicitBatch
        }
    }

    /// Holds the inputs against the node's input_shapes (contract 2.2).
    fn check_inputs(&self, actual: &[Vec<i64>]) -> Result<(), String> {
        let known = &self.attrs.input_shapes;
        if !known.is_empty() && known.len() != actual.len() {
            return Err(format!("{} inputs were given, the node was made for {}", actual.len(), known.len()));
        }
        for (i, (known, shape)) in known.iter().zip(actual).enumerate() {
            if !known.admits(shape) {
                return Err(format!("input {i} has the shape {shape:?}, the node was made for {known}"));
            }
        }
        if self.attrs.implicit_batch {
            let mut batch: Option<i64> = None;
            for (i, shape) in actual.iter().enumerate() {
                match (shape.first(), batch) {
                    (None, _) => {
                        return Err(format!(
                            "input {i} is a scalar; in implicit batch mode every input has a batch dimension"
                        ));
                    }
                    (Some(0), _) => return Err(format!("input {i} has batch size 0; in implicit batch mode it is at least 1")),
                    (Some(size), Some(batch)) if *size != batch => {
                        return Err(format!(
                            "input {i} has batch size {size}, input 0 has {batch}; in implicit batch mode all inputs agree"
                        ));
                    }
                    (Some(size), _) => batch = Some(*size),
                }
            }
        }
        Ok(())
    }

    fn record(&self, call: &Call, resource: &Resource) -> Fallback {
        match self
            .set(call, resource)
            .and_then(|set| set.record(call.shapes()).map_err(|why| Fallback::new(Kind::InputMismatch, why)))
        {
            Ok(()) => Fallback::new(Kind::ProfileGeneration, "shapes are recorded for the profiles"),
            Err(fallback) => fallback,
        }
    }

    /// The engines of this node's segment. The segment is read once a kernel, for its fingerprint.
    fn set(&self, call: &Call, resource: &Resource) -> Result<Arc<EngineSet>, Fallback> {
        if let Some(identity) = self.identity.get() {
            return Ok(resource.set(*identity));
        }
        // Everything beside the segment that changes an engine.
        let settings = format!("precision={:?} implicit_batch={}", self.attrs.precision, self.attrs.implicit_batch);
        let settings = Sha256::digest(settings.as_bytes()).into();
        if self.attrs.segment.is_none() {
            return Ok(resource.set_of_settings(settings));
        }
        let segment = self.segment(call).map_err(|why| Fallback::new(Kind::NoEngine, why))?.fingerprint();
        Ok(resource.set(*self.identity.get_or_init(|| Identity { segment, settings })))
    }

    /// The key under which a call's engine is built: in explicit batch mode one engine has all profiles.
    fn key(&self, call: &Call) -> Key {
        match (self.attrs.implicit_batch, self.attrs.static_engine) {
            (false, _) => Vec::new(),
            (true, false) => call.shapes().to_vec(),
            (true, true) => with_batch(call.shapes(), self.attrs.max_batch_size.max(1)),
        }
    }

    fn engine(
        &self,
        call: &Call,
        resource: &Resource,
        backend: &dyn Backend,
        set: &EngineSet,
        cache: &EngineCache<dyn Engine>,
    ) -> Result<Hit<dyn Engine>, Fallback> {
        let lookup = Lookup::shapes(call.shapes());
        let key = self.key(call);
        if !self.attrs.allow_build_at_runtime {
            return match cache.lookup(&lookup) {
                Found::Ready { engine, profile } => Ok(Hit {
                    engine,
                    profile,
                    built: false,
                }),
                Found::Failed(why) => Err(self.no_engine(call, &why)),
                Found::Missing => {
                    let why = "no engine serves the call, and building at run time is off (allow_build_at_runtime=false)";
                    cache.remember_failure(&key, why);
                    Err(self.no_engine(call, why))
                }
            };
        }
        cache
            .get_or_build_as(&key, &lookup, || self.build(call, resource, backend, set, &key))
            .map_err(|why| self.no_engine(call, &why))
    }

    fn no_engine(&self, call: &Call, why: &str) -> Fallback {
        Fallback::new(Kind::NoEngine, format!("input shapes {:?}: {why}", call.shapes()))
    }

    fn build(
        &self,
        call: &Call,
        resource: &Resource,
        backend: &dyn Backend,
        set: &EngineSet,
        key: &Key,
    ) -> Result<Built<dyn Engine>, String> {
        if Settings::current().abort_cuda_engine_build {
            return Err("every engine build fails while TF_TRT_ABORT_CUDA_ENGINE_BUILD is true".to_string());
        }
        let segment = self.segment(call)?;
        self.say_precision(resource, backend);
        let profiles = self.profiles(call, set, key);
        tracing::info!(
            "{}: building an engine with {} ({} profile(s), input shapes {:?})",
            self.attrs.node,
            backend.name(),
            profiles.len(),
            call.shapes()
        );
        let model = segment.convert(&self.attrs, call.shapes())?;
        let request = BuildRequest {
            node: &self.attrs.node,
            model: &model,
            profiles: &profiles,
            precision: self.attrs.precision,
            workspace_bytes: self.attrs.workspace_bytes,
        };
        let engine = backend.build(&request).map_err(|e| e.to_string())?;
        if let Some(folder) = Settings::current().export_trt_engines_path {
            export(&folder, &self.attrs.engine, &*engine, &profiles);
        }
        Ok(Built { engine, profiles })
    }

    fn say_precision(&self, resource: &Resource, backend: &dyn Backend) {
        let asked = match self.attrs.precision {
            Precision::Fp32 => return,
            Precision::Fp16 => "FP16",
            Precision::Int8 => "INT8",
        };
        let text = format!("precision_mode {asked}: {} computes in FP32", backend.name());
        if resource.fallbacks.first(&text) {
            tracing::warn!("{}: {text}", self.attrs.node);
        }
    }

    fn profiles(&self, call: &Call, set: &EngineSet, key: &Key) -> Vec<Profile> {
        if let Some(strategy) = self.attrs.strategy {
            return set.profiles(strategy, &self.attrs.input_shapes, call.shapes());
        }
        // Implicit batch: what an engine for this key serves, any batch up to its own.
        let shapes = key
            .iter()
            .map(|shape| Bounds {
                min: with_first(shape, 1),
                opt: shape.clone(),
                max: shape.clone(),
            })
            .collect::<Vec<_>>();
        vec![Profile {
            values: vec![None; shapes.len()],
            shapes,
        }]
    }

    fn segment(&self, call: &Call) -> Result<Segment, String> {
        let function = self.attrs.segment.as_ref().ok_or("the node has no native segment to build from")?;
        Segment::read(call.function_body(function).map_err(|e| e.message)?)
    }

    /// The engine of `serialized_segment`; a plan that cannot be used is rejected with a word.
    fn static_engine(&self, resource: &Resource, backend: &dyn Backend) -> Option<Loaded> {
        if !self.attrs.static_engine || self.attrs.plan.is_empty() {
            return None;
        }
        let opened = resource
            .decode(backend, self.attrs.plan.clone())
            .and_then(|plan| Ok((resource.open(backend, &plan)?, plan)));
        match opened {
            Ok((engine, plan)) => {
                let key = plan
                    .profiles
                    .first()
                    .map(|p| p.shapes.iter().map(|b| b.max.clone()).collect())
                    .unwrap_or_default();
                Some(Loaded {
                    key,
                    profiles: plan.profiles,
                    engine,
                })
            }
            Err(why) => {
                resource.reject(&format!(
                    "serialized_segment: {why}; the engine is built anew where that is allowed"
                ));
                None
            }
        }
    }

    fn run_native(&self, call: Call, resource: &Resource, fallback: &Fallback) {
        let say = resource.fallbacks.count(fallback);
        let node = &self.attrs.node;
        if !fallback.kind.by_design() && !Settings::current().allow_engine_native_segment_execution {
            return call.fail(&Status::new(
                Code::Aborted,
                format!("User disallowed engine native segment execution. TRTEngineOp '{node}': {fallback}"),
            ));
        }
        let Some(function) = &self.attrs.segment else {
            return call.fail(&Status::new(
                Code::Aborted,
                format!("TRTEngineOp '{node}' has no native segment to fall back to: {fallback}"),
            ));
        };
        if say && fallback.kind != Kind::ProfileGeneration {
            tracing::warn!("{node} on {}: the native segment runs: {fallback} (said once)", call.device());
        }
        match self.native_handle(&call, function) {
            Ok(handle) => call.run_native(
                handle,
                &format!(
                    "TRTEngineOp '{node}': the native segment '{}' failed, after: {fallback}: ",
                    self.attrs.segment_name
                ),
            ),
            Err(status) => {
                let message = format!(
                    "TRTEngineOp '{node}': the native segment '{}' cannot be made ready: {status}, after: {fallback}",
                    self.attrs.segment_name
                );
                call.fail(&Status {
                    code: status.code,
                    message,
                });
            }
        }
    }

    fn native_handle(&self, call: &Call, function: &[u8]) -> Result<u64, Status> {
        let library = call.library_id();
        if let Some((_, handle)) = self.native.lock().iter().find(|(id, _)| *id == library) {
            return Ok(*handle);
        }
        // Two callers at once may both instantiate; TensorFlow gives both the same function.
        let handle = call.instantiate(function, self.attrs.allow_soft_placement)?;
        self.native.lock().push((library, handle));
        Ok(handle)
    }
}

fn with_first(shape: &[i64], first: i64) -> Vec<i64> {
    let mut shape = shape.to_vec();
    if let Some(size) = shape.first_mut() {
        *size = first;
    }
    shape
}

fn with_batch(shapes: &[Vec<i64>], batch: i64) -> Key {
    shapes.iter().map(|shape| with_first(shape, batch)).collect()
}

/// TF_TRT_EXPORT_TRT_ENGINES_PATH (guide, section 6.5): `<name>`, the plan as its backend made it (for ONNX Runtime the
/// ONNX model), and `dims-<name>`, its profiles in JSON. A failure is said and changes nothing else.
fn export(folder: &Path, name: &str, engine: &dyn Engine, profiles: &[Profile]) {
    let named = |bounds: &[Bounds]| {
        bounds
            .iter()
            .enumerate()
            .map(|(i, b)| (format!("{INPUT_PREFIX}{i}"), json!(b)))
            .collect::<serde_json::Map<_, _>>()
    };
    let dims = json!({"profiles": profiles.iter().map(|p| named(&p.shapes)).collect::<Vec<_>>()}).to_string();
    for (file, bytes) in [(name.to_string(), engine.payload()), (format!("dims-{name}"), Bytes::from(dims))] {
        if let Err(e) = files::replace(&folder.join(file), |out| out.write_all(&bytes)) {
            tracing::warn!("TF_TRT_EXPORT_TRT_ENGINES_PATH: {e}");
        }
    }
}
