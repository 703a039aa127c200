//! What all instances of one engine on one device share: the cache of engines, the recorded shapes, the engines read
//! from a file, and the counters.

use super::asset_file::{self, ReadError};
use super::bare;
use super::engines::{EngineSet, Identity, Loaded, Use};
use super::fallback::{Fallbacks, Kind};
use super::host_time::{HostTime, Times};
use super::own_engines;
use super::owners::Owners;
use super::said::{Budget, Nth, Topic};
use crate::cache::{EngineCache, Key, Stats};
use crate::engine::asset::{AssetError, EngineInstance};
use crate::engine::plan::{Plan, PlanError};
use crate::engine::{Backend, Engine, EngineError, Gpu, Usage, backend_for};
use crate::fault::{self, Point};
use crate::plain::plain;
use crate::process::Mutex;
use crate::tf::{Code, Status};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Weak};

pub struct Resource {
    name: String,
    device: String,
    capacity: i64,
    /// Whether TensorFlow has given it up: calls under way keep it alive, and those to come are for the next of its name.
    pub ended: AtomicBool,
    /// Nearly always one: two where models that do not know of each other name their engines alike.
    sets: Mutex<BTreeMap<Identity, Arc<EngineSet>>>,
    owners: Mutex<Owners>,
    /// What sets had counted that are gone.
    ended_sets: Mutex<Stats>,
    pub fallbacks: Fallbacks,
    pub engine_calls: AtomicU64,
    pub graph_launches: AtomicU64,
    /// Engines whose plan the cache on disk had.
    pub disk_engine_hits: AtomicU64,
    pub host_time: HostTime,
    rejected_plans: AtomicU64,
    /// What engines were saved for that cannot be used here.
    lost: Mutex<Vec<Key>>,
    told: Mutex<Told>,
    /// The lines that it may write to the log.
    budget: Mutex<Budget>,
    /// Whether a file says which model it is of.
    has_file: AtomicBool,
}

/// What was said of a resource's engines, beside why calls run natively.
#[derive(Default)]
struct Told {
    rejected: Vec<String>,
    notes: Vec<String>,
}

/// Texts of each kind that are kept.
const MOST_TOLD: usize = 32;

/// Shapes of lost engines that are kept: a cache of engines is seldom larger.
const MOST_LOST: usize = 1024;

static RESOURCES: Mutex<Vec<Weak<Resource>>> = Mutex::new(Vec::new());

/// What resources that are gone had counted, so that the sums never fall.
static ENDED: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());

static ENDED_TIMES: LazyLock<Mutex<Times>> = LazyLock::new(Mutex::default);

/// Counters that tell what is there now, and not what has happened: they end with their resource.
const CURRENT: [&str; 5] = ["engines", "remembered_failures", "contexts", "context_waits", "graphs"];

impl Drop for Resource {
    fn drop(&mut self) {
        let counters = self.counters();
        ENDED_TIMES.lock().add(&self.host_time.snapshot());
        let mut ended = ENDED.lock();
        for (name, n) in counters {
            *ended.entry(name.to_string()).or_default() += if CURRENT.contains(&name) { 0 } else { n };
        }
    }
}

impl Resource {
    /// `capacity` is the attribute max_cached_engines_count of whoever comes first.
    pub fn new(name: &str, device: &str, capacity: i64) -> Arc<Resource> {
        let resource = Arc::new(Resource {
            name: name.to_string(),
            device: device.to_string(),
            capacity,
            ended: AtomicBool::new(false),
            sets: Mutex::default(),
            owners: Mutex::default(),
            ended_sets: Mutex::default(),
            fallbacks: Fallbacks::default(),
            engine_calls: AtomicU64::new(0),
            graph_launches: AtomicU64::new(0),
            disk_engine_hits: AtomicU64::new(0),
            host_time: HostTime::default(),
            rejected_plans: AtomicU64::new(0),
            lost: Mutex::default(),
            told: Mutex::default(),
            has_file: AtomicBool::new(false),
            budget: Mutex::new(Budget::of_node(name, 0)),
        });
        let mut all = RESOURCES.lock();
        all.retain(|r| r.strong_count() > 0);
        all.push(Arc::downgrade(&resource));
        resource
    }

