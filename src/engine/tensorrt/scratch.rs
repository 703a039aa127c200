//! The scratch memory of graphs.
//!
//! A graph is given to its stream as one, so all graphs that an engine has on a stream may work in one block. Enqueues may not:
//! those of two threads give their kernels to the stream in turns, and each needs a block of its own until it has given all. The
//! one enqueue that a graph begins with works in the graphs' block too, for TensorRT shall find everything as it was when the graph
//! is captured: so whoever gives something to the stream that works in the block holds it.

use super::backend::{Block, TensorRt};
use crate::cuda::Stream;
use crate::engine::EngineError;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};

/// The blocks of one engine, by stream. Each is given up with the last graph that works in it.
#[derive(Default)]
pub struct Scratch {
    blocks: Mutex<Vec<(Stream, Weak<Mutex<Block>>)>>,
}

impl Scratch {
    /// The block that graphs on `stream` are captured with; `bytes` is always the same.
    pub fn of(&self, stream: Stream, backend: &TensorRt, bytes: usize) -> Result<Arc<Mutex<Block>>, EngineError> {
        let mut blocks = self.blocks.lock();
        if let Some(block) = blocks.iter().find(|(of, _)| *of == stream).and_then(|(_, block)| block.upgrade()) {
            return Ok(block);
        }
        let block = Arc::new(Mutex::new(Block::new(backend.memory, bytes)?));
        blocks.retain(|(of, _)| *of != stream);
        blocks.push((stream, Arc::downgrade(&block)));
        Ok(block)
    }
}
