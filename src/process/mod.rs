//! What this library knows of its process: how many forks it is away from the one that loaded the library, what must not be used
//! across a fork, and how a forked child ends.
//!
//! fork() copies memory and one thread. Whatever another thread had begun stays as it was at that moment: a lock stays locked, and a
//! thread pool waits for threads that are not there.

mod lock;
mod sys;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};

pub use lock::{Mutex, MutexGuard};
pub use sys::ends_after_loading;

/// Forks between the process that loaded this library and this one.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Threads that are inside another library now.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// Whether a fork has left a thread behind that was inside another library.
static LEFT_INSIDE: AtomicBool = AtomicBool::new(false);

/// Called in the child by fork(), which has one thread then: nothing here may lock or allocate.
fn forked() {
    lock::in_child();
    GENERATION.fetch_add(1, SeqCst);
    if INSIDE.swap(0, SeqCst) > 0 {
        LEFT_INSIDE.store(true, SeqCst);
    }
}

/// Has forks noticed from now on. Called when the library is loaded; later calls change nothing.
pub fn watch_forks() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.load(SeqCst) && !WATCHED.swap(true, SeqCst) && !sys::watch_forks() {
        tracing::warn!("the C library takes no more handlers of fork(): a forked child may hang");
    }
}

/// How many forks lie between the process that loaded this library and this one. Two things of one generation are of one process.
pub fn generation() -> u32 {
    watch_forks();
    GENERATION.load(SeqCst)
}

/// A thread that is inside another library, which may hold locks of its own. It is seen if the process is forked meanwhile.
pub struct Inside(u32);

/// Says that this thread goes into another library, until the guard is dropped.
pub fn inside() -> Inside {
    let generation = generation();
    INSIDE.fetch_add(1, SeqCst);
    Inside(generation)
}

impl Drop for Inside {
    fn drop(&mut self) {
        // In a child the count began anew.
        if self.0 == GENERATION.load(SeqCst) {
            INSIDE.fetch_sub(1, SeqCst);
        }
    }
}

/// Whether this process was forked while another thread was inside a library: it may have left locks there that nobody opens.
pub fn left_locks() -> bool {
    LEFT_INSIDE.load(SeqCst)
}

/// A value that belongs to the process that made it: a forked child neither uses nor ends it.
#[derive(Debug)]
pub struct OfProcess<T> {
    value: Option<T>,
    generation: u32,
}

impl<T> OfProcess<T> {
    pub fn new(value: T) -> Self {
        OfProcess {
            value: Some(value),
            generation: generation(),
        }
    }

    /// The value, in the process that made it.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.generation == generation())
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if self.generation != generation() {
            // Its end could wait for threads that are not here. The memory is a copy, and goes with the process.
            std::mem::forget(self.value.take());
        }
    }
}

/// A child of a child of a child, and so on, has state of its own down to here; what is forked deeper shares the last one.
const DEEPEST: usize = 8;

/// State that every process has anew: a forked child never sees its parent's, whose locks may be locked for good.
pub struct PerProcess<T> {
    slots: [OnceLock<T>; DEEPEST],
}

impl<T: Default> PerProcess<T> {
    pub const fn new() -> Self {
        PerProcess {
            slots: [const { OnceLock::new() }; DEEPEST],
        }
    }

    pub fn get(&self) -> &T {
        let nth = (generation() as usize).min(DEEPEST - 1);
        self.slots[nth].get_or_init(T::default)
    }
}

impl<T: Default> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What is to be done at the end of a process, each by its name.
type Work = parking_lot::Mutex<Vec<(&'static str, fn())>>;

static AT_EXIT: PerProcess<Work> = PerProcess::new();

/// Has `work` done once when this process ends by itself, before the libraries that are loaded by now are taken down: they are in the
/// opposite order in which they came. `name` tells works apart: the second of a name changes nothing. A forked child does not do what
/// its parent asked for.
pub fn at_exit(name: &'static str, work: fn()) {
    let mut all = AT_EXIT.get().lock();
    if all.iter().any(|(known, _)| *known == name) {
        return;
    }
    all.push((name, work));
    drop(all);
    if !sys::at_exit() {
        tracing::warn!("the C library takes no more work for the end of the process");
    }
}

/// Called by the C library when the process ends.
fn ending() {
    let all = std::mem::take(&mut *AT_EXIT.get().lock());
    for (_, work) in all {
        // A panic must not cross into C, and nobody is left to hear of it.
        let _ = std::panic::catch_unwind(work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_uses_and_ends_what_it_made() {
        struct Ends<'a>(&'a AtomicUsize);
        impl Drop for Ends<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, SeqCst);
            }
        }
        let ended = AtomicUsize::new(0);
        let own = OfProcess::new(Ends(&ended));
        assert!(own.get().is_some());
        drop(own);
        assert_eq!(ended.load(SeqCst), 1);
        let mut inherited = OfProcess::new(Ends(&ended));
        inherited.generation += 1;
        assert!(inherited.get().is_none());
        drop(inherited);
        assert_eq!(ended.load(SeqCst), 1);
    }

    #[test]
    fn state_is_made_once_a_process() {
        static STATE: PerProcess<parking_lot::Mutex<u32>> = PerProcess::new();
        *STATE.get().lock() += 1;
        *STATE.get().lock() += 1;
        assert_eq!(*STATE.get().lock(), 2);
    }
}
