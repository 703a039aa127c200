//! The engines of one segment: the cache that calls look into, and what it is filled from.

use super::segment::Segment;
use super::values;
use crate::cache::{EngineCache, Key, Mode};
use crate::engine::Engine;
use crate::graph::PartialShape;
use crate::process::{Mutex, PerProcess};
use crate::profile::{Profile, Recorder, Strategy, profiles};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};

/// What identifies a node's segment and settings, and so its engines. Two models in one process may hold nodes of the same
/// name: by this they never get each other's engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    pub segment: [u8; 32],
    pub settings: [u8; 32],
    /// The hash of the segment that the conversion left on the node; `None` on nodes of older converters.
    pub node: Option<[u8; 32]>,
}

/// An engine that was read and not built.
pub struct Loaded {
    pub key: Key,
    pub profiles: Vec<Profile>,
    pub engine: Arc<dyn Engine>,
}

pub struct EngineSet {
    capacity: i64,
    /// Made by the first call: only a node knows its batch mode.
    cache: OnceLock<EngineCache<dyn Engine>>,
    /// What a file brought before the first call; `None` from then on.
    loaded: Mutex<Option<Vec<Loaded>>>,
    recorder: Mutex<Recorder>,
    /// Whether some engine asked for values.
    wants_values: AtomicBool,
    /// The profiles of plans that could not be used: what was built for them once is built for them again.
    remembered: Mutex<Vec<Profile>>,
    /// Whether profiles were made without recorded calls, or a plan's own profiles, to make them from.
    guessed: AtomicBool,
    /// The segment, as long as a build that waits holds it. A child that is forked while it is read reads its own.
    segment: PerProcess<parking_lot::Mutex<Weak<Segment>>>,
    /// The kernels that have used it, as far as they live.
    kernels: Mutex<Vec<Weak<()>>>,
    /// Whether a kernel has ever used it.
    was_used: AtomicBool,
}

/// What kernels make of an engine set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// None has used it yet.
    Never,
    /// Those that used it are gone.
    Before,
    /// One that has used it lives.
    Now,
}

impl EngineSet {
    pub fn new(capacity: i64) -> Self {
        EngineSet {
            capacity,
            cache: OnceLock::new(),
            loaded: Mutex::new(Some(Vec::new())),
            recorder: Mutex::default(),
            wants_values: AtomicBool::new(false),
            remembered: Mutex::default(),
            guessed: AtomicBool::new(false),
            segment: PerProcess::new(),
            kernels: Mutex::default(),
            was_used: AtomicBool::new(false),
        }
    }

    /// The cache; its first user fills it with the engines of the file and those of `more`, and others wait for that.
    pub fn cache(&self, mode: Mode, more: impl FnOnce() -> Option<Loaded>) -> &EngineCache<dyn Engine> {
        self.cache.get_or_init(|| {
            let cache = EngineCache::new(mode, self.capacity);
            let loaded = self.loaded.lock().take().unwrap_or_default();
            for one in loaded.into_iter().chain(more()) {
                // In explicit batch mode one engine has all profiles, and is cached under no shapes.
                let key = if mode == Mode::ImplicitBatch { one.key } else { Key::new() };
                self.note(&*one.engine);
                cache.insert_loaded(key, one.profiles, one.engine);
            }
            cache
        })
    }

    pub fn opened(&self) -> Option<&EngineCache<dyn Engine>> {
        self.cache.get()
    }

    /// The segment that the engines are built from: the one that a waiting build holds, else what `read` gives. The weights of a segment
    /// are so in memory once, however many of its builds wait.
    pub fn segment(&self, read: impl FnOnce() -> Result<Segment, String>) -> Result<Arc<Segment>, String> {
        // Who comes meanwhile waits: two readers would hold two copies.
        let mut held = self.segment.get().lock();
        if let Some(segment) = held.upgrade() {
            return Ok(segment);
        }
        let segment = Arc::new(read()?);
        *held = Arc::downgrade(&segment);
        Ok(segment)
    }

    /// Notes a kernel that uses this set, by what lives as long as it.
    pub fn used_by(&self, kernel: &Arc<()>) {
        self.was_used.store(true, Relaxed);
        let mut kernels = self.kernels.lock();
        kernels.retain(|one| one.strong_count() > 0);
        kernels.push(Arc::downgrade(kernel));
    }

    /// Whether a kernel uses it, or has.
    pub fn usage(&self) -> Use {
        match self.kernels.lock().iter().any(|one| one.strong_count() > 0) {
            true => Use::Now,
            false if self.was_used.load(Relaxed) => Use::Before,
            false => Use::Never,
        }
    }

    /// Keeps an engine of a file for the first call. False where calls have come already: they have what they need.
    pub fn keep(&self, loaded: Loaded) -> bool {
        match self.loaded.lock().as_mut() {
            Some(list) => {
                list.push(loaded);
                true
            }
            None => false,
        }
    }

    pub fn remember(&self, profiles: Vec<Profile>) {
        *self.remembered.lock() = profiles;
    }

    /// Records a call for the profiles to come.
    pub fn record(&self, shapes: &[Vec<i64>], values: &[Option<Vec<i64>>]) -> Result<(), String> {
        self.recorder.lock().record(shapes, values).map(drop).map_err(|e| e.to_string())
    }

    /// Whether an engine here has profiles that no recorded call asked for: `build()` was not called, or what it made was lost.
    pub fn guessed(&self) -> bool {
        self.guessed.load(Relaxed)
    }

