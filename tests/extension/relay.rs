//! A transport: `relay:PORT` listens on a TCP port of 127.0.0.1.

use std::io;

use switchboard::transport::{Accepted, Bind, Listener, SchemeInfo, StreamListener, Transport};
use switchboard::{Address, Endpoint, Kind, async_trait};
use tokio::net::TcpListener;

/// `relay:PORT`.
pub(crate) struct Relay;

#[async_trait]
impl Transport for Relay {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("relay", "a TCP port of 127.0.0.1: relay:port-NUMBER", Kind::Stream)]
    }

    async fn bind(&self, bind: Bind) -> io::Result<Listener> {
        let port = bind.endpoint.to_string();
        let port = port.rsplit('-').next().and_then(|port| port.parse::<u16>().ok());
        let port = port.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "write relay:port-NUMBER"))?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let endpoint = format!("relay:port-{}", listener.local_addr()?.port()).parse().map_err(io::Error::other)?;
        Ok(Listener::Stream(Box::new(Relaying { listener, endpoint })))
    }
}

struct Relaying {
    listener: TcpListener,
    endpoint: Endpoint,
}

#[async_trait]
impl StreamListener for Relaying {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let (stream, peer) = self.listener.accept().await?;
        let local = stream.local_addr()?;
        Ok(Some(Accepted::ready(Address::Inet(peer), Address::Inet(local), stream)))
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }
}
