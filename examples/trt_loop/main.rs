//! TensorRT alone: enqueues a plan in a loop, without TensorFlow. What converted models are compared with.
//!
//!     trt_loop --lib DIR_OR_FILE [--device N] [--profile K] [--calls N] [--input FILE]... --shapes JSON PLAN
//!     trt_loop --loads N [--until engine|context|run] [--runtime-each] --lib DIR_OR_FILE ... --shapes JSON PLAN
//!
//! `PLAN` is TensorRT's own plan, without the header of the files in a SavedModel's assets; `--shapes` the shapes of its inputs, as
//! `[[64,224,224,3]]`; each `--input` a file with the elements of the next one, little-endian and nothing else. Without any, inputs are
//! zeros, and the times may be shorter than those of a model's own inputs: what a GPU multiplies decides its power, and that its clocks.
//!
//! Prints one line of JSON: `inputs`, "files" or "zeros"; `latency_ms`, the median over calls that are each waited for
//! with one element of the first output read back; `pipelined_ms`, the calls enqueued behind one another and waited for once,
//! divided by their number; `graph_latency_ms` and `graph_pipelined_ms`, the same with the calls as a CUDA graph; `load_s`.
//!
//! With `--loads` nothing is timed: the plan is loaded so often, up to the engine, a context of it, or one run (the default), and all of it let go
//! of each time, with `--runtime-each` the runtime as well. Prints `resident_kib`, the process's memory before and after each quarter of them,
//! and `kib_a_load`.

mod arguments;
mod feed;
mod loads;
mod speed;

use arguments::{Arguments, parse};
use std::process::ExitCode;
use tftrt::cuda;
use tftrt::engine::tensorrt::safe;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn run(arguments: &Arguments) -> Result<serde_json::Value, String> {
    let library = match &arguments.library {
        Some(path) => safe::open(path),
        None => safe::find(),
    }
    .map_err(text)?;
    let context = cuda::Context::primary(arguments.device).map_err(text)?;
    let _current = context.enter().map_err(text)?;
    match arguments.loads {
        None => speed::run(arguments, &library),
        Some(loads) => loads::run(arguments, &library, loads),
    }
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)).and_then(|arguments| run(&arguments)) {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("trt_loop: {e}");
            ExitCode::FAILURE
        }
    }
}
