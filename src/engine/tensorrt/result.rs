//! Refusals into errors, with what TensorRT itself says of them.
//!
//! TensorRT returns null or false and puts the reason into its log. A [`Scope`] stands around the calls made for one node:
//! it collects the log of that time, so that the reason comes back inside the error, and names the node in what goes to
//! `tracing`.

use super::sys::{Library, LibraryError, MissingMethod, ParserError, Severity, Version};
use crate::engine::EngineError;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

/// Why TensorRT did not do what a node asked for.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Library(#[from] LibraryError),
    #[error(transparent)]
    Missing(#[from] MissingMethod),
    /// A call of TensorRT's returned null or false.
    #[error("node {node}: {version} could not {what}{said}")]
    Refused {
        node: String,
        version: Version,
        what: &'static str,
        said: Said,
    },
    /// The ONNX parser does not take the model.
    #[error("node {node}: the ONNX parser of {version} does not take the model: {}{said}", parse_errors(.errors))]
    Parse {
        node: String,
        version: Version,
        errors: Vec<ParserError>,
        said: Said,
    },
    /// The profiles do not fit the network.
    #[error("node {node}: profile {profile}, input {input}: {why}")]
    Profile {
        node: String,
        profile: usize,
        input: String,
        why: String,
    },
    /// The loaded version does not have what is asked for.
    #[error("node {node}: {version} has no {what}")]
    Unsupported {
        node: String,
        version: Version,
        what: &'static str,
    },
    /// The inputs that the caller names are not those of the network.
    #[error("node {node}: {why}")]
    Inputs { node: String, why: String },
}

impl From<Error> for EngineError {
    fn from(error: Error) -> EngineError {
        match error {
            Error::Library(why) => EngineError::Unavailable(why.to_string()),
            other => EngineError::Build(other.to_string()),
        }
    }
}

/// The name of an `nvonnxparser::ErrorCode`.
fn code_name(code: i32) -> &'static str {
    const NAMES: [&str; 15] = [
        "success",
        "internal error",
        "out of memory",
        "model cannot be read",
        "invalid value",
        "invalid graph",
        "invalid node",
        "unsupported graph",
        "unsupported node",
        "unsupported attribute",
        "unsupported input",
        "unsupported data type",
        "unsupported dynamic shape",
        "unsupported shape",
        "refit failed",
    ];
    usize::try_from(code)
        .ok()
        .and_then(|code| NAMES.get(code))
        .copied()
        .unwrap_or("unknown error")
}

fn parse_errors(errors: &[ParserError]) -> String {
    if errors.is_empty() {
        return "it gives no reason".to_string();
    }
    let each = |error: &ParserError| {
        let mut text = format!("{} (code {})", code_name(error.code), error.code);
        // A model that cannot be read has no nodes, whatever the index says.
        if error.node >= 0 && !(error.node_name.is_empty() && error.operator.is_empty() && error.code == 3) {
            text += &format!(" at node {}", error.node);
            if !error.node_name.is_empty() {
                text += &format!(" \"{}\"", error.node_name);
            }
            if !error.operator.is_empty() {
                text += &format!(" ({})", error.operator);
            }
        }
        format!("{text}: {}", error.text.trim())
    };
    errors.iter().map(each).collect::<Vec<_>>().join("; ")
}

/// What TensorRT's log said at error level, for the end of a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(pub Vec<String>);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => Ok(()),
            lines => write!(f, "; TensorRT says: {}", lines.join(" | ")),
        }
    }
}

/// Messages kept of one scope; a build that fails over and over in one way shall not fill the memory.
const KEPT: usize = 64;

/// What the log says while calls are made for one node. An object that is used again and again keeps its own.
#[derive(Debug)]
pub struct Journal {
    node: String,
    errors: Mutex<Vec<String>>,
}

/// The scopes of all threads, for messages of TensorRT's own threads.
static OPEN: Mutex<Vec<Arc<Journal>>> = Mutex::new(Vec::new());

