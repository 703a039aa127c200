//! Calls in a loop, timed.

use crate::arguments::Arguments;
use crate::feed::Feed;
use crate::text;
use std::sync::Arc;
use std::time::Instant;
use tftrt::cuda::{self, Graph, OwnStream, Stream};
use tftrt::engine::tensorrt::{safe, sys};

pub fn run(arguments: &Arguments, library: &Arc<sys::Library>) -> Result<serde_json::Value, String> {
    let begun = Instant::now();
    let (runtime, _) = safe::runtime(library, None).map_err(text)?;
    let engine = safe::Engine::deserialize(library, &runtime, "trt_loop", &arguments.read_plan()?).map_err(text)?;
    let own = OwnStream::new().map_err(text)?;
    let stream = own.stream();
    let mut context = engine.context(arguments.profile, stream).map_err(text)?;
    let load = begun.elapsed();
    let mut feed = Feed::new(arguments, &engine, &mut context, stream)?;
    let first = feed.output()?;
    let bound = feed.bound()?;
    let mut enqueue = || context.enqueue(&engine, &bound, bound.scratch, stream).map(drop).map_err(text);
    let (latency, pipelined) = measure(arguments.calls, first, stream, &mut enqueue)?;
    let graph = Graph::capture(&own, &[], &[], || enqueue().map_err(Failed)).map_err(|Failed(e)| e)?;
    let mut graph = graph.ok_or("something in this process keeps streams from being captured")?;
    let mut launch = || graph.launch(stream).map_err(text);
    let (graph_latency, graph_pipelined) = measure(arguments.calls, first, stream, &mut launch)?;
    Ok(serde_json::json!({
        "plan": arguments.plan,
        "shapes": arguments.shapes,
        "inputs": if arguments.inputs.is_empty() { "zeros" } else { "files" },
        "profile": arguments.profile,
        "calls": arguments.calls,
        "scratch_bytes": engine.scratch(),
        "load_s": load.as_secs_f64(),
        "latency_ms": latency,
        "pipelined_ms": pipelined,
        "graph_latency_ms": graph_latency,
        "graph_pipelined_ms": graph_pipelined,
    }))
}

struct Failed(String);

impl From<cuda::CudaError> for Failed {
    fn from(error: cuda::CudaError) -> Failed {
        Failed(error.to_string())
    }
}

/// The median of calls that are waited for, and the time of a call among those that are not; milliseconds.
fn measure(calls: usize, output: u64, stream: Stream, call: &mut dyn FnMut() -> Result<(), String>) -> Result<(f64, f64), String> {
    let mut element = [0; 4];
    for _ in 0..10 {
        call()?;
        cuda::copy_to_host(&mut element, output, stream).map_err(text)?;
    }
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let begun = Instant::now();
        call()?;
        cuda::copy_to_host(&mut element, output, stream).map_err(text)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let begun = Instant::now();
    for _ in 0..calls {
        call()?;
    }
    cuda::copy_to_host(&mut element, output, stream).map_err(text)?;
    Ok((median(times), begun.elapsed().as_secs_f64() * 1e3 / calls as f64))
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
