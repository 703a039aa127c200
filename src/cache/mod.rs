//! The engines of one TRTEngineOp resource: which there are, which one serves a call, and who builds a missing one.
//!
//! One lock guards the whole state, and is held only for look-ups and insertions in memory: never while an engine is built,
//! run, waited for or dropped.

mod flight;
mod stats;
#[cfg(test)]
mod tests;

pub use stats::Stats;

use crate::process::Mutex;
use crate::profile::{Profile, select};
use flight::Flight;
use lru::LruCache;
use stats::Counters;
use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The input shapes that an engine was made for.
pub type Key = Vec<Vec<i64>>;

/// Maximum number of failed keys to remember; the least recently used one is dropped first.
pub const REMEMBERED_FAILURES: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Which calls an engine serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those with the key's sizes in all dimensions but the first, and at most its batch size.
    ImplicitBatch,
    /// Those that one of its profiles holds.
    ExplicitBatch,
}

/// What a call brings: its input shapes, and the values of those inputs that may be shape tensors (which may be fewer).
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    pub shapes: &'a [Vec<i64>],
    pub values: &'a [Option<Vec<i64>>],
}

impl<'a> Lookup<'a> {
    pub fn shapes(shapes: &'a [Vec<i64>]) -> Self {
        Lookup { shapes, values: &[] }
    }
}

/// What the cache has for a call.
pub enum Found<E: ?Sized> {
    /// Run `profile` of `engine`.
    Ready {
        engine: Arc<E>,
        profile: usize,
    },
    /// No engine, and none will be built: an earlier build failed, with this reason.
    Failed(Arc<str>),
    Missing,
}

/// What the cache has for a call that does not wait.
pub enum Begin<E: ?Sized> {
    /// Run `profile` of `engine`.
    Ready { engine: Arc<E>, profile: usize },
    /// No engine, and none will be built: an earlier build failed, with this reason.
    Failed(Arc<str>),
    /// Somebody else builds it.
    Building,
    /// The caller is to build it.
    Start(Ticket<E>),
}

/// The duty to build an engine. Dropped without [`EngineCache::finish`], it goes to the next call that asks for the key.
#[must_use = "those who ask for the same key meanwhile wait for the build"]
pub struct Ticket<E: ?Sized> {
    key: Key,
    flight: Arc<Flight<E>>,
}

impl<E: ?Sized> Ticket<E> {
    /// How much the engine is wanted: the calls that have asked for it so far, and far more where somebody waits for it.
    pub fn wanted(&self) -> u64 {
        self.flight.wanted()
    }
}

impl<E: ?Sized> Drop for Ticket<E> {
    fn drop(&mut self) {
        self.flight.give_up("the build was given up before it began");
    }
}

/// What a build gives.
pub struct Built<E: ?Sized> {
    pub engine: Arc<E>,
    pub profiles: Vec<Profile>,
}

/// An engine for a call.
pub struct Hit<E: ?Sized> {
    pub engine: Arc<E>,
    /// The profile to run.
    pub profile: usize,
    /// Whether it was built by this very call.
    pub built: bool,
}

impl<E: ?Sized> fmt::Debug for Found<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Ready { profile, .. } => write!(f, "Ready(profile {profile})"),
            Found::Failed(reason) => write!(f, "Failed({reason:?})"),
            Found::Missing => f.write_str("Missing"),
        }
    }
}

impl<E: ?Sized> fmt::Debug for Hit<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hit")
            .field("profile", &self.profile)
            .field("built", &self.built)
            .finish_non_exhaustive()
    }
}

/// One engine in the cache.
pub struct Entry<E: ?Sized> {
    pub key: Key,
    pub profiles: Vec<Profile>,
    pub engine: Arc<E>,
    /// Entries are numbered as they come, so that a choice between several does not hang on the order of look-ups.
    number: u64,
}

/// An LRU cache of engines with single-flight builds.
///
/// An evicted engine lives on until the last [`Arc`] to it is gone, so until its last run ends.
pub struct EngineCache<E: ?Sized> {
    mode: Mode,
    capacity: NonZeroUsize,
    state: Mutex<State<E>>,
    counters: Counters,
}

struct State<E: ?Sized> {
    engines: LruCache<Key, Arc<Entry<E>>>,
    failures: LruCache<Key, Arc<str>>,
    flights: HashMap<Key, Arc<Flight<E>>>,
    next_number: u64,
}

