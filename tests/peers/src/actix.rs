//! actix-server: one service per connection, one worker, and a separate acceptor thread.

use actix_rt::System;
use actix_rt::net::TcpStream;
use actix_server::Server;
use actix_service::fn_service;

use crate::{Outcome, Protocol, session, start};

pub(crate) fn serve(protocol: Protocol) -> Outcome {
    System::new().block_on(async move {
        let listener = start::listen()?;
        let connection = move |mut stream: TcpStream| async move {
            stream.set_nodelay(true)?;
            match protocol {
                Protocol::Hello => session::hello(&mut stream).await,
                _ => session::raw(&mut stream).await,
            }
        };
        Server::build().workers(1).listen("peer", listener, move || fn_service(connection))?.run().await?;
        Ok(())
    })
}
