//! A change of the framing while a connection is open.

use std::sync::Arc;

use bytes::Bytes;

use crate::error::BoxError;
use crate::framing::boxed::{BoxCodec, ErasedFraming};
use crate::framing::definition::Framing;
use crate::handler::{Protocol, Reply};

/// A framing that a handler has chosen while the connection is open.
pub(crate) struct BoxFraming<In, Out>(Arc<dyn ErasedFraming<In, Out>>);

impl<In: Send + 'static, Out: Send + 'static> Framing for BoxFraming<In, Out> {
    type In = In;
    type Out = Out;
    type Codec = BoxCodec<In, Out>;

    fn codec(&self, limit: usize) -> BoxCodec<In, Out> {
        self.0.codec(limit)
    }

    fn limit(&self, limit: usize) -> usize {
        self.0.limit(limit)
    }

    fn datagram_in(&self, datagram: Bytes) -> Result<In, BoxError> {
        self.0.datagram_in(datagram)
    }

    fn datagram_out(&self, frame: Out) -> Result<Bytes, BoxError> {
        self.0.datagram_out(frame)
    }
}

impl<Out> Reply<Out> {
    /// Sends the same frames, and then changes the framing of the connection, in both directions.
    ///
    /// Bytes that are already read belong to the new framing. This reply, replies to earlier messages and frames that
    /// are already pushed are written with the old one. [`duplex`](crate::framing::duplex) changes one direction only.
    /// The new framing has the same message types as the old one; otherwise the connection closes with reason
    /// `handler_error`. A datagram peer has no framing to change: its message fails.
    ///
    /// A codec can also change by itself: encoder and decoder are one object, and the encoder of a reply runs before
    /// the next message is decoded.
    ///
    /// ```
    /// use switchboard::prelude::*;
    ///
    /// /// Commands are lines. After `data`, a body follows that ends with a zero byte.
    /// #[derive(Default)]
    /// struct Upload;
    ///
    /// #[derive(Default)]
    /// enum Phase {
    ///     #[default]
    ///     Command,
    ///     Body,
    /// }
    ///
    /// impl Handler for Upload {
    ///     type State = Phase;
    ///
    ///     async fn message(&self, cx: &mut Context<Phase>, message: Bytes) -> Result<Reply> {
    ///         Ok(match cx.state {
    ///             Phase::Command if message == "data" => {
    ///                 cx.state = Phase::Body;
    ///                 let body = framing::duplex(Delimited::new("\0")?.max(1 << 20), Lines::default());
    ///                 Reply::send("go ahead").then_framing(body)
    ///             }
    ///             Phase::Command => Reply::send("unknown command"),
    ///             Phase::Body => {
    ///                 cx.state = Phase::Command;
    ///                 Reply::send("received").then_framing(Lines::default())
    ///             }
    ///         })
    ///     }
    /// }
    /// ```
    pub fn then_framing<F: Framing<Out = Out>>(self, framing: F) -> Self
    where
        Out: Send + 'static,
    {
        let framing: BoxFraming<F::In, Out> = BoxFraming(Arc::new(framing));
        self.then_protocol(Protocol::Framing(Box::new(framing)))
    }
}
