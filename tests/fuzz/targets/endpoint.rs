//! Fuzz target: runs `harness::targets::endpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::endpoint(data));
