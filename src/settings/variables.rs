//! The table of variables, and their names.

use super::values::{BuildPolicy, ControlFlow, Fp16Method, HalfType, ProfilingVerbosity};

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
    /// A step of [`crate::fault`].
    Step,
    /// One of these words, in upper or lower case.
    Choice(&'static [&'static str]),
}

/// When a variable is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAt {
    /// By build.rs, when the library is compiled.
    Build,
    /// By the Python package, before there is a library, or by the library when it is loaded.
    Import,
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

/// All of them, in the order of the contract; docs/reference/settings.md is made from this (`cargo xtask docs`).
pub const VARIABLES: &[Variable] = &[
    Variable {
        name: ALLOW_NATIVE,
        kind: Kind::Bool,
        default: "true",
        read: ReadAt::Use,
        guide_section: Some("6.10"),
        what: "Run the native segment if an engine is missing or fails. If false, the op fails with \"Aborted\" instead.",
    },
    Variable {
        name: ABORT_BUILD,
        kind: Kind::Bool,
        default: "false",
        read: ReadAt::Use,
        guide_section: None,
        what: "Fail every engine build, to test what happens then.",
    },
    Variable {
        name: MAX_ENGINES,
        kind: Kind::Integer,
        default: "20",
        read: ReadAt::Use,
        guide_section: Some("6.11"),
        what: "The maximum number of engines in a graph. The largest segments are converted. Zero and less set no limit.",
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
        what: "Op types that the segmenter treats as convertible. For debugging: engines that hold them fail to build.",
    },
    Variable {
        name: REPORT,
        kind: Kind::IntegerOrPath,
        default: "",
        read: ReadAt::Use,
        guide_section: Some("6.3.2"),
        what: "1 or more: the conversion report has the reasons. A path: the report is also written there, as CSV. Not set, or 0: \
               the report has no reasons.",
    },
    Variable {
        name: LAYOUT,
        kind: Kind::Bool,
        default: "true",
        read: ReadAt::Use,
        guide_section: Some("6.9"),
        what: "Images stay channels-first between the operations of an engine. If false: a transpose on each side of every convolution.",
    },
    Variable {
        name: EXPORT_ENGINES,
        kind: Kind::Path,
        default: "",
        read: ReadAt::Use,
        guide_section: Some("6.5"),
        what: "A folder for every built engine (TensorRT's plan, or the ONNX model of the CPU backend). Its profiles are beside it \
               as \"dims-<name>\", in JSON.",
    },
    Variable {
        name: SPARSE,
        kind: Kind::Bool,
        default: "true",
        read: ReadAt::Use,
        guide_section: None,
        what: "Let TensorRT use kernels for structured sparsity.",
    },
    Variable {
        name: ALGORITHM,
        kind: Kind::Integer,
        default: "",
        read: ReadAt::Start,
        guide_section: None,
        what: "Let TensorRT use the algorithm of this number for every layer; less than zero counts as zero.",
    },
    Variable {
        name: TRANSPOSE,
        kind: Kind::Bool,
        default: "false",
        read: ReadAt::Start,
        guide_section: None,
        what: "Convert transposes that are slow in TensorRT.",
    },
    Variable {
        name: EXPERIMENTAL,
        kind: Kind::List,
        default: "",
        read: ReadAt::Use,
        guide_section: Some("6.7"),
        what: "Any of: disable_graph_freezing (variables stay variables); reject_all_fp_cast_ops (Casts from one floating-point \
               type to another stay native); remove_native_segments (save() omits them: such a model runs in its saved engines or \
               not at all).",
    },
    Variable {
        name: EXPORT_GRAPH,
        kind: Kind::Path,
        default: "",
        read: ReadAt::Use,
        guide_section: Some("6.12"),
        what: "A file for the converted graph in Graphviz's language, as TensorFlow's front end draws it. For \"g.dot\" the \
               library adds g.before.dot, with what becomes of each node, and g.after.dot, with the engines as clusters of their \
               nodes.",
    },
    Variable {
        name: NMS_TOPK,
        kind: Kind::Bool,
        default: "false",
        read: ReadAt::Use,
        guide_section: Some("6.8"),
        what: "Convert non-maximum suppression of more than 4096 boxes, or of an unknown number, too. TensorRT then considers only \
               the best boxes of a class.",
    },
    Variable {
        name: ORT_DYLIB,
        kind: Kind::Path,
        default: "",
        read: ReadAt::Start,
        guide_section: None,
        what: "ONNX Runtime's shared library. If not set, the installed onnxruntime wheel's.",
    },
    Variable {
        name: TENSORRT_LIB,
        kind: Kind::Path,
        default: "",
        read: ReadAt::Start,
        guide_section: None,
        what: "TensorRT's shared library, or its folder. If not set, the dynamic linker looks for it by the names of its versions.",
    },
    Variable {
        name: CACHE_DIR,
        kind: Kind::Path,
        default: "",
        read: ReadAt::Use,
        guide_section: None,
        what: "The folder of TensorRT's timing caches and of the cache of built engines. If not set: $XDG_CACHE_HOME/tftrt, else \
               $HOME/.cache/tftrt. \"none\": nothing is kept on disk. The folder must belong to the user (or to root), and nobody \
               else may write to it.",
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
        what: "The maximum size of the built engines on disk, in bytes. The least recently used ones are removed. Zero, less, and \
               \"none\" set no limit.",
    },
    Variable {
        name: BUILD,
        kind: Kind::Choice(BuildPolicy::NAMES),
        default: "inline",
        read: ReadAt::Use,
        guide_section: None,
        what: "Who builds an engine that a call needs and does not find. inline: the call itself. background: a thread \
               (TFTRT_BUILD_THREADS, TFTRT_BUILD_QUEUE), while calls run the native segment; saving waits for it. never: nobody.",
    },
    Variable {
        name: BUILD_THREADS,
        kind: Kind::Integer,
        default: "1",
        read: ReadAt::Use,
        guide_section: None,
        what: "The maximum number of threads, 1 to 256, that build engines if TFTRT_BUILD is background. Each uses a core, and \
               memory for one build.",
    },
    Variable {
        name: BUILD_QUEUE,
        kind: Kind::Integer,
        default: "64",
        read: ReadAt::Use,
        guide_section: None,
        what: "The maximum number of builds, 1 to 65536, that wait for a thread if TFTRT_BUILD is background. The most requested \
               and newest shapes come first. Beyond the maximum the least requested and oldest build is dropped and counted \
               (dropped_builds); its next call requests it again.",
    },
    Variable {
        name: CONTROL_FLOW,
        kind: Kind::Choice(ControlFlow::NAMES),
        default: "engine",
        read: ReadAt::Use,
        guide_section: None,
        what: "What becomes of loops and conditionals in a conversion. engine: loops of known length are unrolled, cheap \
               conditionals become selections, and the others go into engines as ONNX's Loop and If. unroll: the others stay \
               native. native: all stay native.",
    },
    Variable {
        name: ALLOW_BARE_PLANS,
        kind: Kind::Bool,
        default: "true",
        read: ReadAt::Use,
        guide_section: None,
        what: "Use plans of TensorRT's own format, as TF-TRT 2.x stored them, if the loaded TensorRT accepts them. If false, such \
               engines are built again: for models that you do not trust.",
    },
    Variable {
        name: CUDA_GRAPHS,
        kind: Kind::Bool,
        default: "true",
        read: ReadAt::Use,
        guide_section: None,
        what: "Replay small calls as CUDA graphs. Read when an engine is loaded.",
    },
    Variable {
        name: MAX_CONTEXTS,
        kind: Kind::Integer,
        default: "4",
        read: ReadAt::Use,
        guide_section: None,
        what: "The maximum number of execution contexts for each engine, profile and stream, 1 or more. Read when an engine is loaded.",
    },
    Variable {
        name: OPTIMIZATION_LEVEL,
        kind: Kind::Integer,
        default: "",
        read: ReadAt::Use,
        guide_section: None,
        what: "TensorRT's builder optimization level, 0 to 5: a higher level builds longer and may run faster. If not set, \
               TensorRT's own default.",
    },
    Variable {
        name: BUILDER_IDLE,
        kind: Kind::Integer,
        default: "10",
        read: ReadAt::Use,
        guide_section: None,
        what: "How many seconds, 0 to 3600, a TensorRT builder stays for the next build. Making one takes seconds, and it keeps \
               its kernels in memory (8.6: 0.7 GB of the GPU's, 3 GB of the host's). 0: it is destroyed after its build.",
    },
    Variable {
        name: VERBOSITY,
        kind: Kind::Choice(ProfilingVerbosity::NAMES),
        default: "layer_names_only",
        read: ReadAt::Use,
        guide_section: None,
        what: "How much engines keep of their layers, for profilers and the engine inspector.",
    },
    Variable {
        name: HALF_TYPE,
        kind: Kind::Choice(HalfType::NAMES),
        default: "float16",
        read: ReadAt::Use,
        guide_section: None,
        what: "The type of FP16 nodes if TensorRT is strongly typed (10 and later).",
    },
    Variable {
        name: FP16_METHOD,
        kind: Kind::Choice(Fp16Method::NAMES),
        default: "auto",
        read: ReadAt::Use,
        guide_section: None,
        what: "How TensorRT is asked for FP16. flags: by the builder's flag, so TensorRT chooses layer by layer (8.6 and 10). \
               rewrite: by Casts in the model. auto: rewrite, and on 8.6 the flag as well.",
    },
    Variable {
        name: FAULT,
        kind: Kind::Step,
        default: "",
        read: ReadAt::Import,
        guide_section: None,
        what: "For tests alone. Steps that can fail are counted in this process, and one of them fails on purpose: \"read:3\" is \
               the third read (src/fault.rs lists the points). \"hold:FILE\": builds wait while FILE exists.",
    },
    Variable {
        name: "TFTRT_PYTHON",
        kind: Kind::Path,
        default: "",
        read: ReadAt::Build,
        guide_section: None,
        what: "The Python whose TensorFlow the library is built for. If not set: .venv/bin/python, else python3.",
    },
    Variable {
        name: "TFTRT_LIBRARY",
        kind: Kind::Path,
        default: "",
        read: ReadAt::Import,
        guide_section: None,
        what: "The library that \"import tftrt\" loads. If not set: libtftrt.so beside the Python package, else target/release/libtftrt.so \
               of the checkout.",
    },
];

