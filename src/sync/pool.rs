//! A bounded pool of things that one call at a time may use, made when they are needed: execution contexts.

use parking_lot::{Condvar, Mutex};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// At most `bound` of them exist; whoever finds none free and none to be made waits for one.
pub struct Pool<T> {
    state: Mutex<State<T>>,
    freed: Condvar,
    bound: usize,
    waits: AtomicU64,
}

struct State<T> {
    /// The one that was used last is at the end, and is taken first: its memory is the warmest.
    free: Vec<T>,
    /// Made or being made, free or in use.
    count: usize,
}

/// One of a pool's, given back when it is dropped.
pub struct Lease<'p, T> {
    pool: &'p Pool<T>,
    item: Option<T>,
}

impl<T> Pool<T> {
    /// A bound of 0 counts as 1.
    pub fn new(bound: usize) -> Self {
        Pool {
            state: Mutex::new(State {
                free: Vec::new(),
                count: 0,
            }),
            freed: Condvar::new(),
            bound: bound.max(1),
            waits: AtomicU64::new(0),
        }
    }

    /// A free one, of several the last used that `preferred` likes; else a new one; else, at the bound, the next that is freed.
    ///
    /// # Errors
    /// `make`'s, where there is none at all: while others exist, a failure to make one more (memory, say) means waiting for them.
    pub fn take<E>(&self, preferred: impl Fn(&T) -> bool, make: impl FnOnce() -> Result<T, E>) -> Result<Lease<'_, T>, E> {
        let mut make = Some(make);
        let mut failure = None;
        let mut counted = false;
        let mut state = self.state.lock();
        loop {
            if let Some(item) = state.pop(&preferred) {
                return Ok(self.lease(item));
            }
            if let Some(make) = make.take_if(|_| state.count < self.bound) {
                state.count += 1;
                drop(state);
                // Nobody waits while it is made. Where it fails, the place is free again.
                let place = Place(self);
                match make() {
                    Ok(item) => {
                        std::mem::forget(place);
                        return Ok(self.lease(item));
                    }
                    Err(e) => failure = Some(e),
                }
                drop(place);
                state = self.state.lock();
                continue;
            }
            if state.count == 0
                && let Some(e) = failure
            {
                return Err(e);
            }
            if !counted {
                counted = true;
                self.waits.fetch_add(1, Relaxed);
            }
            self.freed.wait(&mut state);
        }
    }

    fn lease(&self, item: T) -> Lease<'_, T> {
        Lease {
            pool: self,
            item: Some(item),
        }
    }

    /// Wakes all who wait, for there is one less: some may make one, and those whose own attempt failed have to know where none
    /// is left to wait for.
    fn room(&self) {
        self.freed.notify_all();
    }

    /// How many exist.
    pub fn count(&self) -> usize {
        self.state.lock().count
    }

    /// How often a call had to wait.
    pub fn waits(&self) -> u64 {
        self.waits.load(Relaxed)
    }
}

impl<T> State<T> {
    fn pop(&mut self, preferred: impl Fn(&T) -> bool) -> Option<T> {
        let at = self.free.iter().rposition(preferred).or(self.free.len().checked_sub(1))?;
        Some(self.free.remove(at))
    }
}

/// The place of one that is being made; dropped, by an error or a panic, it is given up.
struct Place<'p, T>(&'p Pool<T>);

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        self.0.state.lock().count -= 1;
        self.0.room();
    }
}

impl<T> Lease<'_, T> {
    /// Gives up the thing itself: it is not to be used again.
    pub fn discard(mut self) {
        drop(self.item.take());
    }
}

impl<T> Deref for Lease<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.item
            .as_ref()
            .unwrap_or_else(|| unreachable!("only discard and drop take it, and end the lease"))
    }
}

impl<T> DerefMut for Lease<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.item
            .as_mut()
            .unwrap_or_else(|| unreachable!("only discard and drop take it, and end the lease"))
    }
}

