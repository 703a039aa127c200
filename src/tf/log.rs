//! Routes `tracing` events to TensorFlow's log, where TF_CPP_MIN_LOG_LEVEL and TF_CPP_VMODULE rule.

use super::ffi;
use crate::plain::plain;
use crate::settings::{ALL_MODULES as ALL, module_of};
use std::fmt::Write;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// The subscriber of the process's tracing events, unless it has one already.
pub fn install() {
    // An embedding program's own subscriber stays.
    let _ = tracing::subscriber::set_global_default(ToTensorflow);
}

struct ToTensorflow;

/// TensorFlow's severity; `None` for verbose messages.
fn severity(level: &Level) -> Option<i32> {
    match *level {
        Level::ERROR => Some(2),
        Level::WARN => Some(1),
        Level::INFO => Some(0),
        _ => None,
    }
}

fn verbosity(level: &Level) -> i32 {
    if *level == Level::DEBUG { 1 } else { 2 }
}

/// The file that a verbose message is said to come from.
fn file(module: &str) -> String {
    format!("{module}.cc")
}

/// The level of verbose logging for messages of `target`: what TF_CPP_VMODULE says of its module, else of everything here, else
/// TF_CPP_MAX_VLOG_LEVEL.
fn level_of(target: &str) -> i32 {
    let module = module_of(target);
    let names = module
        .iter()
        .flat_map(|module| std::iter::once(module.name).chain(module.aliases.iter().copied()));
    // No file has this name: it gets what is said of all files.
    let all = ffi::vlog_level("");
    names
        .chain([ALL])
        .map(|name| ffi::vlog_level(&file(name)))
        .find(|level| *level != all)
        .unwrap_or(all)
}

impl Subscriber for ToTensorflow {
    /// Asked once for each place that logs: TensorFlow, too, reads its variables once.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries below (ort) are chatty at INFO; their warnings are kept.
        let own = metadata.target().starts_with("tftrt");
        match severity(metadata.level()) {
            Some(severity) => own || severity >= 1,
            None => own && level_of(metadata.target()) >= verbosity(metadata.level()),
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        line.message.push_str(&line.fields);
        // A line may hold what a file or a graph says.
        let text = plain(&line.message);
        let about = event.metadata();
        match severity(about.level()) {
            Some(severity) => ffi::log_message(severity, &text),
            None => {
                let module = module_of(about.target()).map_or(ALL, |module| module.name);
                ffi::vlog_message(verbosity(about.level()), &file(module), about.line().unwrap_or(0), &text);
            }
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
