//! `cargo xtask COMMAND`: every step of the work on tftrt, from an empty checkout on.
//!
//! Plain `std`, and nothing of the main package: it has to build before there is a `.venv` for build.rs to find.

mod packages;
mod python;
mod sanitize;
mod step;
mod tensorflow;
mod wheel;

use python::Environment;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use step::{Failure, Step};
use tensorflow::{Build, Tensorflow, VERSIONS};
use wheel::Try;

const HELP: &str = "\
cargo xtask COMMAND

  setup   make .venv from requirements.lock and install the Python package tftrt into it
  demo    build the library, train a small network, convert it, and compare it with native TensorFlow
  test    build everything and run the Rust and Python tests
  wheel   build a wheel of the library and the Python package, install it and try it: --tf 2.20 (also 2.18, 2.19, 2.21; or all);
          --quick compiles without much optimization and tries it beside the packages that it was built with
  lint    check the formatting, run clippy (warnings are errors), and check the language of the Markdown pages
  bench   run the benchmarks
  docs    write the files in docs/ that are made from tables in the code; `docs --site` builds the site of docs/ into site/
  sanitize  with a nightly compiler: `sanitize thread`, the tests with threads under ThreadSanitizer; `sanitize address`, the Rust
          tests under AddressSanitizer, then the plugin inside of TensorFlow; `sanitize miri`, what has `unsafe` and calls no C
  help    show this text

demo, test, lint, bench and docs run setup first; what is there already is not made again.
With TFTRT_PYTHON set, that Python is used as it is: no .venv is made, and nothing is installed into it.
Arguments after `test` go to pytest: cargo xtask test -k guide
`test --tf 2.20` builds for that TensorFlow and runs the Python tests with it, `test --all-tf` with each in turn; each has a
virtual environment of its own under target/tf, made from its lock in requirements/.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_else(|| "help".to_string());
    let rest: Vec<String> = arguments.collect();
    if !rest.is_empty() && !["test", "wheel", "docs", "sanitize"].contains(&command.as_str()) {
        eprintln!(
            "xtask: `{command}` takes no arguments, but got `{}`; see `cargo xtask help`",
            rest.join(" ")
        );
        return ExitCode::from(2);
    }
    let root = root();
    let outcome = match command.as_str() {
        "setup" => python::setup(&root).map(|_| ()),
        "demo" => demo(&root),
        "test" => match Selection::of(rest) {
            Ok(Selection { versions, rest }) if versions.is_empty() => test(&root, &rest),
            Ok(Selection { versions, rest }) => each(&versions, |one| test_with(&root, one, &rest)),
            Err(failure) => Err(failure),
        },
        "wheel" => wheels(&root, rest),
        "lint" => lint(&root),
        "bench" => bench(&root),
        "docs" => match rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => docs(&root),
            ["--site"] => site(&root),
            _ => Err(Failure::new(format!(
                "`docs` takes --site or nothing, but got `{}`",
                rest.join(" ")
            ))),
        },
        "sanitize" => sanitize::run(&root, &rest.join(" ")),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        other => {
            eprintln!("xtask: there is no command `{other}`\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Builds and tries wheels; for the newest TensorFlow where none is named.
fn wheels(root: &Path, arguments: Vec<String>) -> Result<(), Failure> {
    let Selection { mut versions, rest } = Selection::of(arguments)?;
    let how = match rest.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Try::Clean,
        ["--quick"] => Try::Beside,
        _ => {
            return Err(Failure::new(format!(
                "`wheel` takes --tf VERSION and --quick, but got `{}`",
                rest.join(" ")
            )));
        }
    };
    if versions.is_empty() {
        versions.push(Tensorflow::newest());
    }
    each(&versions, |one| wheel::wheel(root, one, how))
}

/// The TensorFlows that a command is for, and its other arguments.
struct Selection {
    versions: Vec<&'static Tensorflow>,
    rest: Vec<String>,
}

impl Selection {
    /// Takes `--tf VERSION` (which may be repeated; `all` is every one) and `--all-tf` out of the arguments.
    fn of(arguments: Vec<String>) -> Result<Selection, Failure> {
        let mut versions = Vec::new();
        let mut rest = Vec::new();
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let named = match argument.strip_prefix("--tf=") {
                Some(version) => version.to_string(),
                None if argument == "--all-tf" => "all".to_string(),
                None if argument == "--tf" => arguments.next().ok_or_else(|| Failure::new("--tf wants a version: --tf 2.20"))?,
                None => {
                    rest.push(argument);
                    continue;
                }
            };
            match named.as_str() {
                "all" => versions.extend(&VERSIONS),
                version => versions.push(Tensorflow::named(version)?),
            }
        }
        Ok(Selection { versions, rest })
    }
}

/// Runs `work` for each TensorFlow, also where an earlier one failed, and says at the end which did.
fn each(versions: &[&'static Tensorflow], work: impl Fn(&Tensorflow) -> Result<(), Failure>) -> Result<(), Failure> {
    let failed: Vec<String> = versions
        .iter()
        .filter_map(|one| work(one).err().map(|failure| format!("TensorFlow {}: {failure}", one.version)))
        .collect();
    match failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::new(failed.join("\nxtask: "))),
    }
}

/// The repository: the folder above this crate.
fn root() -> PathBuf {
    // Asked at run time: a target folder that was copied with its binaries must not lead back to where it came from.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&own).parent().expect("xtask/ lies in the repository").to_path_buf()
}

/// Cargo itself. TFTRT_PYTHON is handed on as it is and never set: build.rs finds `.venv` by the same rule, and a change of
/// the variable between this and a plain `cargo build` would build the C++ anew each time.
fn cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root);
    command
}

