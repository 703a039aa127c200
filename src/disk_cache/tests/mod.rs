//! The caches on real folders, with real processes.

mod bound;
mod faults;
mod files;
mod folder;
mod keys;
mod processes;

use super::{CacheDir, EngineKey, EngineStore, FORMAT, TFTRT_VERSION, TimingKey, TimingStore};
use crate::profile::Profile;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

fn engine_key() -> EngineKey {
    EngineKey {
        onnx_sha256: [7; 32],
        profiles: vec![Profile::exactly(&[vec![8, 128]], &[None])],
        precision: "FP16".to_string(),
        settings: vec!["workspace=1073741824".to_string(), "sparse=true".to_string()],
        backend: "tensorrt".to_string(),
        backend_version: "8.6.0.12".to_string(),
        compute_capability: (9, 0),
        gpu_name: "NVIDIA H200".to_string(),
        driver_version: "580.159.04".to_string(),
        tftrt_version: TFTRT_VERSION.to_string(),
        format: FORMAT,
    }
}

fn timing_key() -> TimingKey {
    TimingKey {
        gpu_name: "NVIDIA H200".to_string(),
        compute_capability: (9, 0),
        tensorrt_version: "TensorRT 8.6.0.12".to_string(),
        driver_version: "580.159.04".to_string(),
    }
}

/// An empty cache in a folder of its own.
fn fresh() -> (TempDir, EngineStore, TimingStore) {
    let folder = tempfile::tempdir().unwrap();
    let (engines, timings) = stores(folder.path(), false);
    (folder, engines, timings)
}

fn stores(folder: &Path, readonly: bool) -> (EngineStore, TimingStore) {
    let dir = CacheDir::open(folder, readonly).unwrap();
    (EngineStore::new(dir.clone(), None), TimingStore::new(dir))
}

/// Everything below `folder`: mode, time of the last change in seconds and nanoseconds, and content.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let found = fs::symlink_metadata(&path).unwrap();
            let content = if found.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            if found.is_dir() {
                folders.push(path.clone());
            }
            all.insert(path, (found.mode(), found.mtime(), found.mtime_nsec(), content));
        }
    }
    all
}

/// What `run` warns of on this thread, beside what it gives.
fn warnings<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let result = tracing::subscriber::with_default(Ear(heard.clone()), run);
    (result, Arc::into_inner(heard).unwrap().into_inner())
}

struct Ear(Arc<Mutex<Vec<String>>>);

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Message(String);
        impl Visit for Message {
            fn record_debug(&mut self, _: &Field, value: &dyn Debug) {
                self.0.push_str(&format!("{value:?}"));
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().push(message.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
