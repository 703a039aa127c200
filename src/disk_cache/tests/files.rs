use super::{engine_key, fresh, stores, timing_key, warnings};
use crate::disk_cache::lock::Lock;
use crate::disk_cache::record::{self, ENGINE, HEADER, RecordError, TIMING};
use crate::disk_cache::{EngineKey, TimingKey};
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::thread;
use std::time::{Duration, SystemTime};

#[test]
fn an_engine_comes_out_as_it_went_in() {
    let (folder, engines, _) = fresh();
    assert_eq!(engines.get(&engine_key()), None);
    for engine in [&b"first"[..], b"second, and longer", b""] {
        assert!(engines.put(&engine_key(), engine));
        assert_eq!(engines.get(&engine_key()).unwrap(), engine);
    }
    let other = EngineKey {
        precision: "FP32".to_string(),
        ..engine_key()
    };
    assert_eq!(engines.get(&other), None);
    // A process of another start finds it.
    assert!(stores(folder.path(), true).0.get(&engine_key()).is_some());
}

#[test]
fn timings_are_merged_into_what_is_there() {
    let (_folder, _, timings) = fresh();
    let key = timing_key();
    assert!(!timings.update(&key, |before| {
        assert_eq!(before, None);
        None
    }));
    assert_eq!(timings.read(&key), None);
    assert!(timings.update(&key, |_| Some(b"a".to_vec())));
    assert!(timings.update(&key, |before| Some([before.unwrap().as_ref(), b"b"].concat())));
    assert_eq!(timings.read(&key).unwrap(), b"ab"[..]);
    assert!(!timings.update(&key, |_| None));
    // What changes nothing is not written.
    let written = fs::metadata(timings.path(&key)).unwrap().modified().unwrap();
    assert!(timings.update(&key, |before| Some(before.unwrap().to_vec())));
    assert_eq!(fs::metadata(timings.path(&key)).unwrap().modified().unwrap(), written);
    assert_eq!(
        timings.read(&TimingKey {
            gpu_name: "another".to_string(),
            ..key
        }),
        None
    );
}

#[test]
fn every_damaged_byte_is_noticed() {
    let (_folder, engines, timings) = fresh();
    assert!(engines.put(&engine_key(), b"a small engine"));
    assert!(timings.update(&timing_key(), |_| Some(b"small timings".to_vec())));
    let (engine, timing) = (engines.path(&engine_key()), timings.path(&timing_key()));
    let sound = [fs::read(&engine).unwrap(), fs::read(&timing).unwrap()];
    for (path, sound) in [&engine, &timing].into_iter().zip(&sound) {
        for at in 0..sound.len() {
            for wrong in (0..8).map(|bit| 1 << bit).chain([0xff]) {
                let mut damaged = sound.clone();
                damaged[at] ^= wrong;
                fs::write(path, damaged).unwrap();
                let found = if *path == engine {
                    engines.get(&engine_key())
                } else {
                    timings.read(&timing_key())
                };
                assert_eq!(found, None, "byte {at}, {wrong:#x}");
            }
        }
        fs::write(path, sound).unwrap();
    }
    assert_eq!(engines.get(&engine_key()).unwrap(), b"a small engine"[..]);
    assert_eq!(timings.read(&timing_key()).unwrap(), b"small timings"[..]);
}

#[test]
fn every_other_length_is_noticed() {
    let (_folder, engines, _) = fresh();
    assert!(engines.put(&engine_key(), b"a small engine"));
    let path = engines.path(&engine_key());
    let sound = fs::read(&path).unwrap();
    let read = || record::read(&path, ENGINE, &engine_key().digest());
    for length in 0..sound.len() {
        fs::write(&path, &sound[..length]).unwrap();
        match read() {
            Err(RecordError::Truncated { found, expected }) => assert!(found == length as u64 && expected > found),
            other => panic!("cut to {length} bytes: {other:?}"),
        }
        assert_eq!(engines.get(&engine_key()), None);
    }
    fs::write(&path, [&sound[..], b"xy"].concat()).unwrap();
    assert!(matches!(read(), Err(RecordError::Trailing(2))));
    fs::write(&path, sound).unwrap();
    assert!(read().unwrap().is_some());
}

