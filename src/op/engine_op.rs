//! One kernel instance of TRTEngineOp.

use super::attrs::Attrs;
use super::background;
use super::engines::{EngineSet, Identity};
use super::fallback::{Fallback, Kind};
use super::functions;
use super::host_time::CallTime;
use super::job::Job;
use super::own_engines;
use super::resource::Resource;
use super::said::Topic;
use super::segment::{Segment, fingerprint};
use super::values;
use crate::cache::{Begin, EngineCache, Found, Hit, Key, Lookup, Mode};
use crate::engine::{Backend, Engine, EngineError, Gpu, Run, backend_for};
use crate::process::Mutex;
use crate::proto::tensorflow as tf;
use crate::settings::{BuildPolicy, Settings};
use crate::tf::{Call, Code, Handle, Kernel, NativeFunction, Status};
use bytes::Bytes;
use parking_lot::RwLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

pub struct EngineOp {
    attrs: Arc<Attrs>,
    gpu: bool,
    /// The native segment, made ready in each function library runtime that it was called in.
    native: Mutex<Vec<NativeFunction>>,
    identity: OnceLock<Identity>,
    /// A kernel's device never changes.
    backend: OnceLock<&'static dyn Backend>,
    /// The resource of the last call. Whoever ends the resource ends this: the kernel does not keep it.
    resource: RwLock<Weak<Resource>>,
    /// Lives as long as the kernel: by it an engine set knows that it is used.
    life: Arc<()>,
    /// Whether the engine set of that resource knows it.
    known: AtomicBool,
}

/// A call that ran on an engine.
struct Ran {
    run: Run,
    /// When the engine was found.
    found: Instant,
    /// Whether that took no more than looking it up: a build, and waiting for one, is no time of the op's own.
    at_once: bool,
}

impl Kernel for EngineOp {
    fn compute(&self, call: Call) {
        self.run(call);
    }
}

impl EngineOp {
    /// From a serialized `NodeDef`; `gpu` tells the device of the kernel.
    pub fn new(node_def: Bytes, gpu: bool) -> Result<EngineOp, Status> {
        Ok(EngineOp {
            attrs: Arc::new(Attrs::parse(node_def)?),
            gpu,
            native: Mutex::default(),
            identity: OnceLock::new(),
            backend: OnceLock::new(),
            resource: RwLock::default(),
            life: Arc::default(),
            known: AtomicBool::new(false),
        })
    }

    /// Runs one call: on an engine, else natively, else it fails with the reason of both.
    fn run(&self, call: Call) {
        let begun = Instant::now();
        let resource = match self.resource(&call) {
            Ok(resource) => resource,
            Err(status) => return call.fail(&status),
        };
        match self.run_engine(&call, &resource) {
            Ok(Ran { run, found, at_once }) => {
                resource.engine_calls.fetch_add(1, Relaxed);
                if run.graph {
                    resource.graph_launches.fetch_add(1, Relaxed);
                }
                if at_once {
                    let time = CallTime {
                        all: begun.elapsed().saturating_sub(run.inside),
                        find: found - begun,
                        memory: run.binding,
                    };
                    resource.host_time.add(time, run.graph);
                }
                call.finish();
            }
            Err(fallback) => self.run_native(call, &resource, &fallback),
        }
    }

    fn resource(&self, call: &Call) -> Result<Arc<Resource>, Status> {
        if let Some(known) = self.resource.read().upgrade().filter(|known| !known.ended.load(Relaxed)) {
            return Ok(known);
        }
        let found = call.resource(&self.attrs.engine, self.attrs.capacity)?;
        let another = |_| Status::new(Code::Internal, format!("'{}' is another resource", self.attrs.engine));
        let found = found.downcast::<Resource>().map_err(another)?;
        found.owned_by_call();
        found.known_by(self.attrs.key());
        *self.resource.write() = Arc::downgrade(&found);
        self.known.store(false, Relaxed);
        Ok(found)
    }

