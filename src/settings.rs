//! Every environment variable that the library reads.
//!
//! [`VARIABLES`] says what there is; [`settings`] is what the process started with; [`Settings::current`] reads again, for what
//! TF-TRT read at the time of use and programs therefore set after the import.

use parking_lot::Mutex;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::LazyLock;

/// What a variable's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// true, false, 1 or 0, in upper or lower case.
    Bool,
    /// A whole number.
    Integer,
    /// Names, separated by commas.
    List,
    Path,
    /// A whole number, or else a path.
    IntegerOrPath,
    /// One of these words, in upper or lower case.
    Choice(&'static [&'static str]),
}

/// When a variable is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAt {
    /// By build.rs, when the library is compiled.
    Build,
    /// Once, when the library first needs a setting.
    Start,
    /// Whenever it matters: it may be set or changed after the library is loaded.
    Use,
}

/// One environment variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    pub name: &'static str,
    pub kind: Kind,
    /// The value that stands for "not set"; empty where none does.
    pub default: &'static str,
    pub read: ReadAt,
    /// The section of TF-TRT's user guide, where the guide has the variable.
    pub guide_section: Option<&'static str>,
    pub what: &'static str,
}

/// All of them, in the order of the contract.
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: ALLOW_NATIVE,
        kind: Kind::Bool,
        default: "true",
        read: ReadAt::Use,
        guide_section: Some("6.10"),
        what: "Run the native segment where an engine is missing or fails. If false, the op fails with \"Aborted\" instead.",
    },
    Variable {
        name: ABORT_BUILD,
        kind: Kind::Bool,
        default: "false",
        read: ReadAt::Use,
        guide_section: None,
        what: "Fail every engine build. For tests of what happens then.",
    },
    Variable {
        name: MAX_ENGINES,
        kind: Kind::Integer,
        default: "20",
        read: ReadAt::Use,
        guide_section: Some("6.11"),
        what: "At most so many engines a graph: the largest segments are converted. Zero and less set no limit.",
    },
    Variable {
        name: DENYLIST,
        kind: Kind::List,
        default: "",
        read: ReadAt::Use,
        guide_section: Some("6.6"),
        what: "Op types that stay native.",
    },
    Variable {
        name: FAKELIST,
        kind: Kind::List,
        default: "",
        read: ReadAt::Use,
        guide_section: None,
        what: "Op types that the segmenter takes for convertible. For debugging: engines that hold them fail to build.",
    },
    Variable {
        name: REPORT,
        kind: Kind::IntegerOrPath,
        default: "",
        read: ReadAt::Use,
        guide_section: Some("6.3.2"),
        what: "1 or more: print the detailed report of what was not converted. A path: also write it there as CSV.",
    },
    Variable {
        name: LAYOUT,
        kind: Kind::Bool,
        default: "true",
        read: ReadAt::Use,
        guide_section: Some("6.9"),
        what: "Let the layout optimizer bring the graph to NCHW before it is converted.",
    },
    Variable {
        name: EXPORT_ENGINES,
        kind: Kind::Path,
        default: "",
        read: ReadAt::Use,
        guide_section: Some("6.5"),
        what: "A directory to which every built engine is exported, with a file \"dims-<name>\" beside it.",
    },
    Variable {
        name: SPARSE,
        kind: Kind::Bool,
        default: "true",
        read: ReadAt::Start,
        guide_section: None,
        what: "Let TensorRT use kernels for structured sparsity.",
    },
    Variable {
        name: ALGORITHM,
        kind: Kind::Integer,
        default: "",
        read: ReadAt::Start,
        guide_section: None,
        what: "Have TensorRT take the algorithm of this number for every layer. For debugging; less than zero counts as zero.",
    },
    Variable {
        name: TRANSPOSE,
        kind: Kind::Bool,
        default: "false",
        read: ReadAt::Start,
        guide_section: None,
        what: "Convert transposes that TensorRT is slow at.",
    },
    Variable {
        name: EXPERIMENTAL,
        kind: Kind::List,
        default: "",
        read: ReadAt::Use,
        guide_section: Some("6.7"),
        what: "Any of disable_graph_freezing, reject_all_fp_cast_ops, remove_native_segments.",
    },
    Variable {
        name: EXPORT_GRAPH,
        kind: Kind::Path,
        default: "",
        read: ReadAt::Use,
        guide_section: Some("6.12"),
        what: "A file to which the converted graph is drawn, in Graphviz's language (.dot).",
    },
    Variable {
        name: NMS_TOPK,
        kind: Kind::Bool,
        default: "false",
        read: ReadAt::Use,
        guide_section: Some("6.8"),
        what: "Convert non-maximum suppression with a top_k above 4096, cut to 4096. Matters before TensorRT 8.2.1 only.",
    },
    Variable {
        name: ORT_DYLIB,
        kind: Kind::Path,
        default: "",
        read: ReadAt::Start,
        guide_section: None,
        what: "ONNX Runtime's shared library. If not set, that of the installed onnxruntime wheel is taken.",
    },
    Variable {
        name: TENSORRT_LIB,
        kind: Kind::Path,
        default: "",
        read: ReadAt::Start,
        guide_section: None,
        what: "TensorRT's shared library, or the folder that it is in. If not set, it is looked for by the names of its \
               versions where the dynamic linker looks.",
    },
    Variable {
        name: CACHE_DIR,
        kind: Kind::Path,
        default: "",
        read: ReadAt::Use,
        guide_section: None,
        what: "The folder of TensorRT's timing caches and of the cache of built engines. If not set: \
               $XDG_CACHE_HOME/tftrt, else $HOME/.cache/tftrt. The word \"none\": nothing is kept on disk.",
    },
    Variable {
        name: CACHE_READONLY,
        kind: Kind::Bool,
        default: "false",
        read: ReadAt::Use,
        guide_section: None,
        what: "Read the caches on disk and never write them.",
    },
    Variable {
        name: CACHE_MAX_BYTES,
        kind: Kind::Integer,
        default: "17179869184",
        read: ReadAt::Use,
        guide_section: None,
        what: "At most so many bytes of built engines are kept on disk: those not used for longest go. Zero, less, and the word \"none\" \
               set no limit.",
    },
    Variable {
        name: BUILD,
        kind: Kind::Choice(BuildPolicy::NAMES),
        default: "inline",
        read: ReadAt::Use,
        guide_section: None,
        what: "Who builds an engine that a call misses: inline, the call itself; background, a thread, while \
               calls run the native segment; never, nobody.",
    },
    Variable {
        name: CUDA_GRAPHS,
        kind: Kind::Bool,
        default: "true",
        read: ReadAt::Use,
        guide_section: None,
        what: "Replay small calls as CUDA graphs.",
    },
    Variable {
        name: MAX_CONTEXTS,
        kind: Kind::Integer,
        default: "4",
        read: ReadAt::Use,
        guide_section: None,
        what: "At most so many execution contexts for each engine, profile and stream; 1 or more.",
    },
    Variable {
        name: OPTIMIZATION_LEVEL,
        kind: Kind::Integer,
        default: "",
        read: ReadAt::Use,
        guide_section: None,
        what: "TensorRT's builder optimization level, 0 to 5: higher builds longer and may run faster. If not set, TensorRT's own default.",
    },
    Variable {
        name: VERBOSITY,
        kind: Kind::Choice(ProfilingVerbosity::NAMES),
        default: "layer_names_only",
        read: ReadAt::Use,
        guide_section: None,
        what: "What engines keep of their layers, for profilers and the engine inspector.",
    },
    Variable {
        name: HALF_TYPE,
        kind: Kind::Choice(HalfType::NAMES),
        default: "float16",
        read: ReadAt::Use,
        guide_section: None,
        what: "The type in which FP16 nodes are computed where TensorRT is strongly typed (10 and later).",
    },
    Variable {
        name: FP16_METHOD,
        kind: Kind::Choice(Fp16Method::NAMES),
        default: "auto",
        read: ReadAt::Use,
        guide_section: None,
        what: "How FP16 is asked of TensorRT 8.6: flags, the builder's flag alone; rewrite, casts in the graph; \
               auto, what proved better. For comparison.",
    },
    Variable {
        name: "TFTRT_PYTHON",
        kind: Kind::Path,
        default: "",
        read: ReadAt::Build,
        guide_section: None,
        what: "The Python whose TensorFlow the library is built for. If not set: .venv/bin/python, else python3.",
    },
];

