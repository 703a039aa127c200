//! What the environment says about segmentation (guide sections 6.6 and 6.11).

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
}

impl Default for SegmentOptions {
    fn default() -> Self {
        SegmentOptions {
            max_engines: Some(DEFAULT_MAX_ENGINES),
            denied_ops: BTreeSet::new(),
            fake_ops: BTreeSet::new(),
        }
    }
}

impl SegmentOptions {
    /// Reads `TF_TRT_MAX_ALLOWED_ENGINES`, `TF_TRT_OP_DENYLIST` and `TF_TRT_OP_FAKELIST` through `lookup`. A limit that is
    /// no number is warned of and the default stays.
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> SegmentOptions {
        let list = |name: &str| -> BTreeSet<String> {
            let text = lookup(name).unwrap_or_default();
            text.split(',')
                .map(str::trim)
                .filter(|op| !op.is_empty())
                .map(str::to_string)
                .collect()
        };
        let max_engines = match lookup("TF_TRT_MAX_ALLOWED_ENGINES").filter(|text| !text.trim().is_empty()) {
            None => Some(DEFAULT_MAX_ENGINES),
            Some(text) => match text.trim().parse::<i64>() {
                Ok(limit) => usize::try_from(limit).ok().filter(|&limit| limit > 0),
                Err(_) => {
                    tracing::warn!(
                        "TF_TRT_MAX_ALLOWED_ENGINES is '{text}' where a whole number was expected; {DEFAULT_MAX_ENGINES} engines are allowed."
                    );
                    Some(DEFAULT_MAX_ENGINES)
                }
            },
        };
        SegmentOptions {
            max_engines,
            denied_ops: list("TF_TRT_OP_DENYLIST"),
            fake_ops: list("TF_TRT_OP_FAKELIST"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> SegmentOptions {
        SegmentOptions::from_lookup(|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string()))
    }

    #[test]
    fn unset_variables_leave_the_defaults() {
        assert_eq!(read(&[]), SegmentOptions::default());
    }

    #[test]
    fn lists_are_split_at_commas() {
        let options = read(&[("TF_TRT_OP_DENYLIST", "Sub, Exp,,Conv2D"), ("TF_TRT_OP_FAKELIST", "Where")]);
        assert_eq!(options.denied_ops.iter().collect::<Vec<_>>(), ["Conv2D", "Exp", "Sub"]);
        assert_eq!(options.fake_ops.iter().collect::<Vec<_>>(), ["Where"]);
    }

    #[test]
    fn zero_and_negative_limits_mean_no_limit_and_words_the_default() {
        let limit = |text| read(&[("TF_TRT_MAX_ALLOWED_ENGINES", text)]).max_engines;
        assert_eq!(
            [limit("7"), limit("0"), limit("-3"), limit("many"), limit("")],
            [Some(7), None, None, Some(20), Some(20)]
        );
    }
}