    /// The profiles of an engine in explicit batch mode: from the recorded calls, else those of a plan that was lost, else
    /// from this call's shapes and those of `lost`, which engines were saved for whose profiles are not known. The values of inputs that
    /// are no `shape_inputs` are left out.
    pub fn profiles(
        &self,
        strategy: Strategy,
        known: &[PartialShape],
        call: &[Vec<i64>],
        values: &[Option<Vec<i64>>],
        shape_inputs: &[bool],
        lost: &[Key],
    ) -> Vec<Profile> {
        let mut recorder = Recorder::new();
        for mut one in self.recorder.lock().recorded().iter().cloned() {
            for (i, value) in one.values.iter_mut().enumerate() {
                if !shape_inputs.get(i).copied().unwrap_or(false) {
                    *value = None;
                }
            }
            // Calls that differ in nothing else are one; they were recorded before, so they fit each other.
            let _ = recorder.record(&one.shapes, &one.values);
        }
        if !recorder.is_empty() {
            return profiles(strategy, recorder.recorded(), known);
        }
        let remembered = self.remembered.lock();
        if !remembered.is_empty() {
            return remembered.clone();
        }
        self.guessed.store(true, Relaxed);
        // The values of a call of that time are lost for good.
        if !shape_inputs.contains(&true) {
            let fits = |shapes: &&Key| shapes.len() == known.len() && shapes.iter().zip(known).all(|(shape, known)| known.admits(shape));
            for shapes in std::iter::once(call).chain(lost.iter().filter(fits).map(Vec::as_slice)) {
                // Ranks may differ where the graph leaves them open: such a one is left out.
                let _ = recorder.record(shapes, &[]);
            }
            if recorder.recorded().len() > 1 {
                return profiles(strategy, recorder.recorded(), known);
            }
        }
        vec![Profile {
            values: values::of_call(values, shape_inputs, call.len()),
            ..Profile::exactly(call, &[])
        }]
    }

    /// The inputs whose values a look-up needs, by the engines that there are; empty where it needs none.
    pub fn wanted_values(&self) -> Vec<bool> {
        let Some(cache) = self.cache.get() else { return Vec::new() };
        if !self.wants_values.load(Relaxed) {
            return Vec::new();
        }
        let mut wanted = Vec::new();
        for entry in cache.entries() {
            let inputs = entry.engine.shape_inputs();
            if wanted.len() < inputs.len() {
                wanted.resize(inputs.len(), false);
            }
            for (wanted, input) in wanted.iter_mut().zip(inputs) {
                *wanted |= input;
            }
        }
        wanted
    }

    /// Says that an engine asks for values: from now on [`Self::wanted_values`] looks for it.
    pub fn note(&self, engine: &dyn Engine) {
        if !engine.shape_inputs().is_empty() {
            self.wants_values.store(true, Relaxed);
        }
    }

    /// All engines, used or not yet: key, profiles, engine; the least recently used first.
    pub fn all(&self) -> Vec<Loaded> {
        match self.cache.get() {
            Some(cache) => cache
                .entries()
                .iter()
                .map(|e| Loaded {
                    key: e.key.clone(),
                    profiles: e.profiles.clone(),
                    engine: e.engine.clone(),
                })
                .collect(),
            None => self
                .loaded
                .lock()
                .iter()
                .flatten()
                .map(|l| Loaded {
                    key: l.key.clone(),
                    profiles: l.profiles.clone(),
                    engine: l.engine.clone(),
                })
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(strategy: Strategy, lost: &[Key], shape_inputs: &[bool]) -> (Vec<String>, bool) {
        let set = EngineSet::new(1);
        let known = [PartialShape::from_dims(&[-1, 8])];
        let made = set.profiles(strategy, &known, &[vec![4, 8]], &[None], shape_inputs, lost);
        (made.iter().map(ToString::to_string).collect(), set.guessed())
    }

    #[test]
    fn without_recorded_calls_profiles_hold_the_call_and_what_was_lost() {
        let lost = [vec![vec![16, 8]]];
        assert_eq!(made(Strategy::Range, &[], &[]), (vec!["[4, 8]".to_string()], true));
        assert_eq!(made(Strategy::Range, &lost, &[]).0, ["[4-16, 8]"]);
        assert_eq!(made(Strategy::Optimal, &lost, &[]).0, ["[4, 8]", "[16, 8]"]);
        assert_eq!(made(Strategy::ImplicitBatchModeCompatible, &lost, &[]).0, ["[1-4, 8]", "[1-16, 8]"]);
    }

    #[test]
    fn what_was_lost_by_another_node_is_left_out() {
        let others = [vec![vec![16, 7]], vec![vec![16]], vec![vec![16, 8], vec![16, 8]], vec![]];
        assert_eq!(made(Strategy::Range, &others, &[]).0, ["[4, 8]"]);
        // Nobody knows the values that shapes were made of.
        assert_eq!(made(Strategy::Range, &[vec![vec![16, 8]]], &[true]).0, ["[4, 8]"]);
    }

    #[test]
    fn recorded_calls_and_the_profiles_of_a_lost_plan_come_first() {
        let set = EngineSet::new(1);
        let known = [PartialShape::from_dims(&[-1, 8])];
        let lost = [vec![vec![16, 8]]];
        set.remember(vec![Profile::exactly(&[vec![2, 8]], &[])]);
        let of = |set: &EngineSet| set.profiles(Strategy::Range, &known, &[vec![4, 8]], &[None], &[], &lost);
        assert_eq!(of(&set)[0].to_string(), "[2, 8]");
        set.record(&[vec![3, 8]], &[None]).unwrap();
        assert_eq!(of(&set)[0].to_string(), "[3, 8]");
        assert!(!set.guessed());
    }
}