/// What the state says to a call that may build.
enum Plan<E: ?Sized> {
    Serve(Arc<E>, usize),
    Refuse(Arc<str>),
    Wait(Arc<Flight<E>>),
    Build(Arc<Flight<E>>),
}

impl<E: ?Sized> EngineCache<E> {
    /// `capacity` is the attribute `max_cached_engines_count`; what is below 1 counts as 1.
    pub fn new(mode: Mode, capacity: i64) -> Self {
        let capacity = usize::try_from(capacity)
            .ok()
            .and_then(NonZeroUsize::new)
            .unwrap_or(NonZeroUsize::MIN);
        EngineCache {
            mode,
            capacity,
            state: Mutex::new(State {
                // Sparse: the attribute is the model's word, and no reason to reserve memory.
                engines: LruCache::sparse(capacity),
                failures: LruCache::sparse(REMEMBERED_FAILURES),
                flights: HashMap::new(),
                next_number: 0,
            }),
            counters: Counters::default(),
        }
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    pub fn capacity(&self) -> usize {
        self.capacity.get()
    }

    /// The engine for a call where there is one, which counts as a hit. A call that misses is counted by what it asks next.
    pub fn hit(&self, call: &Lookup<'_>) -> Option<Hit<E>> {
        let (engine, profile) = self.state.lock().serving(self.mode, call)?;
        self.counters.answered(true);
        Some(Hit {
            engine,
            profile,
            built: false,
        })
    }

    /// What there is for a call, without building. For calls that must not build, instead of [`Self::get_or_build`]: either
    /// counts a hit or a miss.
    pub fn lookup(&self, call: &Lookup<'_>) -> Found<E> {
        let mut state = self.state.lock();
        let found = match state.serving(self.mode, call) {
            Some((engine, profile)) => Found::Ready { engine, profile },
            None => match state.failures.get(call.shapes) {
                Some(reason) => Found::Failed(reason.clone()),
                None => Found::Missing,
            },
        };
        drop(state);
        self.counters.answered(matches!(found, Found::Ready { .. }));
        found
    }

    /// As [`Self::get_or_build_as`] under the call's own shapes.
    pub fn get_or_build(&self, call: &Lookup<'_>, build: impl FnOnce() -> Result<Built<E>, String>) -> Result<Hit<E>, Arc<str>> {
        self.get_or_build_as(call.shapes, call, build)
    }

    /// The engine for a call; where there is none, `build` makes one, which is kept under `key`.
    ///
    /// Of the calls that miss under one key at the same time, one runs `build` and the others wait for what it gives; calls
    /// of other keys go on. An error or a panic in `build` becomes the reason for all of them, is remembered, and is what later
    /// calls of that key get at once. Profiles that are shared by many shapes (explicit batch) should be built under one key,
    /// so that they are built once; a call that the engine under its key does not serve gets an error that is not remembered.
    ///
    /// `build` must not ask this cache for the same key: it would wait for itself.
    pub fn get_or_build_as(
        &self,
        key: &[Vec<i64>],
        call: &Lookup<'_>,
        build: impl FnOnce() -> Result<Built<E>, String>,
    ) -> Result<Hit<E>, Arc<str>> {
        let plan = self.state.lock().plan(self.mode, key, call);
        self.counters.answered(matches!(plan, Plan::Serve(..)));
        let (flight, built) = match plan {
            Plan::Serve(engine, profile) => {
                return Ok(Hit {
                    engine,
                    profile,
                    built: false,
                });
            }
            Plan::Refuse(reason) => return Err(reason),
            Plan::Wait(flight) => {
                self.counters.waited();
                flight.await_by_one();
                (flight, false)
            }
            Plan::Build(flight) => {
                let outcome = catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|panic| Err(panic_message(panic.as_ref())));
                self.land(key, &flight, outcome);
                (flight, true)
            }
        };
        let entry = flight.wait()?;
        match entry.serves(self.mode, call) {
            Some(profile) => Ok(Hit {
                engine: entry.engine.clone(),
                profile,
                built,
            }),
            None => Err(unserved()),
        }
    }

