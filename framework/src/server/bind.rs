//! Binding a listener: the transport of its address, with PROXY and TLS around it as its settings say.

use std::sync::Arc;

use tower::{Layer, ServiceExt};

use crate::address::Endpoint;
use crate::connection::Kind;
use crate::driver::DatagramService;
use crate::error::BoxError;
use crate::pipeline::{ConnectionService, Pipeline, misfit};
use crate::server::spec::ListenerSpec;
use crate::settings::TlsSettings;
use crate::transport::{Bind, BoxTransport, Listener, Transports, proxy, tls};
use crate::transport::{DatagramSocket, SharedSocket, StreamListener};

/// A listener that listens, and everything that goes with it.
pub(super) struct BoundListener {
    pub(super) bound_transport: BoundTransport,
    /// Where it listens, with the port that the system chose.
    pub(super) endpoint: Endpoint,
    /// What it was bound with.
    pub(super) transport: BoxTransport,
    /// The TLS around it.
    pub(super) tls: Option<tls::Server>,
    /// Another handle to its socket.
    pub(super) shared: Option<SharedSocket>,
}

/// What brings something, and what that is served by.
pub(super) enum BoundTransport {
    Stream(Box<dyn StreamListener>, ConnectionService),
    Datagram(Arc<dyn DatagramSocket>, Arc<dyn DatagramService>),
}

/// Reads the files of TLS, on a thread that may wait for a disk.
pub(super) async fn load(settings: &TlsSettings) -> Result<tls::Server, BoxError> {
    let settings = settings.clone();
    Ok(tokio::task::spawn_blocking(move || tls::Server::load(&settings)).await??)
}

/// Binds a listener, or goes on at a socket that is bound already.
pub(super) async fn bind(
    transports: &Transports,
    spec: &ListenerSpec,
    pipeline: Pipeline,
    inherited: Option<SharedSocket>,
) -> Result<BoundListener, BoxError> {
    let scheme = match (&spec.tls, &spec.endpoint) {
        (Some(_), Endpoint::Tls(_)) => "tcp",
        (_, endpoint) => endpoint.scheme(),
    };
    let transport = transports.service(scheme).ok_or_else(|| {
        let known: Vec<_> = transports.list().map(|known| known.scheme).collect();
        format!("there is no transport {scheme:?}; there are {}", known.join(", "))
    })?;
    // The header comes before everything else, so TLS goes around it.
    let transport = match &spec.proxy {
        Some(_) => BoxTransport::new(proxy::Receiver.layer(transport)),
        None => transport,
    };
    let tls = match &spec.tls {
        Some(settings) => Some(load(settings).await?),
        None => None,
    };
    let transport = match &tls {
        Some(server) => BoxTransport::new(server.layer(transport)),
        None => transport,
    };
    let request = Bind { inherited, ..Bind::new(spec.endpoint.clone(), spec.socket.clone()) };
    let listener = transport.clone().oneshot(request).await?;
    let (endpoint, shared) = (listener.endpoint(), listener.share());
    let kind = match listener {
        Listener::Stream(_) => Kind::Stream,
        Listener::Datagram(_) => Kind::Datagram,
    };
    let bound_transport = match (listener, pipeline) {
        (Listener::Stream(listener), Pipeline { stream: Some(service), .. }) => {
            BoundTransport::Stream(listener, service)
        }
        (Listener::Datagram(socket), Pipeline { datagram: Some(service), .. }) => {
            BoundTransport::Datagram(socket.into(), service)
        }
        _ => return Err(misfit(kind)),
    };
    Ok(BoundListener { bound_transport, endpoint, transport, tls, shared })
}
