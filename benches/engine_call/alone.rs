//! The engine without TensorFlow: what the backend itself takes for the call.

use crate::graph::{WIDTH, segment_body};
use std::sync::Arc;
use tftrt::convert::{Options, convert};
use tftrt::cuda::Stream;
use tftrt::engine::{Bindings, Bound, BuildRequest, Engine, EngineError, Memory, MemoryMut, Precision, TensorView, backend_for};
use tftrt::graph::{DType, Graph, PartialShape, TensorInfo};
use tftrt::profile::Profile;

/// An engine of one Relu for one batch size, with memory for its input and output.
pub struct Alone {
    engine: Arc<dyn Engine>,
    input: Vec<u8>,
    dims: Vec<i64>,
    output: Vec<u8>,
}

impl Alone {
    pub fn build(input: &[f32], batch: i64) -> Result<Alone, String> {
        let dims = vec![batch, WIDTH];
        let info = || {
            vec![TensorInfo {
                dtype: DType::FLOAT,
                shape: PartialShape::from_dims(&[-1, WIDTH]),
            }]
        };
        let known = [("x".to_string(), info()), ("relu".to_string(), info())].into();
        let graph = Graph::new(segment_body(), known).map_err(|e| e.to_string())?;
        let model = convert("one_relu", &graph, Options::default()).map_err(|e| e.to_string())?;
        let request = BuildRequest {
            node: "engine alone",
            model: &model,
            profiles: &[Profile::exactly(std::slice::from_ref(&dims), &[])],
            precision: Precision::Fp32,
            workspace_bytes: 1 << 30,
            tf32: true,
        };
        let engine = backend_for(None).and_then(|b| b.build(&request)).map_err(|e| e.to_string())?;
        Ok(Alone {
            engine,
            input: input.iter().flat_map(|value| value.to_ne_bytes()).collect(),
            dims,
            output: vec![0; size_of_val(input)],
        })
    }

    /// Runs the engine and gives the output's bytes.
    pub fn run(&mut self) -> Result<&[u8], EngineError> {
        let views = [TensorView {
            dtype: DType::FLOAT,
            dims: &self.dims,
            memory: Memory::Host(&self.input),
        }];
        let mut io = Buffers {
            inputs: &views,
            output: &mut self.output,
        };
        self.engine.run(0, &mut io)?;
        Ok(&self.output)
    }
}

struct Buffers<'a> {
    inputs: &'a [TensorView<'a>],
    output: &'a mut [u8],
}

impl Bindings for Buffers<'_> {
    fn inputs(&self) -> &[TensorView<'_>] {
        self.inputs
    }

    fn output_dtype(&self, _: usize) -> Option<DType> {
        Some(DType::FLOAT)
    }

    fn stream(&self) -> Option<Stream> {
        None
    }

    fn on_host(&self, i: usize) -> Result<Vec<u8>, EngineError> {
        Err(EngineError::Run(format!("input {i} is no shape")))
    }

    fn bind(&mut self, _shapes: &[Vec<i64>], _scratch: usize) -> Result<Bound<'_>, EngineError> {
        Ok(Bound {
            inputs: self.inputs,
            outputs: vec![MemoryMut::Host(self.output)],
            scratch: 0,
        })
    }
}
