//! Writes the parts of `docs/` that are made from tables in the code: `cargo xtask docs`.
//!
//! With `--check` nothing is written; the exit status is 1 where a file is not what would be written.

use std::path::Path;
use std::process::ExitCode;
use tftrt::{files, settings};

/// A file's name in `docs/`, and what makes its text.
type Document = (&'static str, fn() -> String);

const DOCUMENTS: &[Document] = &[("reference/settings.md", settings::document::markdown)];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let check = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => false,
        ["--check"] => true,
        _ => {
            eprintln!("usage: make_docs [--check]");
            return ExitCode::from(2);
        }
    };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let mut failed = false;
    for (name, make) in DOCUMENTS {
        let (path, text) = (folder.join(name), make());
        if std::fs::read_to_string(&path).is_ok_and(|written| written == text) {
            println!("docs/{name}: up to date");
        } else if check {
            eprintln!("docs/{name} is stale: run `cargo xtask docs`");
            failed = true;
        } else if let Err(why) = files::replace(&path, |out| std::io::Write::write_all(out, text.as_bytes())) {
            eprintln!("{why}");
            failed = true;
        } else {
            println!("docs/{name}: written");
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