const ALLOW_NATIVE: &str = "TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION";
const ABORT_BUILD: &str = "TF_TRT_ABORT_CUDA_ENGINE_BUILD";
const MAX_ENGINES: &str = "TF_TRT_MAX_ALLOWED_ENGINES";
const DENYLIST: &str = "TF_TRT_OP_DENYLIST";
const FAKELIST: &str = "TF_TRT_OP_FAKELIST";
const REPORT: &str = "TF_TRT_SHOW_DETAILED_REPORT";
const LAYOUT: &str = "TF_TRT_ENABLE_LAYOUT_OPTIMIZER";
const EXPORT_ENGINES: &str = "TF_TRT_EXPORT_TRT_ENGINES_PATH";
const SPARSE: &str = "TF_TRT_SPARSE_MODE";
const ALGORITHM: &str = "TF_TRT_FIXED_ALGORITHM_ID";
const TRANSPOSE: &str = "TF_DEBUG_TRT_ALLOW_INEFFICIENT_TRANSPOSE";
const EXPERIMENTAL: &str = "TF_TRT_EXPERIMENTAL_FEATURES";
const EXPORT_GRAPH: &str = "TF_TRT_EXPORT_GRAPH_VIZ_PATH";
const NMS_TOPK: &str = "TF_TRT_ALLOW_NMS_TOPK_OVERRIDE";
const ORT_DYLIB: &str = "ORT_DYLIB_PATH";
const TENSORRT_LIB: &str = "TFTRT_TENSORRT_LIB";
const CACHE_DIR: &str = "TFTRT_CACHE_DIR";
const CACHE_READONLY: &str = "TFTRT_CACHE_READONLY";
const CACHE_MAX_BYTES: &str = "TFTRT_CACHE_MAX_BYTES";
const BUILD: &str = "TFTRT_BUILD";
const CUDA_GRAPHS: &str = "TFTRT_CUDA_GRAPHS";
const MAX_CONTEXTS: &str = "TFTRT_MAX_CONTEXTS";
const OPTIMIZATION_LEVEL: &str = "TFTRT_BUILDER_OPTIMIZATION_LEVEL";
const VERBOSITY: &str = "TFTRT_PROFILING_VERBOSITY";
const HALF_TYPE: &str = "TFTRT_HALF_TYPE";
const FP16_METHOD: &str = "TFTRT_FP16_METHOD";

