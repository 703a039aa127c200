//! Builds beside the requests (TFTRT_BUILD=background).

use super::engines::EngineSet;
use super::job::Job;
use crate::cache::Ticket;
use crate::engine::Engine;
use crate::fault::{self, Point};
use crate::tf::at_exit;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Once};

/// One build at a time: a builder takes a core and much of a GPU's memory, and the requests are to go on meanwhile.
static TURN: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Whether the process is ending: no build begins any more.
static ENDING: AtomicBool = AtomicBool::new(false);

/// The turn of one build, until it is dropped.
struct Turn;

impl Turn {
    fn take() -> Turn {
        let (busy, freed) = &TURN;
        let mut taken = busy.lock();
        while *taken {
            freed.wait(&mut taken);
        }
        *taken = true;
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (busy, freed) = &TURN;
        *busy.lock() = false;
        freed.notify_one();
    }
}

/// At the end of the process, before the libraries that builds use are taken down: a build cannot be interrupted, and is waited for.
fn end() {
    ENDING.store(true, SeqCst);
    if *TURN.0.lock() {
        tracing::warn!("the process ends when the engine that is being built in the background is done");
    }
    std::mem::forget(Turn::take());
}

/// Builds in a thread of its own. What comes of it is in the cache: the engine, or why there is none.
///
/// # Errors
/// Where no thread can be made; the cache remembers that as the build's failure.
pub fn build(set: Arc<EngineSet>, ticket: Ticket<dyn Engine>, job: Job) -> Result<(), String> {
    static AT_EXIT: Once = Once::new();
    AT_EXIT.call_once(|| at_exit(end));
    // The ticket goes into the thread; where there is none, it has to come back.
    let slot = Arc::new(Mutex::new(Some((ticket, job))));
    let of_thread = slot.clone();
    let for_thread = set.clone();
    let work = move || {
        if let Some((ticket, job)) = of_thread.lock().take() {
            in_turn(&for_thread, ticket, job);
        }
    };
    let spawned = fault::at(Point::Thread)
        .map_err(io::Error::from)
        .and_then(|()| std::thread::Builder::new().name("tftrt_build".into()).spawn(work));
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
    let _turn = Turn::take();
    let node = job.attrs.node.clone();
    if let Some(cache) = set.opened() {
        cache.finish(ticket, || {
            if ENDING.load(SeqCst) {
                return Err("the process is ending".to_string());
            }
            let built = job.run()?;
            set.note(&*built.engine);
            tracing::info!("{node}: the engine that was built in the background is in use");
            Ok(built)
        });
    }
}
