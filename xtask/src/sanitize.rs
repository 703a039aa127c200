//! Tests under a sanitizer, with a nightly compiler (`rustup toolchain install nightly --component rust-src --component miri`).
//!
//! TensorFlow's own library is compiled for none of them. ThreadSanitizer therefore sees none of TensorFlow's locks and would take what they
//! order for races, so the plugin inside of TensorFlow is not run under it. Nothing is suppressed.

use crate::python;
use crate::step::{Failure, Step};
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The modules whose tests have threads, and what they use.
const CONCURRENT: &[&str] = &["cache::", "op::", "fault::", "files::", "engine::onnxruntime", "engine::tensorrt"];
/// They start and kill processes of this very binary by the dozen, which tells a sanitizer nothing.
const PROCESSES: &[&str] = &["--skip", "kills_at_random", "--skip", "processes::"];
/// The plugin inside of TensorFlow: calls of many threads, evictions, reloads, builds in the background, and nodes that no converter writes.
const PLUGIN: &[&str] = &[
    "tests/python/test_engine_op.py",
    "tests/python/test_reloads.py",
    "tests/python/test_build_modes.py",
    "tests/python/test_shape_values.py",
    "tests/python/test_contract_matrix.py",
];
/// What has `unsafe` and calls neither C nor C++ in its tests; those of `sys::library` open libraries.
const IN_MIRI: &[&str] = &["engine::tensorrt", "cuda::", "--skip", "sys::library"];
/// Of leaks nobody is asked: what lives as long as the process is leaked on purpose, here and by TensorFlow when it starts.
const ADDRESS_OPTIONS: &str = "detect_leaks=0";

pub fn run(root: &Path, which: &str) -> Result<(), Failure> {
    match which {
        // Whatever of the standard library is not compiled for it would order nothing in its eyes.
        "thread" => Step::new("Rust tests under ThreadSanitizer").run(
            cargo(root, which, &["test", "--lib", "-Zbuild-std"])
                .arg("--")
                .args(CONCURRENT)
                .args(PROCESSES),
        ),
        "address" => {
            // Every test, as each touches memory. The standard library may stay as it is: malloc and memcpy are watched all the same.
            Step::new("Rust tests under AddressSanitizer").run(
                cargo(root, which, &["test", "--lib"])
                    .arg("--")
                    .args(PROCESSES)
                    .env("ASAN_OPTIONS", ADDRESS_OPTIONS),
            )?;
            Step::new("build the library for AddressSanitizer").run(&mut cargo(root, which, &["build", "--lib"]))?;
            plugin(root)
        }
        "miri" => Step::new("Rust tests in Miri").run(
            nightly(root, which, &["miri", "test", "--lib"])
                .arg("--")
                .args(IN_MIRI)
                // They read the environment, and leak what TensorRT keeps.
                .env("MIRIFLAGS", "-Zmiri-disable-isolation -Zmiri-ignore-leaks"),
        ),
        _ => Err(Failure::new(format!("`sanitize` takes thread, address or miri, but got `{which}`"))),
    }
}

fn folder(root: &Path, which: &str) -> PathBuf {
    root.join("target/sanitize").join(which)
}

/// Nightly's cargo, with a target folder of its own.
fn nightly(root: &Path, which: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command
        .arg("+nightly")
        .args(arguments)
        .arg("--target-dir")
        .arg(folder(root, which))
        .current_dir(root)
        // Those of the cargo that runs this: they would name its own compiler.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env_remove("RUSTC");
    command
}

/// Nightly's cargo, compiling everything but TensorFlow for a sanitizer.
fn cargo(root: &Path, which: &str, arguments: &[&str]) -> Command {
    let mut command = nightly(root, which, arguments);
    command
        .args(["--target", TARGET])
        .env("RUSTFLAGS", format!("-Zsanitizer={which}"))
        // Abseil's containers have further members where the compiler says that it sanitizes. TensorFlow's library has them without, and
        // both share objects: so the shim's compiler must not say so.
        .env("CXXFLAGS", format!("-fsanitize={which} -U__SANITIZE_{}__", which.to_uppercase()));
    command
}

/// Python is not compiled for the sanitizer, so its runtime is preloaded; with it the C++ library, whose `throw` it replaces and has to find
/// when it starts. It is g++'s, and takes what rustc emits, too.
fn plugin(root: &Path) -> Result<(), Failure> {
    let python = python::setup(root)?;
    let preloaded = [library("libasan.so")?, library("libstdc++.so.6")?].join(" ");
    let folder = folder(root, "address");
    // pytest holds stderr while a test runs, and a process that a report ends does not give it back.
    let report = folder.join("report");
    let mut pytest = python.command(root);
    pytest
        .args(["-m", "pytest", "-q"])
        .args(PLUGIN)
        .env("TFTRT_LIBRARY", folder.join(TARGET).join("debug/libtftrt.so"))
        .env("LD_PRELOAD", preloaded)
        .env("ASAN_OPTIONS", format!("{ADDRESS_OPTIONS}:log_path={}", report.display()));
    println!("xtask: reports go to {}.PID", report.display());
    Step::new("the plugin under AddressSanitizer, in TensorFlow").run(&mut pytest)
}

/// The file that g++ links by this name.
fn library(name: &str) -> Result<String, Failure> {
    let told = Command::new("g++")
        .arg(format!("-print-file-name={name}"))
        .output()
        .map_err(|error| Failure::new(format!("g++ cannot be started: {error}")))?;
    let path = String::from_utf8_lossy(&told.stdout).trim().to_string();
    // It says the bare name of what it does not have.
    match path.starts_with('/') {
        true => Ok(path),
        false => Err(Failure::new(format!("g++ has no {name}; on Debian, libgcc-12-dev brings it"))),
    }
}
