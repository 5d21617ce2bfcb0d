//! What Switchboard promises: one module for each kind of promise, one test for each promise, named like it.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that finds no footing should end
#![allow(clippy::print_stderr)] // a test says why it is skipped
