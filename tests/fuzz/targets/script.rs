//! Fuzz target: runs `harness::targets::script`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::script(data));
