//! Asks a real TensorRT whether it takes ONNX models: parses and builds each, and prints one line of JSON a model.
//!
//!     trt_check --lib DIR_OR_FILE [--dims N] [--profile JSON_OR_FILE] [--workspace BYTES] [--level 0..5] [--fp16] [--no-tf32]
//!         [--sparse] [--detail none|names|all] [--timing-cache FILE] [--twice] [--together] [--verbose] model.onnx...
//!
//! With TensorRT-RTX this needs no GPU. A line is `{"model": ..., "ok": true, "plan_bytes": n, "build_s": t}` or `{"model": ...,
//! "ok": false, "error": ...}`; it is flushed at once, so that the answers given stand even if TensorRT takes the process down later.
//!
//! Profiles, for models with open sizes: those of `--profile`, else of the file `model.onnx.json` beside the model, in the form
//! `{"profiles": [{"input": {"min": [..], "opt": [..], "max": [..], "values": {"min": [..], ...}}}]}` (`values` for inputs whose
//! values are shapes; inputs left out take their own static shape), else one from 1 to the size of `--dims` (2).
//! `--timing-cache` is read where the file exists, and written after each build whose TensorRT keeps one. With it, and with
//! `--twice`, the builds share their measurements in memory, and, but for `--together`, one builder, as those of the library do. `--twice` builds all models a second time,
//! in the same process; `--together` builds them all at once the first time, in a thread each.
//! With `--verbose`, TensorRT's log goes to stderr. Exit code: 0 all built, 1 some not, 2 nothing could be tried.

use prost::Message;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tftrt::engine::tensorrt::safe::{Builders, Timings};
use tftrt::engine::tensorrt::{BuildOptions, BuiltPlan, Library, PlanRequest, Verbosity, build_plan, safe};
use tftrt::profile::{Bounds, Profile};
use tftrt::proto::onnx::tensor_shape_proto::dimension::Value as Size;
use tftrt::proto::onnx::type_proto::Value as Type;
use tftrt::proto::onnx::{ModelProto, ValueInfoProto};
use tracing::{Event, Metadata, Subscriber, field, span};

const USAGE: &str = "usage: trt_check --lib DIR_OR_FILE [--dims N] [--profile JSON_OR_FILE] [--workspace BYTES] [--level 0..5] [--fp16] \
                     [--no-tf32] [--sparse] [--detail none|names|all] [--timing-cache FILE] [--twice] [--together] [--verbose] model.onnx...";

/// Longer than between two builds of this program.
const MINUTE: Duration = Duration::from_secs(60);

struct Arguments {
    library: Option<PathBuf>,
    dims: i64,
    profile: Option<String>,
    options: BuildOptions,
    timing_cache: Option<PathBuf>,
    twice: bool,
    together: bool,
    verbose: bool,
    models: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Profiles {
    profiles: Vec<BTreeMap<String, Range>>,
}

#[derive(Clone, Deserialize)]
struct Range {
    min: Vec<i64>,
    opt: Vec<i64>,
    max: Vec<i64>,
    values: Option<Box<Range>>,
}

impl From<Range> for Bounds {
    fn from(range: Range) -> Bounds {
        Bounds {
            min: range.min,
            opt: range.opt,
            max: range.max,
        }
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    model: &'a Path,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_bytes: Option<usize>,
    /// Of TensorRT's part alone: parsing and building.
    #[serde(skip_serializing_if = "Option::is_none")]
    build_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timing_cache_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(why) => {
            eprintln!("trt_check: {why}");
            ExitCode::from(2)
        }
    }
}

/// Whether every model was built.
fn run() -> Result<bool, String> {
    let arguments = parse_arguments(std::env::args().skip(1))?;
    let _log = log(&arguments);
    let library = match &arguments.library {
        Some(path) => safe::open(path),
        None => safe::find(),
    }
    .map_err(|error| error.to_string())?;
    eprintln!("trt_check: {} from {}", library.version(), library.path().display());
    let timings = (arguments.timing_cache.is_some() || arguments.twice).then(Timings::default);
    let builders = Builders::default();
    let check = |model: &Path| {
        check(
            &library,
            &arguments,
            model,
            timings.as_ref(),
            Some(&builders).filter(|_| !arguments.together),
        )
    };
    let mut all = true;
    for round in 0..if arguments.twice { 2 } else { 1 } {
        if arguments.together && round == 0 {
            all &= thread::scope(|scope| {
                let (arguments, check) = (&arguments, &check);
                let build = |model: &'_ PathBuf| {
                    let model = model.clone();
                    scope.spawn(move || {
                        let _log = log(arguments);
                        check(&model)
                    })
                };
                let builds: Vec<_> = arguments.models.iter().map(build).collect();
                let mut all = true;
                for (model, build) in arguments.models.iter().zip(builds) {
                    all &= answer(model, build.join().unwrap_or_else(|_| Err("its thread panicked".to_string())))?;
                }
                Ok::<bool, String>(all)
            })?;
        } else {
            for model in &arguments.models {
                all &= answer(model, check(model))?;
            }
        }
    }
    Ok(all)
}

