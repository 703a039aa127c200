//! NVTX ranges, where NVIDIA's libnvToolsExt is installed.

use std::ffi::CStr;
use std::sync::LazyLock;

static PRESENT: LazyLock<bool> = LazyLock::new(super::sys::nvtx_is_present);

/// Begins a range of this thread; `false` where there is no NVTX.
pub fn push(name: &'static CStr) -> bool {
    if *PRESENT {
        super::sys::nvtx_push(name);
    }
    *PRESENT
}

/// Ends the thread's innermost range.
pub fn pop() {
    if *PRESENT {
        super::sys::nvtx_pop();
    }
}
