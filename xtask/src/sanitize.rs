//! The concurrency tests under ThreadSanitizer. They need a nightly compiler with its standard library's source (`rustup toolchain install
//! nightly --component rust-src`).

use crate::step::{Failure, Step};
use std::path::Path;
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The modules whose tests have threads, and what they use.
const CONCURRENT: &[&str] = &["cache::", "op::", "fault::", "files::", "engine::onnxruntime", "engine::tensorrt"];
/// They start and kill processes of this very binary by the dozen, which tells a sanitizer nothing.
const SKIPPED: &[&str] = &["--skip", "kills_at_random", "--skip", "processes::"];

/// Everything is compiled for the sanitizer: this crate, its dependencies, the standard library and the shim. TensorFlow's own library is
/// not, so the plugin inside of TensorFlow is not run this way: the sanitizer sees none of TensorFlow's locks, and takes what they order for
/// races. Nothing is suppressed.
pub fn run(root: &Path, which: &str) -> Result<(), Failure> {
    if which != "thread" {
        return Err(Failure::new(format!("`sanitize` takes thread, but got `{which}`")));
    }
    let mut command = Command::new("cargo");
    command
        .args(["+nightly", "test", "--lib", "-Zbuild-std", "--target", TARGET, "--target-dir"])
        .arg(root.join("target/sanitize").join(which))
        .arg("--")
        .args(CONCURRENT)
        .args(SKIPPED)
        .current_dir(root)
        // Those of the cargo that runs this: they would name its own compiler.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env_remove("RUSTC")
        .env("RUSTFLAGS", format!("-Zsanitizer={which}"))
        .env("CXXFLAGS", format!("-fsanitize={which}"));
    Step::new(&format!("Rust tests under -Zsanitizer={which}")).run(&mut command)
}
