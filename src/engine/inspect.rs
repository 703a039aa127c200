//! What is in an asset file of engines (`python -m tftrt inspect`).

use super::asset;
use super::plan::{Plan, PlanError};
use super::{EngineError, onnxruntime, tensorrt};
use serde_json::{Value, json};
use std::path::Path;

/// The engines of a file: `{"engines": [{"input_shapes", "bytes", "backend", "backend_version", "compute_capability", "segment_sha256",
/// "profiles", "bounds", "payload_bytes", "layers"}]}`. `profiles` are texts, `bounds` the same as `min`, `opt` and `max` of each input. `layers` is what the backend's inspector says on the GPU here (TensorRT: as much as the engine
/// keeps, see TFTRT_PROFILING_VERBOSITY), or `layers_error` why there is none. A plan that cannot be read has only `error`, and `bare`: whether
/// it has no container.
///
/// # Errors
/// Where the file is not one of engines.
pub fn inspect(file: &Path) -> Result<Value, String> {
    let instances = asset::read_assets(file).map_err(|e| e.to_string())?;
    let engines = instances.into_iter().map(|instance| {
        let mut about = json!({"input_shapes": instance.input_shapes, "bytes": instance.plan.len()});
        match Plan::decode(instance.plan) {
            Ok(plan) => tell(&mut about, plan),
            Err(e) => {
                about["bare"] = (e == PlanError::Bare).into();
                about["error"] = e.to_string().into();
            }
        }
        about
    });
    Ok(json!({"engines": engines.collect::<Vec<_>>()}))
}

fn tell(about: &mut Value, plan: Plan) {
    about["backend"] = plan.backend.clone().into();
    about["backend_version"] = plan.backend_version.clone().into();
    about["compute_capability"] = plan.compute_capability.map(|(major, minor)| format!("{major}.{minor}")).into();
    about["segment_sha256"] = plan
        .segment_hash
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>()
        .into();
    about["profiles"] = plan.profiles.iter().map(ToString::to_string).collect();
    about["bounds"] = plan.profiles.iter().map(|profile| json!(profile.shapes)).collect();
    about["payload_bytes"] = plan.payload.len().into();
    match layers(&plan) {
        Ok(layers) => about["layers"] = layers,
        Err(why) => about["layers_error"] = why.into(),
    }
}

fn layers(plan: &Plan) -> Result<Value, String> {
    if plan.backend == onnxruntime::NAME {
        return Err(
            "an ONNX Runtime engine is its ONNX model; export it (TF_TRT_EXPORT_TRT_ENGINES_PATH) to look at its nodes".to_string(),
        );
    }
    let text = |e: EngineError| e.to_string();
    let backend = tensorrt::backend_of_device(0).map_err(text)?;
    plan.check_backend(backend).map_err(|e| e.to_string())?;
    let engine = super::Backend::load(backend, "inspect", plan.payload.clone()).map_err(text)?;
    let told = engine.inspect().map_err(text)?.ok_or("TensorRT has no inspector for this engine")?;
    serde_json::from_str(&told).or(Ok(Value::String(told)))
}
