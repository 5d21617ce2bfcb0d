//! The content of a configuration file: its values, and where each key is.

use std::ops::Range;

use figment::value::Dict;

use crate::config::marks::Marks;
use crate::config::tree::Path;

#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) tree: Dict,
    pub(crate) marks: Marks,
    /// Values that no key accepts, each with an error message. They are not in the tree.
    pub(crate) unsupported: Vec<(Path, String)>,
    /// The text of the file.
    pub(crate) text: String,
}

/// A text that is not in the format of its file: the place, if it is known, and an error message.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) at: Option<Range<usize>>,
    pub(crate) what: String,
}