/// Variables of TF-TRT's that are read, and change nothing here: why, and what does instead. A value other than the default is
/// answered with these words.
pub const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        ALGORITHM,
        "TensorRT chooses its algorithms by measuring; the caches in TFTRT_CACHE_DIR make it choose the same again",
    ),
    (TRANSPOSE, "every transpose that TensorRT takes is converted"),
];

pub(super) const ALLOW_NATIVE: &str = "TF_TRT_ALLOW_ENGINE_NATIVE_SEGMENT_EXECUTION";
pub(super) const ABORT_BUILD: &str = "TF_TRT_ABORT_CUDA_ENGINE_BUILD";
pub(super) const MAX_ENGINES: &str = "TF_TRT_MAX_ALLOWED_ENGINES";
pub(super) const DENYLIST: &str = "TF_TRT_OP_DENYLIST";
pub(super) const FAKELIST: &str = "TF_TRT_OP_FAKELIST";
pub(super) const REPORT: &str = "TF_TRT_SHOW_DETAILED_REPORT";
pub(super) const LAYOUT: &str = "TF_TRT_ENABLE_LAYOUT_OPTIMIZER";
pub(super) const EXPORT_ENGINES: &str = "TF_TRT_EXPORT_TRT_ENGINES_PATH";
pub(super) const SPARSE: &str = "TF_TRT_SPARSE_MODE";
pub(super) const ALGORITHM: &str = "TF_TRT_FIXED_ALGORITHM_ID";
pub(super) const TRANSPOSE: &str = "TF_DEBUG_TRT_ALLOW_INEFFICIENT_TRANSPOSE";
pub(super) const EXPERIMENTAL: &str = "TF_TRT_EXPERIMENTAL_FEATURES";
pub(super) const EXPORT_GRAPH: &str = "TF_TRT_EXPORT_GRAPH_VIZ_PATH";
pub(super) const NMS_TOPK: &str = "TF_TRT_ALLOW_NMS_TOPK_OVERRIDE";
pub(super) const ORT_DYLIB: &str = "ORT_DYLIB_PATH";
pub(super) const TENSORRT_LIB: &str = "TFTRT_TENSORRT_LIB";
pub(super) const CACHE_DIR: &str = "TFTRT_CACHE_DIR";
pub(super) const CACHE_READONLY: &str = "TFTRT_CACHE_READONLY";
pub(super) const CACHE_MAX_BYTES: &str = "TFTRT_CACHE_MAX_BYTES";
pub(super) const BUILD: &str = "TFTRT_BUILD";
pub(super) const ALLOW_BARE_PLANS: &str = "TFTRT_ALLOW_BARE_PLANS";
pub(super) const BUILD_THREADS: &str = "TFTRT_BUILD_THREADS";
pub(super) const BUILD_QUEUE: &str = "TFTRT_BUILD_QUEUE";
pub(super) const CUDA_GRAPHS: &str = "TFTRT_CUDA_GRAPHS";
pub(super) const MAX_CONTEXTS: &str = "TFTRT_MAX_CONTEXTS";
pub(super) const OPTIMIZATION_LEVEL: &str = "TFTRT_BUILDER_OPTIMIZATION_LEVEL";
pub(super) const BUILDER_IDLE: &str = "TFTRT_BUILDER_IDLE_SECONDS";
pub(super) const VERBOSITY: &str = "TFTRT_PROFILING_VERBOSITY";
pub(super) const CONTROL_FLOW: &str = "TFTRT_CONTROL_FLOW";
pub(super) const HALF_TYPE: &str = "TFTRT_HALF_TYPE";
pub(super) const FAULT: &str = crate::fault::VARIABLE;
pub(super) const FP16_METHOD: &str = "TFTRT_FP16_METHOD";
