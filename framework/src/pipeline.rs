//! A handler, its framing and its layers, assembled into the services that a listener runs.

#[cfg(feature = "script")]
use std::any::Any;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
#[cfg(feature = "script")]
use bytes::BytesMut;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::{Layer, Service};

use crate::connection::Kind;
#[cfg(feature = "script")]
use crate::driver::RecordedListener;
use crate::driver::{DatagramService, HandlerDriver, RawDriver};
use crate::error::BoxError;
#[cfg(feature = "script")]
use crate::framing::AnyFraming;
use crate::framing::Framing;
use crate::handler::{Handler, HandlerLayer, StreamHandler};
use crate::layer::{LayerChain, MessageStack};
use crate::lifecycle::Lifecycle;
use crate::listener_spec::ListenerSpec;
use crate::rate_limiter::SharedBy;
#[cfg(feature = "script")]
use crate::recorder::RecordedHandler;
#[cfg(feature = "script")]
use crate::script::Data;
use crate::settings::SharedLimit;
use crate::transport::{ConnectionService, Incoming};

/// Builds the services for a listener. The text is the name of the handler, if it has one.
type Build = dyn Fn(&ListenerSpec, Option<&str>) -> Services + Send + Sync;

/// A handler with its options, for any number of listeners. Clones are the same instance and share its state. The
/// instance is started once, for all its listeners, and stopped once.
#[derive(Clone)]
pub struct HandlerInstance {
    build: Arc<Build>,
    lifecycle: Arc<Lifecycle>,
    name: Option<Arc<str>>,
    #[cfg(feature = "script")]
    normalise: Arc<dyn Fn(&mut BytesMut) + Send + Sync>,
}

impl HandlerInstance {
    /// A handler of bytes, with the framing and layers of each listener.
    pub fn new<H: Handler<Bytes, Bytes>>(handler: H) -> Self {
        let handler = Arc::new(handler);
        let build = |handler: Arc<H>| {
            move |spec: &ListenerSpec, name: Option<&str>, user| {
                let (handler, framing) = (handler.clone(), Arc::new(spec.framing.clone()));
                // Without layers by name, no service between driver and handler is boxed.
                if spec.layers.is_empty() {
                    Services::messages(handler, framing, (), spec, name, user)
                } else {
                    Services::messages(handler, framing, LayerChain::new(&spec.layers), spec, name, user)
                }
            }
        };
        Self::of_messages(handler.clone(), build(handler))
    }

    /// A handler of typed messages with its framing. The framing and layers of a listener do not apply.
    pub fn typed<F: Framing, H: Handler<F::In, F::Out>>(handler: H, framing: F) -> Self {
        Self::layered(handler, framing, ())
    }

    /// A handler that reads and writes the bytes of a connection. The framing and layers of a listener do not apply.
    pub fn stream<H: StreamHandler>(handler: H) -> Self {
        let handler = Arc::new(handler);
        Self::of(Lifecycle::of_stream(&handler), move |spec, _, user| {
            let driver = Arc::new(RawDriver { handler: handler.clone(), timeouts: spec.timeouts, _user: user });
            Services { stream: Some(ConnectionService::new(driver)), datagram: None }
        })
    }

    /// A handler with its framing and layers.
    pub(crate) fn layered<H, F, L>(handler: H, framing: F, layer: L) -> Self
    where
        F: Framing,
        H: Handler<F::In, F::Out>,
        L: HandlerLayer<H, F::In, F::Out>,
    {
        let (handler, framing) = (Arc::new(handler), Arc::new(framing));
        Self::of_messages(handler.clone(), move |spec, name, user| {
            Services::messages(handler.clone(), framing.clone(), layer.clone(), spec, name, user)
        })
    }

