//! What an engine takes and gives, held against the node that runs it: one check for all backends.
//!
//! A plan out of a file may be another node's. [`Interface::check`] comes before the engine is run, so before an address is bound;
//! [`check_outputs`] comes when the outputs' shapes are known, before their memory is allocated.

use super::{Bindings, EngineError, Memory};
use crate::graph::{DType, PartialShape};

/// One input or output of an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    pub dtype: DType,
    /// As far as the engine knows it before a run.
    pub shape: PartialShape,
}

/// An engine's inputs and outputs, by the node's numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// `None` for an input that the engine does not read.
    pub inputs: Vec<Option<TensorSpec>>,
    pub outputs: Vec<TensorSpec>,
}

impl Interface {
    /// Holds a call against the engine: how many inputs and outputs there are, their types, and the inputs' shapes and bytes.
    ///
    /// # Errors
    /// The first input or output that differs.
    pub fn check(&self, io: &dyn Bindings) -> Result<(), EngineError> {
        let wrong = |why: String| Err(EngineError::Run(why));
        let given = io.inputs();
        if self.inputs.len() > given.len() {
            return wrong(format!(
                "the engine takes {} inputs, the node has {}",
                self.inputs.len(),
                given.len()
            ));
        }
        for (i, (spec, input)) in self.inputs.iter().zip(given).enumerate() {
            let Some(spec) = spec else { continue };
            if spec.dtype != input.dtype {
                return wrong(format!("input {i} is {}, the engine takes {}", input.dtype, spec.dtype));
            }
            if !spec.shape.admits(input.dims) {
                return wrong(format!("input {i} has the shape {:?}, the engine takes {}", input.dims, spec.shape));
            }
            if let Memory::Host(bytes) = input.memory
                && bytes.len() != input.bytes()
            {
                let (has, needs) = (bytes.len(), input.bytes());
                return wrong(format!("input {i} has {has} bytes, and {needs} by its type and shape"));
            }
        }
        for (i, spec) in self.outputs.iter().enumerate() {
            match io.output_dtype(i) {
                Some(dtype) if dtype == spec.dtype => {}
                Some(dtype) => return wrong(format!("the engine gives output {i} as {}, the node as {dtype}", spec.dtype)),
                None => return wrong(format!("the engine gives {} outputs, the node has {i}", self.outputs.len())),
            }
        }
        match io.output_dtype(self.outputs.len()) {
            None => Ok(()),
            Some(_) => wrong(format!("the engine gives {} outputs, the node has more", self.outputs.len())),
        }
    }
}

