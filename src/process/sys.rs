//! The C library's calls around fork() and the end of a process.

#![allow(unsafe_code, reason = "calls of the C library")]

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

unsafe extern "C" {
    fn pthread_atfork(
        before: Option<unsafe extern "C" fn()>,
        parent: Option<unsafe extern "C" fn()>,
        child: Option<unsafe extern "C" fn()>,
    ) -> c_int;
    fn atexit(work: extern "C" fn()) -> c_int;
    fn on_exit(work: extern "C" fn(c_int, *mut c_void), argument: *mut c_void) -> c_int;
    fn fflush(stream: *mut c_void) -> c_int;
    fn _exit(status: c_int) -> !;
}

/// Has [`super::forked`] called in every child, and fork() wait for [`super::lock`]; false where the C library has no memory for that.
pub(super) fn watch_forks() -> bool {
    unsafe extern "C" fn before() {
        super::lock::before_fork();
    }
    unsafe extern "C" fn parent() {
        super::lock::after_fork();
    }
    unsafe extern "C" fn child() {
        super::forked();
    }
    // SAFETY: the handlers stay while this library is loaded, and the C library takes them off where it is closed. That of the child touches
    // atomics and what belongs to its thread alone, which a child may do at once.
    unsafe { pthread_atfork(Some(before), Some(parent), Some(child)) == 0 }
}

/// Has [`super::ending`] called at the end of the process; false where the C library has no memory for that.
pub(super) fn at_exit() -> bool {
    extern "C" fn all() {
        super::ending();
    }
    // SAFETY: it keeps the address of a function, which stays: the C library takes it off where this library is closed.
    unsafe { atexit(all) == 0 }
}

/// How long a forked child waits for the destructors of a library that its parent loaded.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the destructors between the two works of [`ends_after_loading`] are through.
static THROUGH: AtomicBool = AtomicBool::new(false);

/// The generation that loaded the library.
static LOADED_IN: AtomicU32 = AtomicU32::new(0);

/// Loads a library by `load`, and sees to it that a child that is forked later can end.
///
/// Such a child runs the library's destructors, too, and these may wait for threads of the library's that only the parent has: for ever.
/// So the child watches them. If they are not through within [`PATIENCE`], it ends at once, with the exit code that it was to end with;
/// what would have come after them has no chance otherwise either. A process that loaded the library itself is not watched.
pub fn ends_after_loading<T, E>(load: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    extern "C" fn after() {
        THROUGH.store(true, SeqCst);
    }
    extern "C" fn before(status: c_int, _argument: *mut c_void) {
        if super::generation() == LOADED_IN.load(SeqCst) {
            return;
        }
        // Without a thread the destructors have the last word.
        let _ = std::thread::Builder::new().name("tftrt_exit".into()).spawn(move || {
            std::thread::sleep(PATIENCE);
            if !THROUGH.load(SeqCst) {
                end_now(status);
            }
        });
    }
    // Works are done in the opposite order: this one after the library's destructors. Once: loading may be tried at every call.
    if !WATCHED.swap(true, SeqCst) {
        // SAFETY: as in `at_exit`.
        WATCHED.store(unsafe { atexit(after) == 0 }, SeqCst);
    }
    let loaded = load()?;
    LOADED_IN.store(super::generation(), SeqCst);
    // SAFETY: as in `at_exit`; the argument is not used.
    if WATCHED.load(SeqCst) && unsafe { on_exit(before, ptr::null_mut()) != 0 } {
        tracing::debug!("a forked child may hang at its end: the C library takes no more work for it");
    }
    Ok(loaded)
}

/// Ends the process, without any more destructors.
fn end_now(status: c_int) -> ! {
    // SAFETY: a null pointer stands for all open streams: what was printed is not lost. `_exit` ends the process and its threads.
    unsafe {
        fflush(ptr::null_mut());
        _exit(status)
    }
}
