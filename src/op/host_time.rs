//! How much time the op itself takes of a call: all but the engine's own part.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds in microseconds; what takes longer is counted behind the last.
const BOUNDS: [u64; 24] = [
    1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100, 150, 250, 500, 1_000, 10_000, 100_000,
];

/// A histogram that any number of threads add to.
#[derive(Default)]
pub struct HostTime {
    counts: [AtomicU64; BOUNDS.len() + 1],
}

/// What a [`HostTime`] held at one moment; they add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
}

impl HostTime {
    pub fn add(&self, time: Duration) {
        let nanos = time.as_nanos();
        let at = BOUNDS.partition_point(|&bound| u128::from(bound) * 1000 < nanos);
        self.counts[at].fetch_add(1, Relaxed);
    }

    pub fn snapshot(&self) -> Histogram {
        Histogram {
            counts: std::array::from_fn(|i| self.counts[i].load(Relaxed)),
        }
    }
}

impl Histogram {
    pub fn add(&mut self, other: &Histogram) {
        for (count, other) in self.counts.iter_mut().zip(&other.counts) {
            *count += other;
        }
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

    /// `count`, `p50_us`, `p90_us`, `p99_us`, and the histogram as pairs of upper bound (null for none) and count.
    pub fn to_json(&self) -> Value {
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

    #[test]
    fn every_time_is_counted_under_its_bound() {
        let times = HostTime::default();
        for nanos in [0, 1_000, 1_001, 14_999, 15_000, 15_001, 10_u64.pow(12)] {
            times.add(Duration::from_nanos(nanos));
        }
        let json = times.snapshot().to_json();
        assert_eq!(json["count"], 7);
        assert_eq!(json["histogram"], json!([[1, 2], [2, 1], [15, 2], [20, 1], [null, 1]]));
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let times = HostTime::default();
        for _ in 0..90 {
            times.add(Duration::from_micros(3));
        }
        for _ in 0..10 {
            times.add(Duration::from_micros(40));
        }
        let mut twice = times.snapshot();
        twice.add(&times.snapshot());
        let json = twice.to_json();
        let at = |name: &str| json[name].as_f64().unwrap();
        assert!((2.0..=3.0).contains(&at("p50_us")), "{json}");
        assert!((2.0..=3.0).contains(&at("p90_us")), "{json}");
        assert!((30.0..=40.0).contains(&at("p99_us")), "{json}");
        assert_eq!(Histogram::default().to_json()["p50_us"], Value::Null);
    }
}
