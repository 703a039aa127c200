//! Several processes on one folder. They are this test binary again, told by environment variables what to do.

use super::{bound, engine_key, stores, timing_key, warnings};
use crate::disk_cache::record::{self, ENGINE};
use std::env;
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Read, Write, stdin};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

const ROLE: &str = "TFTRT_TEST_DISK_ROLE";
const FOLDER: &str = "TFTRT_TEST_DISK_FOLDER";
/// Larger than any limit that a test sets.
const LARGE: usize = 1 << 20;
const UPDATES: usize = 25;
/// What a process of the role "keep" puts, and what there is room for.
const ENGINES: u8 = 40;
const ROOM: u64 = 8;

/// What the other process does. It fails where there is no other process that asks for it.
#[test]
#[ignore = "the tests below run it in processes of its own"]
fn child() {
    let folder = PathBuf::from(env::var_os(FOLDER).expect("the folder of the test that started this process"));
    match env::var(ROLE).expect("what this process is to do").split_once(':') {
        Some(("add", name)) => add(&folder, name),
        Some(("put", first)) => put(&folder, first.parse().unwrap()),
        Some(("keep", first)) => keep(&folder, first.parse().unwrap()),
        Some(("churn", first)) => churn(&folder, first.parse().unwrap()),
        Some(("hold", _)) => hold(&folder),
        Some(("fill", _)) => fill(&folder),
        other => panic!("{other:?} is not a role"),
    }
}

fn say(word: &str) {
    // On a line of its own: the test harness writes too.
    println!("\n@{word}");
}

/// Adds words of its own to the timings.
fn add(folder: &Path, name: &str) {
    let (_, timings) = stores(folder, false);
    say("ready");
    stdin().read_exact(&mut [0]).unwrap();
    for i in 0..UPDATES {
        assert!(timings.update(&timing_key(), |before| {
            let mut text = before.unwrap_or_default().to_vec();
            writeln!(text, "{name} {i}").unwrap();
            Some(text)
        }));
    }
}

/// Puts large engines, each of one byte value, one after the other until it is killed.
fn put(folder: &Path, first: u8) {
    let (engines, _) = stores(folder, false);
    for value in (0..=u8::MAX).cycle().skip(usize::from(first)) {
        assert!(engines.put(&engine_key(), &vec![value; LARGE]));
        say("put");
    }
}

/// Puts engines where there is room for some of them.
fn keep(folder: &Path, first: u8) {
    let store = bound::bounded(folder, ROOM);
    say("ready");
    stdin().read_exact(&mut [0]).unwrap();
    for number in first..first + ENGINES {
        assert!(store.put(&bound::key(number), &bound::content(number)));
    }
}

/// Puts engines where there is room for some of them, and adds lines to the timings, until it is killed.
fn churn(folder: &Path, first: usize) {
    let store = bound::bounded(folder, ROOM);
    let (_, timings) = stores(folder, false);
    say("ready");
    for line in first.. {
        let number = (line % usize::from(ENGINES)) as u8;
        assert!(store.put(&bound::key(number), &bound::content(number)));
        assert!(timings.update(&timing_key(), |before| {
            let mut text = before.unwrap_or_default().to_vec();
            writeln!(text, "{line}").unwrap();
            Some(text)
        }));
        say(&line.to_string());
    }
}

/// Stays in an update until it is killed.
fn hold(folder: &Path) {
    let (_, timings) = stores(folder, false);
    timings.update(&timing_key(), |_| {
        say("inside");
        let _ = stdin().read(&mut [0]);
        Some(b"never".to_vec())
    });
}

/// Writes more than there is room for.
fn fill(folder: &Path) {
    let (engines, timings) = stores(folder, false);
    let large = vec![1; LARGE];
    let (kept, heard) = warnings(|| {
        [
            engines.put(&engine_key(), &large),
            engines.put(&engine_key(), &large),
            timings.update(&timing_key(), |_| Some(large.clone())),
            timings.update(&timing_key(), |_| Some(large.clone())),
        ]
    });
    assert_eq!(kept, [false; 4]);
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert!(heard[0].contains(&*engines.path(&engine_key()).to_string_lossy()), "{heard:?}");
    assert!(heard[1].contains(&*timings.path(&timing_key()).to_string_lossy()), "{heard:?}");
    assert!(heard.iter().all(|message| message.contains("cannot be written")), "{heard:?}");
    // What was there is there, and there is room for what is small.
    assert_eq!(engines.get(&engine_key()).unwrap(), b"engine"[..]);
    assert!(engines.put(&engine_key(), b"small"));
    assert!(timings.update(&timing_key(), |before| Some([before.unwrap().as_ref(), b", small"].concat())));
    say("filled");
}

struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Process {
    /// `limits`: shell commands before the process's own.
    fn start(role: &str, folder: &Path, limits: &str) -> Process {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("{limits}\nexec \"$0\" \"$@\""))
            .arg(env::current_exe().unwrap())
            .args(["--exact", "disk_cache::tests::processes::child", "--ignored", "--nocapture"])
            .env(ROLE, role)
            .env(FOLDER, folder)
            // TensorFlow, which the test binary loads, has much to say at its start.
            .env("TF_CPP_MIN_LOG_LEVEL", "2")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Ours may be a file that is longer than a child's limit.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Process { child, out }
    }

    /// Waits until the process says so.
    fn wait_for(&mut self, word: &str) {
        let mut said = String::new();
        for line in self.out.by_ref().lines() {
            let line = line.unwrap();
            if line.strip_prefix('@') == Some(word) {
                return;
            }
            said += &(line + "\n");
        }
        panic!("the process ended without \"{word}\":\n{said}");
    }

    fn go(&mut self) {
        self.child.stdin.take().unwrap().write_all(b"!").unwrap();
    }

    fn end(mut self) {
        let mut said = String::new();
        self.out.read_to_string(&mut said).unwrap();
        // What went wrong there is on the standard error, which is shared.
        assert!(self.child.wait().unwrap().success(), "{said}");
    }

    /// With SIGKILL.
    fn kill(mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(9));
    }
}

#[test]
fn processes_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let names = ["a", "b", "c", "d"];
    let mut all: Vec<Process> = names
        .iter()
        .map(|name| Process::start(&format!("add:{name}"), folder.path(), ""))
        .collect();
    for process in &mut all {
        process.wait_for("ready");
    }
    all.iter_mut().for_each(Process::go);
    all.into_iter().for_each(Process::end);

    let (_, timings) = stores(folder.path(), true);
    let text = String::from_utf8(timings.read(&timing_key()).unwrap().to_vec()).unwrap();
    assert_eq!(text.lines().count(), names.len() * UPDATES);
    for name in names {
        let own: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
        let expected: Vec<String> = (0..UPDATES).map(|i| format!("{name} {i}")).collect();
        assert_eq!(own, expected);
    }
}

#[test]
fn processes_keep_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let firsts = [0, 50, 100];
    let mut all: Vec<Process> = firsts
        .iter()
        .map(|first| Process::start(&format!("keep:{first}"), folder.path(), ""))
        .collect();
    for process in &mut all {
        process.wait_for("ready");
    }
    all.iter_mut().for_each(Process::go);
    // What is read meanwhile is whole or not there.
    let store = bound::bounded(folder.path(), ROOM);
    for number in (0..ENGINES).flat_map(|number| firsts.map(|first| first + number)) {
        let found = record::read(&store.path(&bound::key(number)), ENGINE, &bound::key(number).digest()).unwrap();
        assert!(found.is_none_or(|engine| engine == bound::content(number)));
    }
    all.into_iter().for_each(Process::end);
    let kept = firsts.map(|first| {
        (first..first + ENGINES)
            .filter(|number| store.get(&bound::key(*number)).is_some())
            .count()
    });
    assert_eq!(kept.iter().sum::<usize>() as u64, ROOM);
    assert_eq!(bound::total(folder.path()), ROOM * 1000);
}

#[test]
fn processes_and_kills_show_no_half_written_engine() {
    let folder = tempfile::tempdir().unwrap();
    let (engines, _) = stores(folder.path(), false);
    let path = engines.path(&engine_key());
    let whole = || {
        let engine = record::read(&path, ENGINE, &engine_key().digest())
            .unwrap()
            .expect("it has been put");
        assert!(engine.len() == LARGE && engine.iter().all(|byte| *byte == engine[0]));
    };
    for round in 0..4 {
        let mut writers = [0, 100].map(|first| Process::start(&format!("put:{first}"), folder.path(), ""));
        for writer in &mut writers {
            (0..=round).for_each(|_| writer.wait_for("put"));
        }
        (0..20).for_each(|_| whole());
        writers.into_iter().for_each(Process::kill);
        whole();
    }
}