#[test]
fn a_damaged_file_is_said_once_by_name_and_replaced() {
    let (_folder, engines, timings) = fresh();
    assert!(engines.put(&engine_key(), b"a small engine"));
    assert!(timings.update(&timing_key(), |_| Some(b"small timings".to_vec())));
    let paths = [engines.path(&engine_key()), timings.path(&timing_key())];
    for path in &paths {
        let mut damaged = fs::read(path).unwrap();
        *damaged.last_mut().unwrap() ^= 1;
        fs::write(path, damaged).unwrap();
    }
    let ((), heard) = warnings(|| {
        for _ in 0..3 {
            assert_eq!(engines.get(&engine_key()), None);
            assert_eq!(timings.read(&timing_key()), None);
        }
        assert!(engines.put(&engine_key(), b"anew"));
        assert!(timings.update(&timing_key(), |before| {
            assert_eq!(before, None);
            Some(b"anew".to_vec())
        }));
    });
    assert_eq!(heard.len(), 2, "{heard:?}");
    for (message, path) in heard.iter().zip(&paths) {
        assert!(
            message.contains(&*path.to_string_lossy()) && message.contains("SHA-256"),
            "{message}"
        );
    }
    assert_eq!(engines.get(&engine_key()).unwrap(), b"anew"[..]);
    assert_eq!(timings.read(&timing_key()).unwrap(), b"anew"[..]);
}

#[test]
fn a_file_under_another_name_or_of_the_other_cache_is_not_used() {
    let (_folder, engines, timings) = fresh();
    assert!(engines.put(&engine_key(), b"engine"));
    assert!(timings.update(&timing_key(), |_| Some(b"timings".to_vec())));
    let other = EngineKey {
        driver_version: "1".to_string(),
        ..engine_key()
    };
    fs::copy(engines.path(&engine_key()), engines.path(&other)).unwrap();
    assert!(matches!(
        record::read(&engines.path(&other), ENGINE, &other.digest()),
        Err(RecordError::Damaged)
    ));
    assert_eq!(engines.get(&other), None);

    fs::copy(timings.path(&timing_key()), engines.path(&other)).unwrap();
    assert!(matches!(
        record::read(&engines.path(&other), ENGINE, &other.digest()),
        Err(RecordError::Foreign)
    ));
    let mut newer = fs::read(engines.path(&engine_key())).unwrap();
    newer[8] += 1;
    fs::write(engines.path(&other), newer).unwrap();
    assert!(matches!(
        record::read(&engines.path(&other), ENGINE, &other.digest()),
        Err(RecordError::Format(2))
    ));
}

#[test]
fn links_are_not_followed() {
    let (folder, engines, timings) = fresh();
    assert!(engines.put(&engine_key(), b"engine"));
    assert!(timings.update(&timing_key(), |_| Some(b"timings".to_vec())));
    let (engine, timing) = (engines.path(&engine_key()), timings.path(&timing_key()));
    for (path, name) in [(&engine, "engine"), (&timing, "timings")] {
        let target = folder.path().join(name);
        fs::rename(path, &target).unwrap();
        symlink(&target, path).unwrap();
    }
    let targets = ["engine", "timings"].map(|name| fs::read(folder.path().join(name)).unwrap());
    let (found, heard) = warnings(|| (engines.get(&engine_key()), timings.read(&timing_key())));
    assert_eq!(found, (None, None));
    assert!(
        heard.len() == 2 && heard.iter().all(|message| message.contains("symbolic link")),
        "{heard:?}"
    );

    // Writing replaces the link and leaves alone what it led to.
    assert!(engines.put(&engine_key(), b"other"));
    assert!(timings.update(&timing_key(), |_| Some(b"others".to_vec())));
    assert_eq!(engines.get(&engine_key()).unwrap(), b"other"[..]);
    assert_eq!(timings.read(&timing_key()).unwrap(), b"others"[..]);
    assert_eq!(
        ["engine", "timings"].map(|name| fs::read(folder.path().join(name)).unwrap()),
        targets
    );

    // Nor is a lock taken through one.
    let lock = timing.with_extension("lock");
    fs::remove_file(&lock).unwrap();
    symlink(folder.path().join("nowhere"), &lock).unwrap();
    assert!(!timings.update(&timing_key(), |_| panic!("it is not locked")));
    assert!(!folder.path().join("nowhere").exists());
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    let (_folder, engines, _) = fresh();
    assert_eq!(engines.get(&engine_key()), None);
    let path = engines.path(&engine_key());
    let read = || record::read(&path, ENGINE, &engine_key().digest());
    // A pipe that nobody writes to would keep a reader waiting for ever.
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert!(matches!(read(), Err(RecordError::NotAFile)));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(read(), Err(RecordError::NotAFile)));
    // It cannot be replaced either, which is said once, and nothing is left beside it.
    let (kept, heard) = warnings(|| [(); 3].map(|()| engines.put(&engine_key(), b"engine")));
    assert_eq!(kept, [false; 3]);
    assert!(heard.len() == 1 && heard[0].contains(&*path.to_string_lossy()), "{heard:?}");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn sizes_are_limited() {
    let (_folder, _, timings) = fresh();
    let key = timing_key();
    assert!(timings.update(&key, |_| Some(b"timings".to_vec())));
    let path = timings.path(&key);
    let mut header = fs::read(&path).unwrap();
    header.truncate(HEADER);
    let read = |length: u64, file_length: u64| {
        let mut bytes = header.clone();
        bytes[12..20].copy_from_slice(&length.to_le_bytes());
        fs::write(&path, bytes).unwrap();
        // Without the blocks: the file has this length and takes no room.
        File::options().write(true).open(&path).unwrap().set_len(file_length).unwrap();
        record::read(&path, TIMING, &key.digest()).unwrap_err()
    };
    let over = TIMING.limit + 1;
    assert!(matches!(read(over, over + HEADER as u64), RecordError::TooLarge { found, .. } if found == over));
    assert!(matches!(
        read(u64::MAX, 60),
        RecordError::Truncated {
            expected: u64::MAX,
            found: 60
        }
    ));
}

