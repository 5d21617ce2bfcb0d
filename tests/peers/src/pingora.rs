//! pingora-core: an application that handles each stream, with one thread (the default).

use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::TcpSocketOptions;
use pingora_core::protocols::Stream;
use pingora_core::server::{Server, ShutdownWatch};
use pingora_core::services::listening::Service;
use socket2::{Domain, Socket, Type};

use crate::{Outcome, Protocol, session, start};

struct Peer(Protocol);

#[async_trait]
impl ServerApp for Peer {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, _: &ShutdownWatch) -> Option<Stream> {
        // pingora sets TCP_NODELAY. A failed connection is closed like any other.
        let _ = match self.0 {
            Protocol::Hello => session::hello(&mut stream).await,
            _ => session::raw(&mut stream).await,
        };
        None
    }
}

pub(crate) fn serve(protocol: Protocol) -> Outcome {
    // pingora does not report its port. This socket never listens; it reserves a free port for pingora.
    let kept = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    kept.set_reuse_port(true)?;
    kept.bind(&start::ANY.into())?;
    let address = kept.local_addr()?.as_socket().ok_or("the system gave no address")?;

    let mut options = TcpSocketOptions::default();
    options.so_reuseport = Some(true);
    let mut service = Service::new("peer".to_owned(), Peer(protocol));
    service.add_tcp_with_settings(&address.to_string(), options);

    let mut server = Server::new(None)?;
    server.bootstrap();
    server.add_service(service);
    thread::spawn(move || {
        while TcpStream::connect(address).is_err() {
            thread::yield_now(); // a few milliseconds, until it listens
        }
        start::announce(address)
    });
    server.run_forever()
}
