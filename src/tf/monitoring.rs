//! The metrics as the shim asks for them, and as TensorFlow's registry collects them.

use super::ffi::{self, MetricPoint, MetricText};
use super::hooks::hooks;
use crate::process::Mutex;
use serde_json::{Value, json};

pub fn metric_texts() -> Vec<MetricText> {
    hooks().map(|hooks| (hooks.metrics)()).unwrap_or_default()
}

pub fn build_seconds_text() -> MetricText {
    let none = MetricText {
        name: String::new(),
        help: String::new(),
        gauge: false,
        label: String::new(),
    };
    hooks().map_or(none, |hooks| (hooks.build_seconds)())
}

/// The points of the metric that `metric_texts` has at `index`.
pub fn metric_points(index: usize) -> Vec<MetricPoint> {
    hooks().map(|hooks| (hooks.metric_points)(index)).unwrap_or_default()
}

/// Counts an engine that took so long to be built.
pub fn record_build_seconds(seconds: f64) {
    // Where nothing could be registered there is nothing to be built either; the unit tests build without TensorFlow's kernels.
    ffi::record_build_seconds(seconds);
}

/// What TensorFlow's registry has of this library: a number for a metric of one point, an object of numbers by label for one of
/// several, and `{"count", "sum"}` for a histogram.
pub fn collected(prefix: &str) -> Value {
    // TensorFlow's registry has a lock of its own, which a fork would catch.
    static READING: Mutex<()> = Mutex::new(());
    let _reading = READING.lock();
    let mut out = serde_json::Map::new();
    for point in ffi::collected_metrics(prefix) {
        let name = point.name.trim_start_matches(prefix).to_string();
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
