//! The plan loaded and let go of many times over: what of it stays in the host's memory is TensorRT's or CUDA's, for nothing else is called.

use crate::arguments::{Arguments, Until};
use crate::feed::Feed;
use crate::text;
use std::sync::Arc;
use tftrt::cuda::{self, OwnStream, Stream};
use tftrt::engine::tensorrt::{safe, sys};

/// Loads before the first look at the memory: what is made once is made then.
const WARM: usize = 24;

pub fn run(arguments: &Arguments, library: &Arc<sys::Library>, loads: usize) -> Result<serde_json::Value, String> {
    let plan = arguments.read_plan()?;
    let own = OwnStream::new().map_err(text)?;
    let stream = own.stream();
    let runtime = || safe::runtime(library, None).map_err(text);
    let (shared, _) = runtime()?;
    let mut feed = None;
    let mut load = || -> Result<(), String> {
        let runtime = match arguments.runtime_each {
            true => runtime()?.0,
            false => shared.clone(),
        };
        let engine = safe::Engine::deserialize(library, &runtime, "trt_loop", &plan).map_err(text)?;
        if arguments.until >= Until::Context {
            let mut context = engine.context(arguments.profile, stream).map_err(text)?;
            if arguments.until == Until::Run {
                call(arguments, &mut feed, &engine, &mut context, stream)?;
            }
        }
        Ok(())
    };
    for _ in 0..WARM {
        load()?;
    }
    let mut resident = vec![resident_kib()?];
    for part in 0..4 {
        for _ in part * loads / 4..(part + 1) * loads / 4 {
            load()?;
        }
        resident.push(resident_kib()?);
    }
    Ok(serde_json::json!({
        "plan": arguments.plan,
        "shapes": arguments.shapes,
        "until": format!("{:?}", arguments.until).to_lowercase(),
        "runtime_each": arguments.runtime_each,
        "loads": loads,
        "resident_kib": resident,
        "kib_a_load": (resident[4] - resident[0]) as f64 / loads as f64,
    }))
}

/// One call, and the wait for its end. The tensors are made at the first.
fn call<'a>(
    arguments: &'a Arguments,
    feed: &mut Option<Feed<'a>>,
    engine: &safe::Engine,
    context: &mut safe::Context,
    stream: Stream,
) -> Result<(), String> {
    let feed = match feed {
        Some(feed) => feed,
        None => feed.insert(Feed::new(arguments, engine, context, stream)?),
    };
    feed.set(engine, context)?;
    let first = feed.output()?;
    let bound = feed.bound()?;
    context.enqueue(engine, &bound, bound.scratch, stream).map_err(text)?;
    cuda::copy_to_host(&mut [0; 4], first, stream).map_err(text)
}

/// What of this process is in memory.
fn resident_kib() -> Result<i64, String> {
    let status = std::fs::read_to_string("/proc/self/status").map_err(|e| format!("/proc/self/status: {e}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok())
        .ok_or("/proc/self/status has no VmRSS in kB".to_string())
}
