//! The end of a session: the last message of the handler, the queued output, and the close of the transport.

use std::mem::take;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_util::FutureExt;

use crate::close_reason::CloseReason;
use crate::connection::ControlSignal;
use crate::deadline_timer;
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::handler_calls::HandlerCalls;
use crate::driver::stream::framed_connection::FramedConnection;
use crate::driver::stream::framed_io::FramedIo;
use crate::driver::stream::linger::{is_graceful, takes_last_message};
use crate::driver::stream::session::{Ended, Flow, StreamSession};
use crate::error::{BoxError, Panicked};
use crate::framing::Framing;

/// Maximum time that `Handler::close` may take.
const CLOSE_HOOK_TIMEOUT: Duration = Duration::from_secs(1);

impl<F, C> StreamSession<F, C>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
{
    /// Finishes the messages in progress and closes the connection.
    pub(super) async fn end(&mut self, ended: Ended<F>) -> Result<(), BoxError> {
        let FramedIo { codec, reader, .. } = &mut self.framed.io;
        F::before_close(codec, &reader.buffer.bytes);
        let FramedConnection { is_calling, io: FramedIo { latency, connection, .. }, .. } = &mut self.framed;
        let ended = match ended {
            // Nothing else has panicked: the connection can still write its other replies.
            Err(payload) if take(is_calling) => {
                Ok(Err(latency.message_failed(connection, Panicked::new(&*payload).into())))
            }
            ended => ended,
        };
        let ended = match ended {
            Ok(result) if self.framed.later.is_some() => {
                AssertUnwindSafe(self.finish_later_replies(result)).catch_unwind().await
            }
            ended => ended,
        };
        self.framed.drop_later();
        self.framed.io.reader.buffer.discard(); // nothing decodes it any more
        // Rejects further pushes, so that the remaining output is bounded.
        self.framed.io.writer.outbox.close();
        if matches!(ended, Ok(Ok(Flow::Close))) || self.is_closed_by_task() {
            self.framed.io.writer.discard();
        }
        self.close(match ended {
            Ok(Ok(_)) => CloseOutcome::plain(CloseReason::HandlerClosed),
            Ok(Err(outcome)) => outcome,
            Err(payload) => CloseOutcome::from_service(Panicked::new(&*payload).into()),
        })
        .await
    }

    /// Whether a task has requested to close the connection without writing its queued frames.
    pub(super) fn is_closed_by_task(&self) -> bool {
        self.framed.io.connection.current_signal() == ControlSignal::Close
    }

    /// Queues the last message of the handler, behind everything else. False if there is none.
    fn queue_last_message(&mut self, reason: CloseReason) -> bool {
        if !takes_last_message(reason) {
            return false;
        }
        let message = catch_unwind(AssertUnwindSafe(|| self.calls.closing(reason)));
        let writer = &mut self.framed.io.writer;
        if !is_graceful(reason) {
            writer.discard_pushed();
        }
        message.ok().flatten().map(|frame| writer.outbox.push_last(frame)).is_some()
    }

    /// Calls the handler's `close`, writes the queued output and closes the transport.
    async fn close(&mut self, mut outcome: CloseOutcome) -> Result<(), BoxError> {
        let connection = self.framed.io.connection.clone();
        let has_last_message = self.queue_last_message(outcome.reason);
        let close_hook = AssertUnwindSafe(self.calls.close(outcome.reason)).catch_unwind();
        let framed = &mut self.framed;
        let close_transport = async {
            if let Some(failed) = framed.flush_remaining(outcome.reason).await {
                outcome = failed;
            }
            if has_last_message && !is_graceful(outcome.reason) {
                framed.io.write_last_message().await;
            }
            connection.finish(outcome.reason);
            framed.io.lingering_close(outcome.reason, has_last_message).await;
            framed.io.release(); // the close hook can take longer
        };
        let close_transport = AssertUnwindSafe(close_transport).catch_unwind();
        // Concurrently: neither waits for the other.
        let close_hook = deadline_timer::timeout(CLOSE_HOOK_TIMEOUT, close_hook);
        let (close_hook, _) = futures_util::join!(close_hook, close_transport);
        if let Ok(Err(payload)) = close_hook {
            outcome.error.get_or_insert_with(|| Panicked::new(&*payload).into());
        }
        connection.finish(outcome.reason);
        outcome.into_result()
    }
}
