//! Finding and loading ONNX Runtime's shared library, once a process.

use super::ROOM;
use crate::engine::{EngineError, library_file};
use crate::memory;
use crate::process::{self, PerProcess};
use crate::settings::Settings;
use ort::environment::{Environment, GlobalThreadPoolOptions};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The loaded library.
pub struct Library {
    pub environment: Environment,
    pub version: String,
    pub path: PathBuf,
    /// The threads of the environment's pool are of this generation of processes.
    generation: u32,
}

impl Library {
    /// Whether its threads are in this process. A forked child has none of its parent's, so its engines need threads of their own.
    pub fn has_threads(&self) -> bool {
        self.generation == process::generation()
    }
}

/// The environment variable that names the library.
const VARIABLE: &str = "ORT_DYLIB_PATH";

static LOADED: OnceLock<Library> = OnceLock::new();

/// What the library itself and its threads take.
const OWN_ROOM: usize = 128 << 20;

/// The library of this process: ORT_DYLIB_PATH, else `libonnxruntime.so` where the system's loader looks. The Python
/// package sets ORT_DYLIB_PATH to the library inside the installed `onnxruntime` wheel.
///
/// A failure is not kept: what was missing may be there at the next try (ORT_DYLIB_PATH set late, say).
pub fn library() -> Result<&'static Library, EngineError> {
    static LOADING: PerProcess<Mutex<()>> = PerProcess::new();
    if process::left_locks() {
        return Err(EngineError::Unavailable(LEFT_LOCKS.to_string()));
    }
    if let Some(library) = LOADED.get() {
        return Ok(library);
    }
    let _one_at_a_time = LOADING.get().lock();
    if let Some(library) = LOADED.get() {
        return Ok(library);
    }
    memory::ask("what ONNX Runtime and TensorFlow beside it work in", ROOM + OWN_ROOM)?;
    let path = Settings::current()
        .ort_dylib_path
        .unwrap_or_else(|| PathBuf::from("libonnxruntime.so"));
    let library = {
        let _inside = process::inside();
        process::ends_after_loading(|| load(path))?
    };
    let library = LOADED.get_or_init(|| library);
    // Verbose: a machine without a GPU says no more of a converted model than of a native one.
    tracing::debug!(
        "tftrt {}: engines on the CPU are ONNX Runtime {}'s, from {}",
        env!("CARGO_PKG_VERSION"),
        library.version,
        library.path.display()
    );
    Ok(library)
}

/// Why a forked child has no engines at all.
const LEFT_LOCKS: &str = "ONNX Runtime cannot be used in this process, which was forked while another thread was inside ONNX Runtime: \
                          native segments run; fork before engines are built or called, or start processes without fork()";

fn load(path: PathBuf) -> Result<Library, EngineError> {
    let unavailable = |why: String| {
        EngineError::Unavailable(format!(
            "ONNX Runtime cannot be used: {why}; install the Python package onnxruntime (1.17 or newer), or set ORT_DYLIB_PATH to a libonnxruntime.so"
        ))
    };
    library_file::check(&path, VARIABLE).map_err(unavailable)?;
    let version = super::sys::version(&path).map_err(unavailable)?;
    let builder = ort::init_from(&path).map_err(|e| unavailable(e.to_string()))?;
    // One pool for all engines of the process, and no spinning: TensorFlow's own threads want the cores between runs.
    let pool = GlobalThreadPoolOptions::default()
        .with_spin_control(false)
        .map_err(|e| unavailable(e.to_string()))?;
    let environment = builder
        .with_name("tftrt")
        .with_telemetry(false)
        .with_global_thread_pool(pool)
        .build()
        .map_err(|e| unavailable(e.to_string()))?;
    Ok(Library {
        environment,
        version,
        path,
        generation: process::generation(),
    })
}
