//! The test harness: child processes, a client for any byte stream, and unique names.
//!
//! Only [`targets`] (fuzz targets) uses the framework. The rest tests from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)] // a failed setup step fails the test

mod build;
mod client;
mod program;
mod running;
pub mod targets;
mod tool;

pub use build::{binary, root, target};
pub use client::{Client, TEST_TIMEOUT};
pub use nix::sys::signal::Signal;
pub use program::Program;
pub use running::{Event, Output, Running};
pub use tool::{ClosedPort, free_port, tool, uninterrupted, unique};

// Here, because this crate sees all crates that the README uses. The README is outside of their packages.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
