//! Fuzz target: runs `harness::targets::raw`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::targets::raw(data));
