//! rama: one service per accepted stream; the built-in echo service for raw.

use std::io;

use rama::Service;
use rama::net::stream::service::EchoService;
use rama::service::service_fn;
use rama::tcp::TcpStream;
use rama::tcp::server::TcpListener;

use crate::{Outcome, Protocol, session, start};

pub(crate) fn serve(protocol: Protocol) -> Outcome {
    start::on_tokio(async move {
        let listener = TcpListener::try_from(start::listen()?)?;
        match protocol {
            Protocol::Hello => listener.serve(service_fn(hello)).await,
            _ => listener.serve(service_fn(raw)).await,
        }
        Ok(())
    })?
}

async fn raw(stream: TcpStream) -> Outcome {
    stream.stream.set_nodelay(true)?;
    EchoService::new().serve(stream).await?;
    Ok(())
}

async fn hello(mut stream: TcpStream) -> io::Result<()> {
    stream.stream.set_nodelay(true)?;
    session::hello(&mut stream).await
}
