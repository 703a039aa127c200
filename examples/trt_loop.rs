//! TensorRT alone: enqueues a plan in a loop, without TensorFlow. What converted models are compared with.
//!
//!     trt_loop --lib DIR_OR_FILE [--device N] [--profile K] [--calls N] [--input FILE]... --shapes JSON PLAN
//!
//! `PLAN` is TensorRT's own plan, without the header of the files in a SavedModel's assets; `--shapes` the shapes of its inputs, as
//! `[[64,224,224,3]]`; each `--input` a file with the elements of the next one, little-endian and nothing else. Without any, inputs are
//! zeros, and the times may be shorter than those of a model's own inputs: what a GPU multiplies decides its power, and that its clocks.
//!
//! Prints one line of JSON: `inputs`, "files" or "zeros"; `latency_ms`, the median over calls that are each waited for
//! with one element of the first output read back; `pipelined_ms`, the calls enqueued behind one another and waited for once,
//! divided by their number; `graph_latency_ms` and `graph_pipelined_ms`, the same with the calls as a CUDA graph; `load_s`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use tftrt::engine::cuda::{self, Block, Graph, OwnStream, Stream};
use tftrt::engine::tensorrt::safe;
use tftrt::engine::{Bindings, Bound, EngineError, Memory, MemoryMut, TensorView};
use tftrt::graph::DType;

const USAGE: &str = "usage: trt_loop --lib DIR_OR_FILE [--device N] [--profile K] [--calls N] [--input FILE]... --shapes JSON PLAN";

struct Arguments {
    library: Option<PathBuf>,
    device: i32,
    profile: usize,
    calls: usize,
    shapes: Vec<Vec<i64>>,
    /// One for each shape, or none at all.
    inputs: Vec<PathBuf>,
    plan: PathBuf,
}

/// Inputs and outputs that stay where they are.
struct Fixed<'a> {
    inputs: Vec<TensorView<'a>>,
    outputs: Vec<u64>,
    scratch: u64,
}

impl Bindings for Fixed<'_> {
    fn inputs(&self) -> &[TensorView<'_>] {
        &self.inputs
    }

    fn output_dtype(&self, _: usize) -> Option<DType> {
        None
    }

    fn stream(&self) -> Option<Stream> {
        None
    }

    fn on_host(&self, i: usize) -> Result<Vec<u8>, EngineError> {
        Err(EngineError::Run(format!(
            "input {i} is a shape tensor, which this program does not feed"
        )))
    }

    fn bind(&mut self, _: &[Vec<i64>], _: usize) -> Result<Bound<'_>, EngineError> {
        Ok(Bound {
            inputs: &self.inputs,
            outputs: self.outputs.iter().map(|&address| MemoryMut::Device(address)).collect(),
            scratch: self.scratch,
        })
    }
}

fn size_of(shape: &[i64], dtype: DType) -> usize {
    shape.iter().product::<i64>().unsigned_abs() as usize * dtype.size()
}

fn zeros(bytes: usize, stream: Stream) -> Result<Block, String> {
    filled(&vec![0; bytes], stream)
}

fn filled(bytes: &[u8], stream: Stream) -> Result<Block, String> {
    let block = Block::new(bytes.len()).map_err(text)?;
    cuda::copy_from_host(block.address(), bytes, stream).map_err(text)?;
    Ok(block)
}

