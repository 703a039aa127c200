//! An `ILogger` in Rust.
//!
//! TensorRT keeps the first logger that a process hands it and ignores those of later builders, so there is one per library,
//! it lives for the rest of the process, and it forwards to one function; whose message it is, is found out there.

use super::interface::{InterfaceInfo, cpp, entries, keep};
use super::table::Table;
use std::ffi::{CStr, c_char, c_void};
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// `ILogger::Severity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    InternalError,
    Error,
    Warning,
    Info,
    Verbose,
}

impl Severity {
    fn of(number: i32) -> Severity {
        match number {
            0 => Severity::InternalError,
            1 => Severity::Error,
            2 => Severity::Warning,
            3 => Severity::Info,
            _ => Severity::Verbose,
        }
    }

    pub fn is_error(self) -> bool {
        self <= Severity::Error
    }
}

/// Where messages go. Called by any thread of TensorRT's, several at once.
pub type Sink = fn(Severity, &str);

/// The object that TensorRT sees: its first word is the vtable, as in C++; the rest is ours.
#[repr(C)]
pub(super) struct Logger {
    vtable: *const c_void,
    sink: Sink,
}

// SAFETY: both fields are pointers to immutable statics.
unsafe impl Send for Logger {}
// SAFETY: as above; nothing in it changes after construction.
unsafe impl Sync for Logger {}

type Log = unsafe extern "C" fn(*const Logger, i32, *const c_char);
type Destroy = extern "C" fn(*const Logger);

/// The vtable up to major 10: `log`, then the destructor's two entries. In front of it, as of every vtable of the Itanium C++
/// ABI, the offset to the top and the run-time type (null: nothing asks for it).
#[repr(C)]
struct PlainVtable {
    offset_to_top: isize,
    type_info: usize,
    log: Log,
    destroy: Destroy,
    delete: Destroy,
}

/// The vtable from major 11 on and of TensorRT-RTX: the interface is an `IVersionedInterface`.
#[repr(C)]
struct VersionedVtable {
    offset_to_top: isize,
    type_info: usize,
    language: extern "C" fn(*const Logger) -> i32,
    info: extern "C" fn(*const Logger) -> InterfaceInfo,
    destroy: Destroy,
    delete: Destroy,
    log: Log,
}

static PLAIN: PlainVtable = PlainVtable {
    offset_to_top: 0,
    type_info: 0,
    log,
    destroy: keep,
    delete: keep,
};

static VERSIONED: VersionedVtable = VersionedVtable {
    offset_to_top: 0,
    type_info: 0,
    language: cpp,
    info: interface,
    destroy: keep,
    delete: keep,
    log,
};

impl Logger {
    /// The process-long logger for a library of this table; `None` where the table has a layout that none of ours follows.
    pub fn leak(table: &Table, sink: Sink) -> Option<&'static Logger> {
        let vtable = match table.slot("ILogger", "log")? {
            0 => entries(&PLAIN, offset_of!(PlainVtable, log)),
            4 => entries(&VERSIONED, offset_of!(VersionedVtable, language)),
            _ => return None,
        };
        Some(Box::leak(Box::new(Logger { vtable, sink })))
    }

    /// What TensorRT's entry points take.
    pub fn as_ptr(&'static self) -> *const c_void {
        (&raw const *self).cast()
    }
}

/// `ILogger::log`.
///
/// # Safety
/// `logger` is one of [`Logger::leak`]'s, `text` null or a C string: TensorRT calls it with what it was handed.
unsafe extern "C" fn log(logger: *const Logger, severity: i32, text: *const c_char) {
    if text.is_null() {
        return;
    }
    // SAFETY: see above; the logger is never freed, and the text lives until this returns.
    let (sink, text) = unsafe { ((*logger).sink, CStr::from_ptr(text)) };
    // A panic must not cross into C++; a message is not worth a process.
    let _ = catch_unwind(AssertUnwindSafe(|| sink(Severity::of(severity), &text.to_string_lossy())));
}

extern "C" fn interface(_: *const Logger) -> InterfaceInfo {
    InterfaceInfo {
        kind: c"ILogger".as_ptr(),
        major: 1,
        minor: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::supported_versions;
    use super::*;
    use std::sync::Mutex;

    static HEARD: Mutex<Vec<(Severity, String)>> = Mutex::new(Vec::new());

    fn hear(severity: Severity, text: &str) {
        HEARD.lock().expect("no test panics holding it").push((severity, text.to_string()));
    }

    /// For each version, `log` stands in the slot that its headers give it, and a call through that slot arrives.
    #[test]
    fn log_is_in_its_slot() {
        const WORD: usize = size_of::<usize>();
        assert_eq!(offset_of!(PlainVtable, log), 2 * WORD);
        assert_eq!(offset_of!(VersionedVtable, log), (2 + 4) * WORD);
        for version in supported_versions() {
            let table = Table::of(version).expect("it is a table's own version");
            let (deleting, named) = match table.slot("ILogger", "log") {
                Some(0) => (offset_of!(PlainVtable, delete), None),
                _ => (
                    offset_of!(VersionedVtable, delete),
                    Some((offset_of!(VersionedVtable, language), offset_of!(VersionedVtable, info))),
                ),
            };
            let offset = |member| table.slot("ILogger", member).map(|slot| (2 + usize::from(slot)) * WORD);
            assert_eq!(offset("(deleting destructor)"), Some(deleting), "{version}");
            assert_eq!(offset("getAPILanguage"), named.map(|(language, _)| language), "{version}");
            assert_eq!(offset("getInterfaceInfo"), named.map(|(_, info)| info), "{version}");
            let logger = Logger::leak(table, hear).expect("a known layout");
            let slot = usize::from(table.slot("ILogger", "log").expect("every version logs"));
            let text = std::ffi::CString::new(version.to_string()).expect("no NUL");
            // SAFETY: as TensorRT does it: the vtable's slot holds a `Log`, and the text outlives the call.
            unsafe {
                let entry = logger.vtable.cast::<Log>().add(slot).read();
                entry(logger, 2, text.as_ptr());
            }
            assert!(HEARD.lock().expect("as above").contains(&(Severity::Warning, version.to_string())));
        }
    }
}
