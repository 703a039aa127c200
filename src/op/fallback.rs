//! Why a call did not run on an engine, how often, and saying so without flooding the log.

use parking_lot::Mutex;
use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The kinds of reasons, as the counters name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// build() records shapes: by design.
    ProfileGeneration,
    /// INT8 without a calibration table: by design.
    Calibration,
    /// An engine is being built in the background (TFTRT_BUILD): by design.
    Building,
    /// Native TensorFlow refuses the call: its native segment says why.
    Refused,
    /// The inputs do not fit the node.
    InputMismatch,
    /// No library can run engines on this device.
    NoBackend,
    /// No engine serves the shapes, and none was or may be built.
    NoEngine,
    /// The engine was there and failed.
    EngineFailed,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::ProfileGeneration,
        Kind::Calibration,
        Kind::Building,
        Kind::Refused,
        Kind::InputMismatch,
        Kind::NoBackend,
        Kind::NoEngine,
        Kind::EngineFailed,
    ];

    /// The counter's name in `tftrt.stats()`.
    pub fn counter(self) -> &'static str {
        match self {
            Kind::ProfileGeneration => "native_profile_generation",
            Kind::Calibration => "native_calibration",
            Kind::Building => "native_building",
            Kind::Refused => "native_refused",
            Kind::InputMismatch => "native_input_mismatch",
            Kind::NoBackend => "native_no_backend",
            Kind::NoEngine => "native_no_engine",
            Kind::EngineFailed => "native_engine_failed",
        }
    }

    /// Whether the native segment is the very purpose of the call, and not what is left when an engine is missing.
    pub fn by_design(self) -> bool {
        matches!(self, Kind::ProfileGeneration | Kind::Calibration | Kind::Building | Kind::Refused)
    }
}

/// Why a call runs natively.
#[derive(Clone, Debug)]
pub struct Fallback {
    pub kind: Kind,
    pub why: String,
}

impl Fallback {
    pub fn new(kind: Kind, why: impl Into<String>) -> Self {
        Fallback { kind, why: why.into() }
    }
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Different texts that are remembered as said; beyond, a reason is said again only by kind.
const REMEMBERED: usize = 256;

/// Reasons that `tftrt.stats()` tells of a resource.
const TOLD: usize = 32;

/// Counts fallbacks by kind, and knows which reasons were said.
#[derive(Default)]
pub struct Fallbacks {
    counts: [AtomicU64; Kind::ALL.len()],
    said: Mutex<HashSet<String>>,
    told: Mutex<Vec<String>>,
}

impl Fallbacks {
    /// Counts one; true where this very reason is to be said: at its first time.
    pub fn count(&self, fallback: &Fallback) -> bool {
        self.counts[fallback.kind as usize].fetch_add(1, Relaxed);
        let first = self.first(&fallback.why);
        if first {
            let mut told = self.told.lock();
            if told.len() < TOLD {
                told.push(fallback.why.clone());
            }
        }
        first
    }

    /// The first of the different reasons, in the order in which they came.
    pub fn reasons(&self) -> Vec<String> {
        self.told.lock().clone()
    }

    /// Whether `text` comes for the first time.
    pub fn first(&self, text: &str) -> bool {
        let mut said = self.said.lock();
        said.len() < REMEMBERED && !said.contains(text) && said.insert(text.to_string())
    }

    pub fn counts(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        Kind::ALL.iter().map(|&kind| (kind, self.counts[kind as usize].load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fallback_is_counted_and_said_once() {
        let fallbacks = Fallbacks::default();
        let one = Fallback::new(Kind::NoEngine, "no profile holds [3]");
        assert!(fallbacks.count(&one));
        assert!(!fallbacks.count(&one));
        assert!(fallbacks.count(&Fallback::new(Kind::NoEngine, "no profile holds [4]")));
        let counted: Vec<_> = fallbacks.counts().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [(Kind::NoEngine, 3)]);
        assert_eq!(fallbacks.reasons(), ["no profile holds [3]", "no profile holds [4]"]);
    }

    #[test]
    fn the_log_cannot_be_flooded() {
        let fallbacks = Fallbacks::default();
        let said = (0..10_000).filter(|i| fallbacks.first(&i.to_string())).count();
        assert_eq!(said, REMEMBERED);
    }
}