    /// The engines of a segment; made empty where absent.
    pub fn set(&self, identity: Identity) -> Arc<EngineSet> {
        let mut sets = self.sets.lock();
        sets.entry(identity)
            .or_insert_with(|| Arc::new(EngineSet::new(self.capacity)))
            .clone()
    }

    /// The identity of a node without a native segment, by the engines that files brought.
    ///
    /// # Errors
    /// None of them is the node's own, or several may be ([`own_engines::choose`]).
    pub fn saved_for(&self, settings: [u8; 32], node: Option<[u8; 32]>) -> Result<Identity, String> {
        let owners = self.owners.lock();
        let sets = self.sets.lock();
        let with_engines = sets.iter().filter(|(_, set)| !set.all().is_empty());
        let found: Vec<Identity> = with_engines.map(|(id, _)| *id).collect();
        own_engines::choose(&found, settings, node, |id| owners.brought(id))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    fn all_sets(&self) -> Vec<(Identity, Arc<EngineSet>)> {
        self.sets.lock().iter().map(|(id, set)| (*id, set.clone())).collect()
    }

    /// A call uses it: it owns it where nobody has loaded it.
    pub fn owned_by_call(&self) {
        self.owners.lock().call();
        self.ended.store(false, Relaxed);
    }

    /// TensorFlow was told to delete it. True where an owner is left, who needs it still.
    pub fn leave(&self) -> bool {
        self.owners.lock().leave();
        self.settle();
        !self.owners.lock().none()
    }

    /// Drops the engines of owners that have gone.
    fn settle(&self) {
        let mut owners = self.owners.lock();
        let mut sets = self.sets.lock();
        owners.settle(|id| sets.get(&id).map_or(Use::Before, |set| set.usage()));
        let (kept, gone): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut *sets)
            .into_iter()
            .partition(|(id, set)| owners.need(*id) || set.usage() == Use::Now);
        *sets = kept;
        drop((sets, owners));
        for set in gone.into_values() {
            let counted = set.opened().map(EngineCache::stats).unwrap_or_default();
            *self.ended_sets.lock() += Stats {
                engines: 0,
                remembered_failures: 0,
                ..counted
            };
        }
    }

    pub fn describe(&self) -> String {
        let engines: usize = self.all_sets().iter().map(|(_, set)| set.all().len()).sum();
        format!(
            "engine resource '{}': {engines} engine(s), at most {} a segment",
            self.name, self.capacity
        )
    }

    /// Reads an asset file (InitializeTRTResource) for a new owner.
    pub fn initialize(&self, file: &Path, capacity: i64, gpu: Option<Gpu>) -> Result<(), Status> {
        let load = self.owners.lock().begin();
        self.ended.store(false, Relaxed);
        let read = self.read(file, capacity, gpu, load);
        self.owners.lock().done(load);
        self.settle();
        read
    }

    /// Reads an asset file. A file that is missing or cannot be opened is an error. What is in it
    /// and cannot be used is rejected with a word, and the engines are built anew when they are needed.
    fn read(&self, file: &Path, capacity: i64, gpu: Option<Gpu>, load: u64) -> Result<(), Status> {
        self.has_file.store(true, Relaxed);
        *self.budget.lock() = Budget::of_file(&self.name, file);
        if capacity != self.capacity {
            let text = format!(
                "it was made for {} cached engines; max_cached_engines_count={capacity} comes too late",
                self.capacity
            );
            self.note(Topic::Setting, &self.name, &text);
        }
        let instances = match asset_file::read(file, &self.name) {
            Ok(instances) => instances,
            Err(ReadError::NoFile(source)) => {
                return Err(Status::from_io(
                    &source,
                    format!(
                        "InitializeTRTResource: engine '{}': {}: {source}; an empty file in its place lets the model load, and its engines be built anew",
                        self.name,
                        file.display()
                    ),
                ));
            }
            Err(ReadError::Useless(why)) => {
                self.reject(Topic::File, &format!("{why}; {NEXT}"));
                return Ok(());
            }
        };
        if instances.is_empty() {
            return Ok(());
        }
        let backend = match backend_for(gpu) {
            Ok(backend) => backend,
            Err(e) => {
                self.reject(Topic::Plan, &format!("{}: {e}", file.display()));
                return Ok(());
            }
        };
        let mut present = BTreeMap::new();
        let model = bare::Model::of(file, &self.name);
        for (i, instance) in instances.into_iter().enumerate() {
            let made_for = instance.input_shapes.clone();
            if let Err(why) = self.load(backend, instance, &model, load, &mut present) {
                let why = format!("{}, engine {i} for {made_for:?}: {why}; {NEXT}", file.display());
                self.reject(Topic::Plan, &why);
                self.lose(made_for);
            }
        }
        Ok(())
    }

