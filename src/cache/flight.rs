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
        self.landed.lock().is_some()
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
