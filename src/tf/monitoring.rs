//! The metrics as the shim asks for them, and as TensorFlow's registry collects them.

use super::ffi::{self, MetricPoint, MetricText};
use crate::metrics::{BUILD_SECONDS, METRICS, PREFIX, points};
use crate::process::Mutex;
use serde_json::{Value, json};
use std::panic::catch_unwind;

pub fn metric_texts() -> Vec<MetricText> {
    let text = |metric: &crate::metrics::Metric| MetricText {
        name: format!("{PREFIX}{}", metric.name),
        help: metric.help.to_string(),
        gauge: metric.gauge,
        label: metric.label.to_string(),
    };
    METRICS.iter().map(text).collect()
}

pub fn build_seconds_text() -> MetricText {
    MetricText {
        name: format!("{PREFIX}{}", BUILD_SECONDS.0),
        help: BUILD_SECONDS.1.to_string(),
        gauge: false,
        label: String::new(),
    }
}

/// The points of the metric that `metric_texts` has at `index`; none where it cannot be told.
pub fn metric_points(index: usize) -> Vec<MetricPoint> {
    let Some(metric) = METRICS.get(index) else { return Vec::new() };
    let found = catch_unwind(|| points(metric)).unwrap_or_default();
    let point = |point: crate::metrics::Point| MetricPoint {
        label: point.label.to_string(),
        value: point.value.try_into().unwrap_or(i64::MAX),
    };
    found.into_iter().map(point).collect()
}

/// Counts an engine that took so long to be built.
pub fn record_build_seconds(seconds: f64) {
    // Where nothing could be registered there is nothing to be built either; the unit tests build without TensorFlow's kernels.
    ffi::record_build_seconds(seconds);
}

/// What TensorFlow's registry has of this library: a number for a metric of one point, an object of numbers by label for one of
/// several, and `{"count", "sum"}` for a histogram.
pub fn collected() -> Value {
    // TensorFlow's registry has a lock of its own, which a fork would catch.
    static READING: Mutex<()> = Mutex::new(());
    let _reading = READING.lock();
    let mut out = serde_json::Map::new();
    for point in ffi::collected_metrics(PREFIX) {
        let name = point.name.trim_start_matches(PREFIX).to_string();
        if point.histogram {
            out.insert(name, json!({"count": point.value, "sum": point.sum}));
        } else if point.label.is_empty() {
            out.insert(name, point.value.into());
        } else if let Some(labels) = out.entry(name).or_insert_with(|| json!({})).as_object_mut() {
            labels.insert(point.label, point.value.into());
        }
    }
    Value::Object(out)
}
