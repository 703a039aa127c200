//! Things that learn from being used: timing caches. One user at a time has one, and hands on what it has learnt.
//!
//! Beside a [pool](super::pool), whose things are all alike: here nobody waits. Whoever finds nothing that is idle begins anew, and
//! what several have learnt at the same time is merged by the next one who comes.

use parking_lot::Mutex;
use std::ops::{Deref, DerefMut};

/// Those that nobody uses now. There are never more than were in use at once.
pub struct Relay<T> {
    /// In the order in which they were given back.
    idle: Mutex<Vec<T>>,
}

/// One of a relay's in use, given back when it is dropped: with an error and a panic of its user's, too.
pub struct Turn<'r, T> {
    relay: &'r Relay<T>,
    item: Option<T>,
}

impl<T> Default for Relay<T> {
    fn default() -> Self {
        Relay { idle: Mutex::default() }
    }
}

impl<T> Relay<T> {
    /// One that knows all that the idle ones know; `None` where none is idle. `merge(first, second)` adds to the first what the second
    /// knows; where it answers `false`, both stay what they are.
    ///
    /// While it merges, no lock is held: whoever comes meanwhile finds nothing, and begins anew.
    pub fn take(&self, mut merge: impl FnMut(&T, &T) -> bool) -> Option<Turn<'_, T>> {
        let idle = std::mem::take(&mut *self.idle.lock());
        // From here on each goes back by itself, whatever happens in `merge`.
        let mut idle: Vec<Turn<'_, T>> = idle.into_iter().map(|item| self.turn(item)).collect();
        // What cannot be merged lies in front of it when it comes back, so that users who follow each other go on with the same one.
        let last = idle.pop()?;
        for other in idle {
            if merge(&last, &other) {
                other.discard();
            }
        }
        Some(last)
    }

    /// Hands on one that its maker has used.
    pub fn give(&self, item: T) {
        drop(self.turn(item));
    }

    fn turn(&self, item: T) -> Turn<'_, T> {
        Turn {
            relay: self,
            item: Some(item),
        }
    }
}

impl<T> Turn<'_, T> {
    /// Gives up the thing itself: nobody is to use it again.
    pub fn discard(mut self) {
        drop(self.item.take());
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.item
            .as_ref()
            .unwrap_or_else(|| unreachable!("only discard and drop take it, and end the turn"))
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.item
            .as_mut()
            .unwrap_or_else(|| unreachable!("only discard and drop take it, and end the turn"))
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        if let Some(item) = self.item.take() {
            self.relay.idle.lock().push(item);
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

    fn merge(first: &Knowledge, second: &Knowledge) -> bool {
        first.borrow_mut().extend(second.borrow().iter());
        true
    }

    fn all_of(turn: Option<Turn<'_, Knowledge>>) -> Option<Vec<usize>> {
        turn.map(|turn| turn.borrow().iter().copied().collect())
    }

    #[test]
    fn what_one_learns_the_next_one_knows() {
        let relay = Relay::default();
        assert!(relay.take(merge).is_none());
        relay.give(knows(&[1]));
        relay.take(merge).unwrap().borrow_mut().insert(2);
        assert_eq!(all_of(relay.take(merge)), Some(vec![1, 2]));
    }

    #[test]
    fn who_comes_while_it_is_in_use_begins_anew_and_is_merged_later() {
        let relay = Relay::default();
        relay.give(knows(&[1]));
        let first = relay.take(merge).unwrap();
        assert!(relay.take(merge).is_none());
        relay.give(knows(&[2]));
        assert_eq!(all_of(relay.take(merge)), Some(vec![2]));
        drop(first);
        relay.give(knows(&[3]));
        assert_eq!(all_of(relay.take(merge)), Some(vec![1, 2, 3]));
        assert_eq!(relay.idle.lock().len(), 1);
    }

    #[test]
    fn what_cannot_be_merged_is_kept_and_the_next_user_goes_on_with_the_same() {
        let relay = Relay::default();
        relay.give(knows(&[1]));
        relay.give(knows(&[2]));
        for _ in 0..3 {
            assert_eq!(all_of(relay.take(|_, _| false)), Some(vec![2]));
        }
        let second = relay.take(|_, _| false);
        assert_eq!(all_of(relay.take(|_, _| false)), Some(vec![1]));
        drop(second);
        assert_eq!(all_of(relay.take(merge)), Some(vec![1, 2]));
    }

    #[test]
    fn what_is_given_up_does_not_come_back() {
        let relay = Relay::default();
        relay.give(knows(&[1]));
        relay.take(merge).unwrap().discard();
        assert!(relay.take(merge).is_none());
    }

    #[test]
    fn a_panic_of_its_user_or_of_a_merge_loses_nothing() {
        let relay = Relay::default();
        relay.give(knows(&[1]));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let turn = relay.take(merge).unwrap();
            turn.borrow_mut().insert(2);
            panic!("in a build");
        }));
        assert!(panicked.is_err());
        relay.give(knows(&[3]));
        relay.give(knows(&[4]));
        assert!(catch_unwind(AssertUnwindSafe(|| relay.take(|_, _| panic!("in merge")).is_some())).is_err());
        assert_eq!(all_of(relay.take(merge)), Some(vec![1, 2, 3, 4]));
    }

    /// Threads that never wait for each other lose nothing, and never is one used by two.
    #[test]
    fn many_threads_lose_nothing() {
        const THREADS: usize = 8;
        const TURNS: usize = 200;
        let relay = Relay::default();
        let start = Barrier::new(THREADS);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (relay, start) = (&relay, &start);
                scope.spawn(move || {
                    start.wait();
                    for turn in 0..TURNS {
                        match relay.take(merge) {
                            Some(held) => {
                                // Of two users, one would find it borrowed.
                                let mut held = held.borrow_mut();
                                std::thread::yield_now();
                                held.insert(thread * TURNS + turn);
                            }
                            None => relay.give(knows(&[thread * TURNS + turn])),
                        }
                    }
                });
            }
        });
        assert!(relay.idle.lock().len() <= THREADS);
        assert_eq!(all_of(relay.take(merge)), Some((0..THREADS * TURNS).collect()));
    }
}
