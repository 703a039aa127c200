//! Locks that a fork does not catch.
//!
//! A lock that another thread holds while the process forks is locked for good in the child, and what it guards may be half changed. So
//! fork() waits until no thread holds such a lock, and threads that come meanwhile wait for fork(). It waits for a short time only: these
//! locks are for looking something up and entering something, and nobody holds one while a library, a file or a thread is waited for.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// How long fork() waits for those who hold a lock. A system that is busy may have put one to sleep.
const PATIENCE: Duration = Duration::from_millis(500);

/// A count in a cache line of its own: threads that lock different things do not disturb each other.
#[repr(align(128))]
struct Count(AtomicUsize);

/// How many threads hold a lock, each counted in one of these.
static HOLDING: [Count; 64] = [const { Count(AtomicUsize::new(0)) }; 64];

/// How many threads are about to fork.
static FORKING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// How many locks this thread holds.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Where this thread is counted; 0 until it is known, then one more than the place.
    static PLACE: Cell<usize> = const { Cell::new(0) };
}

fn own_count() -> &'static AtomicUsize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let place = match PLACE.get() {
        0 => NEXT.fetch_add(1, SeqCst) % HOLDING.len(),
        known => known - 1,
    };
    PLACE.set(place + 1);
    &HOLDING[place].0
}

/// A lock is held, or about to be taken.
#[derive(Debug)]
struct Held(PhantomData<*const ()>);

impl Held {
    fn new() -> Held {
        // Who holds a lock already must not wait for a fork that waits for that lock.
        if DEPTH.get() == 0 {
            let count = own_count();
            loop {
                count.fetch_add(1, SeqCst);
                if FORKING.load(SeqCst) == 0 {
                    break;
                }
                count.fetch_sub(1, SeqCst);
                while FORKING.load(SeqCst) > 0 {
                    std::thread::sleep(Duration::from_micros(20));
                }
            }
        }
        DEPTH.set(DEPTH.get() + 1);
        Held(PhantomData)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
        if DEPTH.get() == 0 {
            own_count().fetch_sub(1, SeqCst);
        }
    }
}

/// Before fork(), in the thread that calls it.
pub(super) fn before_fork() {
    FORKING.fetch_add(1, SeqCst);
    // It would wait for itself.
    if DEPTH.get() > 0 {
        return;
    }
    let end = Instant::now() + PATIENCE;
    for count in &HOLDING {
        while count.0.load(SeqCst) > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_micros(20));
        }
    }
}

/// After fork(), in the parent.
pub(super) fn after_fork() {
    FORKING.fetch_sub(1, SeqCst);
}

/// After fork(), in the child, which has one thread.
pub(super) fn in_child() {
    for count in &HOLDING {
        count.0.store(0, SeqCst);
    }
    if DEPTH.get() > 0 {
        own_count().store(1, SeqCst);
    }
    FORKING.store(0, SeqCst);
}

/// A mutex that no thread holds while the process forks. Not for what is held long, and not for waiting.
#[derive(Debug, Default)]
pub struct Mutex<T: ?Sized>(parking_lot::Mutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Mutex(parking_lot::Mutex::new(value))
    }
}

impl<T: ?Sized> Mutex<T> {
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let held = Held::new();
        MutexGuard {
            guard: self.0.lock(),
            _held: held,
        }
    }
}

/// The locked value. Its fields go in this order: the lock is open before it counts as not held.
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized> {
    guard: parking_lot::MutexGuard<'a, T>,
    _held: Held,
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn who_forks_waits_for_who_holds_and_who_comes_waits_for_the_fork() {
        static OUTER: Mutex<u32> = Mutex::new(0);
        static INNER: Mutex<u32> = Mutex::new(0);
        let (holds, is_held) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        let holder = std::thread::spawn(move || {
            let mut outer = OUTER.lock();
            holds.send(()).unwrap();
            goes_on.recv().unwrap();
            // A second lock does not wait for the fork: the fork waits for the first one.
            *outer += 1;
            *INNER.lock() += 1;
        });
        is_held.recv().unwrap();
        let (begun, has_begun) = mpsc::channel();
        let (forked, is_forked) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let forker = std::thread::spawn(move || {
            begun.send(()).unwrap();
            before_fork();
            forked.send((*OUTER.0.lock(), *INNER.0.lock())).unwrap();
            ends.recv().unwrap();
            after_fork();
        });
        has_begun.recv().unwrap();
        go_on.send(()).unwrap();
        assert_eq!(is_forked.recv().unwrap(), (1, 1));
        holder.join().unwrap();
        let (came, has_come) = mpsc::channel();
        let comer = std::thread::spawn(move || {
            *INNER.lock() += 1;
            came.send(()).unwrap();
        });
        assert!(has_come.recv_timeout(Duration::from_millis(50)).is_err());
        end.send(()).unwrap();
        forker.join().unwrap();
        comer.join().unwrap();
        assert_eq!(*INNER.lock(), 2);
    }

    #[test]
    fn a_fork_does_not_wait_for_its_own_lock() {
        static OWN: Mutex<()> = Mutex::new(());
        let _held = OWN.lock();
        before_fork();
        after_fork();
    }
}