/// TensorRT's log on stderr, if that is asked for, while this lives. For one thread: the process's own is what the library has set for
/// TensorFlow's log, as it was loaded.
fn log(arguments: &Arguments) -> Option<tracing::subscriber::DefaultGuard> {
    arguments.verbose.then(|| tracing::subscriber::set_default(Stderr))
}

/// Prints what became of a model: whether it was built.
fn answer(model: &Path, result: Result<(BuiltPlan, f64), String>) -> Result<bool, String> {
    let ok = result.is_ok();
    let (built, error) = match result {
        Ok(built) => (Some(built), None),
        Err(why) => (None, Some(why)),
    };
    let answer = Answer {
        model,
        ok,
        plan_bytes: built.as_ref().map(|(built, _)| built.plan.len()),
        build_s: built.as_ref().map(|(_, seconds)| *seconds),
        timing_cache_bytes: built.as_ref().and_then(|(built, _)| Some(built.timing_cache.as_ref()?.bytes.len())),
        error,
    };
    let line = serde_json::to_string(&answer).map_err(|error| error.to_string())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| format!("stdout: {error}"))?;
    Ok(ok)
}

fn parse_arguments(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        library: None,
        dims: 2,
        profile: None,
        options: BuildOptions::default(),
        timing_cache: None,
        twice: false,
        together: false,
        verbose: false,
        models: Vec::new(),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value\n{USAGE}"));
        let number = |text: String| {
            text.parse::<i64>()
                .ok()
                .filter(|&n| n >= 0)
                .ok_or(format!("{text} is not a number\n{USAGE}"))
        };
        match word.as_str() {
            "--lib" => arguments.library = Some(PathBuf::from(value()?)),
            "--dims" => arguments.dims = number(value()?)?,
            "--profile" => arguments.profile = Some(value()?),
            "--workspace" => arguments.options.workspace = number(value()?)?.unsigned_abs(),
            "--level" => {
                let level: String = value()?;
                let level = level.parse().map_err(|_| format!("{level} is not a level\n{USAGE}"))?;
                arguments.options.optimization_level = Some(level);
            }
            "--fp16" => arguments.options.fp16_flag = true,
            "--no-tf32" => arguments.options.tf32 = false,
            "--sparse" => arguments.options.sparse_weights = true,
            "--detail" => {
                arguments.options.verbosity = match value()?.as_str() {
                    "none" => Verbosity::None,
                    "names" => Verbosity::LayerNames,
                    "all" => Verbosity::Detailed,
                    other => return Err(format!("there is no --detail {other}\n{USAGE}")),
                };
            }
            "--timing-cache" => arguments.timing_cache = Some(PathBuf::from(value()?)),
            "--twice" => arguments.twice = true,
            "--together" => arguments.together = true,
            "--verbose" => arguments.verbose = true,
            "--help" | "-h" => return Err(USAGE.to_string()),
            option if option.starts_with("--") => return Err(format!("unknown option {option}\n{USAGE}")),
            _ => arguments.models.push(PathBuf::from(word)),
        }
    }
    if arguments.models.is_empty() {
        return Err(format!("no model given\n{USAGE}"));
    }
    Ok(arguments)
}

fn check(
    library: &Arc<Library>,
    arguments: &Arguments,
    path: &Path,
    timings: Option<&Timings>,
    builders: Option<&Builders>,
) -> Result<(BuiltPlan, f64), String> {
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    // What does not decode goes to TensorRT all the same: its words are asked for.
    let model = ModelProto::decode(bytes.as_slice()).unwrap_or_default();
    let inputs = inputs_of(&model);
    let profiles = profiles_for(arguments, path, &inputs)?;
    let names: Vec<&str> = inputs.iter().map(|(name, _)| name.as_str()).collect();
    let node = path
        .file_stem()
        .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    if let (Some(file), Some(timings)) = (&arguments.timing_cache, timings)
        && file.exists()
    {
        let cache = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        timings.begin_with(|| Some(cache.into()));
    }
    let request = PlanRequest {
        node: &node,
        model: &bytes,
        inputs: &names,
        profiles: &profiles,
        options: arguments.options,
        timings,
        builders: timings.and(builders).map(|builders| (builders, MINUTE)),
        allocator: None,
    };
    let begun = Instant::now();
    let built = build_plan(library, &request).map_err(|error| error.to_string())?;
    let seconds = begun.elapsed().as_secs_f64();
    if let (Some(file), Some(cache)) = (&arguments.timing_cache, &built.timing_cache) {
        tftrt::files::replace(file, |out| out.write_all(&cache.bytes)).map_err(|error| error.to_string())?;
    }
    Ok((built, seconds))
}