fn demo(root: &Path) -> Result<(), Failure> {
    let python = python::setup(root)?;
    Step::new("build the library").run(&mut cargo(root, &["build", "--release"]))?;
    Step::new("demo").run(python.command(root).arg("examples/demo.py"))
}

/// Every test that needs no GPU, in two processes, whole files each: most tests keep one core busy, and what one process dies of
/// ends one test.
#[rustfmt::skip]
const PYTEST: [&str; 10] = ["-m", "pytest", "-q", "tests/python", "-m", "not gpu", "-n", "2", "--dist", "loadfile"];

/// Runs every kind of test even when one fails, and says at the end which did. pytest comes last, so that its closing
/// line is the last of the tests' own output.
fn test(root: &Path, pytest_arguments: &[String]) -> Result<(), Failure> {
    let python = python::setup(root)?;
    Step::new("build the library").run(&mut cargo(root, &["build", "--release"]))?;
    let mut failed = Vec::new();
    let mut note = |outcome: Result<(), Failure>| {
        if let Err(failure) = outcome {
            failed.push(failure.to_string());
        }
    };
    note(Step::new("Rust tests").run(&mut cargo(root, &["test", "--release", "--workspace"])));
    if has_rust_file(&root.join("examples")) {
        note(Step::new("build the examples").run(&mut cargo(root, &["build", "--release", "--examples"])));
    }
    if root.join("tests/python/tensorrt_rtx.py").is_file() {
        note(Step::new("TensorRT-RTX libraries").run(python.command(root).args(["tests/python/tensorrt_rtx.py", "prepare"])));
    }
    note(Step::new("TensorRT's headers").run(&mut cargo(root, &["fetch", "--locked", "--manifest-path", "tests/abi/Cargo.toml"])));
    let mut pytest = python.command(root);
    pytest.args(PYTEST).args(pytest_arguments);
    let mut step = Step::new("Python tests");
    // Its own summary has to stay the last thing on stdout, for whoever reads only that.
    step.announce_on_stderr();
    note(step.run(&mut pytest));
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::new(failed.join("\nxtask: ")))
    }
}

/// Builds the library for another TensorFlow and runs the Python tests with it. What differs there, and why, is in
/// tests/python/tensorflow_differs.txt.
fn test_with(root: &Path, tensorflow: &Tensorflow, pytest_arguments: &[String]) -> Result<(), Failure> {
    let python = tensorflow.environment(root)?;
    let library = tensorflow.build(root, &python, Build::WithPrograms)?;
    if root.join("tests/python/tensorrt_rtx.py").is_file() {
        Step::new("TensorRT-RTX libraries").run(python.command(root).args(["tests/python/tensorrt_rtx.py", "prepare"]))?;
    }
    let mut pytest = python.command(root);
    pytest
        .args(PYTEST)
        .args(pytest_arguments)
        .env("TFTRT_LIBRARY", &library)
        .env("TFTRT_EXAMPLES", Tensorflow::examples(root));
    Step::new(&format!("Python tests with TensorFlow {}", tensorflow.version)).run(&mut pytest)
}

fn lint(root: &Path) -> Result<(), Failure> {
    let python = python::setup(root)?;
    Step::new("formatting").run(&mut cargo(root, &["fmt", "--all", "--check"]))?;
    // The release profile, so that the dependencies are compiled once for lint, build and test.
    Step::new("clippy").run(&mut cargo(
        root,
        &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"],
    ))?;
    Step::new("language of the pages").run(python.command(root).arg("tests/python/doc_style.py"))
}

fn bench(root: &Path) -> Result<(), Failure> {
    let python = python::setup(root)?;
    Step::new("build the library").run(&mut cargo(root, &["build", "--release"]))?;
    Step::new("Rust benchmarks").run(&mut cargo(root, &["bench"]))?;
    for script in files_with(&root.join("benches"), "py") {
        let name = script.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Step::new(&name).run(python.command(root).arg(&script))?;
    }
    Ok(())
}

fn docs(root: &Path) -> Result<(), Failure> {
    let python = python::setup(root)?;
    Step::new("build the examples").run(&mut cargo(root, &["build", "--release", "--examples"]))?;
    Step::new("docs of the settings").run(&mut cargo(root, &["run", "--release", "--example", "make_docs"]))?;
    Step::new("docs of the layers").run(cargo(root, &["test", "--release", "--test", "layers"]).env("TFTRT_WRITE_DOCS", "1"))?;
    Step::new("docs of the models").run(python.command(root).arg("tests/python/model_table.py"))?;
    Step::new("docs of the ops").run(python.command(root).arg("tests/python/make_supported_ops.py"))
}

/// Builds the documentation's site. A broken link or a page that is missing in the navigation fails the build. Its packages
/// have an environment of their own, so that nothing else needs them.
fn site(root: &Path) -> Result<(), Failure> {
    let python = Environment {
        folder: root.join("target/docs/venv"),
        lock: root.join("requirements/docs.lock"),
        with_tftrt: false,
        newest: python::NEWEST,
    }
    .make(root)?;
    Step::new("site").run(
        python
            .command(root)
            .args(["-m", "mkdocs", "build", "--strict", "--quiet"])
            .env("NO_MKDOCS_2_WARNING", "1"),
    )
}

fn has_rust_file(folder: &Path) -> bool {
    !files_with(folder, "rs").is_empty()
}

/// The files directly in `folder` with this extension, sorted; none where there is no such folder.
fn files_with(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    found.sort();
    found
}
