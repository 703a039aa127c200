//! The tests with threads under a sanitizer, with a nightly compiler (`rustup toolchain install nightly --component rust-src`).
//!
//! TensorFlow's own library is compiled for none of them. ThreadSanitizer therefore sees none of TensorFlow's locks and would take what they
//! order for races, so the plugin inside of TensorFlow is not run under it. Nothing is suppressed.

use crate::step::{Failure, Step};
use std::path::Path;
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The modules whose tests have threads, and what they use.
const CONCURRENT: &[&str] = &["cache::", "op::", "fault::", "files::", "engine::onnxruntime", "engine::tensorrt"];
/// They start and kill processes of this very binary by the dozen, which tells a sanitizer nothing.
const PROCESSES: &[&str] = &["--skip", "kills_at_random", "--skip", "processes::"];

struct Sanitizer {
    name: &'static str,
    /// For cargo.
    build: &'static [&'static str],
    /// For the test program.
    tests: &'static [&'static str],
    /// What the runtime is told, where the environment says nothing else.
    options: Option<(&'static str, &'static str)>,
}

const ALL: &[Sanitizer] = &[
    // Whatever of the standard library is not compiled for it would order nothing in its eyes.
    Sanitizer {
        name: "thread",
        build: &["-Zbuild-std"],
        tests: CONCURRENT,
        options: None,
    },
    // Every test, as each touches memory. The standard library may stay as it is: malloc and memcpy are watched all the same. Of leaks it
    // is not asked: what lives as long as the process is leaked on purpose, here and by TensorFlow when it starts.
    Sanitizer {
        name: "address",
        build: &[],
        tests: &[],
        options: Some(("ASAN_OPTIONS", "detect_leaks=0:detect_stack_use_after_return=1")),
    },
];

pub fn run(root: &Path, which: &str) -> Result<(), Failure> {
    let Some(sanitizer) = ALL.iter().find(|one| one.name == which) else {
        let names: Vec<&str> = ALL.iter().map(|one| one.name).collect();
        return Err(Failure::new(format!("`sanitize` takes {}, but got `{which}`", names.join(" or "))));
    };
    let mut command = Command::new("cargo");
    command
        .args(["+nightly", "test", "--lib"])
        .args(sanitizer.build)
        .args(["--target", TARGET, "--target-dir"])
        .arg(root.join("target/sanitize").join(which))
        .arg("--")
        .args(sanitizer.tests)
        .args(PROCESSES)
        .current_dir(root)
        // Those of the cargo that runs this: they would name its own compiler.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env("RUSTFLAGS", format!("-Zsanitizer={which}"))
        .env("CXXFLAGS", format!("-fsanitize={which}"));
    if let Some((name, options)) = sanitizer.options
        && std::env::var_os(name).is_none()
    {
        command.env(name, options);
    }
    Step::new(&format!("Rust tests under -Zsanitizer={which}")).run(&mut command)
}
