//! A pool of items that learn from being used, such as timing caches. One user at a time has an item, and merges into it what the idle
//! ones have learnt.
//!
//! Unlike in a [pool](super::pool) nobody waits: a user who finds no idle item makes a new one. Idle items stay for later users.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

/// The idle items. There are never more than twice the peak number of concurrent users: an item is made only if none is idle, and a user
/// holds at most two, its own and the one being merged.
pub struct MergePool<T> {
    /// The one that was used last is at the end.
    idle: Mutex<VecDeque<T>>,
}

/// An item in use. It goes back to the pool when it is dropped, after an error or a panic of its user, too.
pub struct Lease<'p, T> {
    pool: &'p MergePool<T>,
    item: Option<T>,
}

impl<T> Default for MergePool<T> {
    fn default() -> Self {
        MergePool { idle: Mutex::default() }
    }
}

impl<T> MergePool<T> {
    /// The one that was used last, told by `tell(it, other)` what each of the others knows that are idle; `None` where none is.
    ///
    /// No lock is held while it is told, and one other at a time is taken out for it: whoever comes meanwhile finds the rest.
    pub fn take(&self, mut tell: impl FnMut(&T, &T)) -> Option<Lease<'_, T>> {
        let (mine, others) = {
            let mut idle = self.idle.lock();
            (self.turn(idle.pop_back()?), idle.len())
        };
        for _ in 0..others {
            let Some(other) = self.idle.lock().pop_front() else {
                break;
            };
            // It goes back by itself, whatever happens in `tell`.
            let other = self.turn(other);
            tell(&mine, &other);
        }
        Some(mine)
    }

    /// Hands on one that its maker has used.
    pub fn give(&self, item: T) {
        drop(self.turn(item));
    }

    fn turn(&self, item: T) -> Lease<'_, T> {
        Lease {
            pool: self,
            item: Some(item),
        }
    }
}

impl<T> Lease<'_, T> {
    /// Gives up the thing itself: nobody is to use it again.
    pub fn discard(mut self) {
        drop(self.item.take());
    }
}

impl<T> Deref for Lease<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.item
            .as_ref()
            .unwrap_or_else(|| unreachable!("only discard and drop take it, and end the turn"))
    }
}

impl<T> DerefMut for Lease<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.item
            .as_mut()
            .unwrap_or_else(|| unreachable!("only discard and drop take it, and end the turn"))
    }
}

impl<T> Drop for Lease<'_, T> {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.pool.idle.lock().push_back(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Barrier;

    /// What one has learnt: `Send` and not `Sync`, as a timing cache is.
    type Knowledge = RefCell<BTreeSet<usize>>;

    fn knows(all: &[usize]) -> Knowledge {
        RefCell::new(all.iter().copied().collect())
    }

    fn tell(one: &Knowledge, other: &Knowledge) {
        one.borrow_mut().extend(other.borrow().iter());
    }

    fn nothing(_: &Knowledge, _: &Knowledge) {}

    fn all_of(turn: Option<Lease<'_, Knowledge>>) -> Option<Vec<usize>> {
        turn.map(|turn| turn.borrow().iter().copied().collect())
    }

    #[test]
    fn what_one_learns_the_next_one_knows() {
        let pool = MergePool::default();
        assert!(pool.take(tell).is_none());
        pool.give(knows(&[1]));
        pool.take(tell).unwrap().borrow_mut().insert(2);
        assert_eq!(all_of(pool.take(tell)), Some(vec![1, 2]));
    }

    #[test]
    fn who_comes_while_all_are_in_use_begins_anew_and_the_next_ones_are_told() {
        let pool = MergePool::default();
        pool.give(knows(&[1]));
        let first = pool.take(tell).unwrap();
        assert!(pool.take(tell).is_none());
        pool.give(knows(&[2]));
        assert_eq!(all_of(pool.take(tell)), Some(vec![2]));
        drop(first);
        pool.give(knows(&[3]));
        // Of two at once, each knows what those knew that were idle as it came.
        let first = pool.take(tell);
        let second = pool.take(tell);
        assert_eq!(all_of(first), Some(vec![1, 2, 3]));
        assert_eq!(all_of(second), Some(vec![1, 2]));
        assert_eq!(pool.idle.lock().len(), 3);
    }

    #[test]
    fn users_that_follow_each_other_go_on_with_the_same() {
        let pool = MergePool::default();
        for number in 1..=3 {
            pool.give(knows(&[number]));
        }
        for _ in 0..3 {
            assert_eq!(all_of(pool.take(nothing)), Some(vec![3]));
        }
        let third = pool.take(nothing);
        assert_eq!(all_of(pool.take(nothing)), Some(vec![2]));
        drop(third);
        assert_eq!(all_of(pool.take(tell)), Some(vec![1, 2, 3]));
    }

    #[test]
    fn what_is_given_up_does_not_come_back() {
        let pool = MergePool::default();
        pool.give(knows(&[1]));
        pool.take(tell).unwrap().discard();
        assert!(pool.take(tell).is_none());
    }

    #[test]
    fn a_panic_of_its_user_or_while_it_is_told_loses_nothing() {
        let pool = MergePool::default();
        pool.give(knows(&[1]));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let turn = pool.take(tell).unwrap();
            turn.borrow_mut().insert(2);
            panic!("in a build");
        }));
        assert!(panicked.is_err());
        pool.give(knows(&[3]));
        pool.give(knows(&[4]));
        assert!(catch_unwind(AssertUnwindSafe(|| pool.take(|_, _| panic!("while it is told")).is_some())).is_err());
        assert_eq!(all_of(pool.take(tell)), Some(vec![1, 2, 3, 4]));
    }

    /// Threads that never wait for each other lose nothing, and never is one used by two.
    #[test]
    fn many_threads_lose_nothing() {
        const THREADS: usize = 8;
        const TURNS: usize = 200;
        let pool = MergePool::default();
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (pool, start) = (&pool, &start);
                scope.spawn(move || {
                    start.wait();
                    for turn in 0..TURNS {
                        match pool.take(tell) {
                            Some(held) => {
                                // Of two users, one would find it borrowed.
                                let mut held = held.borrow_mut();
                                std::thread::yield_now();
                                held.insert(thread * TURNS + turn);
                            }
                            None => pool.give(knows(&[thread * TURNS + turn])),
                        }
                    }
                });
            }
        });
        assert!(pool.idle.lock().len() <= 2 * THREADS);
        assert_eq!(all_of(pool.take(tell)), Some((0..THREADS * TURNS).collect()));
    }
}
