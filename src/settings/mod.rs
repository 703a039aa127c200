//! Every environment variable that the library reads.
//!
//! [`VARIABLES`] says what there is; [`settings`] is what the process started with; [`Settings::current`] reads again, for what
//! TF-TRT read at the time of use and programs therefore set after the import.

pub mod document;
mod log_modules;
mod reader;
mod values;
mod variables;

#[cfg(test)]
mod tests;

pub use log_modules::{ALL as ALL_MODULES, LOG_MODULES, LogModule, module_of};
pub use reader::Warning;
pub use values::{BuildPolicy, CacheFolder, ControlFlow, Experimental, Fp16Method, HalfType, ProfilingVerbosity, Report};
pub use variables::{Kind, ReadAt, VARIABLES, Variable, WITHOUT_EFFECT};

use reader::{Reader, unknown_variables, warn_once, without_effect};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::LazyLock;
use variables::*;

/// The values of all [`VARIABLES`] that are read at run time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub allow_engine_native_segment_execution: bool,
    pub abort_cuda_engine_build: bool,
    /// `None`: no limit.
    pub max_allowed_engines: Option<usize>,
    pub op_denylist: BTreeSet<String>,
    pub op_fakelist: BTreeSet<String>,
    pub detailed_report: Report,
    pub enable_layout_optimizer: bool,
    pub export_trt_engines_path: Option<PathBuf>,
    pub sparse_mode: bool,
    pub fixed_algorithm_id: Option<i64>,
    pub allow_inefficient_transpose: bool,
    pub experimental: Experimental,
    pub export_graph_viz_path: Option<PathBuf>,
    pub allow_nms_topk_override: bool,
    pub ort_dylib_path: Option<PathBuf>,
    /// A file, or the folder that it is in.
    pub tensorrt_lib: Option<PathBuf>,
    pub cache_dir: CacheFolder,
    pub cache_readonly: bool,
    /// Of built engines on disk. `None`: no limit.
    pub cache_max_bytes: Option<u64>,
    pub build: BuildPolicy,
    /// 1 or more.
    pub build_threads: usize,
    /// Builds that wait for a thread; 1 or more.
    pub build_queue: usize,
    pub control_flow: ControlFlow,
    /// Plans that TF-TRT 2.x stored.
    pub allow_bare_plans: bool,
    pub cuda_graphs: bool,
    /// 1 or more; for each engine, profile and stream.
    pub max_contexts: usize,
    /// 0 to 5; `None`: TensorRT's own.
    pub builder_optimization_level: Option<i32>,
    /// How long a builder stays for the next build; 0: not at all.
    pub builder_idle_seconds: u32,
    pub profiling_verbosity: ProfilingVerbosity,
    pub half_type: HalfType,
    pub fp16_method: Fp16Method,
}

/// What is used where no variable is set.
impl Default for Settings {
    fn default() -> Self {
        Settings {
            allow_engine_native_segment_execution: true,
            abort_cuda_engine_build: false,
            max_allowed_engines: Some(20),
            op_denylist: BTreeSet::new(),
            op_fakelist: BTreeSet::new(),
            detailed_report: Report::Summary,
            enable_layout_optimizer: true,
            export_trt_engines_path: None,
            sparse_mode: true,
            fixed_algorithm_id: None,
            allow_inefficient_transpose: false,
            experimental: Experimental::default(),
            export_graph_viz_path: None,
            allow_nms_topk_override: false,
            ort_dylib_path: None,
            tensorrt_lib: None,
            cache_dir: CacheFolder::User,
            cache_readonly: false,
            // Some dozens of engines of a few hundred megabytes.
            cache_max_bytes: Some(16 << 30),
            build: BuildPolicy::Inline,
            build_threads: 1,
            build_queue: 64,
            control_flow: ControlFlow::Engine,
            allow_bare_plans: true,
            cuda_graphs: true,
            max_contexts: 4,
            builder_optimization_level: None,
            builder_idle_seconds: 10,
            profiling_verbosity: ProfilingVerbosity::LayerNamesOnly,
            half_type: HalfType::Float16,
            fp16_method: Fp16Method::Auto,
        }
    }
}

/// The settings that the process had when they were first asked for. Warnings went to the log then.
pub fn settings() -> &'static Settings {
    static FIRST: LazyLock<Settings> = LazyLock::new(|| {
        let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
        warn_once(unknown_variables(names));
        Settings::current()
    });
    &FIRST
}

impl Settings {
    /// The settings as the environment is now. Warnings go to the log, each once in the life of the process.
    pub fn current() -> Settings {
        let (settings, warnings) = Settings::from_env();
        warn_once(warnings);
        warn_once(without_effect(environment));
        settings
    }