/// Names and shapes (-1: open) of the inputs that are not weights.
fn inputs_of(model: &ModelProto) -> Vec<(String, Vec<i64>)> {
    let Some(graph) = &model.graph else {
        return Vec::new();
    };
    let is_weight = |input: &&ValueInfoProto| graph.initializer.iter().any(|weight| weight.name == input.name);
    let shape = |input: &ValueInfoProto| match input.r#type.as_ref().and_then(|t| t.value.as_ref()) {
        Some(Type::TensorType(tensor)) => tensor
            .shape
            .iter()
            .flat_map(|shape| &shape.dim)
            .map(|dim| size(dim.value.as_ref()))
            .collect(),
        _ => Vec::new(),
    };
    let inputs = graph.input.iter().filter(|input| !is_weight(input));
    inputs.map(|input| (input.name().to_string(), shape(input))).collect()
}

fn size(value: Option<&Size>) -> i64 {
    match value {
        Some(Size::DimValue(size)) => *size,
        _ => -1,
    }
}

fn profiles_for(arguments: &Arguments, model: &Path, inputs: &[(String, Vec<i64>)]) -> Result<Vec<Profile>, String> {
    let mut beside = model.as_os_str().to_owned();
    beside.push(".json");
    let beside = Path::new(&beside);
    let text = match &arguments.profile {
        Some(json) if json.trim_start().starts_with('{') => Some(json.clone()),
        Some(file) => Some(std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?),
        None if beside.exists() => Some(std::fs::read_to_string(beside).map_err(|error| format!("{}: {error}", beside.display()))?),
        None => None,
    };
    let Some(text) = text else {
        return Ok(default_profiles(inputs, arguments.dims));
    };
    let given: Profiles = serde_json::from_str(&text).map_err(|error| format!("profiles of {}: {error}", model.display()))?;
    given.profiles.into_iter().map(|profile| from_ranges(profile, inputs)).collect()
}

fn from_ranges(mut ranges: BTreeMap<String, Range>, inputs: &[(String, Vec<i64>)]) -> Result<Profile, String> {
    let mut profile = Profile::default();
    for (name, shape) in inputs {
        let range = ranges.remove(name);
        profile.values.push(
            range
                .as_ref()
                .and_then(|range| range.values.clone())
                .map(|values| Bounds::from(*values)),
        );
        profile.shapes.push(match range {
            Some(range) => range.into(),
            None => all_at(shape, |size| size),
        });
    }
    match ranges.first_key_value() {
        Some((name, _)) => Err(format!("the profile speaks of {name}, which is not an input")),
        None => Ok(profile),
    }
}

fn all_at(shape: &[i64], size: impl Fn(i64) -> i64) -> Bounds {
    let sizes: Vec<i64> = shape.iter().map(|&s| size(s)).collect();
    Bounds {
        min: sizes.clone(),
        opt: sizes.clone(),
        max: sizes,
    }
}

/// One profile, from 1 to `dims` on every open axis; none where all is static.
fn default_profiles(inputs: &[(String, Vec<i64>)], dims: i64) -> Vec<Profile> {
    if !inputs.iter().any(|(_, shape)| shape.contains(&-1)) {
        return Vec::new();
    }
    let open = |size: i64, at: i64| if size < 0 { at } else { size };
    let bounds = |shape: &Vec<i64>| Bounds {
        min: all_at(shape, |size| open(size, dims.min(1))).min,
        ..all_at(shape, |size| open(size, dims))
    };
    vec![Profile {
        shapes: inputs.iter().map(|(_, shape)| bounds(shape)).collect(),
        values: vec![None; inputs.len()],
    }]
}

/// Events to stderr, one line each, with their fields.
struct Stderr;

impl Subscriber for Stderr {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = format!("{:5}", event.metadata().level());
        event.record(&mut |field: &field::Field, value: &dyn std::fmt::Debug| line += &format!(" {}={value:?}", field.name()));
        eprintln!("{line}");
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
