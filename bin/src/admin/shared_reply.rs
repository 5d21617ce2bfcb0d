//! Replies that take long to build. They are built one at a time, away from the threads that serve connections, and
//! equal requests that wait share one reply. Large replies that clients do not read have a common limit of memory.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use parking_lot::Mutex;
use switchboard::Running;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The content type and the body.
type Built = Result<(&'static str, Bytes), NotBuilt>;
type Waiting = Vec<(String, WeakShared<BoxFuture<'static, Built>>)>;

/// Maximum memory of the large replies that clients have not read.
const MAX_UNREAD: usize = 32 * 1024 * 1024;
/// Maximum size of a reply that is not large: those with the state and the metrics of the server are always sent.
const SMALL_REPLY: usize = 64 * 1024;
/// The unit of [`MAX_UNREAD`]: a permit per kibibyte.
const UNIT: usize = 1024;

#[derive(Debug, Clone, Copy)]
enum NotBuilt {
    Panicked,
    /// Clients have not read too many others.
    TooManyUnread,
}

impl IntoResponse for NotBuilt {
    fn into_response(self) -> Response {
        match self {
            // The panic hook has logged the panic.
            Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            Self::TooManyUnread => {
                let text = "clients of the admin endpoint have not read 32 MiB of replies; try again later\n";
                (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
            }
        }
    }
}

/// A large body, counted until the last client has read it or has gone.
struct Unread {
    body: Vec<u8>,
    _memory: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Unread {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

pub(super) struct SharedReplies {
    /// Replies whose turn has not come. A request only joins one of these, so that its reply is never older than the
    /// request.
    waiting: Arc<Mutex<Waiting>>,
    turn: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

impl Default for SharedReplies {
    fn default() -> Self {
        let (turn, memory) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(MAX_UNREAD / UNIT)));
        Self { waiting: Arc::default(), turn, memory }
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
        let built = self.join(key, running, build).await;
        built.map(|(content_type, body)| ([(CONTENT_TYPE, content_type)], body)).into_response()
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
        let memory = self.memory.clone();
        let reply = async move {
            let turn = turn.acquire_owned().await; // never closed
            all.lock().retain(|(other, _)| *other != own);
            let built = tokio::task::spawn_blocking(move || {
                let (content_type, body) = build(&running);
                drop(turn);
                if body.len() <= SMALL_REPLY {
                    return Ok((content_type, Bytes::from(body)));
                }
                let permits = u32::try_from(body.capacity().div_ceil(UNIT)).unwrap_or(u32::MAX);
                let _memory = memory.try_acquire_many_owned(permits).map_err(|_| NotBuilt::TooManyUnread)?;
                Ok((content_type, Bytes::from_owner(Unread { body, _memory })))
            });
            built.await.unwrap_or(Err(NotBuilt::Panicked))
        };
        let reply = reply.boxed().shared();
        waiting.extend(reply.downgrade().map(|weak| (key, weak)));
        reply
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use switchboard::server::ListenerSet;
    use switchboard::transport::Transports;

    use super::*;

    #[tokio::test]
    async fn unread_large_replies_are_limited_and_small_ones_are_always_sent() {
        let running = Arc::new(ListenerSet::new(Transports::default()).start().await.unwrap());
        let replies = SharedReplies::default();
        let request = |number: usize, size| {
            replies.reply(number.to_string(), &running, move |_| ("text/plain", vec![b'x'; size]))
        };
        let most = MAX_UNREAD / (4 * SMALL_REPLY);
        let mut unread = Vec::new();
        for number in 0..most {
            unread.push(request(number, 4 * SMALL_REPLY).await);
        }
        assert!(unread.iter().all(|reply| reply.status() == StatusCode::OK));
        assert_eq!(request(most, 4 * SMALL_REPLY).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(request(most, SMALL_REPLY).await.status(), StatusCode::OK);
        let body = to_bytes(unread.pop().unwrap().into_body(), usize::MAX).await.unwrap();
        assert_eq!(body.len(), 4 * SMALL_REPLY);
        drop(body);
        assert_eq!(request(most, 4 * SMALL_REPLY).await.status(), StatusCode::OK);
    }
}
