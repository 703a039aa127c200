//! What TensorFlow's monitoring shows of this library, and so TensorFlow Serving on its Prometheus page.
//!
//! The numbers are those of `tftrt.stats()`, read when somebody collects: a call costs nothing more. Only the times of builds are
//! given to TensorFlow as they happen, for its histogram.

use crate::disk_cache;
use crate::op::Resource;
use crate::tf::{MetricPoint, MetricText};
use std::panic::catch_unwind;

/// All names begin so. Serving's page turns the slashes into colons.
pub const PREFIX: &str = "/tensorflow/tftrt/";

/// One metric of TensorFlow's.
pub struct Metric {
    /// Behind the prefix.
    pub name: &'static str,
    pub help: &'static str,
    /// Whether it tells what is there now, and may fall; else it only grows.
    pub gauge: bool,
    /// The label that tells its points apart; empty where there is but one.
    pub label: &'static str,
    from: From,
}

enum From {
    /// Counters of `tftrt.stats()`, each with its label's value.
    Counters(&'static [(&'static str, &'static str)]),
    /// The files of the cache on disk.
    DiskBytes,
}

/// One point of a metric.
pub struct Point {
    pub label: &'static str,
    pub value: u64,
}

const fn counter(name: &'static str, help: &'static str, from: &'static [(&'static str, &'static str)]) -> Metric {
    Metric {
        name,
        help,
        gauge: false,
        label: "",
        from: From::Counters(from),
    }
}

const fn gauge(name: &'static str, help: &'static str, from: From) -> Metric {
    Metric {
        name,
        help,
        gauge: true,
        label: "",
        from,
    }
}

/// The histogram of build times, which the shim keeps.
pub const BUILD_SECONDS: (&str, &str) = ("build_seconds", "Time that engines took to be built, in seconds.");

pub const METRICS: &[Metric] = &[
    counter(
        "engine_calls",
        "Calls of TRTEngineOp that ran in an engine.",
        &[("", "engine_calls")],
    ),
    counter(
        "graph_launches",
        "Calls that replayed a CUDA graph, of those that ran in an engine.",
        &[("", "graph_launches")],
    ),
    counter(
        "native_fallbacks",
        "Calls that should have run in an engine and ran natively.",
        &[("", "native_fallbacks")],
    ),
    Metric {
        name: "native_calls",
        help: "Calls that ran natively, by the reason; building, profile_generation, calibration and refused are by design.",
        gauge: false,
        label: "reason",
        from: From::Counters(&[
            ("no_engine", "native_no_engine"),
            ("engine_failed", "native_engine_failed"),
            ("input_mismatch", "native_input_mismatch"),
            ("no_backend", "native_no_backend"),
            ("building", "native_building"),
            ("profile_generation", "native_profile_generation"),
            ("calibration", "native_calibration"),
            ("refused", "native_refused"),
        ]),
    },
    counter("cache_hits", "Calls that an engine was there for.", &[("", "hits")]),
    counter("cache_misses", "Calls that no engine was there for.", &[("", "misses")]),
    counter(
        "builds",
        "Engines built, or taken from the cache on disk instead.",
        &[("", "builds")],
    ),
    counter("build_failures", "Engines that could not be built.", &[("", "failures")]),
    counter(
        "disk_engine_hits",
        "Engines taken from the cache on disk.",
        &[("", "disk_engine_hits")],
    ),
    counter(
        "dropped_builds",
        "Builds that waited in the background and were given up for others.",
        &[("", "dropped_builds")],
    ),
    counter("loads", "Engines read from saved models.", &[("", "loads")]),
    counter(
        "rejected_plans",
        "Engines in saved models that cannot be used here.",
        &[("", "rejected_plans")],
    ),
    counter("evictions", "Engines that made room for another.", &[("", "evictions")]),
    gauge("engines", "Engines that there are.", From::Counters(&[("", "engines")])),
    gauge(
        "contexts",
        "Execution contexts of the engines.",
        From::Counters(&[("", "contexts")]),
    ),
    gauge(
        "disk_cache_bytes",
        "Size of the files in the cache of engines and timings on disk.",
        From::DiskBytes,
    ),
];

/// The points of a metric as they are now.
pub fn points(metric: &Metric) -> Vec<Point> {
    match metric.from {
        From::Counters(counters) => {
            let totals = Resource::totals();
            counters
                .iter()
                .map(|&(label, name)| Point {
                    label,
                    value: totals.get(name).copied().unwrap_or_default(),
                })
                .collect()
        }
        From::DiskBytes => vec![Point {
            label: "",
            value: disk_cache::bytes(),
        }],
    }
}

/// All metrics, as TensorFlow registers them.
pub fn texts() -> Vec<MetricText> {
    let text = |metric: &Metric| MetricText {
        name: format!("{PREFIX}{}", metric.name),
        help: metric.help.to_string(),
        gauge: metric.gauge,
        label: metric.label.to_string(),
    };
    METRICS.iter().map(text).collect()
}

/// The histogram of build times, as TensorFlow registers it.
pub fn build_seconds() -> MetricText {
    MetricText {
        name: format!("{PREFIX}{}", BUILD_SECONDS.0),
        help: BUILD_SECONDS.1.to_string(),
        gauge: false,
        label: String::new(),
    }
}

/// The points of the metric that [`texts`] has at `index`; none if they cannot be read.
pub fn points_at(index: usize) -> Vec<MetricPoint> {
    let Some(metric) = METRICS.get(index) else { return Vec::new() };
    let found = catch_unwind(|| points(metric)).unwrap_or_default();
    let point = |point: Point| MetricPoint {
        label: point.label.to_string(),
        value: point.value.try_into().unwrap_or(i64::MAX),
    };
    found.into_iter().map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_metric_reads_counters_that_there_are() {
        let totals = Resource::totals();
        let mut names = HashSet::from([BUILD_SECONDS.0]);
        for metric in METRICS {
            assert!(names.insert(metric.name), "{} is there twice", metric.name);
            let From::Counters(counters) = metric.from else { continue };
            assert_eq!(metric.label.is_empty(), counters.len() == 1, "{}", metric.name);
            for (_, counter) in counters {
                assert!(totals.contains_key(*counter), "{}: there is no counter {counter}", metric.name);
            }
        }
    }
}
