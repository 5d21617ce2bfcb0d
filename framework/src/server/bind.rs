//! Binds a listener: the transport of its endpoint, wrapped in PROXY and TLS as configured.

use std::sync::Arc;

use tower::ServiceExt;

use crate::address::Endpoint;
use crate::connection::Kind;
use crate::driver::DatagramService;
use crate::error::BoxError;
use crate::listener_spec::ListenerSpec;
use crate::pipeline::{Pipeline, Services, misfit};
use crate::settings::{SocketOptions, TlsSettings, TlsStart};
use crate::transport::tls::TlsAcceptor;
use crate::transport::{Bind, BoxTransport, ConnectionService, Listener, Transports, proxy};
use crate::transport::{DatagramSocket, SharedSocket, StreamListener};

pub(super) struct BoundListener {
    pub(super) bound_transport: BoundTransport,
    pub(super) pipeline: Pipeline,
    /// The endpoint that it listens on, with the real port.
    pub(super) endpoint: Endpoint,
    /// Binds the endpoint again if the listener fails.
    pub(super) binder: Binder,
    pub(super) shared: Option<SharedSocket>,
}

pub(super) enum BoundTransport {
    Stream(Box<dyn StreamListener>, ConnectionService),
    Datagram(Arc<dyn DatagramSocket>, Arc<dyn DatagramService>),
}

/// Binds endpoints with a transport, and wraps the listener in PROXY and TLS.
#[derive(Clone)]
pub(super) struct Binder {
    transport: BoxTransport,
    requires_proxy_header: bool,
    pub(super) tls: Option<TlsAcceptor>,
    /// Whether TLS starts on request, so that accepted connections are plaintext.
    is_tls_on_request: bool,
}

impl Binder {
    async fn new(transports: &Transports, spec: &ListenerSpec) -> Result<Self, BoxError> {
        let is_tls_on_request = spec.tls_start() == Some(TlsStart::OnRequest);
        if is_tls_on_request && matches!(spec.endpoint, Endpoint::Tls(_)) {
            return Err("tls:// starts TLS immediately; use tcp:// for TLS on request".into());
        }
        let endpoint = if spec.tls.is_some() { spec.endpoint.without_tls() } else { spec.endpoint.clone() };
        let scheme = endpoint.scheme();
        let transport = transports.service(scheme).ok_or_else(|| {
            let known: Vec<_> = transports.list().map(|known| known.scheme).collect();
            format!("there is no transport {scheme:?}; available: {}", known.join(", "))
        })?;
        let tls = match &spec.tls {
            Some(settings) => Some(load(settings).await?),
            None => None,
        };
        Ok(Self { transport, requires_proxy_header: spec.proxy.is_some(), tls, is_tls_on_request })
    }

    pub(super) async fn bind(
        &self,
        endpoint: &Endpoint,
        options: &SocketOptions,
        inherited: Option<SharedSocket>,
    ) -> Result<Listener, BoxError> {
        let endpoint = if self.tls.is_some() { endpoint.without_tls() } else { endpoint.clone() };
        let request = Bind { inherited, ..Bind::new(endpoint, options.clone()) };
        match self.transport.clone().oneshot(request).await? {
            // The PROXY header comes before all other bytes, so TLS wraps it.
            Listener::Stream(mut listener) => {
                if self.requires_proxy_header {
                    listener = proxy::require_header(listener)?;
                }
                Ok(Listener::Stream(match &self.tls {
                    Some(acceptor) if !self.is_tls_on_request => acceptor.wrap(listener),
                    _ => listener,
                }))
            }
            Listener::Datagram(_) if self.requires_proxy_header => {
                Err("the transport receives datagrams, but a PROXY header needs connections".into())
            }
            Listener::Datagram(_) if self.tls.is_some() => {
                Err("the transport receives datagrams, but TLS needs connections".into())
            }
            listener => Ok(listener),
        }
    }
}

/// Loads TLS files on a thread that may block.
pub(super) async fn load(settings: &TlsSettings) -> Result<TlsAcceptor, BoxError> {
    let settings = settings.clone();
    Ok(tokio::task::spawn_blocking(move || TlsAcceptor::load(&settings)).await??)
}

/// Binds a listener to a new socket, or to an inherited one.
pub(super) async fn bind(
    transports: &Transports,
    spec: &ListenerSpec,
    pipeline: Pipeline,
    inherited: Option<SharedSocket>,
) -> Result<BoundListener, BoxError> {
    let binder = Binder::new(transports, spec).await?;
    let listener = binder.bind(&spec.endpoint, &spec.socket, inherited).await?;
    let (endpoint, shared) = (listener.endpoint(), listener.share());
    let bound_transport = match (listener, pipeline.services.clone()) {
        (Listener::Stream(listener), Services { stream: Some(service), .. }) => {
            BoundTransport::Stream(listener, service)
        }
        (Listener::Datagram(socket), Services { datagram: Some(service), .. }) => {
            BoundTransport::Datagram(socket.into(), service)
        }
        (Listener::Stream(_), _) => return Err(misfit(Kind::Stream)),
        (Listener::Datagram(_), _) => return Err(misfit(Kind::Datagram)),
    };
    Ok(BoundListener { bound_transport, pipeline, endpoint, binder, shared })
}
