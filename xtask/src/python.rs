//! The Python environment: made once from requirements.lock, or given by TFTRT_PYTHON.

use crate::packages;
use crate::step::{Failure, Step};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The versions for which requirements.lock can be installed: numpy's oldest and TensorFlow's newest.
const OLDEST: (u32, u32) = (3, 11);
const NEWEST: (u32, u32) = (3, 13);

pub struct Python {
    pub program: PathBuf,
    /// TFTRT_PYTHON's environment does not hold the package `tftrt`; it is imported from the checkout.
    from_checkout: bool,
}

impl Python {
    /// A command that runs this Python in the repository, with `tftrt` importable.
    pub fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(root);
        if self.from_checkout {
            let mut paths = vec![root.join("python")];
            paths.extend(env::var_os("PYTHONPATH").iter().flat_map(env::split_paths));
            if let Ok(joined) = env::join_paths(paths) {
                command.env("PYTHONPATH", joined);
            }
        }
        command
    }
}

/// Makes `.venv` whole, doing only what is missing, and returns its Python.
///
/// A stamp in `.venv` holds a hash of everything that the environment is made from. It is written last: an interrupted
/// set-up is taken up again.
pub fn setup(root: &Path) -> Result<Python, Failure> {
    if let Some(given) = env::var_os("TFTRT_PYTHON") {
        return Ok(Python {
            program: PathBuf::from(given),
            from_checkout: true,
        });
    }
    let venv = root.join(".venv");
    let python = Python {
        program: venv.join("bin/python"),
        from_checkout: false,
    };
    packages::install_missing()?;
    let stamp = venv.join(".tftrt-stamp");
    let wanted = fingerprint(root)?;
    if python.program.exists() && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    // Removed first, so that an environment that is half changed is never taken for a whole one.
    if stamp.exists() {
        fs::remove_file(&stamp).map_err(|e| Failure::new(format!("{} cannot be removed: {e}", stamp.display())))?;
    }
    if !works(&python.program) {
        let base = base_python()?;
        // --clear: a broken .venv (its Python was upgraded away) is made anew.
        Step::new("make .venv").run(Command::new(base).args(["-m", "venv", "--clear"]).arg(&venv))?;
    }
    Step::new("install requirements.lock").run(pip(&python, root).args(["--requirement", "requirements.lock"]))?;
    Step::new("install the package tftrt").run(pip(&python, root).args(["--no-deps", "--no-build-isolation", "--editable", "python"]))?;
    fs::write(&stamp, wanted).map_err(|e| Failure::new(format!("{} cannot be written: {e}", stamp.display())))?;
    Ok(python)
}

fn pip(python: &Python, root: &Path) -> Command {
    let mut command = python.command(root);
    command.args([
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "--progress-bar",
        "off",
    ]);
    command
}

/// A hash of what `.venv` is made from. The editable install finds its package by this checkout's path.
fn fingerprint(root: &Path) -> Result<String, Failure> {
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    for file in ["requirements.lock", "python/pyproject.toml"] {
        let path = root.join(file);
        let text = fs::read(&path).map_err(|e| Failure::new(format!("{} cannot be read: {e}", path.display())))?;
        text.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

fn works(python: &Path) -> bool {
    Command::new(python)
        .args(["-c", "import pip"])
        .output()
        .is_ok_and(|run| run.status.success())
}

/// A Python on the PATH of a version that the lock fits: `python3` if it does, else the newest that does.
fn base_python() -> Result<PathBuf, Failure> {
    let named = (OLDEST.1..=NEWEST.1).rev().map(|minor| format!("python3.{minor}"));
    for name in std::iter::once("python3".to_string()).chain(named) {
        if version_of(&name).is_some_and(|found| (OLDEST..=NEWEST).contains(&found)) {
            return Ok(PathBuf::from(name));
        }
    }
    Err(Failure::new(format!(
        "no Python {}.{} to {}.{} is on the PATH: install one, or set TFTRT_PYTHON to a Python that has the packages of requirements.lock",
        OLDEST.0, OLDEST.1, NEWEST.0, NEWEST.1
    )))
}

fn version_of(program: &str) -> Option<(u32, u32)> {
    let script = "import sys, venv, ensurepip; print(sys.version_info[0], sys.version_info[1])";
    let run = Command::new(program).args(["-c", script]).output().ok()?;
    let text = String::from_utf8(run.stdout).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(version_of("no-such-python"), None);
        assert!(!works(Path::new("no-such-python")));
    }

    #[test]
    fn the_fingerprint_follows_the_lock() {
        let root = env::temp_dir().join(format!("xtask-fingerprint-{}", std::process::id()));
        fs::create_dir_all(root.join("python")).unwrap();
        fs::write(root.join("python/pyproject.toml"), "a").unwrap();
        assert!(fingerprint(&root).is_err(), "a missing lock is named, not ignored");
        fs::write(root.join("requirements.lock"), "one").unwrap();
        let first = fingerprint(&root).unwrap();
        assert_eq!(first, fingerprint(&root).unwrap());
        fs::write(root.join("requirements.lock"), "two").unwrap();
        assert_ne!(first, fingerprint(&root).unwrap());
        fs::remove_dir_all(&root).unwrap();
    }
}
