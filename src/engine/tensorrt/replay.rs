//! Small calls as CUDA graphs.
//!
//! At batch 1 an engine is a hundred kernels of a few microseconds, and the host is slower at launching them than the GPU at
//! running them. Where shapes repeat, the launches are captured once and replayed as one. TensorFlow's tensors lie elsewhere in
//! every call, a graph's do not: inputs are copied into the graph's own buffers and outputs out of them, which is cheap for
//! small ones and why large calls are not replayed.
//!
//! Everything that one stream replays of an engine shares one block of scratch memory: replays follow one another on the stream.

use super::backend::{Block, TensorRt};
use super::safe::{self, Context};
use crate::engine::cuda::{self, CudaError, Graph, OwnStream, Stream};
use crate::engine::{Bindings, Bound, EngineError, Memory, MemoryMut, Run, TensorView};
use crate::graph::DType;
use crate::trace;
use parking_lot::Mutex;
use std::time::Instant;

/// Calls with more bytes of inputs and outputs than this are not replayed: copying them costs what launching saves.
const MOST_BYTES: usize = 8 << 20;

/// Engines that need more scratch memory than this are not replayed: it would be held for good.
const MOST_SCRATCH: usize = 512 << 20;

/// A shape is captured when it comes for the third time.
const SEEN_BEFORE: u32 = 2;

/// So many shapes are remembered, and so many of them captured, the last used ones.
const REMEMBERED: usize = 64;
const CAPTURED: usize = 8;

pub struct Replays {
    backend: &'static TensorRt,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last used at the end.
    shapes: Vec<Known>,
    scratch: Vec<(Stream, Block)>,
    count: u64,
}

struct Known {
    profile: usize,
    stream: Stream,
    inputs: Vec<Vec<i64>>,
    what: What,
}

enum What {
    Seen(u32),
    Captured(Box<Captured>),
    /// TensorRT or CUDA did not take it: it runs as any other call.
    Not,
}

struct Captured {
    graph: Graph,
    inputs: Vec<(Block, usize)>,
    outputs: Vec<(Block, usize)>,
    shapes: Vec<Vec<i64>>,
    /// The graph refers to memory of its context's.
    _context: Context,
    /// What the context was used on last; dropped after it.
    _stream: OwnStream,
}

/// What came of capturing.
enum Attempt {
    Captured(Box<Captured>),
    /// The outputs are too large to be copied.
    TooLarge,
    /// Something else keeps streams from being captured now.
    Later,
}

impl Replays {
    /// `None` for an engine that cannot be replayed.
    pub fn new(backend: &'static TensorRt, engine: &safe::Engine) -> Option<Replays> {
        (!engine.has_host_tensors() && engine.scratch() <= MOST_SCRATCH).then(|| Replays {
            backend,
            state: Mutex::default(),
        })
    }

    /// How many graphs were captured.
    pub fn count(&self) -> u64 {
        self.state.lock().count
    }

    /// Replays a call whose shapes are known well enough; `None` where it is to run as any other.
    pub fn run(&self, engine: &safe::Engine, profile: usize, stream: Stream, io: &mut dyn Bindings) -> Result<Option<Run>, EngineError> {
        if io.inputs().iter().map(TensorView::bytes).sum::<usize>() > MOST_BYTES {
            return Ok(None);
        }
        let mut state = self.state.lock();
        let known = state.find(profile, stream, io.inputs());
        match &mut known.what {
            What::Not => return Ok(None),
            What::Seen(times) if *times < SEEN_BEFORE => {
                *times += 1;
                return Ok(None);
            }
            What::Seen(_) if !cuda::may_capture() => return Ok(None),
            What::Seen(_) => {
                known.what = What::Not;
                match self.capture(&mut state, engine, profile, stream, io) {
                    Ok(Attempt::TooLarge) => return Ok(None),
                    Ok(Attempt::Later) => {
                        state.find(profile, stream, io.inputs()).what = What::Seen(0);
                        state.give_up_scratch(stream);
                        return Ok(None);
                    }
                    Ok(Attempt::Captured(captured)) => {
                        state.count += 1;
                        state.find(profile, stream, io.inputs()).what = What::Captured(captured);
                        state.forget();
                    }
                    Err(e) => {
                        state.give_up_scratch(stream);
                        tracing::debug!(node = engine.node(), "calls of these shapes are not replayed as a CUDA graph: {e}");
                        return Ok(None);
                    }
                }
            }
            What::Captured(_) => {}
        }
        let What::Captured(captured) = &state.find(profile, stream, io.inputs()).what else {
            return Ok(None);
        };
        let _range = trace::range(c"tftrt replay");
        let bound = io.bind(&captured.shapes, 0)?;
        for ((block, bytes), input) in captured.inputs.iter().zip(bound.inputs) {
            if let Memory::Device(address) = input.memory {
                cuda::copy_on_device(block.address(), address, *bytes, stream)?;
            }
        }
        let begun = Instant::now();
        captured.graph.launch(stream)?;
        let inside = begun.elapsed();
        for ((block, bytes), output) in captured.outputs.iter().zip(&bound.outputs) {
            if let MemoryMut::Device(address) = output {
                cuda::copy_on_device(*address, block.address(), *bytes, stream)?;
            }
        }
        Ok(Some(Run { inside, graph: true }))
    }

