//! What must hold for any bytes at all: each target takes bytes, and panics where a promise is broken.
//!
//! The same functions are driven by libFuzzer (`tests/fuzz`) and, over its corpus, by an ordinary test. They know neither.

mod addresses;
mod configuration;
mod framings;
mod input;
mod proxy;
mod stream;

pub use addresses::{endpoint, networks};
pub use configuration::{config_file, config_said};
pub use framings::{delimited, json_lines, length, lines, raw};
pub use proxy::proxy;
pub use stream::stream;

/// Takes any bytes; panics where a promise is broken.
pub type Target = fn(&[u8]);

/// Every target by its name, which is that of its directory in the corpus too.
pub const TARGETS: [(&str, Target); 11] = [
    ("raw", raw),
    ("lines", lines),
    ("length", length),
    ("delimited", delimited),
    ("json_lines", json_lines),
    ("proxy", proxy),
    ("endpoint", endpoint),
    ("networks", networks),
    ("config_file", config_file),
    ("config_said", config_said),
    ("stream", stream),
];
