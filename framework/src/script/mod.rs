//! Conversation scripts: the bytes of clients and of a server, as text that can be compared and edited.
//!
//! A [`Script`] is the model. Its `Display` is the canonical text. A [`ScriptFile`] is a script that was read from a
//! text, with the place of every step and byte.
//!
//! ```
//! use switchboard::script::{Action, Script, Step};
//!
//! let script: Script = "switchboard script 1\n> \"Ada\"\n< \"hello, Ada!\"\n".parse().unwrap();
//! assert_eq!(script.steps.len(), 2);
//! assert!(matches!(&script.steps[0], Step::Peer(0, Action::Send(data)) if data.to_bytes().unwrap() == b"Ada"));
//!
//! let error = "switchboard script 1\n> clsoe\n".parse::<Script>().unwrap_err();
//! assert!(error.to_string().contains("2:3: \"clsoe\" is not"));
//! ```

mod data;
mod error;
mod file;
mod header;
mod literal;
mod model;
mod parse;
mod print;
mod sequence;
mod token;

#[cfg(test)]
mod tests;

pub use data::{Data, Part};
pub use error::{ParseError, ParseErrors};
pub use file::ScriptFile;
pub use model::{Action, Script, Step};

/// The version of the format that this crate reads and writes.
pub const VERSION: u16 = 1;
/// The largest text of a script in bytes.
pub const MAX_TEXT: usize = 16 << 20;
/// The longest line of a script in bytes.
pub const MAX_LINE: usize = 64 << 10;
/// The largest data of all steps of a script together, in bytes.
pub const MAX_DATA: usize = 64 << 20;
/// The largest number of bytes of any value in one item.
pub const MAX_UNKNOWN: usize = 16 << 20;
/// The largest number of peers of a script.
pub const MAX_PEERS: usize = 100;
/// Errors of a script that are reported together.
pub const MAX_ERRORS: usize = 20;
