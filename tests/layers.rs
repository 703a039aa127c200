//! The layers of `src/`: which module may use which. A module uses only modules below it, so there is no circle.
//!
//! `cargo xtask docs` writes the table in docs/design/overview.md from the one here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A module, what it is for, and the modules that it may use, all of which come after it.
struct Layer(&'static str, &'static str, &'static [&'static str]);

/// From the top to the bottom.
const LAYERS: &[Layer] = &[
    Layer(
        "plugin",
        "what TensorFlow, Python and C programs call: registration, requests, metrics",
        &[
            "op",
            "saved_model",
            "optimizer",
            "convert",
            "report",
            "tf",
            "engine",
            "disk_cache",
            "graph",
            "settings",
            "proto",
            "trace",
            "fault",
            "memory",
            "process",
        ],
    ),
    Layer(
        "op",
        "TRTEngineOp: from a call to an engine that serves it, or to the native segment",
        &[
            "convert", "segment", "tf", "engine", "cache", "profile", "graph", "settings", "proto", "process", "files", "trace", "fault",
            "memory", "plain",
        ],
    ),
    Layer(
        "saved_model",
        "conversion of a SavedModel without Python",
        &["optimizer", "tf", "graph", "files", "proto", "memory"],
    ),
    Layer(
        "optimizer",
        "the pass TensorRTOptimizer: flatten control flow, partition, outline, stitch, report",
        &[
            "control_flow",
            "segment",
            "convert",
            "report",
            "graph",
            "settings",
            "files",
            "proto",
            "memory",
        ],
    ),
    Layer(
        "control_flow",
        "loops, conditionals and calls, written out or as single nodes",
        &["segment", "convert", "graph", "settings", "proto"],
    ),
    Layer(
        "segment",
        "which nodes of a graph go into which engine",
        &["convert", "graph", "settings"],
    ),
    Layer(
        "convert",
        "TensorFlow's ops as ONNX",
        &["engine", "graph", "settings", "proto", "memory"],
    ),
    Layer(
        "tf",
        "TensorFlow in safe Rust, over cpp_shim/",
        &[
            "engine", "cuda", "graph", "settings", "proto", "fault", "memory", "plain", "process",
        ],
    ),
    Layer(
        "engine",
        "engines: what builds them, what runs them, and the files that hold them",
        &[
            "precision",
            "cuda",
            "disk_cache",
            "sync",
            "profile",
            "graph",
            "settings",
            "process",
            "files",
            "proto",
            "trace",
            "fault",
            "memory",
        ],
    ),
    Layer("precision", "FP16 and bfloat16 in an ONNX model", &["proto", "memory"]),
    Layer(
        "report",
        "what a conversion reports: what stayed native, and a drawing",
        &["graph", "settings", "files", "process"],
    ),
    Layer(
        "cache",
        "the engines of one resource: an LRU cache with one build at a time",
        &["profile", "process"],
    ),
    Layer(
        "disk_cache",
        "caches of engines and timings on disk",
        &["profile", "settings", "files", "fault", "process"],
    ),
    Layer("trace", "steps in the profilers of TensorFlow and NVIDIA", &["cuda"]),
    Layer("cuda", "CUDA's driver in safe Rust", &[]),
    Layer("sync", "pools and slots that threads share", &[]),
    Layer(
        "profile",
        "shape profiles: recorded, made by a strategy, selected for a call",
        &["graph"],
    ),
    Layer(
        "graph",
        "a GraphDef with its edges resolved, types and shapes beside the nodes",
        &["proto", "memory"],
    ),
    Layer("settings", "environment variables", &["fault", "process"]),
    Layer("files", "files that are replaced at once", &["fault"]),
    Layer(
        "memory",
        "memory that may be lacking: what grows with a tensor, a graph, a plan or a file",
        &[],
    ),
    Layer("plain", "texts of others in messages: one line of bounded length", &[]),
    Layer("proto", "protobuf messages of TensorFlow and ONNX", &[]),
    Layer("fault", "steps that fail on purpose, for tests", &["process"]),
    Layer("process", "forks and the end of the process", &[]),
];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        match path.is_dir() {
            true => rust_files(&path, found),
            false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            false => {}
        }
    }
}

