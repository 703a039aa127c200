//! Warnings that are said once in the life of the process.

use crate::process::Mutex;
use std::collections::HashSet;
use std::fmt::Display;
use std::sync::LazyLock;

/// Says `message` unless something was said about `subject` before.
pub(super) fn warn_once(subject: impl Into<String>, message: impl Display) {
    static SAID: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    if SAID.lock().insert(subject.into()) {
        tracing::warn!("{message}");
    }
}