    fn run_engine(&self, call: &Call, resource: &Arc<Resource>) -> Result<Ran, Fallback> {
        self.check_inputs(call.shapes())
            .map_err(|why| Fallback::new(Kind::InputMismatch, why))?;
        if self.attrs.profile_generation {
            return Err(self.record(call, resource));
        }
        if self.attrs.calibrating() {
            let why = "INT8 calibration is not part of this version of tftrt; the native segment runs in TensorFlow's own precision";
            return Err(Fallback::new(Kind::Calibration, why));
        }
        let gpu = if self.gpu { call.gpu() } else { None };
        let backend = self.backend(gpu)?;
        let (identity, set) = self.set(call, resource)?;
        if !self.known.swap(true, Relaxed) {
            set.used_by(&self.life);
        }
        let cache = set.cache(self.mode(), || own_engines::static_engine(&self.attrs, identity, resource, backend));
        let (hit, at_once) = self.engine(call, resource, backend, &set, cache)?;
        let found = Instant::now();
        let mut io = call.bindings(gpu.map(|gpu| gpu.stream), &self.attrs.output_shapes);
        let fits = hit.engine.interface().check(&io);
        match fits.and_then(|()| hit.engine.run(hit.profile, &mut io)) {
            Ok(run) => Ok(Ran { run, found, at_once }),
            Err(e @ EngineError::Refused) => Err(Fallback::new(Kind::Refused, e.to_string())),
            Err(e) => Err(Fallback::new(Kind::EngineFailed, e.to_string())),
        }
    }

