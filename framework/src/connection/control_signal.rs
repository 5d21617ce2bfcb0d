//! Signals that the server sends to the task of one connection.

use std::sync::atomic::AtomicU32;
use std::task::Waker;

use crossbeam_utils::atomic::AtomicCell;
use parking_lot::Mutex;

use crate::close_reason::CloseReason;

/// What the driver of a connection must do. A later variant overrides an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum ControlSignal {
    #[default]
    Continue,
    /// Abort the handshake: `limits.handshakes` is reached. Ignored when the handshake is complete.
    AbortHandshake,
    /// Finish the messages in progress, then close.
    Drain,
    /// Finish the message in progress and the later replies, write the queued frames, then close: a task requested it.
    Finish,
    /// Close immediately: a task requested it.
    Close,
    /// Close immediately: a pusher found the outbox full.
    OutboxFull,
    /// Close immediately: the client is banned.
    Ban,
    /// Close immediately: the drain deadline has passed.
    DrainDeadline,
    /// Close immediately: the operator closed the connection.
    Kill,
}

impl ControlSignal {
    /// Whether the connection closes without writing its queued frames, except for a request of the handler.
    pub(crate) fn is_abort(self) -> bool {
        self > Self::Close
    }

    /// Why a connection with this signal closes, now or after its messages in progress.
    pub(crate) fn close_reason(self) -> Option<CloseReason> {
        match self {
            Self::Drain => Some(CloseReason::Drain),
            Self::Finish => Some(CloseReason::HandlerClosed),
            _ => self.immediate_close_reason(),
        }
    }

    pub(crate) fn immediate_close_reason(self) -> Option<CloseReason> {
        match self {
            Self::Continue | Self::AbortHandshake | Self::Drain | Self::Finish => None,
            Self::Close => Some(CloseReason::HandlerClosed),
            Self::OutboxFull => Some(CloseReason::OutboxFull),
            Self::Ban => Some(CloseReason::Banned),
            Self::DrainDeadline => Some(CloseReason::DrainDeadline),
            Self::Kill => Some(CloseReason::Killed),
        }
    }
}

/// The signal to the driver, and how the connection ended.
#[derive(Debug, Default)]
#[repr(C)] // what each message uses comes first
pub(crate) struct Control {
    signal: AtomicCell<ControlSignal>,
    reason: AtomicCell<Option<CloseReason>>,
    /// The number of queued frames, with the marks of the outbox.
    pub(crate) outbox_len: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

impl Control {
    pub(crate) fn send(&self, signal: ControlSignal) {
        let _ = self.signal.fetch_update(|current| (current < signal).then_some(signal));
        self.wake();
    }

    pub(crate) fn wake(&self) {
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }

    /// Forgets a signal, unless another one has overridden it.
    pub(crate) fn clear(&self, signal: ControlSignal) {
        let _ = self.signal.compare_exchange(signal, ControlSignal::Continue);
    }

    /// The current signal. Replaces the waker that [`send`](Self::send) and [`wake`](Self::wake) use.
    pub(crate) fn poll(&self, waker: &Waker) -> ControlSignal {
        self.waker.lock().get_or_insert_with(|| waker.clone()).clone_from(waker);
        self.signal.load()
    }

    #[inline]
    pub(crate) fn current(&self) -> ControlSignal {
        self.signal.load()
    }

    /// Why the connection closed. `None` while it is open.
    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.reason.load()
    }

    /// Marks the connection as closed. Only the first reason is kept.
    pub(crate) fn finish(&self, reason: CloseReason) {
        let _ = self.reason.compare_exchange(None, Some(reason));
    }
}

#[cfg(test)]
mod tests;
