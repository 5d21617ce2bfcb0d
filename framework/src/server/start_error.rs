//! The error of a handler or listener that cannot be started.

use std::fmt;

use crate::address::Endpoint;
use crate::error::{BoxError, chain, debug_as_display};
use crate::server::bind_hint;
use crate::settings::file::without_number;
use crate::settings::text::escape_unsafe;

/// A handler or a listener that could not be started.
#[derive(thiserror::Error)]
#[error("{part}: {}{hint}", without_number(&chain(&**source)))]
pub struct StartError {
    part: Part,
    source: BoxError,
    /// What to do about it: empty, or `; …`.
    hint: String,
}

enum Part {
    Listener(String, Endpoint),
    Handler(String),
}

impl StartError {
    pub(super) async fn listener(name: &str, endpoint: &Endpoint, source: BoxError) -> Self {
        let hint = bind_hint::hint(endpoint, &*source).await.map(|hint| format!("; {hint}")).unwrap_or_default();
        Self { part: Part::Listener(name.to_owned(), endpoint.clone()), source, hint }
    }

    /// The name of the listener, if one cannot listen on its address.
    pub fn listener_name(&self) -> Option<&str> {
        match &self.part {
            Part::Listener(name, _) => Some(name),
            Part::Handler(_) => None,
        }
    }

    /// The address, if a listener cannot listen on it.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        match &self.part {
            Part::Listener(_, endpoint) => Some(endpoint),
            Part::Handler(_) => None,
        }
    }

    pub(super) fn handler(name: &str, source: BoxError) -> Self {
        Self { part: Part::Handler(name.to_owned()), source, hint: String::new() }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(name, endpoint) => {
                let endpoint = escape_unsafe(&endpoint.to_string(), |_| false);
                write!(f, "listener {name} cannot listen on {endpoint}")
            }
            Self::Handler(name) => write!(f, "handler {name} cannot start"),
        }
    }
}

debug_as_display!(StartError);
