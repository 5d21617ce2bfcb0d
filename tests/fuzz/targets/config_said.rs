//! Fuzz target: runs `harness::targets::config_said`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::config_said(data));
