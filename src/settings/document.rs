//! docs/reference/settings.md, made from the tables.

use super::log_modules::{ALL, LOG_MODULES};
use super::variables::{Kind, ReadAt, VARIABLES, Variable, WITHOUT_EFFECT};
use std::fmt::Write as _;

/// The whole file. `cargo xtask docs` writes it, and a test holds what is there against this.
pub fn markdown() -> String {
    let mut text = String::from(HEAD);
    for (title, about, wanted) in SECTIONS {
        let _ = write!(text, "\n## {title}\n\n{about}\n\n");
        text.push_str("| Variable | Takes | Default | Read | Effect |\n| --- | --- | --- | --- | --- |\n");
        for variable in VARIABLES.iter().filter(|v| wanted(v)) {
            row(&mut text, variable);
        }
    }
    text.push_str(LOG_HEAD);
    for module in LOG_MODULES {
        let names = std::iter::once(&module.name).chain(module.aliases);
        let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
        let _ = writeln!(text, "| {} | {} | {} |", names.join(", "), module.first, module.second);
    }
    let _ = writeln!(text, "| `{ALL}` | all of the above, and everything without a module | |");
    text
}

/// Title, introduction, and which variables are in it.
type Section = (&'static str, &'static str, fn(&Variable) -> bool);

const SECTIONS: &[Section] = &[
    (
        "TF-TRT's",
        "They keep their names and values. The number behind an effect is the section of NVIDIA's TF-TRT user guide.",
        |v| v.name.starts_with("TF_") && !is_without_effect(v),
    ),
    (
        "TF-TRT's, without an effect here",
        "They are read so that scripts which set them still work. If one asks for something, the log says once that it has no effect.",
        is_without_effect,
    ),
    (
        "Of this library",
        "`ORT_DYLIB_PATH` has the name that ONNX Runtime's bindings use.",
        |v| !v.name.starts_with("TF_"),
    ),
];

const HEAD: &str = "\
# Settings

<!-- Made from the table in src/settings/variables.rs by `cargo xtask docs`: change it there. -->

All environment variables that the library reads. An empty variable counts as not set. If a value is not understood, TensorFlow's log
names it once, with the accepted values and the value in use. A variable whose name begins with `TF_TRT_` and is not here is named, too.

The column *Read* says when a variable is read:

- **use**: whenever it matters, so a program may set it after the import;
- **start**: once, when the library first needs it;
- **import**: by `import tftrt`;
- **build**: when the library is compiled.
";

const LOG_HEAD: &str = "
## Verbose logging

The library writes to TensorFlow's log, so TensorFlow's own variables apply. They are read once, when TensorFlow starts. Errors and
warnings are logged down to `TF_CPP_MIN_LOG_LEVEL`. `TF_CPP_MAX_VLOG_LEVEL=1` (or 2) enables the verbose levels for all of TensorFlow.
`TF_CPP_VMODULE` enables them for parts of this library, by the names of TF-TRT's source files. The log lines begin with these names:

    TF_CPP_VMODULE=segment=2,convert_graph=2,convert_nodes=2,trt_engine_op=1,trt_logger=2

| Module | Level 1 | Level 2, in addition |
| --- | --- | --- |
";

fn why_without_effect(variable: &Variable) -> Option<&'static str> {
    let found = WITHOUT_EFFECT.iter().find(|(name, _)| *name == variable.name);
    found.map(|(_, why)| *why)
}

fn is_without_effect(variable: &Variable) -> bool {
    why_without_effect(variable).is_some()
}

fn takes(kind: Kind) -> String {
    match kind {
        Kind::Bool => "`true`, `false`, `1`, `0`".into(),
        Kind::Integer => "a whole number".into(),
        Kind::List => "names, separated by commas".into(),
        Kind::Path => "a path".into(),
        Kind::IntegerOrPath => "a whole number, or a path".into(),
        Kind::Step => "`count`, or a point and which time: `read:3`".into(),
        Kind::Choice(names) => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    }
}

fn row(text: &mut String, variable: &Variable) {
    let read = match variable.read {
        ReadAt::Build => "build",
        ReadAt::Import => "import",
        ReadAt::Start => "start",
        ReadAt::Use => "use",
    };
    let default = match variable.default {
        "" => String::new(),
        value => format!("`{value}`"),
    };
    let mut effect = variable.what.to_string();
    if let Some(why) = why_without_effect(variable) {
        effect = format!("In TF-TRT: {effect} Here nothing: {why}.");
    }
    if let Some(section) = variable.guide_section {
        let _ = write!(effect, " ({section})");
    }
    // A bar would end the cell.
    let effect = effect.replace('|', "\\|").replace('<', "&lt;");
    let _ = writeln!(
        text,
        "| `{}` | {} | {default} | {read} | {effect} |",
        variable.name,
        takes(variable.kind)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_what_the_tables_make() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/settings.md");
        let written = std::fs::read_to_string(file).unwrap();
        assert!(written == markdown(), "docs/reference/settings.md is stale: run `cargo xtask docs`");
    }

    #[test]
    fn every_variable_has_its_row() {
        let text = markdown();
        for variable in VARIABLES {
            assert_eq!(text.matches(&format!("\n| `{}` |", variable.name)).count(), 1, "{}", variable.name);
        }
    }
}
