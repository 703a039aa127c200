//! Things that learn from being used: timing caches. One user at a time has one, and hands on what it has learnt.
//!
//! Beside a [pool](super::pool), whose things are all alike: here nobody waits. Whoever finds nothing that is idle begins anew, and
//! whoever takes one is told what all the idle ones know. They stay, for users that come at once.

use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};

/// Those that nobody uses now. There are at most twice as many as there were users at once: a new one comes only where none is idle,
/// and a user has one, and a second one while he is told what that knows.
pub struct Relay<T> {
    /// The one that was used last is at the end.
    idle: Mutex<VecDeque<T>>,
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
    /// The one that was used last, told by `tell(it, other)` what each of the others knows that are idle; `None` where none is.
    ///
    /// No lock is held while it is told, and one other at a time is taken out for it: whoever comes meanwhile finds the rest.
    pub fn take(&self, mut tell: impl FnMut(&T, &T)) -> Option<Turn<'_, T>> {
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
            self.relay.idle.lock().push_back(item);
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

    fn all_of(turn: Option<Turn<'_, Knowledge>>) -> Option<Vec<usize>> {
        turn.map(|turn| turn.borrow().iter().copied().collect())
    }

    #[test]
    fn what_one_learns_the_next_one_knows() {
        let relay = Relay::default();
        assert!(relay.take(tell).is_none());
        relay.give(knows(&[1]));
        relay.take(tell).unwrap().borrow_mut().insert(2);
        assert_eq!(all_of(relay.take(tell)), Some(vec![1, 2]));
    }

    #[test]
    fn who_comes_while_all_are_in_use_begins_anew_and_the_next_ones_are_told() {
        let relay = Relay::default();
        relay.give(knows(&[1]));
        let first = relay.take(tell).unwrap();
        assert!(relay.take(tell).is_none());
        relay.give(knows(&[2]));
        assert_eq!(all_of(relay.take(tell)), Some(vec![2]));
        drop(first);
        relay.give(knows(&[3]));
        // Of two at once, each knows what those knew that were idle as it came.
        let first = relay.take(tell);
        let second = relay.take(tell);
        assert_eq!(all_of(first), Some(vec![1, 2, 3]));
        assert_eq!(all_of(second), Some(vec![1, 2]));
        assert_eq!(relay.idle.lock().len(), 3);
    }

    #[test]
    fn users_that_follow_each_other_go_on_with_the_same() {
        let relay = Relay::default();
        for number in 1..=3 {
            relay.give(knows(&[number]));
        }
        for _ in 0..3 {
            assert_eq!(all_of(relay.take(nothing)), Some(vec![3]));
        }
        let third = relay.take(nothing);
        assert_eq!(all_of(relay.take(nothing)), Some(vec![2]));
        drop(third);
        assert_eq!(all_of(relay.take(tell)), Some(vec![1, 2, 3]));
    }

    #[test]
    fn what_is_given_up_does_not_come_back() {
        let relay = Relay::default();
        relay.give(knows(&[1]));
        relay.take(tell).unwrap().discard();
        assert!(relay.take(tell).is_none());
    }

    #[test]
    fn a_panic_of_its_user_or_while_it_is_told_loses_nothing() {
        let relay = Relay::default();
        relay.give(knows(&[1]));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let turn = relay.take(tell).unwrap();
            turn.borrow_mut().insert(2);
            panic!("in a build");
        }));
        assert!(panicked.is_err());
        relay.give(knows(&[3]));
        relay.give(knows(&[4]));
        assert!(catch_unwind(AssertUnwindSafe(|| relay.take(|_, _| panic!("while it is told")).is_some())).is_err());
        assert_eq!(all_of(relay.take(tell)), Some(vec![1, 2, 3, 4]));
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
                        match relay.take(tell) {
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
        assert!(relay.idle.lock().len() <= 2 * THREADS);
        assert_eq!(all_of(relay.take(tell)), Some((0..THREADS * TURNS).collect()));
    }
}
