//! Background tasks that end after their handler.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// How long a stopped handler waits for its tasks.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// A task that ends after its token is cancelled. Dropping it cancels the token.
#[derive(Debug)]
pub(crate) struct Background {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Background {
    pub(crate) fn spawn<F: Future<Output = ()> + Send + 'static>(task: impl FnOnce(CancellationToken) -> F) -> Self {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(task(stop.clone())), stop }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The tasks of one handler by name. Another handler can have the same task, which then ends after both.
#[derive(Default)]
pub(super) struct Tasks(Mutex<Vec<(String, Arc<Background>)>>);

impl Tasks {
    /// False if the name is used for another task.
    pub(super) fn keep(&self, name: &str, task: Arc<Background>) -> bool {
        let mut tasks = self.0.lock();
        match tasks.iter().find(|(known, _)| known == name) {
            Some((_, known)) => Arc::ptr_eq(known, &task),
            None => {
                tasks.push((name.to_owned(), task));
                true
            }
        }
    }

    /// Ends the tasks that no other handler has, and waits for them.
    pub(super) async fn stop(&self) {
        let tasks = std::mem::take(&mut *self.0.lock());
        for (_, task) in tasks {
            if let Some(mut task) = Arc::into_inner(task) {
                task.stop.cancel();
                let _ = timeout(STOP_TIMEOUT, &mut task.task).await; // it goes on alone until the runtime ends
            }
        }
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.lock().iter().map(|(name, _)| name)).finish()
    }
}
