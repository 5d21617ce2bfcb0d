//! Awaits a future of the handler while the connection is driven.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use crate::driver::close_outcome::CloseOutcome;
use crate::driver::stream::framed_connection::{FramedConnection, PushedFrames, WAITED};
use crate::framing::Framing;

#[derive(Clone, Copy, PartialEq, Eq)]
enum LaterFrames {
    Encode,
    Keep,
}

impl<F: Framing> FramedConnection<F> {
    /// Awaits a handler call while the connection is driven.
    pub(crate) fn drive_while<T>(
        &mut self,
        work: Pin<&mut impl Future<Output = T>>,
    ) -> impl Future<Output = Result<T, CloseOutcome>> {
        self.drive(work, LaterFrames::Encode)
    }

    /// Awaits the next frame of a reply while the connection is driven. Other replies wait for the end of this one.
    pub(crate) fn drive_frame<T>(
        &mut self,
        frame: Pin<&mut impl Future<Output = T>>,
    ) -> impl Future<Output = Result<T, CloseOutcome>> {
        self.drive(frame, LaterFrames::Keep)
    }

    /// Not an `async fn`: its future would store the arguments twice.
    fn drive<T>(
        &mut self,
        mut work: Pin<&mut impl Future<Output = T>>,
        later: LaterFrames,
    ) -> impl Future<Output = Result<T, CloseOutcome>> {
        poll_fn(move |cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            self.before_read |= WAITED;
            self.was_pending = true;
            self.poll_working(cx, PushedFrames::Encode)?;
            if later == LaterFrames::Encode && self.later.is_some() {
                self.write_simple_replies(cx)?;
            }
            self.read_ahead(cx)?;
            Poll::Pending
        })
    }
}
