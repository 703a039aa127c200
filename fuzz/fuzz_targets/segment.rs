#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use tftrt_fuzz::mutate::{self, Random};

fuzz_target!(|data: &[u8]| tftrt_fuzz::targets::segment(data));

// Three times in four a graph is changed as a graph.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 4 != 0 {
        let changed = mutate::graph(&data[..size], &mut Random(seed.into()));
        if changed.len() <= max_size {
            data[..changed.len()].copy_from_slice(&changed);
            return changed.len();
        }
    }
    fuzzer_mutate(data, size, max_size)
});
