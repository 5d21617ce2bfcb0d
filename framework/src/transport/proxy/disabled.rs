//! The PROXY protocol in a build without the feature `proxy`: a listener that requires it cannot be bound.

use std::io;

use crate::transport::listener::StreamListener;

pub(crate) fn require_header(_: Box<dyn StreamListener>) -> io::Result<Box<dyn StreamListener>> {
    let reason = "this build does not support the PROXY protocol (cargo feature \"proxy\")";
    Err(io::Error::new(io::ErrorKind::Unsupported, reason))
}
