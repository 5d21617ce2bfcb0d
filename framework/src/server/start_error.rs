//! The error of a listener that cannot be started.

use crate::address::Endpoint;
use crate::error::{BoxError, chain, debug_as_display};
use crate::settings::text::escape_unsafe;

/// A listener that could not be started.
#[derive(thiserror::Error)]
#[error("listener {listener} cannot listen on {}: {}", escape_unsafe(&endpoint.to_string(), |_| false), chain(&**source))]
pub struct StartError {
    pub(super) listener: String,
    pub(super) endpoint: Endpoint,
    pub(super) source: BoxError,
}

debug_as_display!(StartError);
