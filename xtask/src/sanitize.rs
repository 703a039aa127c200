//! The concurrency tests under AddressSanitizer, ThreadSanitizer and Miri. They need a nightly compiler with its standard library's
//! source (`rustup toolchain install nightly --component rust-src --component miri`).

use crate::python::Python;
use crate::step::{Failure, Step};
use std::path::{Path, PathBuf};
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The modules whose tests have threads: caches, pools, what is handed on between builds, the fallbacks, owners, engines.
const CONCURRENT: &[&str] = &["cache::", "op::", "fault::", "files::", "engine::onnxruntime", "engine::tensorrt"];
/// Kill and start processes of this very binary by the dozen, which tells a sanitizer nothing.
const SKIPPED: &[&str] = &["--skip", "kills_at_random", "--skip", "processes::"];
/// Of the Python tests those in which threads call, build, evict, reload and save at once.
const PYTHON: &[&str] = &[
    "tests/python/test_build_modes.py",
    "tests/python/test_engine_op.py",
    "tests/python/test_reloads.py",
    "tests/python/test_soak.py",
];

pub fn run(root: &Path, python: &Python, which: &str) -> Result<(), Failure> {
    match which {
        "address" => {
            rust_tests(root, which, &[])?;
            python_tests(root, python)
        }
        "thread" => rust_tests(root, which, &[]),
        "miri" => miri(root),
        _ => Err(Failure::new(format!("`sanitize` takes address, thread or miri, but got `{which}`"))),
    }
}

/// Nightly cargo, with everything compiled for the sanitizer: this crate, its dependencies, the standard library and the shim.
fn cargo(root: &Path, which: &str) -> Command {
    let options = root.join("tests/sanitize").join(format!("{which}.txt"));
    let options = options.display();
    let mut command = Command::new("cargo");
    command
        .arg("+nightly")
        .current_dir(root)
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env("RUSTFLAGS", format!("-Zsanitizer={which}"))
        .env("CXXFLAGS", format!("-fsanitize={which}"))
        .env(
            "TSAN_OPTIONS",
            format!("suppressions={options} halt_on_error=0 second_deadlock_stack=1"),
        )
        .env("ASAN_OPTIONS", "detect_leaks=1")
        .env("LSAN_OPTIONS", format!("suppressions={options}"));
    command
}

fn target(root: &Path, which: &str) -> PathBuf {
    root.join("target/sanitize").join(which)
}

fn rust_tests(root: &Path, which: &str, more: &[&str]) -> Result<(), Failure> {
    let mut command = cargo(root, which);
    command
        .args(["test", "--lib", "-Zbuild-std", "--target", TARGET, "--target-dir"])
        .arg(target(root, which))
        .arg("--")
        .args(CONCURRENT)
        .args(SKIPPED)
        .args(more);
    Step::new(&format!("Rust tests under -Zsanitizer={which}")).run(&mut command)
}

/// The library under AddressSanitizer in a stock Python and TensorFlow. Rust links no runtime into a library, so it is preloaded: GCC's,
/// which speaks the same interface. TensorFlow itself is not instrumented; its memory is watched where it comes from malloc.
fn python_tests(root: &Path, python: &Python) -> Result<(), Failure> {
    let mut build = cargo(root, "address");
    build
        .args(["build", "--lib", "-Zbuild-std", "--target", TARGET, "--target-dir"])
        .arg(target(root, "address"));
    Step::new("the library with AddressSanitizer").run(&mut build)?;
    let found = Command::new("gcc").arg("-print-file-name=libasan.so").output();
    let runtime = found
        .map_err(|e| Failure::new(format!("gcc, for AddressSanitizer's runtime: {e}")))?
        .stdout;
    let runtime = String::from_utf8_lossy(&runtime).trim().to_string();
    let library = target(root, "address").join(TARGET).join("debug/libtftrt.so");
    let mut pytest = python.command(root);
    pytest
        .args(["-m", "pytest", "-q"])
        .args(PYTHON)
        .env("TFTRT_LIBRARY", library)
        .env("LD_PRELOAD", runtime)
        // Leaks: Python and TensorFlow leave much to the end of the process. Pairs: TensorFlow frees with free what new gave, and the other
        // way round, in its own libraries.
        .env(
            "ASAN_OPTIONS",
            "detect_leaks=0:alloc_dealloc_mismatch=0:detect_odr_violation=0:abort_on_error=1",
        );
    Step::new("Python tests with AddressSanitizer").run(&mut pytest)
}

/// What is pure Rust, under Miri. Foreign functions do not run there.
fn miri(root: &Path) -> Result<(), Failure> {
    let mut command = Command::new("cargo");
    command
        .args(["+nightly", "miri", "test", "--lib", "--target-dir"])
        .arg(target(root, "miri"))
        .args([
            "--",
            "cache::tests",
            "cache::relay",
            "cache::pool",
            "cache::linger",
            "op::owners",
            "op::fallback",
        ])
        .current_dir(root)
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env("MIRIFLAGS", "-Zmiri-disable-isolation");
    Step::new("Rust tests under Miri").run(&mut command)
}
