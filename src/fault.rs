//! Faults made on purpose, for tests alone: every step that can fail has a named point, and a test makes each of them fail.
//!
//! In a process that was started with `TFTRT_FAULT`, points are counted, and the one that is asked for fails: `read:3` is the third
//! time that `read` is reached, once; `count` is none, and `hold:FILE` neither: there a build waits as long as FILE is there. A test asks for the next one by the request `faults` of `tftrt_request`, which
//! is refused in any other process. There a point is one relaxed load of a flag that never changes.

use crate::process::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// The environment variable.
pub const VARIABLE: &str = "TFTRT_FAULT";

macro_rules! points {
    ($($(#[$what:meta])* $point:ident = $name:literal,)*) => {
        /// A kind of step that can fail.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Point { $($(#[$what])* $point,)* }

        impl Point {
            pub const ALL: &'static [Point] = &[$(Point::$point),*];

            /// As `TFTRT_FAULT` names it.
            pub fn name(self) -> &'static str {
                match self { $(Point::$point => $name,)* }
            }
        }
    };
}

points! {
    /// Opening a file to read it.
    Open = "open",
    /// Reading from an open file.
    Read = "read",
    /// Making a new file.
    Create = "create",
    /// Writing, after a part was written.
    Write = "write",
    /// Flushing a file to the disk.
    Sync = "sync",
    /// Putting a file in its place.
    Rename = "rename",
    /// Flushing a folder to the disk.
    SyncFolder = "sync_folder",
    /// Making or looking at a folder.
    Folder = "folder",
    /// Listing a folder.
    List = "list",
    /// Removing a file.
    Remove = "remove",
    /// Noting that a file was used.
    Touch = "touch",
    /// Taking a lock on a file.
    Lock = "lock",
    /// Making a function of a segment.
    Function = "function",
    /// Reading a segment back from TensorFlow.
    Body = "body",
    /// Inferring a segment's shapes.
    Shapes = "shapes",
    /// Converting a segment to ONNX.
    Convert = "convert",
    /// Building an engine.
    Build = "build",
    /// Turning an engine into bytes.
    Serialize = "serialize",
    /// Making an engine of bytes.
    Deserialize = "deserialize",
    /// Making an execution context.
    Context = "context",
    /// Giving a run its tensors.
    Bind = "bind",
    /// Allocating outputs, scratch memory or a block of the device's.
    Allocate = "allocate",
    /// Giving the work to the backend.
    Enqueue = "enqueue",
    /// Copying results, or inputs to the host.
    Copy = "copy",
    /// Capturing a CUDA graph.
    Capture = "capture",
    /// Starting a thread.
    Thread = "thread",
    /// Making the native segment ready.
    Instantiate = "instantiate",
}

static ON: AtomicBool = AtomicBool::new(false);

static STATE: Mutex<State> = Mutex::new(State {
    asked: None,
    reached: BTreeMap::new(),
    failed: None,
    hold: None,
});

struct State {
    /// Which point fails, and at which time that it is reached, from 1.
    asked: Option<(Point, u64)>,
    reached: BTreeMap<Point, u64>,
    failed: Option<(Point, u64)>,
    /// While this file is there, builds wait: a slow builder.
    hold: Option<PathBuf>,
}

/// A step that failed because a test asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fault was asked for ({VARIABLE}={}:{time})", .point.name())]
pub struct Fault {
    point: Point,
    time: u64,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> io::Error {
        io::Error::other(fault)
    }
}

/// `Err` where this is the step that a test wants to fail.
#[inline]
pub fn at(point: Point) -> Result<(), Fault> {
    match ON.load(Relaxed) {
        false => Ok(()),
        true => reached(point),
    }
}

#[cold]
fn reached(point: Point) -> Result<(), Fault> {
    let mut state = STATE.lock();
    if let Some(file) = state.hold.clone().filter(|_| point == Point::Build) {
        drop(state);
        while file.exists() {
            std::thread::sleep(Duration::from_millis(2));
        }
        state = STATE.lock();
    }
    let time = state.reached.entry(point).or_default();
    *time += 1;
    let time = *time;
    match state.asked {
        Some(asked) if asked == (point, time) => {
            state.failed = Some(asked);
            Err(Fault { point, time })
        }
        _ => Ok(()),
    }
}

/// `count`, or a point and which time.
fn parse(text: &str) -> Result<Option<(Point, u64)>, String> {
    if text == "count" {
        return Ok(None);
    }
    let asked = text.split_once(':').and_then(|(name, time)| {
        let point = *Point::ALL.iter().find(|point| point.name() == name)?;
        Some((point, time.parse().ok().filter(|&time| time > 0)?))
    });
    asked.map(Some).ok_or_else(|| {
        let names: Vec<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        format!(
            "\"{text}\" is neither count nor a point and a number of 1 or more, as read:3; the points are {}; no fault is made",
            names.join(", ")
        )
    })
}

/// Begins to count, in a process whose environment asks for it. For who loads the library, before anything else runs.
pub fn start(value: Option<&str>) {
    let Some(text) = value.filter(|text| !text.is_empty()) else {
        return;
    };
    if parse(text).is_ok() || text.starts_with("hold:") {
        tracing::warn!("{VARIABLE}={text}: steps fail on purpose in this process; it is for tests alone");
    }
    ON.store(true, Relaxed);
    if let Err(why) = ask(text) {
        tracing::warn!("{VARIABLE}: {why}");
    }
}

/// Counts from nothing, and makes the step `text` fail.
///
/// # Errors
/// Where the process was not started for it, or `text` is no step.
pub fn ask(text: &str) -> Result<(), String> {
    if !ON.load(Relaxed) {
        return Err(format!(
            "this process was started without {VARIABLE}: no step fails on purpose in it"
        ));
    }
    let (asked, hold) = match text.strip_prefix("hold:") {
        Some(file) => (None, Some(PathBuf::from(file))),
        None => (parse(text)?, None),
    };
    *STATE.lock() = State {
        asked,
        hold,
        reached: BTreeMap::new(),
        failed: None,
    };
    Ok(())
}

/// How often each point was reached since [`ask`], and whether the step that was asked for has failed.
pub fn counts() -> (BTreeMap<&'static str, u64>, bool) {
    let state = STATE.lock();
    let reached = state.reached.iter().map(|(point, n)| (point.name(), *n)).collect();
    (reached, state.failed.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for point in Point::ALL {
            assert_eq!(parse(&format!("{}:2", point.name())), Ok(Some((*point, 2))));
        }
    }

    #[test]
    fn what_is_no_step_says_what_is() {
        for wrong in ["", "read", "read:0", "read:-1", "reed:1", "count:1"] {
            assert!(parse(wrong).unwrap_err().contains("read, create"), "{wrong}");
        }
        assert_eq!(parse("count"), Ok(None));
    }

    #[test]
    fn nothing_fails_in_a_process_that_was_not_started_for_it() {
        assert!(ask("read:1").unwrap_err().contains("without TFTRT_FAULT"));
        assert_eq!(at(Point::Read), Ok(()));
        assert!(counts().0.is_empty());
    }
}
