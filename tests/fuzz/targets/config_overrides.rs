//! Fuzz target: runs `harness::targets::config_overrides`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::config_overrides(data));
