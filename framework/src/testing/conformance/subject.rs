//! What is tested: a handler with its framing and settings, behind one type for all laws.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::framing::Framing;
use crate::handler::{Handler, HandlerLayer};
use crate::server;
use crate::testing::conformance::framing::ProbeFraming;
use crate::testing::conformance::probe::Probe;
use crate::testing::conformance::record::Record;
use crate::testing::server::{Running, Server};

/// Changes a reply before it is compared.
pub(super) type Normalise = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// A server that can be started any number of times.
pub(super) trait Subject {
    /// Starts a server with a new handler.
    fn start(&self, record: Record, window: usize) -> Pin<Box<dyn Future<Output = Running> + '_>>;

    /// Whether the server receives datagrams.
    fn is_datagram(&self) -> bool;

    /// Encodes a payload, if the messages of the framing are bytes and it decodes exactly this payload.
    fn encode(&self, payload: &[u8]) -> Option<Bytes>;

    /// Half of a message, if the messages of the framing are bytes.
    fn shorten(&self, message: &[u8]) -> Option<Bytes>;

    /// A reply as it is compared.
    fn normalise(&self, reply: &[u8]) -> Vec<u8>;

    /// Whether replies are compared without their order.
    fn is_unordered(&self) -> bool;
}

/// A handler with its framing and settings.
pub(super) struct Tested<'a, M, F, S> {
    pub(super) handler: &'a M,
    pub(super) framing: Arc<F>,
    pub(super) change: &'a S,
    pub(super) normalise: Option<Normalise>,
    pub(super) is_unordered: bool,
    pub(super) is_datagram: bool,
}

impl<M, H, F, S, L> Subject for Tested<'_, M, F, S>
where
    M: Fn() -> H,
    F: Framing,
    H: Handler<F::In, F::Out>,
    S: Fn(server::Server<ProbeFraming<F>>) -> server::Server<ProbeFraming<F>, L>,
    L: HandlerLayer<Probe<H>, F::In, F::Out>,
{
    fn start(&self, record: Record, window: usize) -> Pin<Box<dyn Future<Output = Running> + '_>> {
        let handler = Probe::new((self.handler)(), record.clone());
        let server = if self.is_datagram { Server::datagrams(handler) } else { Server::new(handler) };
        let framing = ProbeFraming::new(self.framing.clone(), record);
        Box::pin(server.framing(framing).set(self.change).window(window).start())
    }

    fn is_datagram(&self) -> bool {
        self.is_datagram
    }

    fn encode(&self, payload: &[u8]) -> Option<Bytes> {
        // A panic of the codec is found when the server runs it.
        catch_unwind(AssertUnwindSafe(|| self.encode_exactly(payload))).ok().flatten()
    }

    fn shorten(&self, message: &[u8]) -> Option<Bytes> {
        let decode = || self.framing.codec(usize::MAX).decode(&mut message.into()).ok()?;
        let payload: Box<dyn Any> = Box::new(catch_unwind(AssertUnwindSafe(decode)).ok()??);
        let payload = payload.downcast_ref::<Bytes>().filter(|payload| !payload.is_empty())?;
        self.encode(&payload[..payload.len() / 2])
    }

    fn normalise(&self, reply: &[u8]) -> Vec<u8> {
        self.normalise.as_ref().map_or_else(|| reply.to_vec(), |normalise| normalise(reply))
    }

    fn is_unordered(&self) -> bool {
        self.is_unordered
    }
}

impl<M, F: Framing, S> Tested<'_, M, F, S> {
    fn encode_exactly(&self, payload: &[u8]) -> Option<Bytes> {
        let frame: Box<dyn Any> = Box::new(Bytes::copy_from_slice(payload));
        let frame = *frame.downcast::<F::Out>().ok()?;
        let mut buffer = BytesMut::new();
        let mut codec = self.framing.codec(usize::MAX);
        codec.encode(frame, &mut buffer).ok()?;
        let encoded = buffer.clone().freeze();
        let message: Box<dyn Any> = Box::new(codec.decode(&mut buffer).ok()??);
        let is_same = message.downcast_ref::<Bytes>().is_some_and(|message| message == payload);
        (is_same && buffer.is_empty()).then_some(encoded)
    }
}
