//! Which TensorFlow this library was built for, and which one is in the process.

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
pub fn built_for() -> &'static str {
    // SAFETY: volatile: the compiler must not replace the bytes in the file by the constant that they were made from.
    let text = unsafe { std::ptr::read_volatile(&raw const MARKER) };
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| {
        String::from_utf8_lossy(&text)
            .trim_start_matches("TFTRT_BUILT_FOR_TENSORFLOW=")
            .trim_end_matches(';')
            .to_string()
    })
}

unsafe extern "C" {
    fn dlopen(file: *const c_char, mode: c_int) -> *mut std::ffi::c_void;
    fn dlsym(handle: *mut std::ffi::c_void, name: *const c_char) -> *mut std::ffi::c_void;
}
const RTLD_LAZY: c_int = 1;
const RTLD_NOLOAD: c_int = 4;

/// `TF_Version()` of the TensorFlow in this process, asked through the loader so that no TensorFlow symbol of ours
/// is touched first; `None` where it cannot be found (a program that links TensorFlow statically and hides it).
pub fn running_version() -> Option<String> {
    // Where stock TensorFlow keeps the C API, then whatever the program itself exports.
    for library in [
        Some(c"libtensorflow_cc.so.2"),
        Some(c"libtensorflow.so.2"),
        Some(c"libtensorflow_framework.so.2"),
        None,
    ] {
        // SAFETY: NOLOAD: only a library that is already there is asked; its handle is never closed, as it stays loaded anyway.
        let handle = unsafe { dlopen(library.map_or(std::ptr::null(), CStr::as_ptr), RTLD_LAZY | RTLD_NOLOAD) };
        if handle.is_null() {
            continue;
        }
        // SAFETY: `handle` is open, and the name ends in a zero.
        let symbol = unsafe { dlsym(handle, c"TF_Version".as_ptr()) };
        if symbol.is_null() {
            continue;
        }
        // SAFETY: the C API promises this signature and a static, terminated string.
        let version = unsafe { std::mem::transmute::<*mut std::ffi::c_void, extern "C" fn() -> *const c_char>(symbol) };
        // SAFETY: TF_Version returns a static string that ends in a zero.
        return Some(unsafe { CStr::from_ptr(version()) }.to_string_lossy().into_owned());
    }
    None
}
