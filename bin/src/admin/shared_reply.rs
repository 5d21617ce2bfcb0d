//! Replies that take long to build. They are built one at a time, away from the threads that serve connections, and
//! equal requests that wait share one reply.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use switchboard::Running;
use tokio::sync::Semaphore;

/// The content type and the body. `None` if building it panicked.
type Built = Option<(&'static str, Bytes)>;
type Waiting = Vec<(String, WeakShared<BoxFuture<'static, Built>>)>;

pub(super) struct SharedReplies {
    /// Replies whose turn has not come. A request only joins one of these, so that its reply is never older than the
    /// request.
    waiting: Arc<Mutex<Waiting>>,
    turn: Arc<Semaphore>,
}

impl Default for SharedReplies {
    fn default() -> Self {
        Self { waiting: Arc::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl SharedReplies {
    /// The reply to the request that `key` identifies.
    pub(super) async fn reply(
        &self,
        key: String,
        running: &Arc<Running>,
        build: impl FnOnce(&Running) -> (&'static str, Vec<u8>) + Send + 'static,
    ) -> Response {
        match self.join(key, running, build).await {
            Some((content_type, body)) => ([(CONTENT_TYPE, content_type)], body).into_response(),
            // The panic hook has logged the panic.
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }

    fn join(
        &self,
        key: String,
        running: &Arc<Running>,
        build: impl FnOnce(&Running) -> (&'static str, Vec<u8>) + Send + 'static,
    ) -> Shared<BoxFuture<'static, Built>> {
        let mut waiting = self.waiting.lock();
        // Nobody waits any more for a reply that cannot be upgraded.
        waiting.retain(|(_, reply)| reply.upgrade().is_some());
        if let Some(reply) = waiting.iter().find(|(other, _)| *other == key).and_then(|(_, reply)| reply.upgrade()) {
            return reply;
        }
        let (turn, all, running, own) = (self.turn.clone(), self.waiting.clone(), running.clone(), key.clone());
        let reply = async move {
            // The semaphore is never closed.
            let turn = turn.acquire_owned().await.ok()?;
            all.lock().retain(|(other, _)| *other != own);
            let built = tokio::task::spawn_blocking(move || {
                let (content_type, body) = build(&running);
                drop(turn);
                (content_type, Bytes::from(body))
            });
            built.await.ok()
        };
        let reply = reply.boxed().shared();
        waiting.extend(reply.downgrade().map(|weak| (key, weak)));
        reply
    }
}