    /// The one setting that every call needs: [`Settings::current`] would read them all.
    pub fn build_policy() -> BuildPolicy {
        match std::env::var_os(BUILD) {
            None => BuildPolicy::default(),
            Some(_) => Settings::current().build,
        }
    }

    /// As [`Settings::parse`], from the environment as it is now.
    pub fn from_env() -> (Settings, Vec<Warning>) {
        Settings::parse(environment)
    }

    /// Reads all settings through `get`. An empty value counts as not set; for a value that is not understood the default is
    /// used, with a warning.
    pub fn parse(get: impl Fn(&str) -> Option<String>) -> (Settings, Vec<Warning>) {
        let mut read = Reader {
            get: &get,
            warnings: Vec::new(),
        };
        let default = Settings::default();
        let settings = Settings {
            allow_engine_native_segment_execution: read.bool(ALLOW_NATIVE, default.allow_engine_native_segment_execution),
            abort_cuda_engine_build: read.bool(ABORT_BUILD, default.abort_cuda_engine_build),
            max_allowed_engines: match read.integer(MAX_ENGINES, "20") {
                None => default.max_allowed_engines,
                Some(limit) if limit <= 0 => None,
                Some(limit) => Some(usize::try_from(limit).unwrap_or(usize::MAX)),
            },
            op_denylist: read.list(DENYLIST),
            op_fakelist: read.list(FAKELIST),
            detailed_report: read.report(REPORT),
            enable_layout_optimizer: read.bool(LAYOUT, default.enable_layout_optimizer),
            export_trt_engines_path: read.path(EXPORT_ENGINES),
            sparse_mode: read.bool(SPARSE, default.sparse_mode),
            fixed_algorithm_id: read.integer(ALGORITHM, "none").map(|id| id.max(0)),
            allow_inefficient_transpose: read.bool(TRANSPOSE, default.allow_inefficient_transpose),
            experimental: read.experimental(EXPERIMENTAL),
            export_graph_viz_path: read.path(EXPORT_GRAPH),
            allow_nms_topk_override: read.bool(NMS_TOPK, default.allow_nms_topk_override),
            ort_dylib_path: read.path(ORT_DYLIB),
            tensorrt_lib: read.path(TENSORRT_LIB),
            cache_dir: match read.path(CACHE_DIR) {
                None => CacheFolder::User,
                Some(word) if word.as_os_str() == "none" => CacheFolder::Nowhere,
                Some(path) => CacheFolder::At(path),
            },
            cache_readonly: read.bool(CACHE_READONLY, default.cache_readonly),
            cache_max_bytes: match read.text(CACHE_MAX_BYTES) {
                Some(word) if word == "none" => None,
                _ => match read.integer(CACHE_MAX_BYTES, "17179869184") {
                    None => default.cache_max_bytes,
                    Some(limit) => u64::try_from(limit).ok().filter(|limit| *limit > 0),
                },
            },
            build: read.choice(BUILD, default.build),
            build_threads: read
                .integer_in(BUILD_THREADS, 1..=256, "1")
                .and_then(|threads| usize::try_from(threads).ok())
                .unwrap_or(default.build_threads),
            build_queue: read
                .integer_in(BUILD_QUEUE, 1..=65536, "64")
                .and_then(|builds| usize::try_from(builds).ok())
                .unwrap_or(default.build_queue),
            control_flow: read.choice(CONTROL_FLOW, default.control_flow),
            allow_bare_plans: read.bool(ALLOW_BARE_PLANS, default.allow_bare_plans),
            cuda_graphs: read.bool(CUDA_GRAPHS, default.cuda_graphs),
            max_contexts: read
                .integer_in(MAX_CONTEXTS, 1..=i32::MAX, "4")
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(default.max_contexts),
            builder_optimization_level: read.integer_in(OPTIMIZATION_LEVEL, 0..=5, "TensorRT's own"),
            builder_idle_seconds: read
                .integer_in(BUILDER_IDLE, 0..=3600, "10")
                .map_or(default.builder_idle_seconds, i32::unsigned_abs),
            profiling_verbosity: read.choice(VERBOSITY, default.profiling_verbosity),
            half_type: read.choice(HALF_TYPE, default.half_type),
            fp16_method: read.choice(FP16_METHOD, default.fp16_method),
        };
        (settings, read.warnings)
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// A word on the value of a variable that only its user can judge; once in the life of the process.
pub fn say_once(variable: &str, message: String) {
    warn_once(vec![Warning {
        variable: variable.into(),
        message,
    }]);
}
