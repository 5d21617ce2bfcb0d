//! A handler, its framing and its layers, assembled into the services that a listener runs.

use std::fmt;
use std::sync::Arc;

use tower::util::BoxCloneSyncService;
use tower::{Layer, Service};

use crate::connection::Kind;
use crate::driver::{DatagramService, HandlerDriver, RawDriver};
use crate::error::BoxError;
use crate::framing::Framing;
use crate::handler::{Handler, HandlerLayer, StreamHandler};
use crate::layer::MessageStack;
use crate::settings::{Limits, Timeouts};
use crate::transport::Incoming;

/// The connection seam, erased: one call a connection.
pub(crate) type ConnectionService = BoxCloneSyncService<Incoming, (), BoxError>;

/// What a listener does with what comes: handler, framing and layers in one piece.
#[derive(Clone)]
pub struct Pipeline {
    pub(crate) stream: Option<ConnectionService>,
    pub(crate) datagram: Option<Arc<dyn DatagramService>>,
}

impl Pipeline {
    pub(crate) fn of_handler<H, F, L>(
        handler: Arc<H>,
        framing: Arc<F>,
        stack: MessageStack,
        layer: L,
        limits: Limits,
        timeouts: Timeouts,
    ) -> Self
    where
        F: Framing,
        H: Handler<F::In, F::Out>,
        L: HandlerLayer<H, F::In, F::Out>,
    {
        let stack = Arc::new(stack);
        let driver = Arc::new(HandlerDriver { handler, framing, stack, layer, limits, timeouts: Arc::new(timeouts) });
        Self {
            stream: H::NEEDS.takes(Kind::Stream).then(|| BoxCloneSyncService::new(driver.clone())),
            datagram: H::NEEDS.takes(Kind::Datagram).then_some(driver as Arc<dyn DatagramService>),
        }
    }

    pub(crate) fn of_stream_handler<H: StreamHandler>(handler: Arc<H>, timeouts: Timeouts) -> Self {
        let driver = Arc::new(RawDriver { handler, timeouts });
        Self { stream: Some(BoxCloneSyncService::new(driver)), datagram: None }
    }

    /// Whether it serves what a listener of this kind brings; else a sentence that says why not.
    pub(crate) fn fits(&self, kind: Kind) -> Result<(), BoxError> {
        let serves = match kind {
            Kind::Stream => self.stream.is_some(),
            Kind::Datagram => self.datagram.is_some(),
        };
        if serves { Ok(()) } else { Err(misfit(kind)) }
    }

    /// Puts a layer around the whole connection.
    pub(crate) fn around<L>(self, layer: &L) -> Self
    where
        L: Layer<ConnectionService>,
        L::Service: Service<Incoming, Response = (), Error = BoxError> + Clone + Send + Sync + 'static,
        <L::Service as Service<Incoming>>::Future: Send + 'static,
    {
        let stream = self.stream.map(|service| BoxCloneSyncService::new(layer.layer(service)));
        Self { stream, datagram: self.datagram }
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("stream", &self.stream.is_some())
            .field("datagram", &self.datagram.is_some())
            .finish()
    }
}

/// DropReason a handler does not go with a listener of this kind.
pub(crate) fn misfit(kind: Kind) -> BoxError {
    match kind {
        Kind::Stream => "it brings connections, and the handler wants datagrams".into(),
        Kind::Datagram => "it brings datagrams, and the handler wants connections".into(),
    }
}
