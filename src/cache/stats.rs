//! What a cache has done so far.

use serde::Serialize;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A snapshot. The counters are read one by one: under load they may be apart by the calls of that moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Engines there are.
    pub engines: u64,
    /// Keys of which the failure is remembered.
    pub remembered_failures: u64,
    /// Calls that an engine was there for.
    pub hits: u64,
    /// Calls that no engine was there for.
    pub misses: u64,
    /// Of the misses, those that waited for the build of another call.
    pub waits: u64,
    /// Engines built.
    pub builds: u64,
    /// Builds that failed, and failures put in by the caller.
    pub failures: u64,
    /// Builds that were given up before they began.
    pub dropped: u64,
    /// Engines read from files.
    pub loads: u64,
    /// Engines that made room for another.
    pub evictions: u64,
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Stats) {
        self.engines += other.engines;
        self.remembered_failures += other.remembered_failures;
        self.hits += other.hits;
        self.misses += other.misses;
        self.waits += other.waits;
        self.builds += other.builds;
        self.failures += other.failures;
        self.dropped += other.dropped;
        self.loads += other.loads;
        self.evictions += other.evictions;
    }
}

#[derive(Default)]
pub(super) struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    waits: AtomicU64,
    builds: AtomicU64,
    failures: AtomicU64,
    dropped: AtomicU64,
    loads: AtomicU64,
    evictions: AtomicU64,
}

impl Counters {
    pub(super) fn answered(&self, hit: bool) {
        if hit { &self.hits } else { &self.misses }.fetch_add(1, Relaxed);
    }

    pub(super) fn waited(&self) {
        self.waits.fetch_add(1, Relaxed);
    }

    pub(super) fn built(&self) {
        self.builds.fetch_add(1, Relaxed);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Relaxed);
    }

    pub(super) fn dropped(&self) {
        self.dropped.fetch_add(1, Relaxed);
    }

    pub(super) fn loaded(&self) {
        self.loads.fetch_add(1, Relaxed);
    }

    pub(super) fn evicted(&self) {
        self.evictions.fetch_add(1, Relaxed);
    }

    pub(super) fn snapshot(&self, engines: usize, remembered_failures: usize) -> Stats {
        Stats {
            engines: engines as u64,
            remembered_failures: remembered_failures as u64,
            hits: self.hits.load(Relaxed),
            misses: self.misses.load(Relaxed),
            waits: self.waits.load(Relaxed),
            builds: self.builds.load(Relaxed),
            failures: self.failures.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            loads: self.loads.load(Relaxed),
            evictions: self.evictions.load(Relaxed),
        }
    }
}
