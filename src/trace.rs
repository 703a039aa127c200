//! Ranges for profilers: TensorFlow's (TraceMe, seen in TensorBoard) and NVTX (seen in Nsight Systems).

use crate::cuda::nvtx;
use std::ffi::CStr;
use std::sync::OnceLock;

/// What TensorFlow's profiler is told through; set when the library is loaded into one.
pub struct Hooks {
    /// Begins a range; what it answers ends it.
    pub begin: fn(&str) -> i64,
    pub end: fn(i64),
}

static HOOKS: OnceLock<Hooks> = OnceLock::new();

pub fn install(hooks: Hooks) {
    // A second library in one process has the same TensorFlow.
    let _ = HOOKS.set(hooks);
}

/// A range of this thread until it is dropped.
pub struct Range {
    tensorflow: Option<(&'static Hooks, i64)>,
    nvtx: bool,
    one_thread: std::marker::PhantomData<*const ()>,
}

/// Begins a range. Without a profiler it costs some nanoseconds.
pub fn range(name: &'static CStr) -> Range {
    range_of(HOOKS.get(), name)
}

fn range_of(hooks: Option<&'static Hooks>, name: &'static CStr) -> Range {
    Range {
        tensorflow: hooks.map(|hooks| (hooks, (hooks.begin)(name.to_str().unwrap_or("tftrt")))),
        nvtx: nvtx::push(name),
        one_thread: std::marker::PhantomData,
    }
}

impl Drop for Range {
    fn drop(&mut self) {
        if self.nvtx {
            nvtx::pop();
        }
        if let Some((hooks, id)) = self.tensorflow {
            (hooks.end)(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

    #[test]
    fn ranges_end_in_the_opposite_order() {
        static HOOKS: Hooks = Hooks {
            begin: |name| {
                let mut seen = SEEN.lock();
                seen.push(format!("begin {name}"));
                seen.len() as i64
            },
            end: |id| SEEN.lock().push(format!("end {id}")),
        };
        {
            let _outer = range_of(Some(&HOOKS), c"outer");
            let _inner = range_of(Some(&HOOKS), c"inner");
        }
        assert_eq!(*SEEN.lock(), ["begin outer", "begin inner", "end 2", "end 1"]);
    }
}
