//! What happens when the library is loaded: the TensorFlow of the process is asked for its version, and only if it
//! is the one that the library was built for are ops, kernels and the optimizer registered.

#![allow(unsafe_code, reason = "the initializer that the loader calls")]

use super::{metrics, pass};
use crate::op::{EngineOp, Resource};
use crate::tf::{self, Hooks, built_for, running_version, versions};
use crate::{fault, process, trace};
use std::sync::OnceLock;

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
    tf::install_log();
    // Before the first lock is taken.
    process::watch_forks();
    fault::start(std::env::var(fault::VARIABLE).ok().as_deref());
    trace::install(trace::Hooks {
        begin: tf::trace_begin,
        end: tf::trace_end,
    });
    tf::install(Hooks {
        kernel: |node_def, gpu| Ok(Box::new(EngineOp::new(node_def, gpu)?)),
        resource: |name, device, capacity| Resource::new(name, device, capacity),
        pass: pass::new,
        metrics: metrics::texts,
        metric_points: metrics::points_at,
        build_seconds: metrics::build_seconds,
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
        let problem = tf::register_op(text);
        if !problem.is_empty() {
            return Err(format!(
                "{problem}; nothing more was registered, and the ops that were there stay in use"
            ));
        }
    }
    match tf::register_kernels() {
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
