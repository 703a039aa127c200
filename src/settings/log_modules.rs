//! What verbose logging is called by: the names of TF-TRT's source files, which users know from the guide (section 6.4).

/// A name for `TF_CPP_VMODULE`, and the part of the library that answers to it.
#[derive(Clone, Copy, Debug)]
pub struct LogModule {
    pub name: &'static str,
    /// Other names for the same.
    pub aliases: &'static [&'static str],
    /// Where its messages come from: modules of this crate. The longest that fits decides.
    pub targets: &'static [&'static str],
    /// What is told at level 1 and, beside that, at level 2.
    pub first: &'static str,
    pub second: &'static str,
}

/// A name for everything.
pub const ALL: &str = "tftrt";

pub const LOG_MODULES: &[LogModule] = &[
    LogModule {
        name: "segment",
        aliases: &[],
        targets: &["tftrt::segment"],
        first: "for each graph its nodes, segments and those that stay native",
        second: "each node that stays native, and why",
    },
    LogModule {
        name: "convert_graph",
        aliases: &[],
        targets: &["tftrt::optimizer", "tftrt::control_flow", "tftrt::report"],
        first: "each engine with its inputs and outputs",
        second: "each engine's nodes",
    },
    LogModule {
        name: "convert_nodes",
        aliases: &[],
        targets: &["tftrt::convert", "tftrt::precision"],
        first: "each segment that is converted to ONNX; what is computed in which precision",
        second: "each node that is converted",
    },
    LogModule {
        name: "trt_engine_op",
        aliases: &["trt_engine"],
        targets: &["tftrt::op"],
        first: "each engine that is built, for what, and how long it took",
        second: "each call that finds its engine, with its input shapes",
    },
    LogModule {
        name: "trt_engine_resource_ops",
        aliases: &[],
        targets: &["tftrt::op::resource"],
        first: "engines that are loaded from a file and saved to one",
        second: "nothing more",
    },
    LogModule {
        name: "trt_shape_optimization_profiles",
        aliases: &[],
        targets: &["tftrt::profile"],
        first: "the profiles that are made of the recorded shapes",
        second: "nothing more",
    },
    LogModule {
        name: "trt_engine_utils",
        aliases: &[],
        targets: &["tftrt::engine"],
        first: "what the loaded TensorRT cannot be told; calls that are not replayed as a CUDA graph",
        second: "nothing more",
    },
    LogModule {
        name: "timing_cache",
        aliases: &[],
        targets: &["tftrt::engine::tensorrt::safe::timing", "tftrt::disk_cache"],
        first: "the timing caches that builds begin with and share",
        second: "nothing more",
    },
    LogModule {
        name: "trt_allocator",
        aliases: &[],
        targets: &["tftrt::tf::device"],
        first: "device memory that there is none of",
        second: "nothing more",
    },
    LogModule {
        name: "trt_logger",
        aliases: &[],
        targets: &["tftrt::engine::tensorrt::result"],
        first: "TensorRT's own messages of its level INFO, and its errors while they happen",
        second: "those of its level VERBOSE",
    },
];

/// The module that messages of `target` (a module path of this crate) belong to.
pub fn module_of(target: &str) -> Option<&'static LogModule> {
    let fit = |prefix: &str| {
        target
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    let fitting = LOG_MODULES.iter().flat_map(|module| {
        let prefixes = module.targets.iter().filter(|prefix| fit(prefix));
        prefixes.map(move |prefix| (prefix.len(), module))
    });
    fitting.max_by_key(|(length, _)| *length).map(|(_, module)| module)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_target_decides() {
        let name = |target| module_of(target).map(|module| module.name);
        assert_eq!(name("tftrt::op::job"), Some("trt_engine_op"));
        assert_eq!(name("tftrt::op::resource"), Some("trt_engine_resource_ops"));
        assert_eq!(name("tftrt::engine::tensorrt::result"), Some("trt_logger"));
        assert_eq!(name("tftrt::engine::tensorrt::replay"), Some("trt_engine_utils"));
        assert_eq!(name("tftrt::optimizers"), None);
        assert_eq!(name("tftrt::trace"), None);
    }
}