thread_local! {
    /// The scopes of this thread, innermost last.
    static HERE: RefCell<Vec<Arc<Journal>>> = const { RefCell::new(Vec::new()) };
}

/// Works on this thread's scopes. `None` where the thread has ended but for its last destructors: engines may go as late as that.
fn here<T>(work: impl FnOnce(&mut Vec<Arc<Journal>>) -> T) -> Option<T> {
    HERE.try_with(|stack| work(&mut stack.borrow_mut())).ok()
}

/// The calls made for one node, and what the log says meanwhile. For one thread.
pub struct Scope {
    journal: Arc<Journal>,
    version: Version,
    /// Whether the errors left their scope inside an [`Error`].
    handed_over: bool,
    /// Not among those that TensorRT's own threads are asked against.
    light: bool,
    one_thread: std::marker::PhantomData<*const ()>,
}

impl Scope {
    pub fn enter(library: &Library, node: &str) -> Scope {
        let journal = Arc::new(Journal {
            node: node.to_string(),
            errors: Mutex::new(Vec::new()),
        });
        OPEN.lock().push(journal.clone());
        here(|stack| stack.push(journal.clone()));
        Scope {
            journal,
            version: library.version(),
            handed_over: false,
            light: false,
            one_thread: std::marker::PhantomData,
        }
    }

    /// The calls of an object that keeps its journal: cheaper than [`Scope::enter`], for every run of an engine makes one. What
    /// TensorRT's own threads log meanwhile is not caught.
    pub fn again(library: &Library, journal: &Arc<Journal>) -> Scope {
        here(|stack| stack.push(journal.clone()));
        Scope {
            journal: journal.clone(),
            version: library.version(),
            handed_over: false,
            light: true,
            one_thread: std::marker::PhantomData,
        }
    }

    /// Whether the log has said something at error level since the scope began, for calls that answer nothing.
    pub fn has_errors(&self) -> bool {
        !self.journal.errors.lock().is_empty()
    }

    /// A journal for [`Scope::again`], of the same node.
    pub fn journal(&self) -> Arc<Journal> {
        Arc::new(Journal {
            node: self.journal.node.clone(),
            errors: Mutex::default(),
        })
    }

    pub fn node(&self) -> &str {
        &self.journal.node
    }

    /// What the log has said at error level since the scope began, for the error that ends it.
    pub fn take_said(&mut self) -> Said {
        self.handed_over = true;
        self.so_far()
    }

    /// What the log has said at error level, for a message of the caller's own; what is said later is kept as before.
    pub fn so_far(&mut self) -> Said {
        Said(std::mem::take(&mut *self.journal.errors.lock()))
    }

    /// Logs what has been said at error level: TensorRT went on.
    pub fn tell_so_far(&mut self) {
        for text in self.journal.errors.lock().drain(..) {
            tracing::warn!(node = %self.journal.node, "TensorRT: {text}");
        }
    }

    /// The error for an option that the loaded version does not have.
    pub fn unsupported(&self, what: &'static str) -> Error {
        Error::Unsupported {
            node: self.journal.node.clone(),
            version: self.version,
            what,
        }
    }

    /// The error for a call that came back with null or false; `what` completes "TensorRT could not ...".
    pub fn refused(&mut self, what: &'static str) -> Error {
        Error::Refused {
            node: self.journal.node.clone(),
            version: self.version,
            what,
            said: self.take_said(),
        }
    }

    /// `Err` with TensorRT's words for `None`.
    pub fn some<T>(&mut self, what: &'static str, result: Option<T>) -> Result<T, Error> {
        result.ok_or_else(|| self.refused(what))
    }

    /// The error for a model that the parser did not take.
    pub fn unparsed(&mut self, errors: Vec<ParserError>) -> Error {
        let mut said = self.take_said();
        // The parser logs its errors as well as keeping them.
        said.0.retain(|line| {
            !errors
                .iter()
                .any(|error| !error.text.is_empty() && line.contains(error.text.trim()))
        });
        Error::Parse {
            node: self.journal.node.clone(),
            version: self.version,
            errors,
            said,
        }
    }