#[test]
fn abandoned_temporary_files_are_removed() {
    let (folder, engines, timings) = fresh();
    assert!(engines.put(&engine_key(), b"engine"));
    assert!(timings.update(&timing_key(), |_| Some(b"timings".to_vec())));
    let day_ago = SystemTime::now() - Duration::from_secs(24 * 60 * 60);
    let make = |name: &str, old: bool| {
        let path = folder.path().join(name);
        let file = File::create(&path).unwrap();
        if old {
            file.set_modified(day_ago).unwrap();
        }
        path
    };
    let gone = [make("engines/.a.plan.1-1.tmp", true), make("timing/.a.cache.1-1.tmp", true)];
    let kept = [
        make("engines/.a.plan.1-2.tmp", false),
        make("engines/a.tmp", true),
        make("timing/.a", true),
    ];
    File::open(engines.path(&engine_key())).unwrap().set_modified(day_ago).unwrap();
    assert!(engines.put(&EngineKey { format: 9, ..engine_key() }, b"another"));
    timings.update(&timing_key(), |_| None);
    assert!(gone.iter().all(|path| !path.exists()));
    assert!(kept.iter().all(|path| path.exists()));
    assert!(engines.get(&engine_key()).is_some());
}

#[test]
fn threads_lose_nothing() {
    let (_folder, _, timings) = fresh();
    let key = timing_key();
    thread::scope(|scope| {
        for name in b'a'..b'i' {
            let (timings, key) = (&timings, &key);
            scope.spawn(move || {
                for _ in 0..10 {
                    assert!(timings.update(key, |before| Some([before.unwrap_or_default().as_ref(), &[name]].concat())));
                }
            });
        }
    });
    let mut all = timings.read(&key).unwrap().to_vec();
    all.sort_unstable();
    assert_eq!(all, (b'a'..b'i').flat_map(|name| [name; 10]).collect::<Vec<_>>());
}

#[test]
fn a_merge_that_panics_leaves_the_lock_free() {
    let (_folder, _, timings) = fresh();
    let key = timing_key();
    assert!(timings.update(&key, |_| Some(b"before".to_vec())));
    let panicked = thread::scope(|scope| scope.spawn(|| timings.update(&key, |_| panic!("as asked"))).join());
    assert!(panicked.is_err());
    assert!(timings.update(&key, |before| Some([before.unwrap().as_ref(), b", after"].concat())));
    assert_eq!(timings.read(&key).unwrap(), b"before, after"[..]);
}

#[test]
fn a_lock_is_free_although_a_forked_process_has_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    let held = Lock::take(&path).unwrap();
    let inherited = held.0.try_clone().unwrap();
    assert!(File::open(&path).unwrap().try_lock().is_err());
    drop(held);
    assert!(File::open(&path).unwrap().try_lock().is_ok());
    drop(inherited);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_goes_in_comes_out(content in proptest::collection::vec(any::<u8>(), 0..3000), onnx_sha256 in any::<[u8; 32]>()) {
        let (_folder, engines, timings) = fresh();
        let key = EngineKey { onnx_sha256, ..engine_key() };
        prop_assert!(engines.put(&key, &content));
        prop_assert_eq!(&engines.get(&key).unwrap(), &content);
        prop_assert!(timings.update(&timing_key(), |_| Some(content.clone())));
        prop_assert_eq!(&timings.read(&timing_key()).unwrap(), &content);
    }

    #[test]
    fn garbage_is_not_used(start in 0usize..=20, rest in proptest::collection::vec(any::<u8>(), 0..200)) {
        let (_folder, engines, _) = fresh();
        prop_assert!(engines.put(&engine_key(), b"engine"));
        let path = engines.path(&engine_key());
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(start);
        bytes.extend(rest);
        fs::write(&path, bytes).unwrap();
        prop_assert_eq!(engines.get(&engine_key()), None);
    }
}