/// Both caches, with evictions. `TFTRT_KILLS` is the number of kills.
#[test]
fn kills_at_random_points_leave_both_caches_whole() {
    let kills: usize = env::var("TFTRT_KILLS").map_or(6, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut random = 0x9e37_79b9_u64;
    let (mut lines, mut left) = (0, 0);
    for _ in 0..kills {
        let mut process = Process::start(&format!("churn:{lines}"), folder.path(), "");
        process.wait_for("ready");
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros(random >> 48));
        process.child.kill().unwrap();
        let mut said = String::new();
        process.out.read_to_string(&mut said).unwrap();
        assert_eq!(process.child.wait().unwrap().signal(), Some(9));
        let kept = said.lines().filter_map(|line| line.strip_prefix('@')?.parse::<usize>().ok()).max();

        // Killed before the first engine, there is no folder yet.
        left = fs::read_dir(folder.path().join("engines"))
            .into_iter()
            .flatten()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().ends_with(".tmp")
            })
            .count();
        let (store, timings) = stores(folder.path(), false);
        let (whole, heard) = warnings(|| {
            for number in 0..ENGINES {
                let found = store.get(&bound::key(number));
                assert!(found.is_none_or(|engine| engine == bound::content(number)));
            }
            timings
                .read(&timing_key())
                .map_or(String::new(), |text| String::from_utf8(text.to_vec()).unwrap())
        });
        assert_eq!(heard, Vec::<String>::new());
        let expected: String = (0..whole.lines().count()).map(|line| format!("{line}\n")).collect();
        assert_eq!(whole, expected, "a line is lost or cut");
        // What a process was told is kept, is kept.
        assert!(kept.is_none_or(|kept| kept < whole.lines().count()), "{kept:?} of {whole}");
        lines = whole.lines().count();
        // No lock is left held.
        assert!(store.put(&bound::key(0), &bound::content(0)));
        assert!(timings.update(&timing_key(), |before| before.map(|text| text.to_vec())) || lines == 0);
    }
    println!("{kills} kills: {lines} lines of timings, {left} temporary files were left, for the sweep");
}

/// SIGXFSZ strikes after a known part of the file, and kills as SIGKILL does: without the process being asked.
#[test]
fn a_process_killed_amid_a_file_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let (engines, _) = stores(folder.path(), false);
    assert!(engines.put(&engine_key(), b"engine"));
    let mut process = Process::start("put:0", folder.path(), "ulimit -c 0; ulimit -f 64");
    process.out.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(process.child.wait().unwrap().signal(), Some(25));
    assert_eq!(engines.get(&engine_key()).unwrap(), b"engine"[..]);

    let left: Vec<PathBuf> = fs::read_dir(folder.path().join("engines"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| *path != engines.path(&engine_key()))
        .collect();
    let [left] = &left[..] else {
        panic!("one half-written file: {left:?}")
    };
    let size = fs::metadata(left).unwrap().len();
    assert!(0 < size && size < LARGE as u64, "{size}");
    // In an hour it goes, with the next engine that is put.
    assert!(engines.put(&engine_key(), b"next") && left.exists());
    let file = File::options().write(true).open(left).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(2 * 60 * 60)).unwrap();
    assert!(engines.put(&engine_key(), b"last") && !left.exists());
}

#[test]
fn a_process_killed_amid_an_update_frees_the_lock() {
    let folder = tempfile::tempdir().unwrap();
    let (_, timings) = stores(folder.path(), false);
    let key = timing_key();
    assert!(timings.update(&key, |_| Some(b"before".to_vec())));
    let mut holder = Process::start("hold:", folder.path(), "");
    holder.wait_for("inside");
    let lock = File::open(timings.path(&key).with_extension("lock")).unwrap();
    assert!(matches!(lock.try_lock(), Err(TryLockError::WouldBlock)));
    // Reading waits for nobody.
    assert_eq!(timings.read(&key).unwrap(), b"before"[..]);
    holder.kill();
    assert!(timings.update(&key, |before| Some([before.unwrap().as_ref(), b", after"].concat())));
    assert_eq!(timings.read(&key).unwrap(), b"before, after"[..]);
}

/// A limit on the size of files stands for the full disk: a write fails in the middle of a file, and the file before it is
/// whole.
#[test]
fn without_room_nothing_is_lost_and_it_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let (engines, timings) = stores(folder.path(), false);
    assert!(engines.put(&engine_key(), b"engine"));
    assert!(timings.update(&timing_key(), |_| Some(b"timings".to_vec())));
    let mut process = Process::start("fill:", folder.path(), "trap '' XFSZ; ulimit -f 64");
    process.wait_for("filled");
    process.end();
    assert_eq!(engines.get(&engine_key()).unwrap(), b"small"[..]);
    assert_eq!(timings.read(&timing_key()).unwrap(), b"timings, small"[..]);
    for (sub, files) in [("engines", 1), ("timing", 2)] {
        assert_eq!(fs::read_dir(folder.path().join(sub)).unwrap().count(), files, "{sub}");
    }
}
