//! Handlers included in Switchboard. [`register`] adds them to a registry; `switchboard list` shows them.

mod echo;
mod hello;

pub use echo::Echo;
pub use hello::{Hello, HelloOptions};

use switchboard::Registry;
use switchboard::registry::NoOptions;

/// Registers all handlers of this crate.
pub fn register(registry: &mut Registry) {
    registry.handler("echo", |_: NoOptions| Ok(Echo)).set_summary("sends each message back unchanged");
    registry
        .handler("hello", |options: HelloOptions| Ok(Hello::new(options)))
        .set_summary("sends a welcome, answers each message M with \"hello, M!\", closes on \"exit\"")
        .set_framings(&["raw", "lines", "length", "delimited"]);
}
