//! `cargo xtask wheel`: the library for one TensorFlow and the Python package in one file, installed and tried.

use crate::python::{Python, base_python, pip};
use crate::step::{Failure, Step};
use crate::tensorflow::{Build, Tensorflow};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where a wheel is installed to be tried.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// In a virtual environment of its own, where pip brings all that the wheel asks for.
    Clean,
    /// In a folder of its own, beside the packages that the library was built with; compiled in less time, and slower.
    Beside,
}

/// Builds, packs, installs and tries the wheel for one TensorFlow.
pub fn wheel(root: &Path, tensorflow: &Tensorflow, how: Try) -> Result<(), Failure> {
    let python = tensorflow.environment(root)?;
    let library = tensorflow.build(root, &python, if how == Try::Beside { Build::Smoke } else { Build::Library })?;
    let wheel = pack(root, &python, &library, how)?;
    match how {
        Try::Clean => try_clean(root, tensorflow, &wheel)?,
        Try::Beside => try_beside(root, tensorflow, &python, &wheel)?,
    }
    println!("xtask: {}", wheel.display());
    Ok(())
}

fn pack(root: &Path, python: &Python, library: &Path, how: Try) -> Result<PathBuf, Failure> {
    let out = match how {
        Try::Clean => root.join("target/wheels"),
        // Not beside those that are to be given to others.
        Try::Beside => library.with_file_name("wheel"),
    };
    let mut command = python.command(root);
    command.arg("build_support/wheel.py").arg(library).arg(&out);
    let step = Step::new("pack the wheel");
    let run = command
        .output()
        .map_err(|e| Failure::new(format!("{} cannot be started: {e}", python.program.display())))?;
    if !run.status.success() {
        step.say("FAILED");
        return Err(Failure::new(format!(
            "the wheel cannot be packed: {}",
            String::from_utf8_lossy(&run.stderr).trim()
        )));
    }
    step.say("done");
    let path = PathBuf::from(String::from_utf8_lossy(&run.stdout).trim());
    match path.is_file() {
        true => Ok(path),
        false => Err(Failure::new(format!(
            "wheel.py wrote no wheel, but said: {}",
            String::from_utf8_lossy(&run.stdout).trim()
        ))),
    }
}

/// A new environment, and one `pip install`: the lock only bounds the versions of what pip chooses by itself.
fn try_clean(root: &Path, tensorflow: &Tensorflow, wheel: &Path) -> Result<(), Failure> {
    let folder = tensorflow.folder(root).join("clean");
    let base = base_python(tensorflow.newest_python(), &tensorflow.lock(root))?;
    Step::new("make a clean environment").run(Command::new(base).args(["-m", "venv", "--clear"]).arg(&folder))?;
    let python = Python::bare(folder.join("bin/python"));
    let mut wanted = wheel.as_os_str().to_owned();
    wanted.push("[onnxruntime]");
    Step::new("install the wheel").run(pip(&python, root).arg(wanted).arg("--constraint").arg(tensorflow.lock(root)))?;
    smoke(root, tensorflow, &mut python.command(root), &folder)?;
    // Gigabytes of TensorFlow, which are there a second time.
    fs::remove_dir_all(&folder).map_err(|e| Failure::new(format!("{} cannot be removed: {e}", folder.display())))
}

fn try_beside(root: &Path, tensorflow: &Tensorflow, python: &Python, wheel: &Path) -> Result<(), Failure> {
    let folder = tensorflow.folder(root).join("installed");
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|e| Failure::new(format!("{} cannot be removed: {e}", folder.display())))?;
    }
    let python = Python::bare(python.program.clone());
    Step::new("install the wheel").run(pip(&python, root).args(["--no-deps", "--target"]).arg(&folder).arg(wheel))?;
    smoke(root, tensorflow, python.command(root).env("PYTHONPATH", &folder), &folder)
}

/// Outside of the checkout, so that nothing of it is imported by chance.
fn smoke(root: &Path, tensorflow: &Tensorflow, command: &mut Command, folder: &Path) -> Result<(), Failure> {
    command
        .current_dir(tensorflow.folder(root))
        .env_remove("TFTRT_LIBRARY")
        .arg(root.join("tests/wheel/smoke.py"))
        .arg(folder);
    Step::new(&format!("smoke test with TensorFlow {}", tensorflow.version)).run(command)
}