    #[cfg_attr(
        not(feature = "script"),
        expect(clippy::needless_pass_by_value, reason = "a recorder keeps the handler")
    )]
    fn of_messages<H: Handler<In, Out>, In: Send + 'static, Out: Send + 'static>(
        handler: Arc<H>,
        build: impl Fn(&ListenerSpec, Option<&str>, TaskTrackerToken) -> Services + Send + Sync + 'static,
    ) -> Self {
        let instance = Self::of(Lifecycle::of(&handler), build);
        #[cfg(feature = "script")]
        let instance = Self { normalise: Arc::new(move |reply| handler.normalise(reply)), ..instance };
        instance
    }

    fn of(
        lifecycle: Arc<Lifecycle>,
        build: impl Fn(&ListenerSpec, Option<&str>, TaskTrackerToken) -> Services + Send + Sync + 'static,
    ) -> Self {
        let users = lifecycle.clone();
        Self {
            build: Arc::new(move |spec, name| build(spec, name, users.user())),
            lifecycle,
            name: None,
            #[cfg(feature = "script")]
            normalise: Arc::new(|_| ()),
        }
    }

    /// Sets the name of the handler in errors, logs and metrics. The default is the name of its first listener.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    pub(crate) fn name(&self) -> Option<&Arc<str>> {
        self.name.as_ref()
    }

    pub(crate) fn lifecycle(&self) -> &Arc<Lifecycle> {
        &self.lifecycle
    }

    /// Puts a layer around each connection.
    pub(crate) fn around<L>(self, layer: L) -> Self
    where
        L: Layer<ConnectionService> + Send + Sync + 'static,
        L::Service: Service<Incoming, Response = (), Error = BoxError> + Clone + Send + Sync + 'static,
        <L::Service as Service<Incoming>>::Future: Send + 'static,
    {
        let build = self.build;
        let build = move |spec: &ListenerSpec, name: Option<&str>| {
            let Services { stream, datagram } = build(spec, name);
            Services { stream: stream.map(|service| ConnectionService::boxed(layer.layer(service))), datagram }
        };
        Self { build: Arc::new(build), ..self }
    }

    /// A recorded reply and a new one as a replay compares them; see [`Handler::normalise`]. A reply that was recorded
    /// in part is not changed.
    #[cfg(feature = "script")]
    pub fn normalise(&self, recorded: &Data, reply: &[u8]) -> (Data, BytesMut) {
        let normalise = |bytes: &[u8]| {
            let mut bytes = BytesMut::from(bytes);
            (self.normalise)(&mut bytes);
            bytes
        };
        let recorded = recorded.to_bytes().map_or_else(|| recorded.clone(), |known| Data::from(normalise(&known)));
        (recorded, normalise(reply))
    }

    /// The pipeline for a listener.
    pub(crate) fn pipeline(&self, spec: &ListenerSpec) -> Pipeline {
        Pipeline { handler: self.clone(), services: (self.build)(spec, self.name.as_deref()) }
    }
}

impl fmt::Debug for HandlerInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerInstance").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The services of one listener and the handler behind them.
#[derive(Clone)]
pub(crate) struct Pipeline {
    handler: HandlerInstance,
    pub(crate) services: Services,
}

impl Pipeline {
    /// Whether the pipeline uses this handler instance.
    pub(crate) fn is_of(&self, handler: &HandlerInstance) -> bool {
        Arc::ptr_eq(&self.handler.build, &handler.build)
    }

    /// Whether it serves listeners of this kind; the error is a sentence with the reason.
    pub(crate) fn fits(&self, kind: Kind) -> Result<(), BoxError> {
        let serves = match kind {
            Kind::Stream => self.services.stream.is_some(),
            Kind::Datagram => self.services.datagram.is_some(),
        };
        if serves { Ok(()) } else { Err(misfit(kind)) }
    }
}

/// The service of each kind of listener that a handler supports.
#[derive(Clone)]
pub(crate) struct Services {
    pub(crate) stream: Option<ConnectionService>,
    pub(crate) datagram: Option<Arc<dyn DatagramService>>,
}

impl Services {
    fn messages<H, F, L>(
        handler: Arc<H>,
        framing: Arc<F>,
        layer: L,
        spec: &ListenerSpec,
        #[cfg_attr(not(feature = "script"), expect(unused_variables, reason = "for the recorder"))] name: Option<&str>,
        user: TaskTrackerToken,
    ) -> Self
    where
        F: Framing,
        H: Handler<F::In, F::Out>,
        L: HandlerLayer<H, F::In, F::Out>,
    {
        let shared = SharedBy::new(spec.fleet.as_ref(), SharedLimit::MessagesPerSource, &spec.name, "messages");
        let stack = Arc::new(MessageStack::new(&spec.limits, &spec.timeouts, &spec.rates, shared, user));
        let (limits, timeouts) = (spec.limits, Arc::new(spec.timeouts));
        let driver = Arc::new(HandlerDriver {
            #[cfg(feature = "script")]
            recorded: recorded(&handler, &framing, spec, name),
            handler,
            framing,
            stack,
            layer,
            limits,
            timeouts,
        });
        Self {
            stream: H::NEEDS.takes(Kind::Stream).then(|| ConnectionService::new(driver.clone())),
            datagram: H::NEEDS.takes(Kind::Datagram).then_some(driver as Arc<dyn DatagramService>),
        }
    }
}

/// What the recorder of a listener, if it has one, needs to know about its handler.
#[cfg(feature = "script")]
fn recorded<H, F>(
    handler: &Arc<H>,
    framing: &Arc<F>,
    spec: &ListenerSpec,
    name: Option<&str>,
) -> Option<RecordedListener>
where
    F: Framing,
    H: Handler<F::In, F::Out>,
{
    let recorder = spec.recorder.clone()?;
    let framing = (&**framing as &dyn Any).downcast_ref::<AnyFraming>().and_then(AnyFraming::recorded);
    let handler = handler.clone();
    let handler = RecordedHandler {
        listener: spec.name.clone(),
        handler: name.map(str::to_owned),
        framing,
        redact: Box::new(move |direction, message| handler.redact(direction, message)),
    };
    Some(RecordedListener { recorder, handler: Arc::new(handler) })
}

/// The error for a handler that does not support this kind of listener.
pub(crate) fn misfit(kind: Kind) -> BoxError {
    match kind {
        Kind::Stream => "the address accepts connections, and the handler needs datagrams".into(),
        Kind::Datagram => "the address receives datagrams, and the handler needs connections".into(),
    }
}
