//! Fuzz target: runs `harness::targets::config_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::config_file(data));
