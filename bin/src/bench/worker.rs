//! A worker keeps one connection open, or opens one for each message.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::sleep;

use super::arrivals::Source;
use super::datagram;
use super::load::Load;
use super::results::{Error, Kind, Results};
use super::session::Session;
use crate::dial::{DatagramSocket, OpenError, Opened, Server, Stream};

/// Pause before a failed connection is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// A connection of any transport.
pub(super) enum Connection {
    /// The stream, and the address that accepted it.
    Stream(Stream, Option<SocketAddr>),
    Datagram(DatagramSocket),
}

impl Connection {
    pub(super) async fn open(server: &Server) -> Result<Self, Error> {
        if server.is_datagram() {
            let socket = server.open_datagram().await;
            return socket.map(Self::Datagram).map_err(|sentence| Error::new(Kind::Connect, sentence));
        }
        match server.open().await {
            Ok(Opened { stream, address, .. }) => Ok(Self::Stream(stream, address)),
            Err(OpenError::Connect(sentence)) => Err(Error::new(Kind::Connect, sentence)),
            Err(OpenError::Handshake(sentence)) => Err(Error::new(Kind::Handshake, sentence)),
        }
    }

    async fn run(self, source: &mut Source, load: &Load, results: &RefCell<Results>) -> Result<(), ()> {
        match self {
            Self::Stream(stream, _) => Session::new(stream, load, results).run(source).await,
            Self::Datagram(mut socket) => datagram::run(&mut socket, source, load, results).await,
        }
    }
}

/// Runs until the source is finished. The first connection may be open already.
pub(super) async fn work(
    mut connection: Option<Connection>,
    mut source: Source,
    load: &Load,
    results: &RefCell<Results>,
) {
    while !source.is_finished() {
        let result = if load.connect_each {
            one_message(&mut source, load, results).await
        } else {
            match connection.take() {
                Some(connection) => connection.run(&mut source, load, results).await,
                None => match Connection::open(&load.server).await {
                    Ok(connection) => connection.run(&mut source, load, results).await,
                    Err(error) => {
                        results.borrow_mut().failed(1, error);
                        Err(())
                    }
                },
            }
        };
        if result.is_err() {
            sleep(RECONNECT_PAUSE).await;
        }
    }
    if let Source::Open(_, backlog) = &source
        && backlog.unsent() > 0
    {
        let sentence = "messages were due and not sent: the server is slower than --rate";
        results.borrow_mut().failed(backlog.unsent(), Error::new(Kind::NotSent, sentence));
    }
}

/// Opens a connection for the next message.
async fn one_message(source: &mut Source, load: &Load, results: &RefCell<Results>) -> Result<(), ()> {
    let Some(due) = source.take() else {
        source.changed().await;
        return Ok(());
    };
    match Connection::open(&load.server).await {
        Ok(connection) => connection.run(&mut Source::Single(Some(due)), load, results).await,
        Err(error) => {
            results.borrow_mut().failed(1, error);
            Err(())
        }
    }
}
