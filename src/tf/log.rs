//! Routes `tracing` events to TensorFlow's log, where TF_CPP_MIN_LOG_LEVEL and TF_CPP_VMODULE rule.

use super::ffi;
use std::fmt::Write;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// The subscriber of the process's tracing events, unless it has one already.
pub fn install() {
    // An embedding program's own subscriber stays.
    let _ = tracing::subscriber::set_global_default(ToTensorflow);
}

struct ToTensorflow;

fn severity(level: &Level) -> i32 {
    match *level {
        Level::ERROR => 2,
        Level::WARN => 1,
        Level::INFO => 0,
        _ => -1,
    }
}

impl Subscriber for ToTensorflow {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Libraries below (ort) are chatty at INFO; their warnings are kept.
        let own = metadata.target().starts_with("tftrt");
        let severity = severity(metadata.level());
        if own { ffi::log_enabled(severity) } else { severity >= 1 }
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
        ffi::log_message(severity(event.metadata().level()), &line.message);
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
