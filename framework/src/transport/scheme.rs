//! The description of a scheme of addresses.

use crate::connection::Kind;

/// A scheme of addresses, such as `tcp`, that a transport serves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemeInfo {
    /// The part of the address before the colon.
    pub scheme: &'static str,
    /// The transport in a few words, with the form of its addresses.
    pub summary: &'static str,
    /// Whether its listeners accept connections or receive datagrams.
    pub kind: Kind,
}

impl SchemeInfo {
    /// The description of a scheme.
    pub fn new(scheme: &'static str, summary: &'static str, kind: Kind) -> Self {
        Self { scheme, summary, kind }
    }
}
