//! What a build may be told beside the model, and how a version of TensorRT is told so.

use super::required;
use crate::engine::tensorrt::Error;
use crate::engine::tensorrt::result::Scope;
use crate::engine::tensorrt::sys::{Config, Owned};

/// How much of an engine's layers is kept for the inspector and for NVTX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verbosity {
    None,
    #[default]
    LayerNames,
    Detailed,
}

/// The options of one build. The default is TensorRT's own, in every version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BuildOptions {
    /// The most scratch memory that an engine may need, in bytes; 0 leaves it to TensorRT.
    pub workspace: u64,
    /// 0 (quick to build) to 5; `None` is TensorRT's choice, 3. At 0 a timing cache is not asked.
    pub optimization_level: Option<i32>,
    pub verbosity: Verbosity,
    /// Whether products of FP32 values may round their factors to TF32.
    pub tf32: bool,
    /// Whether weights that are zero in the pattern that sparse kernels want may use those.
    pub sparse_weights: bool,
    /// Whether TensorRT itself may choose FP16, layer by layer: `BuilderFlag::kFP16`, of the versions up to 10. The network is
    /// weakly typed then. Without it, and in later versions always, precisions are what the model says.
    pub fp16_flag: bool,
    /// Whether the network may have layers in INT8: `BuilderFlag::kINT8`, which weakly typed networks with QuantizeLinear nodes need. In
    /// strongly typed ones, the model says so.
    pub int8_flag: bool,
}

impl Default for BuildOptions {
    fn default() -> BuildOptions {
        BuildOptions {
            workspace: 0,
            optimization_level: None,
            verbosity: Verbosity::default(),
            tf32: true,
            sparse_weights: false,
            fp16_flag: false,
            int8_flag: false,
        }
    }
}

/// Tells `config` what `options` say.
///
/// # Errors
/// [`Error::Unsupported`] for an option that the loaded version cannot follow and that would change results;
/// [`Error::Refused`] where it does not take one.
pub(super) fn apply(scope: &mut Scope, config: &Owned<'_, Config>, options: &BuildOptions) -> Result<(), Error> {
    let library = config.library();
    if options.workspace > 0 {
        let pool = required(library, "MemoryPoolType", "kWORKSPACE")?;
        config.set_memory_pool_limit(pool, usize::try_from(options.workspace).unwrap_or(usize::MAX))?;
    }
    if let Some(level) = options.optimization_level {
        if level < 0 {
            return Err(scope.inputs(format!("the builder's optimization level is 0 to 5, not {level}")));
        }
        config.set_optimization_level(level)?;
    }
    let verbosity = match options.verbosity {
        Verbosity::None => "kNONE",
        Verbosity::LayerNames => "kLAYER_NAMES_ONLY",
        Verbosity::Detailed => "kDETAILED",
    };
    config.set_profiling_verbosity(required(library, "ProfilingVerbosity", verbosity)?)?;
    // In 8.6 a profile is for one context at a time otherwise, and several calls have a context each ("when using dynamic shapes,
    // each optimization profile can only have one execution context"). From 10 on it is so without being asked.
    if library.version().major < 10
        && let Some(sharing) = library.table().value("PreviewFeature", "kPROFILE_SHARING_0806")
    {
        config.set_preview_feature(sharing)?;
    }
    if options.fp16_flag && !flag(scope, config, "kFP16", true)? {
        return Err(scope.unsupported("builder flag kFP16: a network's precisions are what its ONNX model says"));
    }
    if options.int8_flag && !flag(scope, config, "kINT8", true)? {
        return Err(scope.unsupported("builder flag kINT8: a network's precisions are what its ONNX model says"));
    }
    // On by default. A version without the flag would have no TF32 to turn off.
    flag(scope, config, "kTF32", options.tf32)?;
    // Leave to do something, no order: without the flag the engine is as right.
    flag(scope, config, "kSPARSE_WEIGHTS", options.sparse_weights)?;
    Ok(())
}

/// Sets or clears a `BuilderFlag`; `false` where the loaded version has no such flag.
fn flag(scope: &mut Scope, config: &Owned<'_, Config>, name: &'static str, on: bool) -> Result<bool, Error> {
    let library = config.library();
    let Some(bit) = library.table().value("BuilderFlag", name) else {
        tracing::debug!(
            node = scope.node(),
            flag = name,
            on,
            "{} has no such builder flag",
            library.version()
        );
        return Ok(false);
    };
    if on {
        config.set_flag(bit)?;
    } else {
        config.clear_flag(bit)?;
    }
    if config.flag(bit)? == on {
        Ok(true)
    } else {
        Err(scope.refused(if on { "set a builder flag" } else { "clear a builder flag" }))
    }
}
