//! Fuzz target: runs `harness::targets::length`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::length(data));
