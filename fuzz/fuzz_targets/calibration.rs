#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tftrt_fuzz::targets::table(data));