    /// A graph of this call, which is not run by it.
    fn capture(
        &self,
        state: &mut State,
        engine: &safe::Engine,
        profile: usize,
        stream: Stream,
        io: &mut dyn Bindings,
    ) -> Result<Attempt, EngineError> {
        let failed = |e: super::Error| EngineError::Run(e.to_string());
        let own = OwnStream::new()?;
        let mut context = engine.context(profile, own.stream()).map_err(failed)?;
        context.set_inputs(engine, io).map_err(failed)?;
        let shapes = context.outputs().to_vec();
        let outputs: Vec<usize> = shapes
            .iter()
            .zip(engine.outputs())
            .map(|(shape, tensor)| size_of(shape, tensor.dtype))
            .collect();
        // What the engine does not read is not copied.
        let is_read = |i: usize| engine.inputs().get(i).is_some_and(Option::is_some);
        let sizes = io.inputs().iter().enumerate();
        let inputs: Vec<usize> = sizes.map(|(i, input)| if is_read(i) { input.bytes() } else { 0 }).collect();
        if inputs.iter().chain(&outputs).sum::<usize>() > MOST_BYTES {
            return Ok(Attempt::TooLarge);
        }
        let memory = self.backend.memory;
        let blocks = |sizes: Vec<usize>| -> Result<Vec<(Block, usize)>, EngineError> {
            sizes.into_iter().map(|bytes| Ok((Block::new(memory, bytes)?, bytes))).collect()
        };
        let (inputs, outputs) = (blocks(inputs)?, blocks(outputs)?);
        let scratch = match state.scratch.iter().find(|(s, _)| *s == stream) {
            Some((_, block)) => block.address(),
            None => {
                let block = Block::new(memory, engine.scratch())?;
                let address = block.address();
                state.scratch.push((stream, block));
                address
            }
        };
        // The first run sets up what cannot be captured. It needs real inputs: an index out of its range could fault.
        for ((block, bytes), input) in inputs.iter().zip(io.inputs()) {
            if let Memory::Device(address) = input.memory {
                cuda::copy_on_device(block.address(), address, *bytes, stream)?;
            }
        }
        stream.synchronize()?;
        let views: Vec<TensorView<'_>> = io
            .inputs()
            .iter()
            .zip(&inputs)
            .map(|(input, (block, _))| TensorView {
                dtype: input.dtype,
                dims: input.dims,
                memory: Memory::Device(block.address()),
            })
            .collect();
        let bound = Bound {
            inputs: &views,
            outputs: outputs.iter().map(|(block, _)| MemoryMut::Device(block.address())).collect(),
            scratch,
        };
        let nowhere = self.backend.nowhere.address();
        context.enqueue(engine, &bound, nowhere, own.stream()).map_err(failed)?;
        own.stream().synchronize()?;
        let graph = own.capture(|| context.enqueue(engine, &bound, nowhere, own.stream()).map_err(Failed::TensorRt));
        let Some(graph) = graph.map_err(|e| EngineError::Run(e.to_string()))? else {
            return Ok(Attempt::Later);
        };
        Ok(Attempt::Captured(Box::new(Captured {
            graph,
            inputs,
            outputs,
            shapes,
            _context: context,
            _stream: own,
        })))
    }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Cuda(#[from] CudaError),
    #[error(transparent)]
    TensorRt(super::Error),
}

impl State {
    /// What is known of these shapes, from now on the last used.
    fn find(&mut self, profile: usize, stream: Stream, inputs: &[TensorView<'_>]) -> &mut Known {
        let found = self.shapes.iter().rposition(|known| {
            (known.profile, known.stream) == (profile, stream)
                && known.inputs.len() == inputs.len()
                && known.inputs.iter().zip(inputs).all(|(known, input)| known == input.dims)
        });
        let known = match found {
            Some(last) if last + 1 == self.shapes.len() => return &mut self.shapes[last],
            Some(at) => self.shapes.remove(at),
            None => {
                if self.shapes.len() == REMEMBERED {
                    self.shapes.remove(0);
                }
                Known {
                    profile,
                    stream,
                    inputs: inputs.iter().map(|input| input.dims.to_vec()).collect(),
                    what: What::Seen(0),
                }
            }
        };
        self.shapes.push(known);
        let last = self.shapes.len() - 1;
        &mut self.shapes[last]
    }

    /// Gives up a stream's scratch memory where no graph works in it.
    fn give_up_scratch(&mut self, stream: Stream) {
        let used = |known: &Known| known.stream == stream && matches!(known.what, What::Captured(_));
        if !self.shapes.iter().any(used) {
            self.scratch.retain(|(of, _)| *of != stream);
        }
    }

    /// Gives up the graphs beyond those that are kept; their memory goes when the device is done with it.
    fn forget(&mut self) {
        let mut kept = 0;
        for known in self.shapes.iter_mut().rev() {
            if matches!(known.what, What::Captured(_)) {
                kept += 1;
                if kept > CAPTURED {
                    known.what = What::Seen(0);
                }
            }
        }
    }
}

fn size_of(shape: &[i64], dtype: DType) -> usize {
    shape.iter().product::<i64>() as usize * dtype.size()
}
