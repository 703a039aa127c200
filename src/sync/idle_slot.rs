//! A slot for at most one idle, expensive object, such as a TensorRT builder.
//!
//! The last user leaves it here. The next one takes it, or it is dropped after a timeout. Nobody waits: a user who finds the slot empty
//! makes an object of its own. The slot has no thread, so somebody has to call [`IdleSlot::look`] when the time is over.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// At most one idle object, until its time is over.
pub struct IdleSlot<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    idle: Option<(T, Instant)>,
    /// Whether somebody looks after what is idle.
    tended: bool,
    closed: bool,
}

impl<T> Default for IdleSlot<T> {
    fn default() -> Self {
        IdleSlot {
            state: Mutex::new(State {
                idle: None,
                tended: false,
                closed: false,
            }),
        }
    }
}

impl<T> IdleSlot<T> {
    /// What was left here, to be used by the caller alone.
    pub fn take(&self) -> Option<T> {
        self.state.lock().idle.take().map(|(thing, _)| thing)
    }

    /// Leaves `thing` here until `until`; what is here already goes. After [`IdleSlot::close`] `thing` goes, too, with no destructor.
    pub fn leave(&self, thing: T, until: Instant) {
        let mut state = self.state.lock();
        if state.closed {
            return std::mem::forget(thing);
        }
        let before = state.idle.replace((thing, until));
        drop(state);
        drop(before);
    }

    /// Whether there is something here that nobody looks after yet. It is the caller's then, who looks until there is nothing more.
    #[must_use]
    pub fn look_after(&self) -> bool {
        let mut state = self.state.lock();
        state.idle.is_some() && !std::mem::replace(&mut state.tended, true)
    }

    /// Lets go of what is here if its time is over by `now`. Returns how long to wait for the next look; `None` where there is nothing left
    /// to look after, until [`IdleSlot::look_after`] says so again.
    ///
    /// The destructor runs under the lock: [`IdleSlot::close`] waits for it.
    pub fn look(&self, now: Instant) -> Option<Duration> {
        let mut state = self.state.lock();
        if let Some((_, until)) = &state.idle
            && *until > now
        {
            return Some(*until - now);
        }
        state.idle = None;
        state.tended = false;
        None
    }

    /// For the end of the process: no destructor runs here any more once this has returned.
    pub fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        std::mem::forget(state.idle.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    struct Counted(u32, Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_add(1, SeqCst);
        }
    }

    fn three() -> (IdleSlot<Counted>, impl Fn(u32) -> Counted, Arc<AtomicUsize>) {
        let gone = Arc::new(AtomicUsize::new(0));
        let count = gone.clone();
        (IdleSlot::default(), move |n| Counted(n, count.clone()), gone)
    }

    #[test]
    fn what_is_left_is_taken_once() {
        let (linger, thing, gone) = three();
        assert!(linger.take().is_none());
        linger.leave(thing(1), Instant::now());
        assert_eq!(linger.take().map(|thing| thing.0), Some(1));
        assert!(linger.take().is_none());
        assert_eq!(gone.load(SeqCst), 1);
    }

    #[test]
    fn the_last_one_stays() {
        let (linger, thing, gone) = three();
        let until = Instant::now() + Duration::from_secs(60);
        linger.leave(thing(1), until);
        linger.leave(thing(2), until);
        assert_eq!(gone.load(SeqCst), 1);
        assert_eq!(linger.take().map(|thing| thing.0), Some(2));
    }

    #[test]
    fn it_goes_when_its_time_is_over() {
        let (linger, thing, gone) = three();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert!(!linger.look_after(), "there is nothing");
        linger.leave(thing(1), now + second);
        assert!(linger.look_after());
        assert!(!linger.look_after(), "somebody does already");
        assert_eq!(linger.look(now), Some(second));
        // Used in between: its time begins anew.
        let used = linger.take().expect("it is there");
        linger.leave(used, now + 3 * second);
        assert!(!linger.look_after());
        assert_eq!(linger.look(now + second), Some(2 * second));
        assert_eq!(gone.load(SeqCst), 0);
        assert_eq!(linger.look(now + 3 * second), None);
        assert_eq!(gone.load(SeqCst), 1);
        linger.leave(thing(2), now);
        assert!(linger.look_after(), "who looked has gone");
    }

    #[test]
    fn while_it_is_in_use_there_is_nothing_to_look_after() {
        let (linger, thing, _) = three();
        let now = Instant::now();
        linger.leave(thing(1), now);
        assert!(linger.look_after());
        let used = linger.take().expect("it is there");
        assert_eq!(linger.look(now), None);
        linger.leave(used, now);
        assert!(linger.look_after());
    }

    #[test]
    fn after_the_end_no_destructor_runs() {
        let (linger, thing, gone) = three();
        let until = Instant::now() + Duration::from_secs(60);
        linger.leave(thing(1), until);
        linger.close();
        linger.leave(thing(2), until);
        assert!(!linger.look_after());
        assert!(linger.take().is_none());
        assert_eq!(gone.load(SeqCst), 0);
    }
}