    pub fn profile(&self, profile: usize, input: &str, why: String) -> Error {
        Error::Profile {
            node: self.journal.node.clone(),
            profile,
            input: input.to_string(),
            why,
        }
    }

    pub fn inputs(&self, why: String) -> Error {
        Error::Inputs {
            node: self.journal.node.clone(),
            why,
        }
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        here(|stack| stack.retain(|journal| !Arc::ptr_eq(journal, &self.journal)));
        if !self.light {
            OPEN.lock().retain(|journal| !Arc::ptr_eq(journal, &self.journal));
        }
        if !self.handed_over {
            self.tell_so_far();
        }
    }
}

/// Where the logger of every library sends its messages: to the scope of the thread that logs, else (a thread of TensorRT's)
/// to the only one that is open, and to `tracing`. Errors inside a scope are kept for its error and logged at debug level
/// only: they come back inside our error, not beside it.
pub fn log(severity: Severity, text: &str) {
    let innermost = here(|stack| stack.last().cloned()).flatten();
    let journal = innermost.or_else(|| match OPEN.lock().as_slice() {
        [only] => Some(only.clone()),
        _ => None,
    });
    let node = journal.as_ref().map_or("(none)", |journal| &journal.node);
    match severity {
        Severity::InternalError | Severity::Error => match &journal {
            Some(journal) => {
                tracing::debug!(node, "TensorRT: {text}");
                let mut errors = journal.errors.lock();
                if errors.len() < KEPT {
                    errors.push(text.to_string());
                }
            }
            None => tracing::error!(node, "TensorRT: {text}"),
        },
        Severity::Warning => tracing::warn!(node, "TensorRT: {text}"),
        Severity::Info => tracing::debug!(node, "TensorRT: {text}"),
        Severity::Verbose => tracing::trace!(node, "TensorRT: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(node: &str) -> Scope {
        let journal = Arc::new(Journal {
            node: node.to_string(),
            errors: Mutex::new(Vec::new()),
        });
        HERE.with_borrow_mut(|stack| stack.push(journal.clone()));
        Scope {
            journal,
            version: Version::from_number(10701).expect("a version"),
            handed_over: false,
            light: true,
            one_thread: std::marker::PhantomData,
        }
    }

    #[test]
    fn the_log_comes_back_inside_the_error() {
        let mut outer = scope("outer");
        log(Severity::Error, "first");
        {
            let mut inner = scope("inner");
            log(Severity::Error, "no kernel");
            log(Severity::Warning, "slow");
            log(Severity::InternalError, "assertion");
            assert_eq!(
                inner.refused("build the plan").to_string(),
                "node inner: TensorRT-RTX 1.7.1 could not build the plan; TensorRT says: no kernel | assertion"
            );
        }
        log(Severity::Error, "second");
        assert_eq!(
            outer.refused("parse").to_string(),
            "node outer: TensorRT-RTX 1.7.1 could not parse; TensorRT says: first | second"
        );
    }

    #[test]
    fn parse_errors_name_code_node_and_text_once() {
        let mut scope = scope("seg_0");
        log(Severity::Error, "[onnx.cc:12] In node 3: no such op Frob");
        log(Severity::Error, "and another thing");
        let error = scope.unparsed(vec![ParserError {
            code: 8,
            node: 3,
            node_name: "frob_1".to_string(),
            operator: "Frob".to_string(),
            text: "no such op Frob".to_string(),
            file: "onnx.cc".to_string(),
            line: 12,
        }]);
        assert_eq!(
            error.to_string(),
            "node seg_0: the ONNX parser of TensorRT-RTX 1.7.1 does not take the model: unsupported node (code 8) at node 3 \
             \"frob_1\" (Frob): no such op Frob; TensorRT says: and another thing"
        );
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let mut scope = scope("n");
        for i in 0..1000 {
            log(Severity::Error, &i.to_string());
        }
        assert_eq!(scope.take_said().0.len(), KEPT);
    }
}
