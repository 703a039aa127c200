//! Builds beside the requests (TFTRT_BUILD=background): a queue with a bound, and a fixed number of threads that build.
//!
//! A storm of shapes asks for more engines than can ever be built. What waits is small (a request holds no weights of its own), and what
//! is wanted most is built first; the rest is given up, and asked for again by the next call that needs it.

use super::engines::EngineSet;
use super::job::Job;
use crate::cache::Ticket;
use crate::engine::Engine;
use crate::fault::{self, Point};
use crate::process::{self, PerProcess};
use crate::settings::Settings;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::sync::Arc;

/// One build that waits.
struct Request {
    /// The newest has the largest.
    number: u64,
    ticket: Ticket<dyn Engine>,
    job: Job,
    set: Arc<EngineSet>,
}

impl Request {
    /// What is built first: the most wanted, of those the newest.
    fn rank(&self) -> (u64, u64) {
        (self.ticket.wanted(), self.number)
    }

    /// Nobody builds it; the next call of its shapes asks again.
    fn give_up(self, why: &str) {
        tracing::debug!("{}: input shapes {:?}: {why}", self.job.attrs.node, self.job.shapes);
        if let Some(cache) = self.set.opened() {
            cache.withdraw(self.ticket, why);
        }
    }

    fn build(self) {
        let Request { ticket, job, set, .. } = self;
        let node = job.attrs.node.clone();
        if let Some(cache) = set.opened() {
            cache.finish(ticket, || {
                let built = job.run()?;
                set.note(&*built.engine);
                tracing::info!("{node}: the engine that was built in the background is in use");
                Ok(built)
            });
        }
    }
}

#[derive(Default)]
struct State {
    waiting: Vec<Request>,
    /// Threads that build.
    threads: usize,
    next: u64,
    /// Whether the process is ending: no build begins any more.
    ending: bool,
}

impl State {
    /// What is to be built next.
    fn take_first(&mut self) -> Option<Request> {
        let ranks = self.waiting.iter().map(Request::rank).enumerate();
        let (first, _) = ranks.max_by_key(|(_, rank)| *rank)?;
        Some(self.waiting.swap_remove(first))
    }

    /// What is given up where there is one too many: the least wanted, of those the oldest, and not the one that has just come.
    fn take_last(&mut self) -> Option<Request> {
        let newest = self.next.checked_sub(1)?;
        let others = self.waiting.iter().map(Request::rank).enumerate();
        let others = others.filter(|(_, (_, number))| *number != newest);
        let (last, _) = others.min_by_key(|(_, rank)| *rank)?;
        Some(self.waiting.swap_remove(last))
    }
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    /// A thread has ended.
    ended: Condvar,
}

/// A forked child has a queue of its own: its parent's builds are not the child's.
static QUEUE: PerProcess<Queue> = PerProcess::new();

/// At the end of the process, before the libraries that builds use are taken down: what waits is given up. A build that is under way
/// cannot be interrupted, and is waited for.
fn end() {
    let queue = QUEUE.get();
    let mut state = queue.state.lock();
    state.ending = true;
    let waiting = std::mem::take(&mut state.waiting);
    drop(state);
    for request in waiting {
        request.give_up("the process is ending");
    }
    let mut state = queue.state.lock();
    if state.threads > 0 {
        tracing::warn!("the process ends when the engine that is being built in the background is done");
    }
    while state.threads > 0 {
        queue.ended.wait(&mut state);
    }
}

/// Has an engine built by a thread of the queue. What comes of it is in the cache: the engine, or why there is none.
///
/// # Errors
/// Where no thread can be made; the cache remembers that as the build's failure.
pub fn build(set: Arc<EngineSet>, ticket: Ticket<dyn Engine>, job: Job) -> Result<(), String> {
    process::at_exit("builds in the background", end);
    let settings = Settings::current();
    let queue = QUEUE.get();
    let mut state = queue.state.lock();
    let number = state.next;
    state.next += 1;
    let request = Request { number, ticket, job, set };
    if state.ending {
        drop(state);
        request.give_up("the process is ending");
        return Ok(());
    }
    state.waiting.push(request);
    let another = state.threads < settings.build_threads;
    state.threads += usize::from(another);
    // The new thread takes one at once.
    let most = settings.build_queue + usize::from(another);
    let mut given_up = Vec::new();
    while state.waiting.len() > most {
        given_up.extend(state.take_last());
    }
    drop(state);
    for request in given_up {
        request.give_up("more builds wait than TFTRT_BUILD_QUEUE allows");
    }
    match another {
        true => start_thread(queue, number),
        false => Ok(()),
    }
}

/// Starts a thread, which is counted already. `number` is the request that it is started for.
fn start_thread(queue: &'static Queue, number: u64) -> Result<(), String> {
    let spawned = fault::at(Point::Thread).map_err(io::Error::from).and_then(|()| {
        std::thread::Builder::new()
            .name("tftrt_build".into())
            .spawn(move || build_all(queue))
    });
    let Err(e) = spawned else { return Ok(()) };
    let why = format!("no thread to build in: {e}");
    let mut state = queue.state.lock();
    state.threads -= 1;
    if state.threads > 0 {
        // Another thread builds what waits.
        return Ok(());
    }
    let waiting = std::mem::take(&mut state.waiting);
    drop(state);
    queue.ended.notify_all();
    for request in waiting {
        match (request.number == number, request.set.clone().opened()) {
            (true, Some(cache)) => cache.finish(request.ticket, || Err(why.clone())),
            _ => request.give_up(&why),
        }
    }
    Err(why)
}

/// The life of a thread: it ends when nothing waits.
fn build_all(queue: &Queue) {
    loop {
        let mut state = queue.state.lock();
        let Some(request) = state.take_first() else {
            state.threads -= 1;
            queue.ended.notify_all();
            return;
        };
        drop(state);
        request.build();
    }
}
