//! One engine to be built: all that the build needs, so that it can outlive the call that asked for it.

use super::attrs::Attrs;
use super::calibration;
use super::engines::EngineSet;
use super::resource::Resource;
use super::said::Topic;
use super::segment::Segment;
use super::values;
use crate::cache::{Built, Key};
use crate::convert::{self, Model, Quantization};
use crate::engine::tensorrt;
use crate::engine::{Backend, BuildRequest, Engine, Precision};
use crate::files;
use crate::graph::native_segment::INPUT_PREFIX;
use crate::process::at_exit;
use crate::profile::{Bounds, Profile};
use crate::settings::Settings;
use crate::tf::{record_build_seconds, tensor_float_32_enabled};
use crate::trace;
use bytes::Bytes;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

pub struct Job {
    pub attrs: Arc<Attrs>,
    pub resource: Arc<Resource>,
    pub backend: &'static dyn Backend,
    pub set: Arc<EngineSet>,
    pub key: Key,
    /// The input shapes of the call that asks, and the values of those that may be shapes themselves.
    pub shapes: Vec<Vec<i64>>,
    pub values: Vec<Option<Vec<i64>>>,
    /// Shared by all builds of the segment that wait.
    pub segment: Arc<Segment>,
}

impl Job {
    pub fn run(self) -> Result<Built<dyn Engine>, String> {
        if Settings::current().abort_cuda_engine_build {
            return Err("every engine build fails while TF_TRT_ABORT_CUDA_ENGINE_BUILD is true".to_string());
        }
        let _range = trace::range(c"tftrt build");
        let quantization = match self.attrs.precision {
            Precision::Int8 => self.backend.quantization(),
            Precision::Fp32 | Precision::Fp16 => Quantization::Arithmetic,
        };
        let segment = Arc::unwrap_or_clone(self.segment);
        let model = segment.convert(&self.attrs, &self.shapes, quantization, self.backend.bad_values())?;
        say_precision(&self.attrs, &self.resource, self.backend, &model);
        let shape_inputs = match self.backend.wants_shape_values() {
            true => convert::shape_inputs(&model.onnx)?,
            false => Vec::new(),
        };
        let lost = self.resource.lost();
        let mut profiles = profiles(&self.attrs, &self.set, &self.key, &self.shapes, &self.values, &shape_inputs, &lost);
        let text = format!(
            "{}: building an engine with {} ({} profile(s), input shapes {:?})",
            self.attrs.node,
            self.backend.name(),
            profiles.len(),
            self.shapes
        );
        // On a GPU a build takes minutes. On a CPU a converted model says no more than a native one.
        match self.backend.compute_capability() {
            Some(_) => tracing::info!("{text}"),
            None => tracing::debug!("{text}"),
        }
        let request = BuildRequest {
            node: &self.attrs.node,
            model: &model,
            profiles: &profiles,
            precision: self.attrs.precision,
            workspace_bytes: self.attrs.workspace_bytes,
            tf32: tensor_float_32_enabled(),
        };
        // By now what it takes from is loaded, and so taken down after it.
        at_exit("TensorRT's builders", tensorrt::close);
        let begun = Instant::now();
        let engine = self.backend.build(&request).map_err(|e| e.to_string())?;
        record_build_seconds(begun.elapsed().as_secs_f64());
        tracing::debug!(
            "{}: the engine was built in {:.3} s, with {} bytes of workspace at most, for {}",
            self.attrs.node,
            begun.elapsed().as_secs_f64(),
            self.attrs.workspace_bytes,
            profiles
                .iter()
                .map(|profile| format!("({profile})"))
                .collect::<Vec<_>>()
                .join(" and ")
        );
        if engine.usage().from_disk {
            self.resource.disk_engine_hits.fetch_add(1, Relaxed);
        }
        if self.resource.rejected().is_some() {
            let text = format!("{} built an engine anew, for a saved one cannot be used here", self.backend.name());
            self.resource.note(Topic::Rebuilt, &self.attrs.node, &text);
        }
        // Values that the engine does not ask for are no reason to refuse a call.
        values::keep_only(&mut profiles, engine.shape_inputs());
        if let Some(folder) = Settings::current().export_trt_engines_path
            && let Err(why) = export(&folder, &self.attrs.engine, &*engine, &profiles)
        {
            let text = format!("TF_TRT_EXPORT_TRT_ENGINES_PATH: {why}; the engine is not exported");
            self.resource.note(Topic::Export, &self.attrs.node, &text);
        }
        Ok(Built { engine, profiles })
    }
}

/// Tells once where the engine does not compute in the precision that the node asks for.
fn say_precision(attrs: &Attrs, resource: &Resource, backend: &dyn Backend, model: &Model) {
    let asked = match attrs.precision {
        Precision::Fp32 => return,
        Precision::Fp16 => "FP16",
        Precision::Int8 => "INT8",
    };
    if let Some(instead) = backend.instead_of(attrs.precision, model) {
        resource.note(
            Topic::Precision,
            &attrs.node,
            &format!("precision_mode {asked}: {} {instead}", backend.name()),
        );
    }
    if attrs.precision == Precision::Int8 && !attrs.calibration_data.is_empty() {
        resource.note(Topic::Calibration, &attrs.node, &calibration::unused(&attrs.calibration_data));
    }
}

fn profiles(
    attrs: &Attrs,
    set: &EngineSet,
    key: &Key,
    shapes: &[Vec<i64>],
    call: &[Option<Vec<i64>>],
    shape_inputs: &[bool],
    lost: &[Key],
) -> Vec<Profile> {
    if let Some(strategy) = attrs.strategy {
        return set.profiles(strategy, &attrs.input_shapes, shapes, call, shape_inputs, lost);
    }
    // Implicit batch: what an engine for this key serves, any batch up to its own.
    let bounds: Vec<Bounds> = key
        .iter()
        .map(|shape| Bounds {
            min: super::engine_op::with_first(shape, 1),
            opt: shape.clone(),
            max: shape.clone(),
        })
        .collect();
    vec![Profile {
        values: values::of_call(call, shape_inputs, bounds.len()),
        shapes: bounds,
    }]
}

/// TF_TRT_EXPORT_TRT_ENGINES_PATH (guide, section 6.5): `<name>`, the plan as its backend made it (for ONNX Runtime the
/// ONNX model), and `dims-<name>`, its profiles in JSON.
fn export(folder: &Path, name: &str, engine: &dyn Engine, profiles: &[Profile]) -> Result<(), String> {
    let named = |bounds: &[Bounds]| {
        bounds
            .iter()
            .enumerate()
            .map(|(i, b)| (format!("{INPUT_PREFIX}{i}"), json!(b)))
            .collect::<serde_json::Map<_, _>>()
    };
    let dims = json!({"profiles": profiles.iter().map(|p| named(&p.shapes)).collect::<Vec<_>>()}).to_string();
    let payload = engine.payload().map_err(|e| e.to_string())?;
    std::fs::create_dir_all(folder).map_err(|e| format!("{} cannot be made: {e}", folder.display()))?;
    for (file, bytes) in [(name.to_string(), payload), (format!("dims-{name}"), Bytes::from(dims))] {
        files::replace(&folder.join(file), |out| out.write_all(&bytes)).map_err(|e| e.to_string())?;
    }
    Ok(())
}
