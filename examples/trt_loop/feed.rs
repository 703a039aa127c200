//! Tensors on the device for one engine: its inputs out of files or zeros, its outputs, and its scratch.

use crate::arguments::Arguments;
use crate::text;
use std::path::Path;
use tftrt::cuda::{self, Block, Stream};
use tftrt::engine::tensorrt::safe;
use tftrt::engine::{Bindings, Bound, EngineError, Memory, MemoryMut, TensorView};
use tftrt::graph::DType;

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

pub struct Feed<'a> {
    fixed: Fixed<'a>,
    _blocks: Vec<Block>,
}

impl<'a> Feed<'a> {
    /// For `engine`; sets the shapes of `context`, too.
    pub fn new(arguments: &'a Arguments, engine: &safe::Engine, context: &mut safe::Context, stream: Stream) -> Result<Feed<'a>, String> {
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
        context.set_inputs(engine, &fixed).map_err(text)?;
        for (shape, tensor) in context.outputs().to_vec().iter().zip(engine.outputs()) {
            let here = zeros(size_of(shape, tensor.dtype), stream)?;
            fixed.outputs.push(here.address());
            blocks.push(here);
        }
        blocks.push(scratch);
        Ok(Feed { fixed, _blocks: blocks })
    }

    /// Where the first output is.
    pub fn output(&self) -> Result<u64, String> {
        self.fixed.outputs.first().copied().ok_or("the plan has no output".to_string())
    }

    /// Sets the shapes of another context of the same engine or of one like it.
    pub fn set(&self, engine: &safe::Engine, context: &mut safe::Context) -> Result<(), String> {
        context.set_inputs(engine, &self.fixed).map_err(text)
    }

    /// What calls are enqueued with.
    pub fn bound(&mut self) -> Result<Bound<'_>, String> {
        self.fixed.bind(&[], 0).map_err(text)
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
