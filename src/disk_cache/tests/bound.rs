//! What goes where there is more than the bound, and what stays.

use super::{engine_key, fresh, stores, timing_key, tree};
use crate::disk_cache::lock::Lock;
use crate::disk_cache::record::{self, ENGINE, HEADER};
use crate::disk_cache::{CacheDir, EngineKey, EngineStore};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime};

/// What each engine of these tests takes on the disk.
const FILE: u64 = 1000;

pub(super) fn key(number: u8) -> EngineKey {
    EngineKey {
        onnx_sha256: [number; 32],
        ..engine_key()
    }
}

pub(super) fn content(number: u8) -> Vec<u8> {
    vec![number; FILE as usize - HEADER]
}

/// Room for so many engines.
pub(super) fn bounded(folder: &Path, engines: u64) -> EngineStore {
    EngineStore::new(CacheDir::open(folder, false).unwrap(), Some(engines * FILE))
}

/// The bytes of all engines in the cache.
pub(super) fn total(folder: &Path) -> u64 {
    let files = fs::read_dir(folder.join("engines")).unwrap();
    files.map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
}

/// Which of these engines there are; each is whole.
fn there(store: &EngineStore, numbers: impl IntoIterator<Item = u8>) -> Vec<u8> {
    let whole = |number: &u8| {
        let found = record::read(&store.path(&key(*number)), ENGINE, &key(*number).digest()).unwrap();
        found.is_some_and(|engine| engine == content(*number))
    };
    numbers.into_iter().filter(whole).collect()
}

/// As if it had last been used so many hours ago.
fn used(store: &EngineStore, number: u8, hours: u64) {
    let file = File::open(store.path(&key(number))).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(hours * 60 * 60)).unwrap();
}

/// Engines 1 to 3, of which 2 was not used for longest, and 1 for shortest.
fn three(folder: &Path) -> EngineStore {
    let store = bounded(folder, 3);
    for (number, hours) in [(1, 1), (2, 9), (3, 5)] {
        assert!(store.put(&key(number), &content(number)));
        used(&store, number, hours);
    }
    assert_eq!(there(&store, 1..=3), [1, 2, 3]);
    store
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let folder = tempfile::tempdir().unwrap();
    let store = three(folder.path());
    assert!(store.put(&key(4), &content(4)));
    assert_eq!(there(&store, 1..=4), [1, 3, 4]);
    // A larger one takes the place of two.
    assert!(store.put(&key(5), &[content(5), vec![5; HEADER]].concat()));
    assert_eq!(there(&store, 1..=4), [4]);
    assert!(store.get(&key(5)).is_some() && total(folder.path()) <= 3 * FILE);
}

#[test]
fn a_hit_is_a_use_and_reading_only_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = three(folder.path());
    let before = tree(folder.path());
    let (reader, _) = stores(folder.path(), true);
    assert!(reader.get(&key(2)).is_some());
    assert_eq!(tree(folder.path()), before);
    assert!(store.get(&key(2)).is_some());
    assert!(store.put(&key(4), &content(4)));
    assert_eq!(there(&store, 1..=4), [1, 2, 4]);
}

#[test]
fn what_was_just_put_stays_however_large_or_old_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = three(folder.path());
    let large = vec![4; 10 * FILE as usize];
    assert!(store.put(&key(4), &large));
    assert!(there(&store, 1..=3).is_empty());
    assert_eq!(store.get(&key(4)).unwrap(), large);
    // A clock that was set back makes it the oldest by its time.
    let ahead = SystemTime::now() + Duration::from_secs(60 * 60);
    File::open(store.path(&key(4))).unwrap().set_modified(ahead).unwrap();
    assert!(store.put(&key(5), &content(5)));
    assert_eq!(there(&store, 5..=5), [5]);
    assert_eq!(store.get(&key(4)), None);
}