    /// As [`Self::get_or_build_as`] for callers that do not wait: where there is no engine and none is being built, whoever gets
    /// [`Begin::Start`] has to build one and to bring the ticket back to [`Self::finish`]; all others are told that a build goes on.
    pub fn begin(&self, key: &[Vec<i64>], call: &Lookup<'_>) -> Begin<E> {
        let plan = self.state.lock().plan(self.mode, key, call);
        self.counters.answered(matches!(plan, Plan::Serve(..)));
        match plan {
            Plan::Serve(engine, profile) => Begin::Ready { engine, profile },
            Plan::Refuse(reason) => Begin::Failed(reason),
            Plan::Wait(flight) => {
                flight.ask();
                Begin::Building
            }
            Plan::Build(flight) => Begin::Start(Ticket { key: key.to_vec(), flight }),
        }
    }

    /// Builds what [`Self::begin`] gave a ticket for.
    pub fn finish(&self, ticket: Ticket<E>, build: impl FnOnce() -> Result<Built<E>, String>) {
        let outcome = catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|panic| Err(panic_message(panic.as_ref())));
        self.land(&ticket.key, &ticket.flight, outcome);
    }

    /// Gives back what [`Self::begin`] gave a ticket for: nobody builds it, which is no failure, and the next call that asks for the key
    /// begins anew. Those who wait get `why`.
    pub fn withdraw(&self, ticket: Ticket<E>, why: &str) {
        let mut state = self.state.lock();
        let same = |flight: &Arc<Flight<E>>| Arc::ptr_eq(flight, &ticket.flight);
        if state.flights.get(&ticket.key).is_some_and(same) {
            state.flights.remove(&ticket.key);
        }
        drop(state);
        self.counters.dropped();
        ticket.flight.give_up(why);
    }

    /// Waits until the builds that are under way now have ended, whoever does them.
    pub fn wait_for_builds(&self) {
        let flights: Vec<_> = self.state.lock().flights.values().cloned().collect();
        for flight in &flights {
            flight.await_by_one();
        }
        for flight in flights {
            // A failure is remembered, and told to the calls that need the engine.
            let _ = flight.wait();
        }
    }

    /// Puts in an engine that was not built but read from a file. One of the same key is replaced; at capacity, the least
    /// recently used one goes.
    pub fn insert_loaded(&self, key: Key, profiles: Vec<Profile>, engine: Arc<E>) {
        let (_, gone) = self.state.lock().insert(key, profiles, engine);
        self.counters.loaded();
        self.count_eviction(gone);
    }

    /// The engines, the least recently used first: [`Self::insert_loaded`] in this order makes an equal cache. It counts as
    /// no use.
    pub fn entries(&self) -> Vec<Arc<Entry<E>>> {
        self.state.lock().engines.iter().rev().map(|(_, entry)| entry.clone()).collect()
    }

    /// Whether a build for this key failed, which is not tried again.
    pub fn failed(&self, key: &[Vec<i64>]) -> bool {
        self.state.lock().failures.peek(key).is_some()
    }

    /// How many engines there are; failures are not counted.
    pub fn len(&self) -> usize {
        self.state.lock().engines.len()
    }

    /// Whether there is no engine.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The counters now.
    pub fn stats(&self) -> Stats {
        let (engines, remembered_failures) = {
            let state = self.state.lock();
            (state.engines.len(), state.failures.len())
        };
        self.counters.snapshot(engines, remembered_failures)
    }

    /// Enters what a build gave, then lets those who wait for it go on.
    fn land(&self, key: &[Vec<i64>], flight: &Flight<E>, outcome: Result<Built<E>, String>) {
        // Counted before the waiters go on, so that whoever has an answer finds it counted.
        let mut gone = None;
        let landed = match outcome {
            Ok(built) => {
                self.counters.built();
                let mut state = self.state.lock();
                state.flights.remove(key);
                let (entry, evicted) = state.insert(key.to_vec(), built.profiles, built.engine);
                drop(state);
                gone = evicted;
                Ok(entry)
            }
            Err(reason) => {
                self.counters.failed();
                let reason: Arc<str> = reason.into();
                let mut state = self.state.lock();
                state.flights.remove(key);
                state.failures.push(key.to_vec(), reason.clone());
                Err(reason)
            }
        };
        flight.land(landed);
        self.count_eviction(gone);
    }

    /// Takes the evicted entry, if any, and drops it here: outside of the lock, for it may be the engine's end.
    fn count_eviction(&self, gone: Option<Gone<E>>) {
        if let Some(Gone::Evicted(_)) = gone {
            self.counters.evicted();
        }
    }
}

