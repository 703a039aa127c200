//! The engines of one segment: the cache that calls look into, and what it is filled from.

use super::values;
use crate::cache::{EngineCache, Key, Mode};
use crate::engine::Engine;
use crate::graph::PartialShape;
use crate::profile::{Profile, Recorder, Strategy, profiles};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};

/// What identifies a node's segment and settings, and so its engines. Two models in one process may hold nodes of the same
/// name: by this they never get each other's engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub segment: [u8; 32],
    pub settings: [u8; 32],
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
    /// The kernels that have used it, as far as they live.
    kernels: Mutex<Vec<Weak<()>>>,
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
            kernels: Mutex::default(),
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

    /// Notes a kernel that uses this set, by what lives as long as it.
    pub fn used_by(&self, kernel: &Arc<()>) {
        let mut kernels = self.kernels.lock();
        kernels.retain(|one| one.strong_count() > 0);
        kernels.push(Arc::downgrade(kernel));
    }

    /// Whether a kernel that has used it lives.
    pub fn used(&self) -> bool {
        self.kernels.lock().iter().any(|one| one.strong_count() > 0)
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

    /// The profiles of an engine in explicit batch mode: from the recorded calls, else those of a plan that was lost, else
    /// this call's shapes alone. The values of inputs that are no `shape_inputs` are left out.
    pub fn profiles(
        &self,
        strategy: Strategy,
        known: &[PartialShape],
        call: &[Vec<i64>],
        values: &[Option<Vec<i64>>],
        shape_inputs: &[bool],
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
        match remembered.is_empty() {
            false => remembered.clone(),
            true => vec![Profile {
                values: values::of_call(values, shape_inputs, call.len()),
                ..Profile::exactly(call, &[])
            }],
        }
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
