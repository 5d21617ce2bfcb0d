//! Fuzz target: runs `harness::targets::lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::lines(data));
