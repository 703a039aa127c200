//! What the fuzz targets do with their bytes, and how graphs are changed. `tests/fuzz.rs` compiles these files, too.

pub mod mutate;
pub mod targets;

/// There is no TensorFlow in these processes, and the library, which asks for its version when it is loaded, registers nothing then. (It
/// says so on the standard error.)
#[unsafe(no_mangle)]
pub extern "C" fn TF_Version() -> *const std::ffi::c_char {
    c"none, for fuzzing".as_ptr()
}

#[used]
static KEPT: extern "C" fn() -> *const std::ffi::c_char = TF_Version;