/// How much the report on nodes that were not converted says.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Report {
    #[default]
    Summary,
    Detailed,
    /// Detailed, and as CSV in this file.
    DetailedAndCsv(PathBuf),
}

/// Features of guide section 6.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Experimental {
    pub disable_graph_freezing: bool,
    pub reject_all_fp_cast_ops: bool,
    pub remove_native_segments: bool,
}

/// Where the caches on disk are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum CacheFolder {
    /// In the user's folder of caches.
    #[default]
    User,
    /// Nowhere: nothing is kept on disk.
    Nowhere,
    At(PathBuf),
}

/// Enumerations whose values have a name in the environment.
macro_rules! choices {
    ($($(#[$about:meta])* pub enum $name:ident { $($(#[$value_about:meta])* $value:ident = $text:literal,)* })*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        pub enum $name { $($(#[$value_about])* $value,)* }

        impl $name {
            /// The names of all values, as the environment variable takes them.
            pub const NAMES: &'static [&'static str] = &[$($text),*];

            /// The name of this value.
            pub fn name(self) -> &'static str {
                match self { $($name::$value => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl Choice for $name {
            const VALUES: &'static [(&'static str, Self)] = &[$(($text, $name::$value)),*];
        }
    )*};
}

trait Choice: Copy + 'static {
    const VALUES: &'static [(&'static str, Self)];
}

