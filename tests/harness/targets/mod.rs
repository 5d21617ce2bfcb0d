//! Fuzz targets: each takes arbitrary bytes and panics if a guarantee is broken.
//!
//! libFuzzer (`tests/fuzz`) and an ordinary test over the corpus call the same functions.

mod addresses;
mod configuration;
mod framings;
mod input;
mod proxy;
mod script;
mod stream;

pub use addresses::{endpoint, networks};
pub use configuration::{config_file, config_overrides};
pub use framings::{delimited, json_lines, length, lines, raw};
pub use proxy::proxy;
pub use script::{script, script_steps};
pub use stream::stream;

/// Takes arbitrary bytes; panics if a guarantee is broken.
pub type Target = fn(&[u8]);

/// Every target by name. The corpus directory has the same name.
pub const TARGETS: [(&str, Target); 13] = [
    ("raw", raw),
    ("lines", lines),
    ("length", length),
    ("delimited", delimited),
    ("json_lines", json_lines),
    ("proxy", proxy),
    ("endpoint", endpoint),
    ("networks", networks),
    ("config_file", config_file),
    ("config_overrides", config_overrides),
    ("script", script),
    ("script_steps", script_steps),
    ("stream", stream),
];
