//! The life of a handler instance: `start`, `stop`, and the count of its users between them.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::error::Result;
use crate::handler::{Handler, StartContext, StreamHandler};

type Hook = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// Starts and stops one handler instance.
pub(crate) struct Lifecycle {
    start: Box<dyn Fn(Arc<StartContext>) -> Hook + Send + Sync>,
    stop: Box<dyn Fn() -> Hook + Send + Sync>,
    /// Counts the pipelines, connections and datagram dispatchers of the handler.
    users: TaskTracker,
    /// The servers that have started it. The lock is held during `start` and `stop`, so that they do not overlap.
    servers: tokio::sync::Mutex<usize>,
}

impl Lifecycle {
    pub(crate) fn of<In: Send + 'static, Out: Send + 'static, H: Handler<In, Out>>(handler: &Arc<H>) -> Arc<Self> {
        Self::new(
            handler,
            |handler, context| Box::pin(async move { H::start(&handler, &context).await }),
            |handler| Box::pin(async move { H::stop(&handler).await }),
        )
    }

    pub(crate) fn of_stream<H: StreamHandler>(handler: &Arc<H>) -> Arc<Self> {
        Self::new(
            handler,
            |handler, context| Box::pin(async move { H::start(&handler, &context).await }),
            |handler| Box::pin(async move { H::stop(&handler).await }),
        )
    }

    fn new<H: Send + Sync + 'static>(
        handler: &Arc<H>,
        start: fn(Arc<H>, Arc<StartContext>) -> Hook,
        stop: fn(Arc<H>) -> Hook,
    ) -> Arc<Self> {
        let users = TaskTracker::new();
        users.close(); // `wait` then only waits for the tokens
        let (starting, stopping) = (handler.clone(), handler.clone());
        Arc::new(Self {
            start: Box::new(move |context| start(starting.clone(), context)),
            stop: Box::new(move || stop(stopping.clone())),
            users,
            servers: tokio::sync::Mutex::new(0),
        })
    }

    /// Counts a user until the token is dropped.
    pub(crate) fn user(&self) -> TaskTrackerToken {
        self.users.token()
    }

    pub(crate) fn is_used(&self) -> bool {
        !self.users.is_empty()
    }

    /// Waits until nothing uses the handler.
    pub(crate) async fn unused(&self) {
        self.users.wait().await;
    }

    /// Calls the handler's `start`, unless another server has started the instance.
    pub(crate) async fn start(&self, context: Arc<StartContext>) -> Result<()> {
        let mut servers = self.servers.lock().await;
        if *servers == 0 {
            (self.start)(context).await?;
        }
        *servers += 1;
        Ok(())
    }

    /// Calls the handler's `stop`, unless another server still runs the instance.
    pub(crate) async fn stop(&self) -> Result<()> {
        let mut servers = self.servers.lock().await;
        *servers -= 1;
        if *servers == 0 { (self.stop)().await } else { Ok(()) }
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle").field("users", &self.users.len()).finish_non_exhaustive()
    }
}
