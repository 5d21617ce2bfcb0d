//! Fuzz target: runs `harness::targets::stream`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::stream(data));
