//! A layer that puts a text before each message.

use std::task::{Context, Poll};

use bytes::BytesMut;
use serde::Deserialize;
use switchboard::tower::{Layer, Service};
use switchboard::{Request, Result, schemars};

pub(crate) const SUMMARY: &str = "puts a text before each message";

/// Options of the layer.
#[derive(Clone, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    /// Text put before each message.
    text: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { text: "> ".to_owned() }
    }
}

/// Makes the layer from its options.
pub(crate) fn build(options: Options) -> Result<Prefix> {
    Ok(Prefix(options))
}

/// The layer.
#[derive(Clone)]
pub(crate) struct Prefix(Options);

/// The service of [`Prefix`].
pub(crate) struct Prefixed<S>(S, Options);

impl<S> Layer<S> for Prefix {
    type Service = Prefixed<S>;

    fn layer(&self, inner: S) -> Prefixed<S> {
        Prefixed(inner, self.0.clone())
    }
}

impl<S: Service<Request>> Service<Request> for Prefixed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> S::Future {
        let mut message = BytesMut::from(self.1.text.as_bytes());
        message.extend_from_slice(&request.message);
        request.message = message.freeze();
        self.0.call(request)
    }
}
