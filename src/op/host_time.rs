//! How much time the op itself takes of a call: all but the engine's own part.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds in microseconds; what takes longer is counted behind the last.
const BOUNDS: [u64; 24] = [
    1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 250, 500, 1_000, 10_000, 100_000,
];

/// What one call took beside the engine's own part. The parts lie within the whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallTime {
    pub all: Duration,
    /// Until the engine and its profile were found.
    pub find: Duration,
    /// For the memory of outputs and scratch.
    pub memory: Duration,
}

/// Histograms that any number of threads add to.
#[derive(Default)]
pub struct HostTime {
    enqueued: Live,
    /// Calls that replayed a CUDA graph.
    replayed: Live,
}

#[derive(Default)]
struct Live {
    counts: [AtomicU64; BOUNDS.len() + 1],
    all_ns: AtomicU64,
    find_ns: AtomicU64,
    memory_ns: AtomicU64,
}

/// What a [`HostTime`] held at one moment; they add up.
#[derive(Clone, Debug, Default)]
pub struct Times {
    enqueued: Histogram,
    replayed: Histogram,
}

#[derive(Clone, Debug, Default)]
struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    all_ns: u64,
    find_ns: u64,
    memory_ns: u64,
}

impl HostTime {
    pub fn add(&self, time: CallTime, replayed: bool) {
        let live = if replayed { &self.replayed } else { &self.enqueued };
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let at = BOUNDS.partition_point(|&bound| bound * 1000 < nanos(time.all));
        live.counts[at].fetch_add(1, Relaxed);
        live.all_ns.fetch_add(nanos(time.all), Relaxed);
        live.find_ns.fetch_add(nanos(time.find), Relaxed);
        live.memory_ns.fetch_add(nanos(time.memory), Relaxed);
    }

    pub fn snapshot(&self) -> Times {
        Times {
            enqueued: self.enqueued.snapshot(),
            replayed: self.replayed.snapshot(),
        }
    }
}

impl Live {
    fn snapshot(&self) -> Histogram {
        Histogram {
            counts: std::array::from_fn(|i| self.counts[i].load(Relaxed)),
            all_ns: self.all_ns.load(Relaxed),
            find_ns: self.find_ns.load(Relaxed),
            memory_ns: self.memory_ns.load(Relaxed),
        }
    }
}

impl Times {
    pub fn add(&mut self, other: &Times) {
        self.enqueued.add(&other.enqueued);
        self.replayed.add(&other.replayed);
    }

    /// Of all calls `count`, `p50_us`, `p90_us`, `p99_us`, and `histogram`, pairs of upper bound (null for none) and count; the same
    /// for those `enqueued` and those `replayed`, with the means of their parts.
    pub fn to_json(&self) -> Value {
        let mut both = self.enqueued.clone();
        both.add(&self.replayed);
        let mut json = both.to_json();
        for (name, part) in [("enqueued", &self.enqueued), ("replayed", &self.replayed)] {
            let mut histogram = part.to_json();
            histogram["mean_us"] = part.means();
            json[name] = histogram;
        }
        json
    }
}

impl Histogram {
    fn add(&mut self, other: &Histogram) {
        for (count, other) in self.counts.iter_mut().zip(&other.counts) {
            *count += other;
        }
        self.all_ns += other.all_ns;
        self.find_ns += other.find_ns;
        self.memory_ns += other.memory_ns;
    }

    /// `all`, and of it `find`, `memory`, and what is left: `other`. Null without calls.
    fn means(&self) -> Value {
        let total: u64 = self.counts.iter().sum();
        if total == 0 {
            return Value::Null;
        }
        let mean = |nanos: u64| nanos as f64 / total as f64 / 1000.0;
        let other = self.all_ns.saturating_sub(self.find_ns + self.memory_ns);
        json!({"all": mean(self.all_ns), "find": mean(self.find_ns), "memory": mean(self.memory_ns), "other": mean(other)})
    }

    /// The time that a share of all calls stayed below, in microseconds, taking calls as spread evenly within their bucket; `None`
    /// without calls.
    fn quantile(&self, share: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        let wanted = share * total as f64;
        let mut below = 0.0;
        for (i, &count) in self.counts.iter().enumerate() {
            let upto = below + count as f64;
            if count > 0 && upto >= wanted {
                let low = if i == 0 { 0 } else { BOUNDS[i - 1] } as f64;
                let high = BOUNDS.get(i).copied().unwrap_or(2 * BOUNDS[BOUNDS.len() - 1]) as f64;
                return Some(low + (high - low) * ((wanted - below) / count as f64));
            }
            below = upto;
        }
        None
    }

    fn to_json(&self) -> Value {
        let buckets: Vec<Value> = self
            .counts
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0)
            .map(|(i, count)| json!([BOUNDS.get(i), count]))
            .collect();
        json!({
            "count": self.counts.iter().sum::<u64>(),
            "p50_us": self.quantile(0.5),
            "p90_us": self.quantile(0.9),
            "p99_us": self.quantile(0.99),
            "histogram": buckets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(nanos: u64) -> CallTime {
        CallTime {
            all: Duration::from_nanos(nanos),
            ..CallTime::default()
        }
    }

    #[test]
    fn every_time_is_counted_under_its_bound() {
        let times = HostTime::default();
        for nanos in [0, 1_000, 1_001, 14_999, 15_000, 15_001, 10_u64.pow(12)] {
            times.add(took(nanos), nanos % 2 == 0);
        }
        let json = times.snapshot().to_json();
        assert_eq!(json["count"], 7);
        assert_eq!(json["histogram"], json!([[1, 2], [2, 1], [15, 2], [20, 1], [null, 1]]));
        assert_eq!(json["replayed"]["histogram"], json!([[1, 2], [15, 1], [null, 1]]));
        assert_eq!(json["enqueued"]["count"], 3);
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let times = HostTime::default();
        for i in 0..100 {
            times.add(took(if i < 90 { 3_000 } else { 40_000 }), false);
        }
        let mut twice = times.snapshot();
        twice.add(&times.snapshot());
        let json = twice.to_json();
        let at = |name: &str| json[name].as_f64().unwrap();
        assert_eq!(json["count"], 200);
        assert!((2.0..=3.0).contains(&at("p50_us")), "{json}");
        assert!((2.0..=3.0).contains(&at("p90_us")), "{json}");
        assert!((30.0..=40.0).contains(&at("p99_us")), "{json}");
        assert_eq!(Times::default().to_json()["p50_us"], Value::Null);
    }

    #[test]
    fn the_parts_make_up_the_mean() {
        let times = HostTime::default();
        for all in [10, 20] {
            let time = CallTime {
                all: Duration::from_micros(all),
                find: Duration::from_micros(2),
                memory: Duration::from_micros(all / 2),
            };
            times.add(time, true);
        }
        let json = times.snapshot().to_json();
        assert_eq!(
            json["replayed"]["mean_us"],
            json!({"all": 15.0, "find": 2.0, "memory": 7.5, "other": 5.5})
        );
        assert_eq!(json["enqueued"]["mean_us"], Value::Null);
    }
}
