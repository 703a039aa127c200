//! One build under way, and those who wait for it.

use super::Entry;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

type Landed<E> = Result<Arc<Entry<E>>, Arc<str>>;

pub(super) struct Flight<E: ?Sized> {
    landed: Mutex<Option<Landed<E>>>,
    arrived: Condvar,
}

impl<E: ?Sized> Flight<E> {
    pub(super) fn new() -> Self {
        Flight {
            landed: Mutex::new(None),
            arrived: Condvar::new(),
        }
    }

    pub(super) fn land(&self, outcome: Landed<E>) {
        *self.landed.lock() = Some(outcome);
        self.arrived.notify_all();
    }

    /// What the build gave, even if the cache has evicted it since.
    pub(super) fn wait(&self) -> Landed<E> {
        let mut landed = self.landed.lock();
        loop {
            if let Some(outcome) = landed.as_ref() {
                return outcome.clone();
            }
            self.arrived.wait(&mut landed);
        }
    }
}
