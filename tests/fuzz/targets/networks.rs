//! Fuzz target: runs `harness::targets::networks`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::networks(data));
