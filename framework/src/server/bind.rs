//! Binding a listener: the transport of its address, with PROXY and TLS around it as its settings say.

use std::sync::Arc;

use tower::{Layer, ServiceExt};

use crate::address::Endpoint;
use crate::connection::ServeDatagrams;
use crate::error::BoxError;
use crate::io::{DatagramSocket, SharedSocket, StreamListener};
use crate::registry::{ConnectionService, Pipeline, misfit};
use crate::roster::Kind;
use crate::server::board::ListenerSpec;
use crate::tls::TlsSettings;
use crate::transport::{Bind, BoxTransport, Listener, Transports, proxy, tls};

/// A listener that listens, and everything that goes with it.
pub(super) struct Bound {
    pub(super) plug: Plug,
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
pub(super) enum Plug {
    Stream(Box<dyn StreamListener>, ConnectionService),
    Datagram(Arc<dyn DatagramSocket>, Arc<dyn ServeDatagrams>),
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
) -> Result<Bound, BoxError> {
    let scheme = match (&spec.tls, &spec.endpoint) {
        (Some(_), Endpoint::Tls(_)) => "tcp",
        (_, endpoint) => endpoint.scheme(),
    };
    let transport = transports.service(scheme).ok_or_else(|| {
        let known: Vec<_> = transports.list().map(|(scheme, ..)| scheme).collect();
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
    let plug = match (listener, pipeline) {
        (Listener::Stream(listener), Pipeline { stream: Some(service), .. }) => Plug::Stream(listener, service),
        (Listener::Datagram(socket), Pipeline { datagram: Some(service), .. }) => {
            Plug::Datagram(socket.into(), service)
        }
        _ => return Err(misfit(kind)),
    };
    Ok(Bound { plug, endpoint, transport, tls, shared })
}
