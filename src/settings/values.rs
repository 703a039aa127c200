//! The types of values that are neither numbers, words nor paths alone.

use std::fmt;
use std::path::PathBuf;

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

pub(super) trait Choice: Copy + 'static {
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

    /// What becomes of the loops and conditionals of a graph that is converted.
    pub enum ControlFlow {
        /// Those that can be neither unrolled nor chosen go into engines as they are.
        #[default]
        Engine = "engine",
        /// Only unrolled loops and conditionals that are choices go in.
        Unroll = "unroll",
        /// All stay as they are.
        Native = "native",
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