/// The bytes of the plan's input `i` out of its file.
fn read_input(i: usize, file: &Path, shape: &[i64], dtype: DType) -> Result<Vec<u8>, String> {
    let found = std::fs::read(file).map_err(|e| format!("{}, the file of input {i}: {e}", file.display()))?;
    let wanted = size_of(shape, dtype);
    if found.len() != wanted {
        return Err(format!(
            "{}, the file of input {i}: it has {} bytes, and {dtype} {shape:?} takes {wanted}",
            file.display(),
            found.len()
        ));
    }
    Ok(found)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn run(arguments: &Arguments) -> Result<serde_json::Value, String> {
    let library = match &arguments.library {
        Some(path) => safe::open(path),
        None => safe::find(),
    }
    .map_err(text)?;
    let context = cuda::Context::primary(arguments.device).map_err(text)?;
    let _current = context.enter().map_err(text)?;
    let begun = Instant::now();
    let (runtime, _) = safe::runtime(&library, None).map_err(text)?;
    let plan = std::fs::read(&arguments.plan).map_err(|e| format!("{}: {e}", arguments.plan.display()))?;
    let engine = safe::Engine::deserialize(&library, &runtime, "trt_loop", &plan).map_err(text)?;
    let own = OwnStream::new().map_err(text)?;
    let stream = own.stream();
    let mut context = engine.context(arguments.profile, stream).map_err(text)?;
    let load = begun.elapsed();
    let (mut blocks, mut inputs) = (Vec::new(), Vec::new());
    for (i, (shape, tensor)) in arguments.shapes.iter().zip(engine.inputs()).enumerate() {
        let dtype = tensor.as_ref().map_or(DType::FLOAT, |tensor| tensor.dtype);
        let here = match (arguments.inputs.get(i), tensor) {
            (Some(file), Some(_)) => filled(&read_input(i, file, shape, dtype)?, stream)?,
            // Zeros were asked for, or the plan does not need this input and does not say its type.
            _ => zeros(size_of(shape, dtype), stream)?,
        };
        inputs.push(TensorView {
            dtype,
            dims: shape,
            memory: Memory::Device(here.address()),
        });
        blocks.push(here);
    }
    let scratch = zeros(engine.scratch(), stream)?;
    let mut fixed = Fixed {
        inputs,
        outputs: Vec::new(),
        scratch: scratch.address(),
    };
    context.set_inputs(&engine, &fixed).map_err(text)?;
    for (shape, tensor) in context.outputs().to_vec().iter().zip(engine.outputs()) {
        let here = zeros(size_of(shape, tensor.dtype), stream)?;
        fixed.outputs.push(here.address());
        blocks.push(here);
    }
    let first = fixed.outputs.first().copied().ok_or("the plan has no output")?;
    let bound = fixed.bind(&[], 0).map_err(text)?;
    let mut enqueue = || context.enqueue(&engine, &bound, scratch.address(), stream).map(drop).map_err(text);
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

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let (mut library, mut device, mut profile, mut calls) = (None, 0, 0, 50);
    let (mut shapes, mut inputs, mut plan) = (Vec::<Vec<i64>>::new(), Vec::new(), None);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value\n{USAGE}"));
        let bad = |e: std::num::ParseIntError| format!("{e}\n{USAGE}");
        match word.as_str() {
            "--lib" => library = Some(PathBuf::from(value()?)),
            "--device" => device = value()?.parse().map_err(bad)?,
            "--profile" => profile = value()?.parse().map_err(bad)?,
            "--calls" => calls = value()?.parse::<usize>().map_err(bad)?.max(1),
            "--shapes" => shapes = serde_json::from_str(&value()?).map_err(|e| format!("--shapes: {e}\n{USAGE}"))?,
            "--input" => inputs.push(PathBuf::from(value()?)),
            _ if word.starts_with("--") => return Err(format!("there is no {word}\n{USAGE}")),
            _ => plan = Some(PathBuf::from(word)),
        }
    }
    if !inputs.is_empty() && inputs.len() != shapes.len() {
        let (given, wanted) = (inputs.len(), shapes.len());
        return Err(format!(
            "--input was given {given} times, and --shapes has {wanted} shapes: none, or one for each\n{USAGE}"
        ));
    }
    Ok(Arguments {
        library,
        device,
        profile,
        calls,
        shapes,
        inputs,
        plan: plan.ok_or(USAGE)?,
    })
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
