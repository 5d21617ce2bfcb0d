//! Fuzz target: runs `harness::targets::json_lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::json_lines(data));