    /// Keeps what a lost engine was saved for: the next one is built for that, too.
    fn lose(&self, made_for: Key) {
        let mut lost = self.lost.lock();
        if lost.len() < MOST_LOST && !made_for.is_empty() && !lost.contains(&made_for) {
            lost.push(made_for);
        }
    }

    /// The input shapes that engines were saved for which cannot be used here. TF-TRT saved the largest of an implicit batch engine, and
    /// with explicit batch those of the call that built.
    pub fn lost(&self) -> Vec<Key> {
        self.lost.lock().clone()
    }

    /// Whether an earlier load of the same model brought the engines of a segment, which serve this load too. `present`: the segments of
    /// the file so far, with that answer.
    fn is_there(&self, identity: Identity, load: u64, present: &mut BTreeMap<Identity, bool>) -> bool {
        *present.entry(identity).or_insert_with(|| {
            self.owners.lock().brings(load, identity);
            !self.set(identity).all().is_empty()
        })
    }

    /// Loads an engine of a file; `model` is what the file is part of, `present` as for [`Self::is_there`].
    fn load(
        &self,
        backend: &'static dyn Backend,
        instance: EngineInstance,
        model: &bare::Model<'_>,
        load: u64,
        present: &mut BTreeMap<Identity, bool>,
    ) -> Result<(), String> {
        let plan = match Plan::decode(instance.plan.clone()) {
            Ok(plan) => plan,
            Err(PlanError::Bare) => {
                return self.load_bare(backend, instance, model, |identity| self.is_there(identity, load, present));
            }
            Err(e) => return Err(e.to_string()),
        };
        let identity = Identity {
            segment: plan.segment_hash,
            settings: plan.settings_hash,
            node: plan.node_hash,
        };
        if self.is_there(identity, load, present) {
            return Ok(());
        }
        let set = self.set(identity);
        match self.open(backend, &plan, identity) {
            Ok(engine) => {
                tracing::debug!(
                    "engine '{}': {} bytes are loaded, for {} profiles",
                    self.name,
                    plan.payload.len(),
                    plan.profiles.len()
                );
                set.keep(Loaded {
                    key: instance.input_shapes,
                    profiles: plan.profiles,
                    engine,
                });
                Ok(())
            }
            Err(why) => {
                set.remember(plan.profiles);
                Err(why)
            }
        }
    }

    /// Loads a plan's engine for nodes of that identity, after checking that this backend made it, and for them.
    pub fn open(&self, backend: &'static dyn Backend, plan: &Plan, identity: Identity) -> Result<Arc<dyn Engine>, String> {
        let version = backend.version().map_err(|e| e.to_string())?;
        plan.check(
            backend.name(),
            &version,
            backend.compute_capability(),
            &identity.segment,
            &identity.settings,
            &identity.node,
        )
        .map_err(|e| e.to_string())?;
        backend.load(&self.name, plan.payload.clone()).map_err(|e| e.to_string())
    }

    /// Counts a plan that cannot be used, and says why.
    pub fn reject(&self, topic: Topic, why: &str) {
        self.rejected_plans.fetch_add(1, Relaxed);
        keep(&mut self.told.lock().rejected, why);
        if let Some(nth) = self.said(topic, why) {
            tracing::error!("engine '{}': {why}{nth}", self.name);
        }
    }

