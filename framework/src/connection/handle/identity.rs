//! Handles as keys of sets: a handle is identified by the id of its connection.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use super::Connection;

/// Two handles are equal if they refer to the same connection. A set of connections finds one by its id.
impl Eq for Connection {}

impl PartialEq for Connection {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Hash for Connection {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl Borrow<u64> for Connection {
    fn borrow(&self) -> &u64 {
        &self.0.id
    }
}
