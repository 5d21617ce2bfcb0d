//! A framing made of a function that creates a codec.

use std::fmt;
use std::marker::PhantomData;

use tokio_util::codec::{Decoder, Encoder};

use crate::error::BoxError;
use crate::framing::definition::Framing;

/// A framing made of any tokio-util codec: `create` is called once per connection, with the largest message in bytes,
/// which is `limits.frame` or [`max`](Custom::max).
///
/// ```
/// use switchboard::prelude::*;
/// use tokio_util::codec::LinesCodec;
///
/// # async fn run() -> Result<()> {
/// let text = framing::custom(|limit| LinesCodec::new_with_max_length(limit));
/// let shout = handler_fn(|_: Context<(), String>, line: String| async move { Ok(Reply::send(line.to_uppercase())) });
/// Server::bind("tcp://127.0.0.1:0").framing(text).serve(shout).await
/// # }
/// ```
pub fn custom<F, C, Out>(create: F) -> Custom<F, Out>
where
    F: Fn(usize) -> C + Send + Sync + 'static,
    C: Decoder + Encoder<Out>,
{
    Custom { create, max: None, out: PhantomData }
}

/// A framing created by [`custom`].
pub struct Custom<F, Out> {
    create: F,
    max: Option<usize>,
    out: PhantomData<fn(Out)>,
}

impl<F, Out> Custom<F, Out> {
    /// Sets the largest message in bytes. The default is `limits.frame`. A connection with much more undecoded input
    /// closes with reason `frame_too_large`, even if the codec has no limit of its own.
    #[must_use]
    pub fn max(self, bytes: usize) -> Self {
        Self { max: Some(bytes), ..self }
    }
}

impl<F, C, Out> Framing for Custom<F, Out>
where
    F: Fn(usize) -> C + Send + Sync + 'static,
    C: Decoder<Item: Send + 'static, Error: Into<BoxError>>,
    C: Encoder<Out, Error: Into<BoxError>>,
    C: Send + 'static,
    Out: Send + 'static,
{
    type In = C::Item;
    type Out = Out;
    type Codec = C;

    fn codec(&self, limit: usize) -> C {
        (self.create)(self.limit(limit))
    }

    fn limit(&self, limit: usize) -> usize {
        self.max.unwrap_or(limit)
    }
}

impl<F, Out> fmt::Debug for Custom<F, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Custom")
    }
}
