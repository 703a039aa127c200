//! Python environments: `.venv`, made once from requirements.lock or given by TFTRT_PYTHON, and those of other TensorFlows.

use crate::packages;
use crate::step::{Failure, Step};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The versions for which requirements.lock can be installed: numpy's oldest and TensorFlow's newest.
const OLDEST: (u32, u32) = (3, 11);
pub const NEWEST: (u32, u32) = (3, 13);

pub struct Python {
    pub program: PathBuf,
    /// TFTRT_PYTHON's environment does not hold the package `tftrt`; it is imported from the checkout.
    from_checkout: bool,
}

impl Python {
    /// A Python that has what it needs: nothing of the checkout is added.
    pub fn bare(program: PathBuf) -> Python {
        Python {
            program,
            from_checkout: false,
        }
    }

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
pub fn setup(root: &Path) -> Result<Python, Failure> {
    if let Some(given) = env::var_os("TFTRT_PYTHON") {
        return Ok(Python {
            program: PathBuf::from(given),
            from_checkout: true,
        });
    }
    Environment {
        folder: root.join(".venv"),
        lock: root.join("requirements.lock"),
        with_tftrt: true,
        newest: NEWEST,
    }
    .make(root)
}

/// A virtual environment and what it is made from.
pub struct Environment {
    pub folder: PathBuf,
    /// The packages, pinned.
    pub lock: PathBuf,
    /// Whether the package `tftrt` is installed into it, editable; else it is imported from the checkout.
    pub with_tftrt: bool,
    /// The newest Python that the lock fits.
    pub newest: (u32, u32),
}

impl Environment {
    /// Makes the environment whole, doing only what is missing, and returns its Python.
    ///
    /// A stamp in its folder holds a hash of everything that it is made from. It is written last: an interrupted set-up is
    /// taken up again.
    pub fn make(&self, root: &Path) -> Result<Python, Failure> {
        let python = Python {
            program: self.folder.join("bin/python"),
            from_checkout: !self.with_tftrt,
        };
        packages::install_missing()?;
        let stamp = self.folder.join(".tftrt-stamp");
        let mut files = vec![self.lock.clone()];
        if self.with_tftrt {
            files.push(root.join("python/pyproject.toml"));
        }
        let wanted = fingerprint(root, &files)?;
        if python.program.exists() && fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
            return Ok(python);
        }
        // Removed first, so that an environment that is half changed is never taken for a whole one.
        if stamp.exists() {
            fs::remove_file(&stamp).map_err(|e| Failure::new(format!("{} cannot be removed: {e}", stamp.display())))?;
        }
        let name = self.folder.strip_prefix(root).unwrap_or(&self.folder).display().to_string();
        if !works(&python.program) {
            let base = base_python(self.newest, &self.lock)?;
            // --clear: a broken environment (its Python was upgraded away) is made anew.
            Step::new(&format!("make {name}")).run(Command::new(base).args(["-m", "venv", "--clear"]).arg(&self.folder))?;
        }
        let lock = self.lock.strip_prefix(root).unwrap_or(&self.lock);
        Step::new(&format!("install {}", lock.display())).run(pip(&python, root).arg("--requirement").arg(lock))?;
        if self.with_tftrt {
            Step::new("install the package tftrt").run(pip(&python, root).args([
                "--no-deps",
                "--no-build-isolation",
                "--editable",
                "python",
            ]))?;
        }
        fs::write(&stamp, wanted).map_err(|e| Failure::new(format!("{} cannot be written: {e}", stamp.display())))?;
        Ok(python)
    }
}

/// `pip install` in this environment, without a word where all goes well.
pub fn pip(python: &Python, root: &Path) -> Command {
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

/// A hash of what an environment is made from. An editable install finds its package by this checkout's path.
fn fingerprint(root: &Path, files: &[PathBuf]) -> Result<String, Failure> {
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    for path in files {
        let text = fs::read(path).map_err(|e| Failure::new(format!("{} cannot be read: {e}", path.display())))?;
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
pub fn base_python(newest: (u32, u32), lock: &Path) -> Result<PathBuf, Failure> {
    let named = (OLDEST.1..=newest.1).rev().map(|minor| format!("python3.{minor}"));
    for name in std::iter::once("python3".to_string()).chain(named) {
        if version_of(&name).is_some_and(|found| (OLDEST..=newest).contains(&found)) {
            return Ok(PathBuf::from(name));
        }
    }
    Err(Failure::new(format!(
        "no Python {}.{} to {}.{} is on the PATH: install one, or set TFTRT_PYTHON to a Python that has the packages of {}",
        OLDEST.0,
        OLDEST.1,
        newest.0,
        newest.1,
        lock.display()
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
        fs::create_dir_all(&root).unwrap();
        let files = [root.join("requirements.lock")];
        assert!(fingerprint(&root, &files).is_err(), "a missing lock is named, not ignored");
        fs::write(&files[0], "one").unwrap();
        let first = fingerprint(&root, &files).unwrap();
        assert_eq!(first, fingerprint(&root, &files).unwrap());
        fs::write(&files[0], "two").unwrap();
        assert_ne!(first, fingerprint(&root, &files).unwrap());
        fs::remove_dir_all(&root).unwrap();
    }
}