    /// A node uses it, which says which model it is of where no file does.
    pub fn known_by(&self, node: u64) {
        if !self.has_file.load(Relaxed) {
            *self.budget.lock() = Budget::of_node(&self.name, node);
        }
    }

    /// Counts a text for the log; which time it is, if it is to be said.
    pub fn said(&self, topic: Topic, text: &str) -> Option<Nth> {
        let budget = self.budget.lock().clone();
        budget.count(topic, text)
    }

    /// How many plans could not be used, and why the first of them.
    pub fn rejected(&self) -> Option<(u64, String)> {
        let first = self.told.lock().rejected.first().cloned()?;
        Some((self.rejected_plans.load(Relaxed), first))
    }

    /// Keeps what a user should know of an engine, and says it as its budget allows.
    pub fn note(&self, topic: Topic, node: &str, text: &str) {
        let mut told = self.told.lock();
        if !told.notes.iter().any(|note| *note == plain(text)) {
            keep(&mut told.notes, text);
        }
        drop(told);
        if let Some(nth) = self.said(topic, text) {
            tracing::warn!("{node}: {text}{nth}");
        }
    }

    /// Writes the engines to an asset file (SerializeTRTResource), those too that are being built; with `save_engines` false, an
    /// empty one.
    pub fn serialize(&self, file: &Path, save_engines: bool) -> Result<(), Status> {
        let mut instances = Vec::new();
        if save_engines {
            for (identity, set) in self.all_sets() {
                // What is being built in the background is part of the model that is saved.
                if let Some(cache) = set.opened() {
                    cache.wait_for_builds();
                }
                for one in set.all() {
                    let instance = self.instance(identity, one).map_err(|e| {
                        let code = match e {
                            EngineError::NoMemory(_) => Code::ResourceExhausted,
                            _ => Code::Internal,
                        };
                        Status::new(code, format!("SerializeTRTResource: engine '{}': {e}", self.name))
                    })?;
                    instances.push(instance);
                }
            }
        }
        tracing::debug!(
            "engine '{}': {} engines are saved in {}",
            self.name,
            instances.len(),
            file.display()
        );
        asset_file::write(file, &instances).map_err(|e| match &e {
            AssetError::Io { source, .. } => Status::from_io(source, format!("SerializeTRTResource: engine '{}': {e}", self.name)),
            _ => Status::new(Code::Internal, format!("SerializeTRTResource: engine '{}': {e}", self.name)),
        })
    }

    fn instance(&self, identity: Identity, one: Loaded) -> Result<EngineInstance, EngineError> {
        fault::at(Point::Serialize).map_err(|why| EngineError::Run(why.to_string()))?;
        let backend = one.engine.backend();
        let plan = Plan {
            backend: backend.name().to_string(),
            backend_version: backend.version()?,
            compute_capability: backend.compute_capability(),
            segment_hash: identity.segment,
            settings_hash: identity.settings,
            node_hash: identity.node,
            profiles: one.profiles,
            payload: one.engine.payload()?,
        };
        // The engine of explicit batch mode is cached under no shapes: its file names its largest.
        let input_shapes = match plan.profiles.first() {
            Some(profile) if one.key.is_empty() => profile.shapes.iter().map(|b| b.max.clone()).collect(),
            _ => one.key,
        };
        Ok(EngineInstance {
            input_shapes,
            plan: plan.encode()?,
        })
    }

    /// The calibration table (GetCalibrationDataOp). There is none: calibration is not part of this version, and an INT8
    /// node runs its native segment.
    pub fn calibration_table(&self) -> Result<Vec<u8>, Status> {
        Err(Status::new(
            Code::NotFound,
            format!(
                "engine '{}' has no calibration table: this version of tftrt does not calibrate; its INT8 node runs the native segment in TensorFlow's own precision",
                self.name
            ),
        ))
    }

