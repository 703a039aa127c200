//! Finds ONNX Runtime as the Python package does: in the installed wheel.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Prints the folder of the installed package; importing it would take a second.
const WHERE: &str = "import importlib.util as u; print(u.find_spec('onnxruntime').submodule_search_locations[0])";

/// Sets ORT_DYLIB_PATH where it is not set. To be called before there is a second thread.
pub fn set_path() -> Result<(), String> {
    if std::env::var_os("ORT_DYLIB_PATH").is_none() {
        let library = find()?;
        // No other thread reads or writes the environment: the caller's word.
        unsafe { std::env::set_var("ORT_DYLIB_PATH", library) };
    }
    Ok(())
}

/// Asks the Python of build.rs: TFTRT_PYTHON, else `.venv`, else `python3`.
fn find() -> Result<PathBuf, String> {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    let python = match std::env::var_os("TFTRT_PYTHON") {
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