choices! {
    /// Who builds an engine that a call misses.
    pub enum BuildPolicy {
        /// The call itself, as in TF-TRT.
        #[default]
        Inline = "inline",
        /// A thread; calls run the native segment until it is done.
        Background = "background",
        /// Nobody: calls without an engine run the native segment.
        Never = "never",
    }

    /// What an engine keeps of its layers, for profilers and the engine inspector.
    pub enum ProfilingVerbosity {
        /// TensorRT's own default.
        #[default]
        LayerNamesOnly = "layer_names_only",
        None = "none",
        Detailed = "detailed",
    }

    /// The type in which FP16 nodes are computed where TensorRT is strongly typed.
    pub enum HalfType {
        #[default]
        Float16 = "float16",
        BFloat16 = "bfloat16",
    }

    /// How FP16 is asked of a TensorRT that knows flags for it (8.6).
    pub enum Fp16Method {
        /// What proved better for the version that is loaded.
        #[default]
        Auto = "auto",
        /// The builder's flag on the graph as it is.
        Flags = "flags",
        /// Casts in the graph.
        Rewrite = "rewrite",
    }
}

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
    pub cuda_graphs: bool,
    /// 1 or more; for each engine, profile and stream.
    pub max_contexts: usize,
    /// 0 to 5; `None`: TensorRT's own.
    pub builder_optimization_level: Option<i32>,
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
            cuda_graphs: true,
            max_contexts: 4,
            builder_optimization_level: None,
            profiling_verbosity: ProfilingVerbosity::LayerNamesOnly,
            half_type: HalfType::Float16,
            fp16_method: Fp16Method::Auto,
        }
    }
}

/// A variable whose value was not understood; the message says what it takes and what is used instead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Warning {
    pub variable: String,
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.variable, self.message)
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
        Settings::parse(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
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
            cuda_graphs: read.bool(CUDA_GRAPHS, default.cuda_graphs),
            max_contexts: read
                .integer_in(MAX_CONTEXTS, 1..=i32::MAX, "4")
                .and_then(|limit| usize::try_from(limit).ok())
                .unwrap_or(default.max_contexts),
            builder_optimization_level: read.integer_in(OPTIMIZATION_LEVEL, 0..=5, "TensorRT's own"),
            profiling_verbosity: read.choice(VERBOSITY, default.profiling_verbosity),
            half_type: read.choice(HALF_TYPE, default.half_type),
            fp16_method: read.choice(FP16_METHOD, default.fp16_method),
        };
        (settings, read.warnings)
    }
}

struct Reader<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    warnings: Vec<Warning>,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|value| !value.is_empty())
    }

    fn warn(&mut self, name: &str, message: String) {
        self.warnings.push(Warning {
            variable: name.to_string(),
            message,
        });
    }

    /// As TensorFlow's ReadBoolFromEnvVar.
    fn bool(&mut self, name: &str, default: bool) -> bool {
        let Some(value) = self.text(name) else {
            return default;
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => {
                self.warn(
                    name,
                    format!("\"{value}\" is none of true, false, 1, 0; the default, {default}, is used"),
                );
                default
            }
        }
    }

    /// As TensorFlow's ReadInt64FromEnvVar; spaces around the number do not matter. `default` is for the warning.
    fn integer(&mut self, name: &str, default: &str) -> Option<i64> {
        let value = self.text(name)?;
        let number = value.trim().parse().ok();
        if number.is_none() {
            self.warn(
                name,
                format!("\"{value}\" is no whole number of 64 bits; the default, {default}, is used"),
            );
        }
        number
    }

    /// As [`Reader::integer`], for numbers that have bounds.
    fn integer_in(&mut self, name: &str, bounds: RangeInclusive<i32>, default: &str) -> Option<i32> {
        let number = self.integer(name, default)?;
        let within = i32::try_from(number).ok().filter(|number| bounds.contains(number));
        if within.is_none() {
            let (least, most) = bounds.into_inner();
            self.warn(
                name,
                format!("{number} is not within {least} to {most}; the default, {default}, is used"),
            );
        }
        within
    }

    fn choice<T: Choice + fmt::Display>(&mut self, name: &str, default: T) -> T {
        let Some(value) = self.text(name) else {
            return default;
        };
        let chosen = T::VALUES.iter().find(|(text, _)| text.eq_ignore_ascii_case(&value));
        if let Some((_, chosen)) = chosen {
            return *chosen;
        }
        let names: Vec<&str> = T::VALUES.iter().map(|(text, _)| *text).collect();
        self.warn(
            name,
            format!("\"{value}\" is none of {}; the default, {default}, is used", names.join(", ")),
        );
        default
    }

    fn list(&self, name: &str) -> BTreeSet<String> {
        let value = self.text(name).unwrap_or_default();
        value
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .map(str::to_string)
            .collect()
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    fn report(&mut self, name: &str) -> Report {
        let Some(value) = self.text(name) else {
            return Report::Summary;
        };
        if value.contains(|c: char| !(c == '-' || c.is_ascii_digit())) {
            return Report::DetailedAndCsv(value.into());
        }
        match self.integer(name, "the summary") {
            Some(number) if number >= 1 => Report::Detailed,
            _ => Report::Summary,
        }
    }

    fn experimental(&mut self, name: &str) -> Experimental {
        let mut features = Experimental::default();
        for feature in self.list(name) {
            match feature.as_str() {
                "disable_graph_freezing" => features.disable_graph_freezing = true,
                "reject_all_fp_cast_ops" => features.reject_all_fp_cast_ops = true,
                "remove_native_segments" => features.remove_native_segments = true,
                _ => self.warn(
                    name,
                    format!(
                        "\"{feature}\" is none of disable_graph_freezing, reject_all_fp_cast_ops, remove_native_segments; it is left out"
                    ),
                ),
            }
        }
        features
    }
}

