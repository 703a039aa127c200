//! What a build asks of TensorRT, and what it finds on disk instead.

use super::backend::TensorRt;
use super::engine::TrtEngine;
use super::precision::{self, Typing};
use super::safe::{self, BuildOptions, PlanRequest, Verbosity, Written};
use crate::disk_cache::{CacheDir, EngineKey, EngineStore, FORMAT, TFTRT_VERSION, TimingKey, TimingStore};
use crate::engine::{Backend, BuildRequest, EngineError};
use crate::fault::{self, Point};
use crate::settings::{ProfilingVerbosity, Settings};
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The engine for a request, in the backend's context: from the cache on disk, else built, and then kept there.
pub(super) fn engine(backend: &'static TensorRt, request: &BuildRequest<'_>) -> Result<TrtEngine, EngineError> {
    let settings = Settings::current();
    let typing = precision::typing(&backend.library, request.precision, request.model.int8, &settings);
    let model = precision::write_into(request, typing)?;
    let options = options(request, typing, &settings);
    let store = CacheDir::current().map(|dir| EngineStore::new(dir, settings.cache_max_bytes));
    let key = store.as_ref().map(|_| key(backend, request, &model, typing, &options));
    if let (Some(store), Some(key)) = (&store, &key)
        && let Some(plan) = store.get(key)
    {
        match TrtEngine::load(backend, request.node, &plan, true) {
            Ok(engine) => return Ok(engine),
            // Checked bytes of the same versions: what TensorRT has against them is not known beforehand.
            Err(e) => tracing::warn!(
                "{}: the cached engine {} cannot be used and is built anew: {e}",
                request.node,
                store.path(key).display()
            ),
        }
    }
    let plan = build(backend, request, &model, options)?;
    if let (Some(store), Some(key)) = (store, key) {
        store.put(&key, &plan);
    }
    TrtEngine::load(backend, request.node, &plan, false)
}

fn options(request: &BuildRequest<'_>, typing: Typing, settings: &Settings) -> BuildOptions {
    BuildOptions {
        workspace: request.workspace_bytes,
        optimization_level: settings.builder_optimization_level,
        verbosity: match settings.profiling_verbosity {
            ProfilingVerbosity::None => Verbosity::None,
            ProfilingVerbosity::LayerNamesOnly => Verbosity::LayerNames,
            ProfilingVerbosity::Detailed => Verbosity::Detailed,
        },
        tf32: request.tf32,
        sparse_weights: settings.sparse_mode,
        fp16_flag: typing.flag,
        int8_flag: typing.int8_flag,
    }
}

/// Everything that changes an engine.
fn key(backend: &TensorRt, request: &BuildRequest<'_>, model: &[u8], typing: Typing, options: &BuildOptions) -> EngineKey {
    EngineKey {
        onnx_sha256: Sha256::digest(model).into(),
        profiles: request.profiles.to_vec(),
        precision: format!("{:?} {typing:?}", request.precision),
        // Plans of before profiles were shared are none of these.
        settings: vec![format!("{options:?}"), "shared profiles".to_string()],
        backend: backend.name().to_string(),
        backend_version: backend.library.version().to_string(),
        compute_capability: backend.properties.compute_capability,
        gpu_name: backend.properties.name.clone(),
        driver_version: backend.driver.to_string(),
        tftrt_version: TFTRT_VERSION.to_string(),
        format: FORMAT,
    }
}

fn build(backend: &'static TensorRt, request: &BuildRequest<'_>, model: &[u8], options: BuildOptions) -> Result<Bytes, EngineError> {
    fault::at(Point::Build).map_err(|why| EngineError::Build(why.to_string()))?;
    let inputs: Vec<&str> = request.model.inputs.iter().map(|binding| binding.name.as_str()).collect();
    let timings = TimingKey {
        gpu_name: backend.properties.name.clone(),
        compute_capability: backend.properties.compute_capability,
        tensorrt_version: backend.library.version().to_string(),
        driver_version: backend.driver.to_string(),
    };
    let on_disk = CacheDir::current().map(TimingStore::new);
    backend
        .timings
        .begin_with(|| on_disk.as_ref().and_then(|store| store.read(&timings)));
    let built = safe::build_plan(
        &backend.library,
        &PlanRequest {
            node: request.node,
            model,
            inputs: &inputs,
            profiles: request.profiles,
            options,
            timings: Some(&backend.timings),
            builders: Some((
                &backend.builders,
                Duration::from_secs(Settings::current().builder_idle_seconds.into()),
            )),
            allocator: backend.allocator,
        },
    )?;
    backend.look_after_builders();
    if let Some(store) = on_disk
        && let Some(cache) = built.timing_cache.filter(|cache| cache.bytes != cache.before)
    {
        keep(backend, request.node, &cache, &store, &timings);
    }
    Ok(built.plan)
}

/// Keeps what a build has measured for those of other processes. It costs the engine nothing where that fails.
fn keep(backend: &TensorRt, node: &str, cache: &Written, on_disk: &TimingStore, timings: &TimingKey) {
    let merged = |other: &Bytes| match safe::combine_timings(&backend.library, node, &cache.bytes, other) {
        Ok(merged) => merged,
        Err(e) => {
            tracing::warn!("{node}: timing caches cannot be merged, the last one is kept: {e}");
            cache.bytes.clone()
        }
    };
    on_disk.update(timings, |there| {
        Some(match there {
            Some(there) if there != cache.before => merged(&there).to_vec(),
            _ => cache.bytes.to_vec(),
        })
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Precision;
    use crate::engine::model::Model;

    #[test]
    fn settings_and_the_nodes_workspace_reach_the_builder() {
        let model = Model {
            onnx: Bytes::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            int8: false,
            bfloat16: false,
            int64: None,
            wide_sum: None,
        };
        let request = BuildRequest {
            node: "n",
            model: &model,
            profiles: &[],
            precision: Precision::Fp32,
            workspace_bytes: 12345,
            tf32: false,
        };
        let of = |set: &[(&str, &str)]| {
            let (settings, warnings) = Settings::parse(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string()));
            assert_eq!(warnings, []);
            options(&request, Typing::default(), &settings)
        };
        let default = of(&[]);
        assert_eq!((default.workspace, default.tf32, default.sparse_weights), (12345, false, true));
        assert!(!of(&[("TF_TRT_SPARSE_MODE", "false")]).sparse_weights);
        assert_eq!(of(&[("TFTRT_BUILDER_OPTIMIZATION_LEVEL", "2")]).optimization_level, Some(2));
        assert_eq!(of(&[("TFTRT_PROFILING_VERBOSITY", "detailed")]).verbosity, Verbosity::Detailed);
    }
}
