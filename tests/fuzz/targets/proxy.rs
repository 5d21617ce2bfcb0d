//! Fuzz target: runs `harness::targets::proxy`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::proxy(data));
