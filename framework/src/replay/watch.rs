//! Notes the connections of a replay, and the errors that they end with.

use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tower::{Layer, Service};

use crate::address::Address;
use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::error::{BoxError, chain};
use crate::transport::{ConnectionService, Incoming, SessionFuture};

/// A layer around the connections of a server.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Mutex<Vec<Watched>>>);

#[derive(Debug)]
struct Watched {
    connection: Connection,
    error: Option<String>,
}

impl Watch {
    /// Why the last connection of this peer has closed, and the error.
    pub(super) fn closed(&self, peer: &Address) -> Option<(CloseReason, Option<String>)> {
        let watched = self.0.lock();
        let last = watched.iter().rev().find(|watched| watched.connection.socket_peer() == peer)?;
        Some((last.connection.close_reason()?, last.error.clone()))
    }
}

impl Layer<ConnectionService> for Watch {
    type Service = WatchedService;

    fn layer(&self, inner: ConnectionService) -> WatchedService {
        WatchedService { inner, watch: self.clone() }
    }
}

#[derive(Debug, Clone)]
pub(super) struct WatchedService {
    inner: ConnectionService,
    watch: Watch,
}

impl Service<Incoming> for WatchedService {
    type Response = ();
    type Error = BoxError;
    type Future = SessionFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, incoming: Incoming) -> SessionFuture {
        let (watched, id) = (self.watch.0.clone(), incoming.connection.id());
        watched.lock().push(Watched { connection: incoming.connection.clone(), error: None });
        let session = self.inner.call(incoming);
        Box::pin(async move {
            let ended = session.await;
            let error = ended.as_ref().err().map(|error| chain(&**error));
            if let Some(one) = watched.lock().iter_mut().find(|one| one.connection.id() == id) {
                one.error = error;
            }
            ended
        })
    }
}
