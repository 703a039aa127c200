//! Builds beside the requests (TFTRT_BUILD=background).

use super::engines::EngineSet;
use super::job::Job;
use crate::cache::Ticket;
use crate::engine::Engine;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;

/// One build at a time: a builder takes a core and much of a GPU's memory, and the requests are to go on meanwhile.
static TURN: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Builds in a thread of its own. What comes of it is in the cache: the engine, or why there is none.
///
/// # Errors
/// Where no thread can be made; the cache remembers that as the build's failure.
pub fn build(set: Arc<EngineSet>, ticket: Ticket<dyn Engine>, job: Job) -> Result<(), String> {
    // The ticket goes into the thread; where there is none, it has to come back.
    let slot = Arc::new(Mutex::new(Some((ticket, job))));
    let of_thread = slot.clone();
    let for_thread = set.clone();
    let spawned = std::thread::Builder::new().name("tftrt_build".into()).spawn(move || {
        if let Some((ticket, job)) = of_thread.lock().take() {
            in_turn(&for_thread, ticket, job);
        }
    });
    match spawned {
        // It ends by itself: a build cannot be interrupted.
        Ok(_) => Ok(()),
        Err(e) => {
            let why = format!("no thread to build in: {e}");
            if let (Some(cache), Some((ticket, _))) = (set.opened(), slot.lock().take()) {
                cache.finish(ticket, || Err(why.clone()));
            }
            Err(why)
        }
    }
}

fn in_turn(set: &EngineSet, ticket: Ticket<dyn Engine>, job: Job) {
    let (busy, freed) = &TURN;
    let mut taken = busy.lock();
    while *taken {
        freed.wait(&mut taken);
    }
    *taken = true;
    drop(taken);
    let node = job.attrs.node.clone();
    if let Some(cache) = set.opened() {
        cache.finish(ticket, || {
            let built = job.run()?;
            set.note(&*built.engine);
            tracing::info!("{node}: the engine that was built in the background is in use");
            Ok(built)
        });
    }
    *busy.lock() = false;
    freed.notify_one();
}
