//! ntex on tokio: one service and bytes codec per connection, one worker, and a separate acceptor thread.

use std::io;

use ntex::codec::BytesCodec;
use ntex::io::Io;
use ntex::rt::{DefaultRuntime, System};
use ntex::server;
use ntex::service::fn_service;
use ntex::util::{Bytes, Either};

use crate::{Outcome, Protocol, session, start};

pub(crate) fn serve(protocol: Protocol) -> Outcome {
    System::new("peer", DefaultRuntime).block_on(async move {
        let listener = start::listen()?;
        // ntex sets TCP_NODELAY.
        let connection = move |io: Io| async move {
            match protocol {
                Protocol::Hello => hello(&io).await,
                _ => raw(&io).await,
            }
        };
        server::build().workers(1).listen("peer", listener, async move |_| fn_service(connection))?.run().await?;
        Ok(())
    })
}

async fn raw(io: &Io) -> Result<(), Either<io::Error, io::Error>> {
    while let Some(bytes) = io.recv(&BytesCodec).await? {
        io.send(bytes, &BytesCodec).await?;
    }
    Ok(())
}

async fn hello(io: &Io) -> Result<(), Either<io::Error, io::Error>> {
    io.send(Bytes::from_static(session::WELCOME.as_bytes()), &BytesCodec).await?;
    while let Some(message) = io.recv(&BytesCodec).await? {
        let Some(greeting) = session::greet(&message) else { break };
        io.send(greeting.into(), &BytesCodec).await?;
    }
    io.shutdown().await.map_err(Either::Right)
}
