//! Scratch memory that outlives a call.
//!
//! Runs on one stream follow each other, so all contexts and graphs that an engine has there may work in one block. Small blocks are
//! kept, which saves each call an allocation; large ones belong to their call, or to the graphs that were captured with them.

use super::backend::{Block, TensorRt};
use crate::engine::EngineError;
use crate::engine::cuda::Stream;
use parking_lot::{Mutex, RwLock};
use std::sync::{Arc, Weak};

/// Blocks of no more than this are kept as long as the engine.
const MOST_KEPT: usize = 32 << 20;

/// The blocks of one engine, by stream.
pub struct Scratch {
    backend: &'static TensorRt,
    bytes: usize,
    kept: RwLock<Vec<(Stream, Arc<Block>)>>,
    /// Each is given up with the last graph that works in it.
    of_graphs: Mutex<Vec<(Stream, Weak<Block>)>>,
}

impl Scratch {
    /// For an engine that works in `bytes` bytes.
    pub fn new(backend: &'static TensorRt, bytes: usize) -> Scratch {
        Scratch {
            backend,
            bytes,
            kept: RwLock::default(),
            of_graphs: Mutex::default(),
        }
    }

    /// The block that calls on `stream` work in; `None` where a call is to allocate its own, if it needs any.
    pub fn kept(&self, stream: Stream) -> Option<Arc<Block>> {
        if self.bytes == 0 || self.bytes > MOST_KEPT {
            return None;
        }
        let find = |kept: &[(Stream, Arc<Block>)]| kept.iter().find(|(of, _)| *of == stream).map(|(_, block)| block.clone());
        if let Some(block) = find(&self.kept.read()) {
            return Some(block);
        }
        let mut kept = self.kept.write();
        if let Some(block) = find(&kept) {
            return Some(block);
        }
        // Where there is no memory, the call's own attempt says so.
        let block = Arc::new(self.block().ok()?);
        kept.push((stream, block.clone()));
        Some(block)
    }

    /// The block that graphs on `stream` are captured with.
    pub fn of_graphs(&self, stream: Stream) -> Result<Arc<Block>, EngineError> {
        if let Some(block) = self.kept(stream) {
            return Ok(block);
        }
        let mut blocks = self.of_graphs.lock();
        if let Some(block) = blocks.iter().find(|(of, _)| *of == stream).and_then(|(_, block)| block.upgrade()) {
            return Ok(block);
        }
        let block = Arc::new(self.block()?);
        blocks.retain(|(of, _)| *of != stream);
        blocks.push((stream, Arc::downgrade(&block)));
        Ok(block)
    }

    /// Gives up what is kept, in the backend's context, when nothing works in it any more.
    pub fn clear(&self) {
        self.kept.write().clear();
    }

    fn block(&self) -> Result<Block, EngineError> {
        Block::new(self.backend.memory, self.bytes)
    }
}
