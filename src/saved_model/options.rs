//! What a conversion is asked for.

use super::passes::{flag, integer, string};
use crate::proto::tensorflow as tf;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Named as the options of `python -m tftrt convert`, with the same defaults.
#[derive(Clone, Debug, Deserialize)]
pub struct Options {
    /// Folder of the SavedModel to convert.
    pub input: String,
    /// Folder to write; new or empty, or `overwrite`.
    pub output: String,
    #[serde(default = "signature")]
    pub signature: String,
    #[serde(default = "tags")]
    pub tags: Vec<String>,
    #[serde(default = "precision")]
    pub precision: String,
    /// Any dimension may vary, not only the batch.
    #[serde(default)]
    pub dynamic: bool,
    /// "Range" where it is not said.
    #[serde(default)]
    pub profile_strategy: Option<String>,
    #[serde(default = "minimum_segment_size")]
    pub minimum_segment_size: i64,
    /// Bytes.
    #[serde(default = "max_workspace_size")]
    pub max_workspace_size: i64,
    #[serde(default = "max_cached_engines")]
    pub max_cached_engines: i64,
    #[serde(default)]
    pub overwrite: bool,
}

fn signature() -> String {
    "serving_default".into()
}
fn tags() -> Vec<String> {
    vec!["serve".into()]
}
fn precision() -> String {
    "FP32".into()
}
fn minimum_segment_size() -> i64 {
    crate::optimizer::DEFAULT_MINIMUM_SEGMENT_SIZE
}
fn max_workspace_size() -> i64 {
    1 << 30
}
fn max_cached_engines() -> i64 {
    1
}

const STRATEGIES: [&str; 4] = ["Range", "Optimal", "Range+Optimal", "ImplicitBatchModeCompatible"];

impl Options {
    /// For these folders, the rest by default.
    pub fn new(input: &str, output: &str) -> Options {
        Options {
            input: input.into(),
            output: output.into(),
            signature: signature(),
            tags: tags(),
            precision: precision(),
            dynamic: false,
            profile_strategy: None,
            minimum_segment_size: minimum_segment_size(),
            max_workspace_size: max_workspace_size(),
            max_cached_engines: max_cached_engines(),
            overwrite: false,
        }
    }

    /// # Errors
    /// The first option that cannot be, in the words of `python -m tftrt convert`.
    pub fn check(&self) -> Result<(), String> {
        if !["FP32", "FP16"].contains(&self.precision.as_str()) {
            return Err(match self.precision.as_str() {
                "INT8" => "--precision INT8 needs calibration, which is done by `python -m tftrt convert`".into(),
                other => format!("--precision takes FP32 or FP16, not {other}"),
            });
        }
        match &self.profile_strategy {
            Some(_) if !self.dynamic => return Err("--profile-strategy needs --dynamic".into()),
            Some(other) if !STRATEGIES.contains(&other.as_str()) => {
                return Err(format!("--profile-strategy takes {}, not {other}", STRATEGIES.join(", ")));
            }
            _ => {}
        }
        if self.minimum_segment_size < 1 && self.minimum_segment_size != -1 {
            return Err(format!(
                "--minimum-segment-size {} is neither 1 or more, nor -1",
                self.minimum_segment_size
            ));
        }
        for (name, value) in [
            ("--max-workspace-size", self.max_workspace_size),
            ("--max-cached-engines", self.max_cached_engines),
        ] {
            if value < 1 {
                return Err(format!("{name} {value} is not 1 or more"));
            }
        }
        self.check_folders()
    }

    fn check_folders(&self) -> Result<(), String> {
        let (input, output) = (Path::new(&self.input), Path::new(&self.output));
        if !input.is_dir() {
            return Err(format!("{} is not a folder", self.input));
        }
        if !output.exists() {
            return Ok(());
        }
        if !output.is_dir() {
            return Err(format!("{} is a file; OUT has to be a folder", self.output));
        }
        let same = matches!((input.canonicalize(), output.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if same {
            return Err("OUT is the same folder as IN; the converted model needs one of its own".into());
        }
        let empty = output.read_dir().map_err(|e| format!("{}: {e}", self.output))?.next().is_none();
        match empty || self.overwrite {
            true => Ok(()),
            false => Err(format!("{} is not empty; choose another folder, or add --overwrite", self.output)),
        }
    }

    /// The parameters of TensorRTOptimizer, as the stock front end sends them.
    pub fn parameter_map(&self) -> BTreeMap<String, tf::AttrValue> {
        let mut map = BTreeMap::from(
            [
                ("minimum_segment_size", integer(self.minimum_segment_size)),
                ("max_workspace_size_bytes", integer(self.max_workspace_size)),
                ("precision_mode", string(&self.precision)),
                ("maximum_cached_engines", integer(self.max_cached_engines)),
                ("use_calibration", flag(false)),
                ("is_dynamic_op", flag(true)),
                ("allow_build_at_runtime", flag(true)),
                ("use_implicit_batch", flag(!self.dynamic)),
            ]
            .map(|(name, value)| (name.to_string(), value)),
        );
        if self.dynamic {
            let strategy = self.profile_strategy.as_deref().unwrap_or("Range");
            map.insert("profile_strategy".into(), string(&strategy.to_lowercase()));
        }
        map
    }
}
