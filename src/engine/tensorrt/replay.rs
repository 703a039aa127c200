//! Small calls as CUDA graphs.
//!
//! At batch 1 an engine is a hundred kernels of a few microseconds, and the host is slower at launching them than the GPU at
//! running them. Where shapes repeat, the launches are captured once and replayed as one. TensorFlow's tensors lie elsewhere in
//! every call, a graph's do not: inputs are copied into the graph's own buffers and outputs out of them, which is cheap for
//! small ones and why large calls are not replayed. The copies are part of the graph, and a call tells it where its tensors are.
//!
//! Everything that one stream replays of an engine shares one block of scratch memory (`scratch.rs`).

use super::backend::{Block, TensorRt};
use super::safe::{self, Context};
use super::scratch::Scratch;
use crate::cuda::{self, CudaError, Graph, OwnStream, Stream, Transfer};
use crate::engine::{Bindings, Bound, EngineError, Memory, MemoryMut, Run, TensorView};
use crate::fault::{self, Point};
use crate::graph::DType;
use crate::trace;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// Calls with more bytes of inputs and outputs than this are not replayed: copying them costs what launching saves.
const MOST_BYTES: usize = 8 << 20;

/// Engines that need more scratch memory than this are not replayed: it is held as long as there are graphs.
const MOST_SCRATCH: usize = 512 << 20;

/// A shape is captured when it comes for the third time.
const SEEN_BEFORE: u32 = 2;

/// An attempt that comes to nothing since a build is under way has made a context and waited for the GPU. So the next one is after twice
/// as many calls, up to this.
const MOST_SEEN_BEFORE: u32 = 1024;

/// So many shapes are remembered, and so many of them captured, the last used ones.
const REMEMBERED: usize = 64;
const CAPTURED: usize = 8;

pub struct Replays {
    backend: &'static TensorRt,
    scratch: Scratch,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last used at the end.
    shapes: Vec<Known>,
    /// Forgotten ones, to be dropped by whoever unlocks: their memory goes when the device is done with it.
    gone: Vec<Known>,
    count: u64,
}

struct Known {
    profile: usize,
    stream: Stream,
    inputs: Vec<Vec<i64>>,
    /// How many calls there are before one is captured.
    before: u32,
    what: What,
}

enum What {
    Seen(u32),
    Captured(Arc<Captured>),
    /// TensorRT or CUDA did not take it, or has yet to: it runs as any other call.
    Not,
}

/// What is to be done with a call.
enum Next {
    Replay(Arc<Captured>),
    Capture,
    /// As any other.
    Run,
}

struct Captured {
    /// One call at a time says where it copies from and to, and launches it.
    graph: Mutex<Graph>,
    /// The shapes of the outputs.
    shapes: Vec<Vec<i64>>,
    // What the graph refers to, dropped after it.
    _inputs_and_outputs: [Vec<Block>; 2],
    scratch: Arc<Mutex<Block>>,
    /// Locked by nobody: a context is for one thread at a time, and the mutex says so.
    _context: Mutex<Context>,
    _stream: OwnStream,
}

/// What came of capturing.
enum Attempt {
    Captured(Arc<Captured>),
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
            scratch: Scratch::default(),
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
        let (next, gone) = {
            let mut state = self.state.lock();
            (state.next(profile, stream, io.inputs()), std::mem::take(&mut state.gone))
        };
        drop(gone);
        let captured = match next {
            Next::Replay(captured) => Some(captured),
            Next::Capture => self.captured(engine, profile, stream, io),
            Next::Run => None,
        };
        captured.map(|captured| captured.run(stream, io)).transpose()
    }

    /// Captures a call's shapes, which nobody else does meanwhile, and remembers what came of it.
    fn captured(&self, engine: &safe::Engine, profile: usize, stream: Stream, io: &mut dyn Bindings) -> Option<Arc<Captured>> {
        let attempt = self.capture(engine, profile, stream, io);
        let mut state = self.state.lock();
        let known = state.find(profile, stream, io.inputs());
        match attempt {
            Ok(Attempt::Captured(captured)) => {
                let before = std::mem::replace(&mut known.what, What::Captured(captured.clone()));
                state.count += 1;
                let forgotten = (before, state.forget(), std::mem::take(&mut state.gone));
                drop(state);
                drop(forgotten);
                Some(captured)
            }
            Ok(Attempt::TooLarge) => None,
            Ok(Attempt::Later) => {
                known.later();
                None
            }
            Err(e) => {
                tracing::debug!(node = engine.node(), "calls of these shapes are not replayed as a CUDA graph: {e}");
                None
            }
        }
    }

    /// A graph of this call, which is not run by it.
    fn capture(&self, engine: &safe::Engine, profile: usize, stream: Stream, io: &mut dyn Bindings) -> Result<Attempt, EngineError> {
        let failed = |e: super::Error| EngineError::Run(e.to_string());
        fault::at(Point::Capture).map_err(|why| EngineError::Run(why.to_string()))?;
        let mut context = engine.context(profile, stream).map_err(failed)?;
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
        let scratch = self.scratch.of(stream, self.backend, engine.scratch())?;
        let blocks =
            |sizes: &[usize]| -> Result<Vec<Block>, EngineError> { sizes.iter().map(|&bytes| Block::new(memory, bytes)).collect() };
        let (ours, theirs) = (blocks(&inputs)?, blocks(&outputs)?);
        // Where outputs are copied to is said before each run; until then it is where they come from.
        let reads = ours.iter().zip(&inputs).zip(io.inputs()).map(|((block, &bytes), input)| {
            let from = match input.memory {
                Memory::Device(address) => address,
                Memory::Host(_) => block.address(),
            };
            let to = block.address();
            Transfer { to, from, bytes }
        });
        let reads: Vec<Transfer> = reads.collect();
        let writes = theirs.iter().zip(&outputs).map(|(block, &bytes)| {
            let (to, from) = (block.address(), block.address());
            Transfer { to, from, bytes }
        });
        let writes: Vec<Transfer> = writes.collect();
        // The first run sets up what cannot be captured. It needs real inputs, and no replay of another shape between its kernels: an
        // index out of its range could fault.
        for read in &reads {
            cuda::copy_on_device(read.to, read.from, read.bytes, stream)?;
        }
        let views = io.inputs().iter().zip(&ours).map(|(input, block)| TensorView {
            dtype: input.dtype,
            dims: input.dims,
            memory: Memory::Device(block.address()),
        });
        let views: Vec<TensorView<'_>> = views.collect();
        let bound = Bound {
            inputs: &views,
            outputs: theirs.iter().map(|block| MemoryMut::Device(block.address())).collect(),
            scratch: scratch.lock().address(),
        };
        let nowhere = self.backend.nowhere.address();
        {
            let _alone = scratch.lock();
            context.enqueue(engine, &bound, nowhere, stream).map_err(failed)?;
        }
        stream.synchronize()?;
        let own = OwnStream::new()?;
        let graph = Graph::capture(&own, &reads, &writes, || {
            context
                .enqueue(engine, &bound, nowhere, own.stream())
                .map(drop)
                .map_err(Failed::TensorRt)
        });
        let Some(graph) = graph.map_err(|e| EngineError::Run(e.to_string()))? else {
            return Ok(Attempt::Later);
        };
        Ok(Attempt::Captured(Arc::new(Captured {
            graph: Mutex::new(graph),
            shapes,
            _inputs_and_outputs: [ours, theirs],
            scratch,
            _context: Mutex::new(context),
            _stream: own,
        })))
    }
}

