//! Fuzz target: runs `harness::targets::delimited`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::delimited(data));
