//! Why a call did not run on an engine, and how often. What the log says of it is in `said.rs`.

use crate::plain::plain;
use crate::process::Mutex;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The kinds of reasons, as the counters name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// Reasons that `tftrt.stats()` tells of a resource.
const TOLD: usize = 32;

/// Counts fallbacks by kind, and keeps the first of their reasons.
#[derive(Default)]
pub struct Fallbacks {
    counts: [AtomicU64; Kind::ALL.len()],
    told: Mutex<Vec<String>>,
}

impl Fallbacks {
    pub fn count(&self, fallback: &Fallback) {
        self.counts[fallback.kind as usize].fetch_add(1, Relaxed);
        let mut told = self.told.lock();
        if told.len() < TOLD {
            let why = plain(&fallback.why);
            if !told.iter().any(|known| *known == why) {
                told.push(why.into_owned());
            }
        }
    }

    /// The first of the different reasons, in the order in which they came.
    pub fn reasons(&self) -> Vec<String> {
        self.told.lock().clone()
    }

    pub fn counts(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        Kind::ALL.iter().map(|&kind| (kind, self.counts[kind as usize].load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fallback_is_counted_and_each_reason_is_kept_once() {
        let fallbacks = Fallbacks::default();
        for why in ["no profile holds [3]", "no profile holds [3]", "no profile holds [4]"] {
            fallbacks.count(&Fallback::new(Kind::NoEngine, why));
        }
        let counted: Vec<_> = fallbacks.counts().filter(|(_, n)| *n > 0).collect();
        assert_eq!(counted, [(Kind::NoEngine, 3)]);
        assert_eq!(fallbacks.reasons(), ["no profile holds [3]", "no profile holds [4]"]);
    }

    #[test]
    fn few_reasons_are_kept() {
        let fallbacks = Fallbacks::default();
        for n in 0..10_000 {
            fallbacks.count(&Fallback::new(Kind::NoEngine, n.to_string()));
        }
        assert_eq!(fallbacks.reasons().len(), TOLD);
    }
}
