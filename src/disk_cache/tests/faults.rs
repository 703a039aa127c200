//! Each step of the caches that can fail fails once; in a process of its own, since points are counted by the process.

use super::bound;
use super::{stores, timing_key};
use crate::disk_cache::{CacheDir, EngineStore, TimingStore};
use crate::fault;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

const CHILD: &str = "TFTRT_TEST_DISK_FAULTS";

/// How often the scenario reaches each point when nothing fails. A new step that can fail belongs in here.
const REACHED: &[(&str, u64)] = &[
    ("create", 6),
    ("folder", 16),
    ("list", 4),
    ("lock", 10),
    ("open", 8),
    ("read", 7),
    ("remove", 2),
    ("rename", 6),
    ("sync", 6),
    ("sync_folder", 6),
    ("touch", 4),
    ("write", 6),
];

/// Puts, reads, evicts engines, and updates timings, as two processes would one after the other; whatever fails on the way, what is
/// read is what was put, or nothing.
fn scenario(folder: &Path) {
    for round in 0..2u8 {
        let Ok(dir) = CacheDir::open(folder, false) else {
            continue;
        };
        // Room for two.
        let engines = EngineStore::new(dir.clone(), Some(2000));
        let timings = TimingStore::new(dir);
        for number in 0..2 {
            let number = 2 * round + number;
            let (key, content) = (bound::key(number), bound::content(number));
            engines.put(&key, &content);
            if let Some(found) = engines.get(&key) {
                assert_eq!(found, content);
            }
        }
        let words = |found: &[u8]| assert!(b"first, second".starts_with(found) || found == b"second", "{found:?}");
        timings.update(&timing_key(), |there| {
            words(there.as_deref().unwrap_or_default());
            Some(match (there, round) {
                (None, 0) => b"first".to_vec(),
                (None, _) => b"second".to_vec(),
                (Some(there), _) => [&there[..], b", second"].concat(),
            })
        });
        if let Some(found) = timings.read(&timing_key()) {
            words(&found);
        }
    }
}

/// After the fault: nothing is half-written, and everything works.
fn check(folder: &Path, what: &str) {
    for entry in ["engines", "timing"]
        .iter()
        .flat_map(|name| fs::read_dir(folder.join(name)).into_iter().flatten())
    {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.ends_with(".tmp"), "{what}: {name} was left");
    }
    let (mut engines, timings) = stores(folder, false);
    for number in 0..4 {
        if let Some(found) = engines.get(&bound::key(number)) {
            assert_eq!(found, bound::content(number), "{what}");
        }
    }
    engines = bound::bounded(folder, 2);
    assert!(engines.put(&bound::key(9), &bound::content(9)), "{what}");
    assert_eq!(engines.get(&bound::key(9)).as_deref(), Some(&bound::content(9)[..]), "{what}");
    assert!(timings.update(&timing_key(), |_| Some(b"new".to_vec())), "{what}");
    assert_eq!(timings.read(&timing_key()).as_deref(), Some(&b"new"[..]), "{what}");
}

#[test]
#[ignore = "the test below runs it in a process of its own"]
fn child() {
    assert!(env::var_os(CHILD).is_some(), "run by the test below");
    fault::start(Some("count"));
    let folder = tempfile::tempdir().unwrap();
    scenario(folder.path());
    let (reached, _) = fault::counts();
    let expected: BTreeMap<&str, u64> = REACHED.iter().copied().collect();
    println!("\n@reached {reached:?}");
    assert_eq!(reached, expected);
    check(folder.path(), "no fault");
    let mut tried = 0;
    for (point, times) in reached {
        for time in 1..=times {
            let folder = tempfile::tempdir().unwrap();
            let step = format!("{point}:{time}");
            fault::ask(&step).unwrap();
            scenario(folder.path());
            assert!(fault::counts().1, "{step} was not reached");
            fault::ask("count").unwrap();
            check(folder.path(), &step);
            tried += 1;
        }
    }
    println!("\n@tried {tried}");
}

#[test]
fn each_step_of_the_caches_fails_once_and_nothing_is_lost() {
    let done = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "disk_cache::tests::faults::child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    let points: u64 = REACHED.iter().map(|(_, times)| times).sum();
    assert!(said.contains(&format!("@tried {points}")), "{said}");
    println!("{points} steps of the caches failed once each");
}