    /// The backend of this kernel's device, found at its first use.
    fn backend(&self, gpu: Option<Gpu>) -> Result<&'static dyn Backend, Fallback> {
        if let Some(backend) = self.backend.get() {
            return Ok(*backend);
        }
        if self.gpu && gpu.is_none() {
            return Err(Fallback::new(Kind::NoBackend, "CUDA does not know the stream of this GPU kernel"));
        }
        let backend = backend_for(gpu).map_err(|e| Fallback::new(Kind::NoBackend, e.to_string()))?;
        Ok(*self.backend.get_or_init(|| backend))
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
        let record = || {
            let values = self.values(call, &[])?;
            let (_, set) = self.set(call, resource)?;
            set.record(call.shapes(), &values)
                .map_err(|why| Fallback::new(Kind::InputMismatch, why))
        };
        match record() {
            Ok(()) => Fallback::new(Kind::ProfileGeneration, "shapes are recorded for the profiles"),
            Err(fallback) => fallback,
        }
    }

    /// The engines of this node's segment, and what identifies them. The segment's fingerprint is taken once a kernel.
    fn set(&self, call: &Call, resource: &Resource) -> Result<(Identity, Arc<EngineSet>), Fallback> {
        let identity = match self.identity.get() {
            Some(identity) => *identity,
            None => {
                let found = self
                    .own_identity(call, resource)
                    .map_err(|why| Fallback::new(Kind::NoEngine, why))?;
                *self.identity.get_or_init(|| found)
            }
        };
        Ok((identity, resource.set(identity)))
    }

    fn own_identity(&self, call: &Call, resource: &Resource) -> Result<Identity, String> {
        if self.attrs.segment.is_none() {
            return own_engines::without_segment(&self.attrs, resource);
        }
        Ok(Identity {
            segment: self.fingerprint(call)?,
            settings: own_engines::settings(&self.attrs),
            node: self.attrs.segment_hash,
        })
    }

    /// The key under which a call's engine is built: in explicit batch mode one engine has all profiles.
    fn key(&self, call: &Call, resource: &Resource, cache: &EngineCache<dyn Engine>) -> Key {
        match (self.attrs.implicit_batch, self.attrs.static_engine) {
            (false, _) => Vec::new(),
            (true, true) => with_batch(call.shapes(), self.attrs.max_batch_size.max(1)),
            // The engine that was saved and cannot be used is built again, if it served the call; a build that failed is not tried twice.
            (true, false) => smallest_for(call.shapes(), resource.lost())
                .filter(|key| !cache.failed(key))
                .unwrap_or_else(|| call.shapes().to_vec()),
        }
    }

    /// The engine of a call, and whether it was there at once.
    fn engine(
        &self,
        call: &Call,
        resource: &Arc<Resource>,
        backend: &'static dyn Backend,
        set: &Arc<EngineSet>,
        cache: &EngineCache<dyn Engine>,
    ) -> Result<(Hit<dyn Engine>, bool), Fallback> {
        let wanted = set.wanted_values();
        let values = if wanted.is_empty() {
            Vec::new()
        } else {
            self.values(call, &wanted)?
        };
        let lookup = Lookup {
            shapes: call.shapes(),
            values: &values,
        };
        // Nearly every call ends here.
        if let Some(hit) = cache.hit(&lookup) {
            tracing::trace!(
                "{}: profile {:?} serves the input shapes {:?}",
                self.attrs.node,
                hit.profile,
                call.shapes()
            );
            return Ok((hit, true));
        }
        let later = |hit| Ok((hit, false));
        let key = self.key(call, resource, cache);
        let policy = Settings::build_policy();
        if !self.attrs.allow_build_at_runtime || policy == BuildPolicy::Never {
            return match cache.lookup(&lookup) {
                Found::Ready { engine, profile } => later(Hit {
                    engine,
                    profile,
                    built: false,
                }),
                Found::Failed(why) => Err(self.no_engine(call, &why)),
                Found::Missing => {
                    let setting = match self.attrs.allow_build_at_runtime {
                        false => "allow_build_at_runtime=false",
                        true => "TFTRT_BUILD=never",
                    };
                    let lost = match resource.rejected() {
                        Some((1, _)) => "; 1 saved plan cannot be used here".to_string(),
                        Some((n, _)) => format!("; {n} saved plans cannot be used here"),
                        None => String::new(),
                    };
                    // Not remembered: another node of this segment may build, or the variable change.
                    Err(self.no_engine(
                        call,
                        &format!("no engine serves the call, and building at run time is off ({setting}){lost}"),
                    ))
                }
            };
        }
        let job = || self.job(call, resource, backend, set, &key);
        if policy == BuildPolicy::Inline {
            let build = || {
                let built = job()?.run()?;
                set.note(&*built.engine);
                Ok(built)
            };
            return match cache.get_or_build_as(&key, &lookup, build) {
                Ok(hit) => later(hit),
                // The engine asks for values, and nobody knew that while there was none.
                Err(_) if wanted.is_empty() && !set.wanted_values().is_empty() => self.engine(call, resource, backend, set, cache),
                Err(why) => Err(self.unserved(call, &why, set, cache)),
            };
        }
        let why = match cache.begin(&key, &lookup) {
            Begin::Ready { engine, profile } => {
                return later(Hit {
                    engine,
                    profile,
                    built: false,
                });
            }
            Begin::Failed(why) => return Err(self.unserved(call, &why, set, cache)),
            Begin::Building => None,
            Begin::Start(ticket) => match job() {
                Ok(job) => background::build(set.clone(), ticket, job).err(),
                Err(why) => {
                    cache.finish(ticket, || Err(why.clone()));
                    Some(why)
                }
            },
        };
        match why {
            None => Err(Fallback::new(Kind::Building, "an engine is being built in the background")),
            Some(why) => Err(self.no_engine(call, &why)),
        }
    }

    /// All that a build needs, taken from the call that asks for it.
    fn job(
        &self,
        call: &Call,
        resource: &Arc<Resource>,
        backend: &'static dyn Backend,
        set: &Arc<EngineSet>,
        key: &Key,
    ) -> Result<Job, String> {
        let values = match backend.wants_shape_values() {
            true => self.values(call, &[]).map_err(|fallback| fallback.why)?,
            false => Vec::new(),
        };
        Ok(Job {
            attrs: self.attrs.clone(),
            resource: resource.clone(),
            backend,
            set: set.clone(),
            key: key.clone(),
            shapes: call.shapes().to_vec(),
            values,
            segment: set.segment(|| self.segment(call))?,
        })
    }

    /// The values of the inputs that are or may be shapes.
    fn values(&self, call: &Call, wanted: &[bool]) -> Result<Vec<Option<Vec<i64>>>, Fallback> {
        values::of(call, wanted).map_err(|e| Fallback::new(Kind::EngineFailed, format!("shape values cannot be read: {e}")))
    }

    fn no_engine(&self, call: &Call, why: &str) -> Fallback {
        Fallback::new(Kind::NoEngine, format!("input shapes {:?}: {why}", call.shapes()))
    }

    /// As [`Self::no_engine`], with what a user can do where there is an engine, and not for this call.
    fn unserved(&self, call: &Call, why: &str, set: &EngineSet, cache: &EngineCache<dyn Engine>) -> Fallback {
        if cache.is_empty() {
            return self.no_engine(call, why);
        }
        if self.attrs.static_engine && self.attrs.implicit_batch {
            let most = self.attrs.max_batch_size.max(1);
            return self.no_engine(
                call,
                &format!("{why}; the engine is static, for batches of at most {most} (max_batch_size)"),
            );
        }
        match set.guessed() {
            true => self.no_engine(call, &format!("{why}; {GUESSED}")),
            false => self.no_engine(call, why),
        }
    }

    fn segment(&self, call: &Call) -> Result<Segment, String> {
        let function = self.attrs.segment.as_ref().ok_or("the node has no native segment to build from")?;
        let (body, contents) = call.function_body(function).map_err(|e| e.message)?;
        Segment::read(body, contents, &|function| body_of(call, function))
    }

    fn fingerprint(&self, call: &Call) -> Result<[u8; 32], String> {
        let function = self.attrs.segment.as_ref().ok_or("the node has no native segment")?;
        let (outline, checksums) = call.function_outline(function).map_err(|e| e.message)?;
        fingerprint(outline, &checksums, &|function| body_of(call, function))
    }

    fn run_native(&self, call: Call, resource: &Resource, fallback: &Fallback) {
        resource.fallbacks.count(fallback);
        let node = &self.attrs.node;
        if !fallback.kind.by_design() && !Settings::current().allow_engine_native_segment_execution {
            return call.fail(&Status::new(
                Code::Aborted,
                format!("User disallowed engine native segment execution. TRTEngineOp '{node}': {fallback}"),
            ));
        }
        let Some(function) = &self.attrs.segment else {
            let rejected = match resource.rejected() {
                Some((n, first)) => format!("; {n} of its saved plans cannot be used here, the first: {first}"),
                None => String::new(),
            };
            return call.fail(&Status::new(
                Code::Aborted,
                format!("TRTEngineOp '{node}' has no native segment to fall back to: {fallback}{rejected}"),
            ));
        };
        if fallback.kind != Kind::ProfileGeneration
            && let Some(nth) = resource.said(Topic::Native(fallback.kind), &fallback.why)
        {
            tracing::warn!("{node} on {}: the native segment runs: {fallback}{nth}", call.device());
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

    fn native_handle(&self, call: &Call, function: &[u8]) -> Result<Handle, Status> {
        if let Some(ready) = self.native.lock().iter().find(|ready| call.can_run(ready)) {
            return Ok(ready.handle());
        }
        // Two callers at once may both instantiate; TensorFlow gives both the same function, and counts.
        let ready = call.instantiate(function, self.attrs.allow_soft_placement)?;
        let handle = ready.handle();
        self.native.lock().push(ready);
        Ok(handle)
    }
}

pub(super) fn with_first(shape: &[i64], first: i64) -> Vec<i64> {
    let mut shape = shape.to_vec();
    if let Some(size) = shape.first_mut() {
        *size = first;
    }
    shape
}

/// What a call is told where an engine has the profiles of one call, and perhaps those of lost engines, and not the call's.
const GUESSED: &str = "its profiles are from its first call, for the model has none of a build() that can be used here; \
                       convert and build the original model anew for all shapes that it is to serve";

/// The body of a function that the segment runs inside, as the library has it now.
fn body_of(call: &Call, function: &[u8]) -> Result<tf::GraphDef, String> {
    call.function_body(function).map_err(|e| e.message).and_then(functions::whole)
}

/// Of `keys` the one with the smallest batch that serves a call of `shapes` in implicit batch mode.
fn smallest_for(shapes: &[Vec<i64>], keys: Vec<Key>) -> Option<Key> {
    let batch = *shapes.first()?.first()?;
    let serves = |key: &Key| {
        let first = key.first().and_then(|shape| shape.first().copied()).unwrap_or(0);
        first >= batch && with_batch(shapes, first) == *key
    };
    keys.into_iter().filter(serves).min_by_key(|key| key[0][0])
}

fn with_batch(shapes: &[Vec<i64>], batch: i64) -> Key {
    shapes.iter().map(|shape| with_first(shape, batch)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_lost_engine_that_serves_a_call_is_built_again() {
        let lost = || {
            vec![
                vec![vec![64, 8]],
                vec![vec![16, 8]],
                vec![vec![32, 7]],
                vec![vec![4, 8]],
                vec![],
                vec![vec![]],
            ]
        };
        assert_eq!(smallest_for(&[vec![5, 8]], lost()), Some(vec![vec![16, 8]]));
        assert_eq!(smallest_for(&[vec![4, 8]], lost()), Some(vec![vec![4, 8]]));
        assert_eq!(smallest_for(&[vec![65, 8]], lost()), None);
        assert_eq!(smallest_for(&[vec![5, 8], vec![5, 8]], lost()), None);
        assert_eq!(smallest_for(&[], lost()), None);
    }
}
