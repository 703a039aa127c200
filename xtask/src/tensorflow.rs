//! The TensorFlow releases that tftrt is built for, each with an environment and a build of its own under target/tf/.

use crate::cargo;
use crate::python::{Environment, NEWEST, Python};
use crate::step::{Failure, Step};
use std::fs;
use std::path::{Path, PathBuf};

/// A line of TensorFlow releases, and what its environment needs.
pub struct Tensorflow {
    /// "2.20"
    pub version: &'static str,
    /// What is installed, relative to the repository.
    lock: &'static str,
    /// The newest Python that has wheels of all that the lock names.
    newest_python: (u32, u32),
}

/// The oldest first; the last one is what `.venv` has, and what the tests run with in full.
pub const VERSIONS: [Tensorflow; 4] = [
    Tensorflow {
        version: "2.18",
        lock: "requirements/tensorflow-2.18.lock",
        newest_python: (3, 12),
    },
    Tensorflow {
        version: "2.19",
        lock: "requirements/tensorflow-2.19.lock",
        newest_python: (3, 12),
    },
    Tensorflow {
        version: "2.20",
        lock: "requirements/tensorflow-2.20.lock",
        newest_python: NEWEST,
    },
    Tensorflow {
        version: "2.21",
        lock: "requirements.lock",
        newest_python: NEWEST,
    },
];

/// What is built.
#[derive(Clone, Copy)]
pub enum Build {
    Library,
    /// And the programs that tests run.
    WithPrograms,
    /// The library, as fast as it can be had.
    Smoke,
}

impl Tensorflow {
    pub fn named(version: &str) -> Result<&'static Tensorflow, Failure> {
        VERSIONS.iter().find(|one| one.version == version).ok_or_else(|| {
            let known: Vec<&str> = VERSIONS.iter().map(|one| one.version).collect();
            Failure::new(format!(
                "there is no set-up for TensorFlow {version}; there is one for {}",
                known.join(", ")
            ))
        })
    }

    pub fn newest() -> &'static Tensorflow {
        &VERSIONS[VERSIONS.len() - 1]
    }

    /// Where everything of this TensorFlow lies.
    pub fn folder(&self, root: &Path) -> PathBuf {
        root.join("target/tf").join(self.version)
    }

    pub fn lock(&self, root: &Path) -> PathBuf {
        root.join(self.lock)
    }

    pub fn newest_python(&self) -> (u32, u32) {
        self.newest_python
    }

    /// Its environment, made where it is missing. The package `tftrt` is not in it.
    pub fn environment(&self, root: &Path) -> Result<Python, Failure> {
        Environment {
            folder: self.folder(root).join("venv"),
            lock: self.lock(root),
            with_tftrt: false,
            newest: self.newest_python,
        }
        .make(root)
    }

    /// Builds the library for it.
    ///
    /// One target folder serves all: what does not hang on TensorFlow is compiled once. The library is copied out of it, so
    /// that the next TensorFlow's does not take its place.
    pub fn build(&self, root: &Path, python: &Python, what: Build) -> Result<PathBuf, Failure> {
        let target = root.join("target/tf/build");
        let (profile, arguments) = match what {
            Build::Library => ("release", &["--lib"][..]),
            Build::WithPrograms => ("release", &["--lib", "--bins", "--examples"][..]),
            Build::Smoke => ("smoke", &["--lib"][..]),
        };
        let mut build = cargo(root, &["build", "--profile", profile]);
        build.args(arguments);
        build.arg("--target-dir").arg(&target).env("TFTRT_PYTHON", &python.program);
        Step::new(&format!("build the library for TensorFlow {}", self.version)).run(&mut build)?;
        let library = self.folder(root).join("libtftrt.so");
        fs::copy(target.join(profile).join("libtftrt.so"), &library)
            .map_err(|e| Failure::new(format!("{} cannot be written: {e}", library.display())))?;
        Ok(library)
    }

    /// The folder of the examples of the last `build`; the other programs are beside it.
    pub fn examples(root: &Path) -> PathBuf {
        root.join("target/tf/build/release/examples")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lock_pins_its_own_tensorflow() {
        let root = crate::root();
        for one in &VERSIONS {
            let text = fs::read_to_string(one.lock(&root)).unwrap();
            let pinned: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("tensorflow==")).collect();
            assert_eq!(pinned.len(), 1, "{}", one.lock);
            assert!(pinned[0].starts_with(&format!("{}.", one.version)), "{}: {}", one.lock, pinned[0]);
        }
    }

    #[test]
    fn a_version_without_set_up_is_refused_with_the_list() {
        let Err(failure) = Tensorflow::named("2.17") else {
            panic!("2.17 has its own TF-TRT")
        };
        assert!(failure.to_string().contains("2.18, 2.19, 2.20, 2.21"));
    }
}
