//! Handlers that come with ListenerSet, from the simplest on.
//!
//! [`register`] is the visible table: what is in it, `switchboard list` shows.

mod echo;
mod hello;

pub use echo::Echo;
pub use hello::{Hello, HelloOptions};

use switchboard::Registry;
use switchboard::registry::NoOptions;

/// Adds all handlers of this crate to a registry.
pub fn register(registry: &mut Registry) {
    registry.handler("echo", |_: NoOptions| Ok(Echo)).set_summary("each message back as it came");
    registry
        .handler("hello", |options: HelloOptions| Ok(Hello::new(options)))
        .set_summary("greets: `welcome!` at the start, `hello, M!` for each message M, and `exit` closes")
        .set_framings(&["raw", "lines", "length", "delimited"]);
}
