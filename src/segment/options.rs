//! What the environment says about segmentation (guide sections 6.6, 6.7 and 6.11).

use crate::settings::{ControlFlow, Settings};
use std::collections::BTreeSet;

/// `TF_TRT_MAX_ALLOWED_ENGINES` where it is not set.
pub const DEFAULT_MAX_ENGINES: usize = 20;

/// Limits and lists that users set through environment variables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentOptions {
    /// The number of segments kept, largest first; `None`: no limit.
    pub max_engines: Option<usize>,
    /// Op types that never go into an engine.
    pub denied_ops: BTreeSet<String>,
    /// Op types that are taken for convertible without asking the converter (debugging).
    pub fake_ops: BTreeSet<String>,
    /// Casts from one floating-point type to another never go into an engine (guide, section 6.7).
    pub reject_fp_casts: bool,
    /// What becomes of loops and conditionals, before there are segments.
    pub control_flow: ControlFlow,
}

impl Default for SegmentOptions {
    fn default() -> Self {
        SegmentOptions {
            max_engines: Some(DEFAULT_MAX_ENGINES),
            denied_ops: BTreeSet::new(),
            fake_ops: BTreeSet::new(),
            reject_fp_casts: false,
            control_flow: ControlFlow::default(),
        }
    }
}

impl From<&Settings> for SegmentOptions {
    fn from(settings: &Settings) -> Self {
        SegmentOptions {
            max_engines: settings.max_allowed_engines,
            denied_ops: settings.op_denylist.clone(),
            fake_ops: settings.op_fakelist.clone(),
            reject_fp_casts: settings.experimental.reject_all_fp_cast_ops,
            control_flow: settings.control_flow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let (settings, _) = Settings::parse(|_| None);
        assert_eq!(SegmentOptions::from(&settings), SegmentOptions::default());
    }
}