/// Holds the shapes of an engine's outputs against those that the node may give. `known` are the node's own, as far as it says them, and
/// `count` is how many outputs it has.
///
/// # Errors
/// The first output that differs.
pub fn check_outputs(shapes: &[Vec<i64>], count: usize, known: &[PartialShape]) -> Result<(), EngineError> {
    if shapes.len() != count {
        let why = format!("the engine gives {} outputs, the node has {count}", shapes.len());
        return Err(EngineError::Run(why));
    }
    for (i, shape) in shapes.iter().enumerate() {
        if shape.iter().any(|&size| size < 0) {
            return Err(EngineError::Run(format!(
                "the engine gives output {i} the shape {shape:?}, which is none"
            )));
        }
        if let Some(known) = known.get(i).filter(|known| !known.admits(shape)) {
            let why = format!("the engine gives output {i} the shape {shape:?}, the node was made for {known}");
            return Err(EngineError::Run(why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::Stream;
    use crate::engine::{Bound, TensorView};

    struct Node<'a> {
        inputs: Vec<TensorView<'a>>,
        outputs: Vec<DType>,
    }

    impl Bindings for Node<'_> {
        fn inputs(&self) -> &[TensorView<'_>] {
            &self.inputs
        }

        fn output_dtype(&self, i: usize) -> Option<DType> {
            self.outputs.get(i).copied()
        }

        fn stream(&self) -> Option<Stream> {
            None
        }

        fn on_host(&self, _: usize) -> Result<Vec<u8>, EngineError> {
            Ok(Vec::new())
        }

        fn bind(&mut self, _: &[Vec<i64>], _: usize) -> Result<Bound<'_>, EngineError> {
            Err(EngineError::Run("nothing is bound here".to_string()))
        }
    }

    fn spec(dtype: DType, dims: &[i64]) -> TensorSpec {
        TensorSpec {
            dtype,
            shape: PartialShape::from_dims(dims),
        }
    }

    fn engine() -> Interface {
        Interface {
            inputs: vec![Some(spec(DType::FLOAT, &[-1, 2])), None],
            outputs: vec![spec(DType::BOOL, &[-1])],
        }
    }

    /// What the check says of a call with these inputs (the first one's type and shape, and its bytes) and outputs.
    fn said(dtype: DType, dims: &[i64], bytes: usize, others: usize, outputs: &[DType]) -> String {
        let memory = vec![0; bytes];
        let view = |dtype, dims| TensorView {
            dtype,
            dims,
            memory: Memory::Host(&memory),
        };
        let mut inputs = vec![view(dtype, dims)];
        inputs.extend((0..others).map(|_| view(DType::INT32, &[7])));
        let outputs = outputs.to_vec();
        engine()
            .check(&Node { inputs, outputs })
            .err()
            .map(|e| e.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn what_fits_passes_and_an_input_that_is_not_read_may_be_anything() {
        assert_eq!(said(DType::FLOAT, &[3, 2], 24, 1, &[DType::BOOL]), "");
        assert_eq!(said(DType::FLOAT, &[0, 2], 0, 2, &[DType::BOOL]), "");
    }

    #[test]
    fn each_difference_is_named() {
        for (said, words) in [
            (
                said(DType::HALF, &[3, 2], 12, 1, &[DType::BOOL]),
                "input 0 is float16, the engine takes float32",
            ),
            (said(DType::FLOAT, &[3], 12, 1, &[DType::BOOL]), "input 0 has the shape [3]"),
            (said(DType::FLOAT, &[3, 4], 48, 1, &[DType::BOOL]), "input 0 has the shape [3, 4]"),
            (said(DType::FLOAT, &[3, 2], 23, 1, &[DType::BOOL]), "input 0 has 23 bytes, and 24"),
            (said(DType::FLOAT, &[3, 2], 24, 0, &[DType::BOOL]), "takes 2 inputs, the node has 1"),
            (
                said(DType::FLOAT, &[3, 2], 24, 1, &[DType::FLOAT]),
                "gives output 0 as bool, the node as float32",
            ),
            (said(DType::FLOAT, &[3, 2], 24, 1, &[]), "gives 1 outputs, the node has 0"),
            (
                said(DType::FLOAT, &[3, 2], 24, 1, &[DType::BOOL; 2]),
                "gives 1 outputs, the node has more",
            ),
        ] {
            assert!(said.contains(words), "{said:?}: {words}");
        }
    }

    #[test]
    fn shapes_of_outputs_are_those_of_the_node() {
        let known = [PartialShape::from_dims(&[-1, 4]), PartialShape::unknown()];
        let said = |shapes: &[Vec<i64>], count| {
            check_outputs(shapes, count, &known)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default()
        };
        assert_eq!(said(&[vec![3, 4], vec![9]], 2), "");
        assert!(said(&[vec![3, 4]], 2).contains("gives 1 outputs, the node has 2"));
        assert!(said(&[vec![3, 5], vec![]], 2).contains("output 0 the shape [3, 5]"));
        assert!(said(&[vec![4], vec![]], 2).contains("output 0 the shape [4]"));
        assert!(said(&[vec![3, 4], vec![-1]], 2).contains("output 1 the shape [-1], which is none"));
        // A node that says nothing of its outputs takes any.
        assert!(check_outputs(&[vec![1]], 1, &[]).is_ok());
    }
}