/// A warning for every name that looks like one of TF-TRT's and is none: a misspelt variable does nothing, and would say
/// nothing.
fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<Warning> {
    names
        .filter(|name| name.starts_with("TF_TRT_") && VARIABLES.iter().all(|v| v.name != name))
        .map(|name| Warning {
            message: "no variable of this name is read; see the list in the documentation".to_string(),
            variable: name,
        })
        .collect()
}

fn warn_once(warnings: Vec<Warning>) {
    static SAID: LazyLock<Mutex<HashSet<Warning>>> = LazyLock::new(Mutex::default);
    for warning in warnings {
        if SAID.lock().insert(warning.clone()) {
            tracing::warn!("{warning}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    fn parse(set: &[(&str, &str)]) -> (Settings, Vec<Warning>) {
        Settings::parse(|name| set.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string()))
    }

    fn quiet(set: &[(&str, &str)]) -> Settings {
        let (settings, warnings) = parse(set);
        assert_eq!(warnings, []);
        settings
    }

    #[test]
    fn the_table_holds_exactly_what_is_read() {
        let asked = RefCell::new(BTreeSet::new());
        Settings::parse(|name| {
            asked.borrow_mut().insert(name.to_string());
            None
        });
        let table: BTreeSet<String> = VARIABLES
            .iter()
            .filter(|v| v.read != ReadAt::Build)
            .map(|v| v.name.to_string())
            .collect();
        assert_eq!(asked.into_inner(), table);
    }

    #[test]
    fn the_tables_defaults_are_those_in_force() {
        assert_eq!(quiet(&[]), Settings::default());
        let defaults: Vec<_> = VARIABLES.iter().map(|v| (v.name, v.default)).collect();
        assert_eq!(quiet(&defaults), Settings::default());
        // Each default matters: every other truth value changes the settings.
        for v in VARIABLES.iter().filter(|v| v.kind == Kind::Bool) {
            let other = if v.default == "true" { "false" } else { "true" };
            assert_ne!(quiet(&[(v.name, other)]), Settings::default(), "{}", v.name);
        }
    }

    #[test]
    fn truth_values_are_read_as_tensorflow_reads_them() {
        for (text, value) in [("true", true), ("TRUE", true), ("1", true), ("False", false), ("0", false)] {
            assert_eq!(quiet(&[(ALLOW_NATIVE, text)]).allow_engine_native_segment_execution, value);
            assert_eq!(quiet(&[(ABORT_BUILD, text)]).abort_cuda_engine_build, value);
        }
    }

    #[test]
    fn a_wrong_value_warns_and_leaves_the_default() {
        for name in VARIABLES.iter().filter(|v| v.kind == Kind::Bool).map(|v| v.name) {
            for wrong in ["yes", " true", "2", "on"] {
                let (settings, warnings) = parse(&[(name, wrong)]);
                assert_eq!(settings, Settings::default());
                let message = warnings[0].to_string();
                for part in [name, wrong, "true, false, 1, 0", "default"] {
                    assert!(message.contains(part), "{message}");
                }
            }
        }
        for name in [MAX_ENGINES, ALGORITHM, MAX_CONTEXTS, OPTIMIZATION_LEVEL, CACHE_MAX_BYTES] {
            for wrong in ["many", "1.5", "99999999999999999999"] {
                let (settings, warnings) = parse(&[(name, wrong)]);
                assert_eq!(settings, Settings::default());
                assert!(
                    warnings[0].to_string().contains(&format!("{name}: \"{wrong}\" is no whole number")),
                    "{warnings:?}"
                );
            }
        }
    }

    #[test]
    fn choices_are_known_by_name() {
        for v in VARIABLES {
            let Kind::Choice(names) = v.kind else { continue };
            assert!(names.contains(&v.default), "{}", v.name);
            let chosen: Vec<Settings> = names.iter().map(|name| quiet(&[(v.name, name)])).collect();
            for (i, (name, settings)) in names.iter().zip(&chosen).enumerate() {
                assert_eq!(quiet(&[(v.name, &name.to_uppercase())]), *settings);
                assert!(
                    !chosen[..i].contains(settings),
                    "{}: \"{name}\" is no other than one before it",
                    v.name
                );
            }
            for wrong in ["other", " inline", "0"] {
                let (settings, warnings) = parse(&[(v.name, wrong)]);
                assert_eq!(settings, Settings::default());
                let message = warnings[0].to_string();
                for part in [v.name, wrong, names.join(", ").as_str(), &format!("the default, {},", v.default)] {
                    assert!(message.contains(part), "{message}");
                }
            }
        }
        assert_eq!(quiet(&[(BUILD, "background")]).build, BuildPolicy::Background);
        assert_eq!(quiet(&[(BUILD, "never")]).build, BuildPolicy::Never);
        assert_eq!(quiet(&[(VERBOSITY, "none")]).profiling_verbosity, ProfilingVerbosity::None);
        assert_eq!(quiet(&[(VERBOSITY, "detailed")]).profiling_verbosity, ProfilingVerbosity::Detailed);
        assert_eq!(quiet(&[(HALF_TYPE, "bfloat16")]).half_type, HalfType::BFloat16);
        assert_eq!(quiet(&[(FP16_METHOD, "flags")]).fp16_method, Fp16Method::Flags);
        assert_eq!(quiet(&[(FP16_METHOD, "rewrite")]).fp16_method, Fp16Method::Rewrite);
    }

    #[test]
    fn numbers_outside_of_their_bounds_warn() {
        assert_eq!(quiet(&[(MAX_CONTEXTS, "1")]).max_contexts, 1);
        assert_eq!(quiet(&[(MAX_CONTEXTS, " 16 ")]).max_contexts, 16);
        for level in 0..=5 {
            let settings = quiet(&[(OPTIMIZATION_LEVEL, &level.to_string())]);
            assert_eq!(settings.builder_optimization_level, Some(level));
        }
        for (name, wrong) in [
            (MAX_CONTEXTS, "0"),
            (MAX_CONTEXTS, "-1"),
            (MAX_CONTEXTS, "4294967297"),
            (OPTIMIZATION_LEVEL, "-1"),
            (OPTIMIZATION_LEVEL, "6"),
        ] {
            let (settings, warnings) = parse(&[(name, wrong)]);
            assert_eq!(settings, Settings::default());
            assert_eq!(warnings.len(), 1);
            assert!(
                warnings[0].to_string().contains(&format!("{name}: {wrong} is not within")),
                "{warnings:?}"
            );
        }
    }

    #[test]
    fn the_cache_is_somewhere_or_nowhere() {
        assert_eq!(quiet(&[(CACHE_DIR, "none")]).cache_dir, CacheFolder::Nowhere);
        assert_eq!(quiet(&[(CACHE_DIR, "")]).cache_dir, CacheFolder::User);
        assert_eq!(quiet(&[(CACHE_DIR, "/c")]).cache_dir, CacheFolder::At("/c".into()));
        // A folder of that name can still be had.
        assert_eq!(quiet(&[(CACHE_DIR, "./none")]).cache_dir, CacheFolder::At("./none".into()));
    }

    #[test]
    fn engines_are_limited_and_unlimited() {
        assert_eq!(quiet(&[(MAX_ENGINES, "3")]).max_allowed_engines, Some(3));
        assert_eq!(quiet(&[(MAX_ENGINES, "0")]).max_allowed_engines, None);
        assert_eq!(quiet(&[(MAX_ENGINES, "-1")]).max_allowed_engines, None);
    }

    #[test]
    fn the_cache_is_limited_and_unlimited() {
        assert_eq!(quiet(&[(CACHE_MAX_BYTES, "1000")]).cache_max_bytes, Some(1000));
        for word in ["0", "-1", "none"] {
            assert_eq!(quiet(&[(CACHE_MAX_BYTES, word)]).cache_max_bytes, None, "{word}");
        }
    }

    #[test]
    fn lists_are_split_at_commas() {
        let settings = quiet(&[(DENYLIST, "Sub,Exp, Conv2D,"), (FAKELIST, "Where")]);
        assert_eq!(settings.op_denylist.iter().collect::<Vec<_>>(), ["Conv2D", "Exp", "Sub"]);
        assert_eq!(settings.op_fakelist.iter().collect::<Vec<_>>(), ["Where"]);
    }

    #[test]
    fn the_report_is_a_number_or_a_path() {
        let report = |value| quiet(&[(REPORT, value)]).detailed_report;
        assert_eq!(report("1"), Report::Detailed);
        assert_eq!(report("2"), Report::Detailed);
        assert_eq!(report("0"), Report::Summary);
        assert_eq!(report("-1"), Report::Summary);
        assert_eq!(report("/tmp/report.csv"), Report::DetailedAndCsv("/tmp/report.csv".into()));
        let (settings, warnings) = parse(&[(REPORT, "1-1")]);
        assert_eq!((settings.detailed_report, warnings.len()), (Report::Summary, 1));
    }

    #[test]
    fn experimental_features_are_known_by_name() {
        let all = quiet(&[(EXPERIMENTAL, "disable_graph_freezing,reject_all_fp_cast_ops,remove_native_segments")]);
        assert_eq!(
            all.experimental,
            Experimental {
                disable_graph_freezing: true,
                reject_all_fp_cast_ops: true,
                remove_native_segments: true,
            }
        );
        let (settings, warnings) = parse(&[(EXPERIMENTAL, "reject_all_fp_cast_ops,freeze")]);
        assert!(settings.experimental.reject_all_fp_cast_ops);
        assert!(warnings[0].to_string().contains("\"freeze\"") && warnings[0].to_string().contains("remove_native_segments"));
    }

    #[test]
    fn paths_and_numbers() {
        let settings = quiet(&[
            (EXPORT_ENGINES, "/e"),
            (EXPORT_GRAPH, "/g.dot"),
            (ORT_DYLIB, "/o.so"),
            (TENSORRT_LIB, "/t"),
            (ALGORITHM, "-4"),
        ]);
        assert_eq!(settings.export_trt_engines_path, Some("/e".into()));
        assert_eq!(settings.export_graph_viz_path, Some("/g.dot".into()));
        assert_eq!(settings.ort_dylib_path, Some("/o.so".into()));
        assert_eq!(settings.tensorrt_lib, Some("/t".into()));
        assert_eq!(settings.fixed_algorithm_id, Some(0));
    }

    #[test]
    fn a_misspelt_variable_is_named() {
        let names = ["TF_TRT_OP_DENY_LIST", DENYLIST, "PATH", "TF_CPP_VMODULE"].map(str::to_string);
        let warnings = unknown_variables(names.into_iter());
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].variable, "TF_TRT_OP_DENY_LIST");
    }
}
