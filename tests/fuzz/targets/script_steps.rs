//! Fuzz target: runs `harness::targets::script_steps`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::script_steps(data));
