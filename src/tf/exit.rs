//! The end of the process.

use parking_lot::Mutex;
use std::ffi::c_int;
use std::panic::catch_unwind;

static WORK: Mutex<Vec<fn()>> = Mutex::new(Vec::new());

unsafe extern "C" {
    fn atexit(work: extern "C" fn()) -> c_int;
}

/// Has `work` done once when the process ends by itself, before the libraries that are loaded by now are taken down: they
/// are in the opposite order in which they came.
pub fn at_exit(work: fn()) {
    extern "C" fn all() {
        for work in std::mem::take(&mut *WORK.lock()) {
            // A panic must not cross into C, and nobody is left to hear of it.
            let _ = catch_unwind(work);
        }
    }
    WORK.lock().push(work);
    // It keeps the address of a function, which stays: the C library takes it off where this library is closed.
    if unsafe { atexit(all) } != 0 {
        tracing::warn!("the C library takes no more work for the end of the process");
    }
}
