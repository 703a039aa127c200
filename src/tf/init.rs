//! What happens when the library is loaded: the TensorFlow of the process is asked for its version, and only if it
//! is the one that the library was built for are ops, kernels and the optimizer registered.

use super::{ffi, log, versions};
use crate::{fault, process, trace};
use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

/// The TensorFlow release whose headers this library was compiled against.
pub const BUILT_FOR: &str = env!("TFTRT_BUILT_FOR_TENSORFLOW");

/// Found in the file by the Python package before it loads it. The text is the contract.
#[used]
static MARKER: [u8; MARKER_TEXT.len()] = {
    let mut bytes = [0; MARKER_TEXT.len()];
    let mut i = 0;
    while i < bytes.len() {
        bytes[i] = MARKER_TEXT.as_bytes()[i];
        i += 1;
    }
    bytes
};
const MARKER_TEXT: &str = concat!("TFTRT_BUILT_FOR_TENSORFLOW=", env!("TFTRT_BUILT_FOR_TENSORFLOW"), ";");

/// The release of the marker in this very file: what a copy of the library says of itself.
fn built_for() -> &'static str {
    // Volatile: the compiler must not replace the bytes in the file by the constant that they were made from.
    let text = unsafe { std::ptr::read_volatile(&raw const MARKER) };
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        String::from_utf8_lossy(&text)
            .trim_start_matches("TFTRT_BUILT_FOR_TENSORFLOW=")
            .trim_end_matches(';')
            .to_string()
    })
}

static LOAD: OnceLock<Result<(), String>> = OnceLock::new();

/// Why nothing was registered, if so.
pub fn load_error() -> Option<&'static str> {
    match LOAD.get() {
        Some(Err(why)) => Some(why),
        Some(Ok(())) => None,
        None => Some("the library's initializer has not run"),
    }
}

const OP_DEFS: [&str; 5] = [
    include_str!("../../op_defs/TRTEngineOp.pbtxt"),
    include_str!("../../op_defs/CreateTRTResourceHandle.pbtxt"),
    include_str!("../../op_defs/InitializeTRTResource.pbtxt"),
    include_str!("../../op_defs/SerializeTRTResource.pbtxt"),
    include_str!("../../op_defs/GetCalibrationDataOp.pbtxt"),
];

fn register() -> Result<(), String> {
    let running = running_version();
    if let Some(why) = running.as_deref().and_then(|running| versions::refusal(running, built_for())) {
        return Err(why);
    }
    log::install();
    // Before the first lock is taken.
    process::watch_forks();
    fault::start(std::env::var(fault::VARIABLE).ok().as_deref());
    trace::install(trace::Hooks {
        begin: |name| ffi::trace_begin(name),
        end: |id| ffi::trace_end(id),
    });
    if versions::untested(built_for()) {
        tracing::warn!(
            "TensorFlow {} is newer than any that tftrt has been tested with (up to 2.21)",
            built_for()
        );
    }
    // Read once here, so that a wrong value or a misspelt name is said when the library is loaded.
    crate::settings::settings();
    for text in OP_DEFS {
        let problem = ffi::register_op(text);
        if !problem.is_empty() {
            return Err(format!(
                "{problem}; nothing more was registered, and the ops that were there stay in use"
            ));
        }
    }
    match ffi::register_kernels() {
        problem if problem.is_empty() => Ok(()),
        problem => Err(format!("the kernels could not be registered: {problem}")),
    }
}

extern "C" fn initialize() {
    let result = std::panic::catch_unwind(register).unwrap_or_else(|_| Err("the initializer panicked".to_string()));
    if let Err(why) = &result {
        // TensorFlow's log may be what does not fit: plain stderr.
        eprintln!("tftrt: {why}");
    }
    let _ = LOAD.set(result);
}

// The loader runs it after TensorFlow's own initializers: TensorFlow is a dependency of this library. Not in Miri, which runs such a list,
// too, and calls no C.
#[used]
#[cfg_attr(not(miri), unsafe(link_section = ".init_array"))]
static INITIALIZE: extern "C" fn() = initialize;

unsafe extern "C" {
    fn dlopen(file: *const c_char, mode: c_int) -> *mut std::ffi::c_void;
    fn dlsym(handle: *mut std::ffi::c_void, name: *const c_char) -> *mut std::ffi::c_void;
}
const RTLD_LAZY: c_int = 1;
const RTLD_NOLOAD: c_int = 4;

/// `TF_Version()` of the TensorFlow in this process, asked through the loader so that no TensorFlow symbol of ours
/// is touched first; `None` where it cannot be found (a program that links TensorFlow statically and hides it).
fn running_version() -> Option<String> {
    // Where stock TensorFlow keeps the C API, then whatever the program itself exports.
    for library in [
        Some(c"libtensorflow_cc.so.2"),
        Some(c"libtensorflow.so.2"),
        Some(c"libtensorflow_framework.so.2"),
        None,
    ] {
        // NOLOAD: only a library that is already there is asked; its handle is never closed, as it stays loaded anyway.
        let handle = unsafe { dlopen(library.map_or(std::ptr::null(), CStr::as_ptr), RTLD_LAZY | RTLD_NOLOAD) };
        if handle.is_null() {
            continue;
        }
        let symbol = unsafe { dlsym(handle, c"TF_Version".as_ptr()) };
        if symbol.is_null() {
            continue;
        }
        // The C API promises this signature and a static, terminated string.
        let version = unsafe { std::mem::transmute::<*mut std::ffi::c_void, extern "C" fn() -> *const c_char>(symbol) };
        return Some(unsafe { CStr::from_ptr(version()) }.to_string_lossy().into_owned());
    }
    None
}