    /// The counters of all resources that live, and the sums over those that lived in this process.
    pub fn stats() -> Value {
        let all = Resource::living();
        let mut host_time = ENDED_TIMES.lock().clone();
        let mut resources = Vec::with_capacity(all.len());
        for resource in &all {
            let mut one = serde_json::Map::new();
            one.insert("name".into(), resource.name.clone().into());
            one.insert("device".into(), resource.device.clone().into());
            for (name, n) in resource.counters() {
                one.insert(name.into(), n.into());
            }
            {
                let told = resource.told.lock();
                one.insert("rejected".into(), told.rejected.clone().into());
                one.insert("notes".into(), told.notes.clone().into());
            }
            one.insert("native_reasons".into(), resource.fallbacks.reasons().into());
            let times = resource.host_time.snapshot();
            one.insert("host_time".into(), times.to_json());
            host_time.add(&times);
            resources.push(Value::Object(one));
        }
        json!({"totals": sums(&all), "host_time": host_time.to_json(), "resources": resources})
    }

    /// The sums alone: every counter of this process.
    pub fn totals() -> BTreeMap<String, u64> {
        sums(&Resource::living())
    }

    fn living() -> Vec<Arc<Resource>> {
        RESOURCES.lock().iter().filter_map(Weak::upgrade).collect()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut cache = *self.ended_sets.lock();
        let mut own = Own {
            engine_calls: self.engine_calls.load(Relaxed),
            graph_launches: self.graph_launches.load(Relaxed),
            disk_engine_hits: self.disk_engine_hits.load(Relaxed),
            rejected_plans: self.rejected_plans.load(Relaxed),
            usage: Usage::default(),
        };
        for (_, set) in self.all_sets() {
            cache += set.opened().map(EngineCache::stats).unwrap_or_default();
            for one in set.all() {
                let usage = one.engine.usage();
                own.usage.contexts += usage.contexts;
                own.usage.context_waits += usage.context_waits;
                own.usage.graphs += usage.graphs;
            }
        }
        counters(&cache, &own, self.fallbacks.counts())
    }
}

/// What comes after a plan of a file was rejected.
const NEXT: &str = "where the model allows building, it is built anew when it is needed, else the native segment runs";

fn keep(texts: &mut Vec<String>, text: &str) {
    if texts.len() < MOST_TOLD {
        texts.push(plain(text).into_owned());
    }
}

fn sums(all: &[Arc<Resource>]) -> BTreeMap<String, u64> {
    let mut totals = ENDED.lock().clone();
    // Every counter is there from the start.
    for (name, _) in counters(&Stats::default(), &Own::default(), Kind::ALL.iter().map(|&kind| (kind, 0))) {
        totals.entry(name.to_string()).or_default();
    }
    for (name, n) in all.iter().flat_map(|resource| resource.counters()) {
        *totals.entry(name.to_string()).or_default() += n;
    }
    totals
}

/// What a resource counts beside its caches.
#[derive(Default)]
struct Own {
    engine_calls: u64,
    graph_launches: u64,
    disk_engine_hits: u64,
    rejected_plans: u64,
    /// Of the engines that there are.
    usage: Usage,
}

/// The names under which everything is counted.
fn counters(cache: &Stats, own: &Own, natives: impl Iterator<Item = (Kind, u64)>) -> Vec<(&'static str, u64)> {
    let mut out = vec![
        ("engines", cache.engines),
        ("remembered_failures", cache.remembered_failures),
        ("hits", cache.hits),
        ("misses", cache.misses),
        ("waits", cache.waits),
        ("builds", cache.builds),
        ("failures", cache.failures),
        ("dropped_builds", cache.dropped),
        ("loads", cache.loads),
        ("evictions", cache.evictions),
        ("engine_calls", own.engine_calls),
        ("graph_launches", own.graph_launches),
        ("disk_engine_hits", own.disk_engine_hits),
        ("rejected_plans", own.rejected_plans),
        ("contexts", own.usage.contexts),
        ("context_waits", own.usage.context_waits),
        ("graphs", own.usage.graphs),
    ];
    // What users look at: calls that should have run on an engine and did not.
    let mut fallbacks = 0;
    for (kind, n) in natives {
        out.push((kind.counter(), n));
        fallbacks += if kind.by_design() { 0 } else { n };
    }
    out.push(("native_fallbacks", fallbacks));
    out
}