impl<T> Drop for Lease<'_, T> {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        match self.item.take() {
            Some(item) => {
                state.free.push(item);
                drop(state);
                self.pool.freed.notify_one();
            }
            None => {
                state.count -= 1;
                drop(state);
                self.pool.room();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::sync::{Arc, Barrier};

    fn any(_: &usize) -> bool {
        true
    }

    #[test]
    fn grows_to_its_bound_and_prefers_what_fits() {
        let pool = Pool::new(2);
        let one = pool.take(any, || Ok::<_, ()>(1)).unwrap();
        let two = pool.take(any, || Ok::<_, ()>(2)).unwrap();
        assert_eq!((*one, *two, pool.count()), (1, 2, 2));
        drop(one);
        drop(two);
        assert_eq!(*pool.take(|n| *n == 1, || Err(())).unwrap(), 1);
        assert_eq!(*pool.take(|n| *n == 9, || Err(())).unwrap(), 1);
        assert_eq!(pool.waits(), 0);
    }

    #[test]
    fn a_failure_is_an_error_only_where_there_is_nothing_to_wait_for() {
        let pool = Pool::<usize>::new(2);
        assert_eq!(pool.take(any, || Err("no memory")).err(), Some("no memory"));
        assert_eq!(pool.count(), 0);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = pool.take(any, || -> Result<usize, ()> { panic!("in make") });
        }));
        assert!(panicked.is_err());
        assert_eq!(pool.count(), 0);
        let first = pool.take(any, || Ok::<_, ()>(1)).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| *pool.take(any, || Err("no memory")).unwrap());
            while pool.waits() == 0 {
                std::thread::yield_now();
            }
            drop(first);
            assert_eq!(waiting.join().unwrap(), 1);
        });
        pool.take(any, || Ok::<_, ()>(2)).unwrap().discard();
        assert_eq!(pool.count(), 0);
    }

    /// Waits until `waiting` calls of `pool` have found nothing.
    fn until(pool: &Pool<usize>, waiting: u64) {
        while pool.waits() < waiting {
            std::thread::yield_now();
        }
    }

    #[test]
    fn whoever_waits_for_one_that_could_not_be_made_makes_its_own() {
        let pool = Pool::<usize>::new(1);
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                let make = || {
                    until(&pool, 2);
                    Err("no memory")
                };
                pool.take(any, make).map(|lease| *lease)
            });
            while pool.count() == 0 {
                std::thread::yield_now();
            }
            let second = scope.spawn(|| pool.take(any, || Ok::<_, ()>(2)).map(|lease| *lease));
            let third = scope.spawn(|| pool.take(any, || Ok::<_, ()>(2)).map(|lease| *lease));
            assert_eq!((second.join().unwrap(), third.join().unwrap()), (Ok(2), Ok(2)));
            // Its error, or what another call made meanwhile.
            assert!(matches!(first.join().unwrap(), Err("no memory") | Ok(2)));
        });
    }

    #[test]
    fn where_no_attempt_succeeds_every_call_gets_its_error() {
        const THREADS: usize = 4;
        let pool = Pool::<usize>::new(THREADS);
        let all_make = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..THREADS)
                .map(|i| {
                    let (pool, all_make) = (&pool, &all_make);
                    scope.spawn(move || {
                        let make = || {
                            all_make.wait();
                            Err(i)
                        };
                        pool.take(any, make).err()
                    })
                })
                .collect();
            for (i, call) in calls.into_iter().enumerate() {
                assert_eq!(call.join().unwrap(), Some(i));
            }
        });
        assert_eq!(pool.count(), 0);
    }

    #[test]
    fn the_place_of_one_that_is_given_up_goes_to_who_waits() {
        let pool = Pool::<usize>::new(1);
        let first = pool.take(any, || Ok::<_, ()>(1)).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| *pool.take(any, || Ok::<_, ()>(2)).unwrap());
            until(&pool, 1);
            first.discard();
            assert_eq!(waiting.join().unwrap(), 2);
        });
    }

    #[test]
    fn many_threads_never_share_one_and_all_get_one() {
        const THREADS: usize = 8;
        let pool = Pool::new(3);
        let in_use: Arc<Vec<AtomicUsize>> = Arc::new((0..3).map(|_| AtomicUsize::new(0)).collect());
        let made = AtomicUsize::new(0);
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    for _ in 0..2000 {
                        let lease = pool.take(any, || Ok::<_, ()>(made.fetch_add(1, Relaxed))).unwrap();
                        assert_eq!(in_use[*lease].fetch_add(1, Relaxed), 0);
                        std::thread::yield_now();
                        in_use[*lease].fetch_sub(1, Relaxed);
                    }
                });
            }
        });
        assert!(made.load(Relaxed) <= 3 && pool.count() == made.load(Relaxed));
    }
}
