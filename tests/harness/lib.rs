//! What tests share: programs started as children, a client for any byte stream, names that nobody else uses.
//!
//! It knows nothing of the framework, so that what it says of a program is seen from outside; but for [`targets`], which
//! hold the library to its promises for any bytes at all, and [`hot`], which has it do the same thing again and again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)] // a test that finds no footing should say so and end

mod build;
mod client;
pub mod hot;
mod program;
pub mod targets;
mod tool;

pub use build::{root, target};
pub use client::{Client, TEST_TIMEOUT};
pub use nix::sys::signal::Signal;
pub use program::{Event, Output, Program, Running};
pub use tool::{free_port, tool, unique};