/// The code of a file without comments, and without its tests, which stand at its end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The first names behind `crate::` in `code`, those of `use crate::{a, b::c}` included.
fn used(code: &str) -> BTreeSet<String> {
    let name = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            None => drop(found.insert(name(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut start = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        c if start && !c.is_whitespace() => {
                            found.insert(name(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found.remove("");
    found
}

/// For each module, the modules that it uses, each with a file that does.
fn edges() -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    let mut edges: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for path in files {
        let inside = path.strip_prefix(&root).unwrap();
        let is_test = inside.iter().any(|part| part.to_string_lossy().contains("test"));
        if is_test || inside.starts_with("bin") || inside == Path::new("lib.rs") {
            continue;
        }
        let module = inside.iter().next().unwrap().to_string_lossy().trim_end_matches(".rs").to_string();
        let own = edges.entry(module.clone()).or_default();
        for other in used(&code(&path)).into_iter().filter(|other| *other != module) {
            own.entry(other).or_insert_with(|| inside.to_path_buf());
        }
    }
    edges
}

#[test]
fn modules_use_only_what_is_below_them() {
    let mut wrong = Vec::new();
    let edges = edges();
    for (module, uses) in &edges {
        let Some(Layer(_, _, allowed)) = LAYERS.iter().find(|Layer(name, ..)| name == module) else {
            wrong.push(format!("src/{module} is in no layer"));
            continue;
        };
        for (other, file) in uses.iter().filter(|(other, _)| !allowed.contains(&other.as_str())) {
            wrong.push(format!("src/{}: {module} may not use {other}", file.display()));
        }
        for other in allowed.iter().filter(|other| !uses.contains_key(**other)) {
            wrong.push(format!("{module} does not use {other}, which the table allows"));
        }
    }
    for (at, Layer(module, _, allowed)) in LAYERS.iter().enumerate() {
        let below: Vec<&str> = LAYERS[at + 1..].iter().map(|Layer(name, ..)| *name).collect();
        for other in allowed.iter().filter(|other| !below.contains(other)) {
            wrong.push(format!("{other} is not below {module}"));
        }
        if !edges.contains_key(*module) {
            wrong.push(format!("there is no src/{module}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table in Markdown.
fn table() -> String {
    let rows = LAYERS.iter().map(|Layer(module, purpose, uses)| {
        let uses: Vec<String> = uses.iter().map(|other| format!("`{other}`")).collect();
        format!("| `{module}` | {purpose} | {} |\n", uses.join(", "))
    });
    let head = "| Module of `src/` | Purpose | Modules that it uses |\n| --- | --- | --- |\n";
    head.to_string() + &rows.collect::<String>()
}

#[test]
fn the_table_in_the_docs_is_this_one() {
    const BEGIN: &str = "<!-- layers -->\n";
    const END: &str = "<!-- /layers -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/design/overview.md");
    let page = fs::read_to_string(&path).unwrap();
    let begin = page.find(BEGIN).expect("the mark before the table") + BEGIN.len();
    let end = page.find(END).expect("the mark behind the table");
    if std::env::var_os("TFTRT_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{}{}{}", &page[..begin], table(), &page[end..])).unwrap();
        return;
    }
    assert!(
        page[begin..end] == table(),
        "docs/design/overview.md is stale: run `cargo xtask docs`"
    );
}

#[test]
fn lists_of_uses_are_read() {
    let code = "use crate::{fault, tf::{self, Call}, engine};\nfn f() { crate::graph::x() }";
    let expected = ["engine", "fault", "graph", "tf"].map(String::from);
    assert_eq!(used(code), BTreeSet::from(expected));
}