/// An entry that made room.
enum Gone<E: ?Sized> {
    /// For another key.
    Evicted(#[expect(dead_code, reason = "held so that the engine is dropped outside of the lock")] Arc<Entry<E>>),
    /// For a newer engine of its key.
    Replaced(#[expect(dead_code, reason = "held so that the engine is dropped outside of the lock")] Arc<Entry<E>>),
}

impl<E: ?Sized> State<E> {
    /// The engine for a call, which counts as used from now on.
    ///
    /// An entry under the call's own shapes comes first. Else, implicit batch: the smallest batch size that is large enough;
    /// explicit batch: the entry that came first. So it depends only on which engines there are.
    fn serving(&mut self, mode: Mode, call: &Lookup<'_>) -> Option<(Arc<E>, usize)> {
        if let Some(entry) = self.engines.peek(call.shapes)
            && let Some(profile) = entry.serves(mode, call)
        {
            let engine = entry.engine.clone();
            self.engines.promote(call.shapes);
            return Some((engine, profile));
        }
        let (entry, profile) = self
            .engines
            .iter()
            .filter_map(|(_, entry)| Some((entry, entry.serves(mode, call)?)))
            .min_by_key(|(entry, _)| (entry.batch(mode), entry.number))?;
        let entry = entry.clone();
        self.engines.promote(&entry.key);
        Some((entry.engine.clone(), profile))
    }

    fn plan(&mut self, mode: Mode, key: &[Vec<i64>], call: &Lookup<'_>) -> Plan<E> {
        if let Some((engine, profile)) = self.serving(mode, call) {
            return Plan::Serve(engine, profile);
        }
        if let Some(reason) = self.failures.get(key) {
            return Plan::Refuse(reason.clone());
        }
        if self.engines.contains(key) {
            // Built, and not for this call: to build it again would change nothing.
            return Plan::Refuse(unserved());
        }
        if let Some(flight) = self.flights.get(key).filter(|flight| !flight.is_given_up()) {
            return Plan::Wait(flight.clone());
        }
        let flight = Arc::new(Flight::new());
        self.flights.insert(key.to_vec(), flight.clone());
        Plan::Build(flight)
    }

    fn insert(&mut self, key: Key, profiles: Vec<Profile>, engine: Arc<E>) -> (Arc<Entry<E>>, Option<Gone<E>>) {
        let entry = Arc::new(Entry {
            key: key.clone(),
            profiles,
            engine,
            number: self.next_number,
        });
        self.next_number += 1;
        self.failures.pop(&key);
        let gone = self.engines.push(key, entry.clone()).map(|(key, old)| {
            if key == entry.key {
                Gone::Replaced(old)
            } else {
                Gone::Evicted(old)
            }
        });
        (entry, gone)
    }
}

impl<E: ?Sized> Entry<E> {
    /// The profile with which the engine serves a call; `None` where it does not.
    fn serves(&self, mode: Mode, call: &Lookup<'_>) -> Option<usize> {
        match mode {
            Mode::ImplicitBatch => holds_batch(&self.key, call.shapes).then_some(0),
            Mode::ExplicitBatch => select(&self.profiles, call.shapes, call.values),
        }
    }

    /// What implicit batch mode chooses by, the smallest first.
    fn batch(&self, mode: Mode) -> i64 {
        match mode {
            Mode::ImplicitBatch => self.key.first().and_then(|shape| shape.first()).copied().unwrap_or(0),
            Mode::ExplicitBatch => 0,
        }
    }
}

/// Whether an engine for `key` serves `shapes` in implicit batch mode: every input has the key's sizes from the second
/// dimension on, and a batch size of at most the key's.
fn holds_batch(key: &[Vec<i64>], shapes: &[Vec<i64>]) -> bool {
    key.len() == shapes.len()
        && key
            .iter()
            .zip(shapes)
            .all(|(made, asked)| match (made.split_first(), asked.split_first()) {
                (Some((made_batch, made)), Some((asked_batch, asked))) => asked_batch <= made_batch && made == asked,
                (None, None) => true,
                _ => false,
            })
}

fn unserved() -> Arc<str> {
    Arc::from("no profile of the engine holds the input shapes")
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the build panicked: {}", said.unwrap_or("without a message"))
}