impl Captured {
    fn run(&self, stream: Stream, io: &mut dyn Bindings) -> Result<Run, EngineError> {
        let _range = trace::range(c"tftrt replay");
        let begun = Instant::now();
        let bound = io.bind(&self.shapes, 0)?;
        let binding = begun.elapsed();
        let mut graph = self.graph.lock();
        for (i, input) in bound.inputs.iter().enumerate() {
            if let Memory::Device(address) = input.memory {
                graph.read_from(i, address)?;
            }
        }
        for (i, output) in bound.outputs.iter().enumerate() {
            if let MemoryMut::Device(address) = output {
                graph.write_to(i, *address)?;
            }
        }
        let _alone = self.scratch.lock();
        let begun = Instant::now();
        graph.launch(stream)?;
        Ok(Run {
            binding,
            inside: begun.elapsed(),
            graph: true,
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Cuda(#[from] CudaError),
    #[error(transparent)]
    TensorRt(super::Error),
}

impl Known {
    /// Counts a call; whether enough of them have come for a capture.
    fn due(&mut self) -> bool {
        match &mut self.what {
            What::Seen(times) if *times < self.before => {
                *times += 1;
                false
            }
            What::Seen(_) => true,
            What::Captured(_) | What::Not => false,
        }
    }

    /// An attempt came to nothing, and the next one may not.
    fn later(&mut self) {
        self.before = (2 * self.before).min(MOST_SEEN_BEFORE);
        self.what = What::Seen(0);
    }
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
                    self.gone.push(self.shapes.remove(0));
                }
                Known {
                    profile,
                    stream,
                    inputs: inputs.iter().map(|input| input.dims.to_vec()).collect(),
                    before: SEEN_BEFORE,
                    what: What::Seen(0),
                }
            }
        };
        self.shapes.push(known);
        let last = self.shapes.len() - 1;
        &mut self.shapes[last]
    }

    /// What is to be done with a call of these shapes. [`Next::Capture`] is said to one of several such calls.
    fn next(&mut self, profile: usize, stream: Stream, inputs: &[TensorView<'_>]) -> Next {
        let known = self.find(profile, stream, inputs);
        if known.due() && cuda::may_capture() {
            known.what = What::Not;
            return Next::Capture;
        }
        match &known.what {
            What::Captured(captured) => Next::Replay(captured.clone()),
            What::Seen(_) | What::Not => Next::Run,
        }
    }

    /// Gives up the graphs beyond those that are kept.
    fn forget(&mut self) -> Vec<What> {
        let captured = self.shapes.iter_mut().rev().filter(|known| matches!(known.what, What::Captured(_)));
        captured
            .skip(CAPTURED)
            .map(|known| std::mem::replace(&mut known.what, What::Seen(0)))
            .collect()
    }
}

fn size_of(shape: &[i64], dtype: DType) -> usize {
    shape.iter().product::<i64>() as usize * dtype.size()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_that_come_to_nothing_become_rarer() {
        let mut known = Known {
            profile: 0,
            stream: Stream(0),
            inputs: Vec::new(),
            before: SEEN_BEFORE,
            what: What::Seen(0),
        };
        let mut calls = || -> u32 {
            let count = (1..).find(|_| known.due()).unwrap_or(0);
            known.later();
            count
        };
        assert_eq!([calls(), calls(), calls()], [3, 5, 9]);
        assert_eq!((0..12).map(|_| calls()).last(), Some(MOST_SEEN_BEFORE + 1));
        known.what = What::Not;
        assert!(!known.due(), "it runs as any other call");
    }
}
