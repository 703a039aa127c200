//! The environment that the benchmark needs; ONNX Runtime is found as the Python package finds it, in the installed wheel.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Prints the folder of the installed package; importing it would take a second.
const WHERE: &str = "import importlib.util as u; print(u.find_spec('onnxruntime').submodule_search_locations[0])";

/// Gives this process the variables that it lacks, by starting it anew: TensorFlow has read its own when `main` begins.
pub fn set() -> Result<(), String> {
    let mut missing: Vec<(&str, OsString)> = Vec::new();
    if env::var_os("ORT_DYLIB_PATH").is_none() {
        missing.push(("ORT_DYLIB_PATH", find()?.into()));
    }
    if env::var_os("TF_CPP_MIN_LOG_LEVEL").is_none() {
        // Errors only: each fallback row would say, once a node, that it runs natively, which is its purpose.
        missing.push(("TF_CPP_MIN_LOG_LEVEL", "2".into()));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let this = env::current_exe().map_err(|e| format!("this program's own file: {e}"))?;
    let error = Command::new(&this).args(env::args_os().skip(1)).envs(missing).exec();
    Err(format!("{} cannot be started anew: {error}", this.display()))
}

/// Asks the Python of build.rs: TFTRT_PYTHON, else `.venv`, else `python3`.
fn find() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let python = match env::var_os("TFTRT_PYTHON") {
        Some(given) => PathBuf::from(given),
        None if venv.exists() => venv,
        None => PathBuf::from("python3"),
    };
    let run = Command::new(&python)
        .args(["-c", WHERE])
        .output()
        .map_err(|e| format!("{} cannot be started: {e}", python.display()))?;
    let missing = || {
        format!(
            "{} has no package onnxruntime: run `cargo xtask setup`, or set ORT_DYLIB_PATH",
            python.display()
        )
    };
    if !run.status.success() {
        return Err(missing());
    }
    let folder = Path::new(String::from_utf8_lossy(&run.stdout).trim()).join("capi");
    let mut found: Vec<PathBuf> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|n| n.to_string_lossy().starts_with("libonnxruntime.so"))
        })
        .collect();
    found.sort();
    found.pop().ok_or_else(missing)
}