#[test]
fn without_a_bound_nothing_goes() {
    let folder = tempfile::tempdir().unwrap();
    let store = EngineStore::new(CacheDir::open(folder.path(), false).unwrap(), None);
    for number in 1..=50 {
        assert!(store.put(&key(number), &content(number)));
    }
    assert_eq!(there(&store, 1..=50).len(), 50);
    // A process with a bound removes them with its first engine.
    assert!(bounded(folder.path(), 2).put(&key(51), &content(51)));
    assert_eq!(total(folder.path()), 2 * FILE);
}

/// Timings, and files that are none of the cache's, are neither counted nor removed.
#[test]
fn other_files_stay() {
    let (folder, engines, timings) = fresh();
    assert!(timings.update(&timing_key(), |_| Some(vec![0; 100 * FILE as usize])));
    assert!(engines.put(&key(9), &content(9)));
    let sub = folder.path().join("engines");
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, vec![0; 100 * FILE as usize]).unwrap();
    let name = |end: &str| sub.join(format!("{}{end}", "a".repeat(64)));
    let others = [sub.join("notes.plan"), name(".cache"), name(".plan.old")];
    for path in &others {
        fs::write(path, vec![0; 100 * FILE as usize]).unwrap();
    }
    symlink(&elsewhere, name(".plan")).unwrap();
    fs::create_dir(sub.join(format!("{}.plan", "b".repeat(64)))).unwrap();
    let before = tree(folder.path());
    let store = bounded(folder.path(), 2);
    assert!(store.put(&key(1), &content(1)));
    assert_eq!(there(&store, [1, 9]), [1, 9]);
    used(&store, 9, 1);
    assert!(store.put(&key(2), &content(2)));
    assert_eq!(there(&store, [1, 2, 9]), [1, 2]);
    let after = tree(folder.path());
    let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    assert_eq!(gone, [&store.path(&key(9))]);
}

#[test]
fn while_somebody_writes_nothing_goes_and_nobody_waits() {
    let folder = tempfile::tempdir().unwrap();
    let store = three(folder.path());
    let writing = Lock::share(&folder.path().join("engines.lock")).unwrap();
    assert!(store.put(&key(4), &content(4)));
    assert_eq!(there(&store, 1..=4), [1, 2, 3, 4]);
    drop(writing);
    assert!(store.put(&key(5), &content(5)));
    assert_eq!(there(&store, 1..=5), [1, 4, 5]);
}

/// Without locks there is no bound, and engines are kept all the same.
#[test]
fn where_nothing_can_be_locked_nothing_goes_and_it_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = three(folder.path());
    let lock = folder.path().join("engines.lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let (kept, heard) = super::warnings(|| [4, 5].map(|number| store.put(&key(number), &content(number))));
    assert_eq!(kept, [true; 2]);
    assert!(heard.len() == 1 && heard[0].contains(&*lock.to_string_lossy()), "{heard:?}");
    assert_eq!(there(&store, 1..=5), [1, 2, 3, 4, 5]);
}

/// Stores of several threads on one folder: the bound holds at the end, and what is read is whole or not there.
#[test]
fn stores_at_once_keep_the_bound() {
    const THREADS: u8 = 4;
    const ENGINES: u8 = 30;
    const ROOM: u64 = 10;
    let folder = tempfile::tempdir().unwrap();
    let start = Barrier::new(usize::from(THREADS));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (folder, start) = (folder.path(), &start);
            scope.spawn(move || {
                let store = bounded(folder, ROOM);
                start.wait();
                for engine in 0..ENGINES {
                    let number = thread * ENGINES + engine;
                    assert!(store.put(&key(number), &content(number)));
                    for other in [engine, ENGINES + engine] {
                        assert!(store.get(&key(other)).is_none_or(|found| found == content(other)));
                    }
                }
            });
        }
    });
    let store = bounded(folder.path(), ROOM);
    assert_eq!(there(&store, 0..THREADS * ENGINES).len() as u64 * FILE, total(folder.path()));
    assert_eq!(total(folder.path()), ROOM * FILE);
}
