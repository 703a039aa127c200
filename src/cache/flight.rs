//! One build under way, and those who wait for it.

use super::Entry;
use crate::process;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

type Landed<E> = Result<Arc<Entry<E>>, Arc<str>>;

pub(super) struct Flight<E: ?Sized> {
    landed: Mutex<Option<Landed<E>>>,
    arrived: Condvar,
    /// Calls that have asked for the engine, and [`AWAITED`] for each that waits.
    wanted: AtomicU64,
    /// The process that builds: in a forked child nobody does.
    generation: u32,
}

/// One who waits is more than any number of calls that go on without the engine.
const AWAITED: u64 = 1 << 32;

impl<E: ?Sized> Flight<E> {
    pub(super) fn new() -> Self {
        Flight {
            landed: Mutex::new(None),
            arrived: Condvar::new(),
            wanted: AtomicU64::new(1),
            generation: process::generation(),
        }
    }

    /// A call asks for the engine, and goes on without it.
    pub(super) fn ask(&self) {
        self.wanted.fetch_add(1, Relaxed);
    }

    /// Somebody is about to wait.
    pub(super) fn await_by_one(&self) {
        self.wanted.fetch_add(AWAITED, Relaxed);
    }

    pub(super) fn wanted(&self) -> u64 {
        self.wanted.load(Relaxed)
    }

    pub(super) fn land(&self, outcome: Landed<E>) {
        *self.landed.lock() = Some(outcome);
        self.arrived.notify_all();
    }

    /// Where nothing has landed: those who wait get `why`, and the next call builds. For a flight that is still among those under
    /// way; the others have landed.
    pub(super) fn give_up(&self, why: &str) {
        let mut landed = self.landed.lock();
        if landed.is_none() {
            *landed = Some(Err(Arc::from(why)));
            drop(landed);
            self.arrived.notify_all();
        }
    }

    /// Of a flight that is still among those under way: whether it was given up. They leave before they land.
    pub(super) fn is_given_up(&self) -> bool {
        self.left_behind() || self.landed.lock().is_some()
    }

    /// Whether the thread that builds is in the process that this one was forked from.
    fn left_behind(&self) -> bool {
        self.generation != process::generation()
    }

    /// What the build gave, even if the cache has evicted it since.
    pub(super) fn wait(&self) -> Landed<E> {
        if self.left_behind() {
            return Err(Arc::from("the engine was being built when this process was forked"));
        }
        let mut landed = self.landed.lock();
        loop {
            if let Some(outcome) = landed.as_ref() {
                return outcome.clone();
            }
            self.arrived.wait(&mut landed);
        }
    }
}
