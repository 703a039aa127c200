//! Inputs where TensorRT takes them: at multiples of 256 bytes. TensorFlow's slices (of a split, of `x[1:]`) share the memory of
//! what they are cut from, and begin anywhere in it.

use crate::cuda::{self, CudaError, Stream};
use crate::engine::{Memory, TensorView};

/// "The pointer must have at least 256-byte alignment" (NvInferRuntime.h, `setTensorAddress`).
const TENSORS: usize = 256;

/// What comes behind an engine's own scratch memory begins at a multiple of this.
const SCRATCH: usize = 512;

/// Copies of the inputs of one call, behind the engine's own scratch memory.
pub struct Copies {
    /// For each input: how far from the begin of the scratch memory its copy is, where it needs one.
    offsets: Vec<Option<usize>>,
    /// The size of the scratch memory with them.
    pub scratch: usize,
}

impl Copies {
    /// `None`, as nearly always, where every input is aligned. `scratch` are the bytes that the engine itself works in.
    pub fn needed(inputs: &[TensorView<'_>], scratch: usize) -> Option<Copies> {
        if !inputs.iter().any(is_unaligned) {
            return None;
        }
        let mut scratch = scratch.next_multiple_of(SCRATCH);
        let place = |input| {
            is_unaligned(input).then(|| {
                let offset = scratch;
                scratch += input.bytes().next_multiple_of(TENSORS);
                offset
            })
        };
        let offsets = inputs.iter().map(place).collect();
        Some(Copies { offsets, scratch })
    }

    /// Copies them, behind what `stream` holds; `scratch` is where the memory is. The inputs, those that are copied at their copies.
    pub fn make<'a>(&self, inputs: &'a [TensorView<'a>], scratch: u64, stream: Stream) -> Result<Vec<TensorView<'a>>, CudaError> {
        let one = |(input, offset): (&TensorView<'a>, &Option<usize>)| {
            let memory = match (&input.memory, offset) {
                // An empty one has no place.
                (Memory::Device(_), Some(_)) if input.bytes() == 0 => Memory::Device(0),
                (Memory::Device(address), Some(offset)) => {
                    let copy = scratch + *offset as u64;
                    cuda::copy_on_device(copy, *address, input.bytes(), stream)?;
                    Memory::Device(copy)
                }
                (Memory::Device(address), None) => Memory::Device(*address),
                (Memory::Host(bytes), _) => Memory::Host(bytes),
            };
            Ok(TensorView {
                dtype: input.dtype,
                dims: input.dims,
                memory,
            })
        };
        inputs.iter().zip(&self.offsets).map(one).collect()
    }
}

fn is_unaligned(input: &TensorView<'_>) -> bool {
    matches!(input.memory, Memory::Device(address) if !address.is_multiple_of(TENSORS as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::DType;

    fn at(address: u64, dims: &[i64]) -> TensorView<'_> {
        TensorView {
            dtype: DType::FLOAT,
            dims,
            memory: Memory::Device(address),
        }
    }

    #[test]
    fn aligned_inputs_need_nothing() {
        assert!(Copies::needed(&[at(0x7000_0000, &[3]), at(0x100, &[]), at(0, &[0])], 1000).is_none());
        assert!(Copies::needed(&[], 1000).is_none());
    }

    #[test]
    fn each_slice_has_a_place_of_its_own_behind_the_scratch_memory() {
        let inputs = [at(0x1040, &[65]), at(0x2000, &[3]), at(0x3004, &[]), at(0x4010, &[0, 7])];
        let copies = Copies::needed(&inputs, 1000).unwrap();
        assert_eq!(copies.offsets, [Some(1024), None, Some(1024 + 512), Some(1024 + 512 + 256)]);
        assert_eq!(copies.scratch, 1024 + 512 + 256);
    }

    #[test]
    fn an_empty_slice_is_nowhere() {
        let inputs = [at(0x4010, &[0, 7]), at(0x2000, &[3])];
        let copies = Copies::needed(&inputs, 0).unwrap();
        assert_eq!(copies.scratch, 0);
        let made = copies.make(&inputs, 0, Stream(0)).unwrap();
        let addresses: Vec<u64> = made
            .iter()
            .map(|view| match view.memory {
                Memory::Device(address) => address,
                Memory::Host(_) => panic!("none is on the host"),
            })
            .collect();
        assert_eq!(addresses, [0, 0x2000]);
    }
}
