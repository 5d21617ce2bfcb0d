//! The sources of frames in an outbox.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use crate::outbox::source::{FrameSource, Gap, SourceError, Sourced};
use crate::outbox::{Entry, Mark, Outbox};

impl<Out> Outbox<Out> {
    /// Keeps a source until it ends or the connection closes.
    pub(crate) fn add_source(&self, source: Arc<dyn FrameSource<Out>>, limit: usize) -> Result<(), SourceError> {
        let sources = &mut self.queue().entries.lock().sources;
        if self.marked_len() & Mark::Closed as u32 != 0 {
            return Err(SourceError::Closed);
        }
        let sources = sources.get_or_insert_default();
        sources.0.retain(|source| !source.has_ended());
        if sources.0.len() >= limit {
            return Err(SourceError::Full);
        }
        sources.0.push(source);
        Ok(())
    }

    /// Queues a source that is not in the queue.
    pub(crate) fn push_source(&self, source: Arc<dyn FrameSource<Out>>) {
        self.push_entry(Entry::Source(source));
        self.connection.wake();
    }

    pub(crate) fn forget_ended_sources(&self) {
        if let Some(sources) = &mut self.queue().entries.lock().sources {
            sources.0.retain(|source| !source.has_ended());
        }
    }

    /// The next frame of the first entry, which is this source. At its end, it is removed from the queue.
    #[cold]
    pub(super) fn pop_sourced(&self, source: Arc<dyn FrameSource<Out>>) -> Sourced<Out> {
        let next = if self.has_gap() { Sourced::Gap } else { source.next() };
        match next {
            // The handler of a connection that closes is not called for a gap: no frame behind it is sent.
            Sourced::Gap if self.marked_len() & Mark::Closed as u32 != 0 => {
                self.clear(Mark::Gap);
                self.pop_first();
                return Sourced::Empty;
            }
            Sourced::Gap => self.set(Mark::Gap),
            Sourced::Empty => {
                self.pop_first();
                if source.removed() {
                    self.push_source(source);
                }
            }
            Sourced::Frame(_) | Sourced::Later => {}
        }
        next
    }

    /// Whether a source in the queue is too slow. To be asked while the output is blocked.
    pub(crate) fn is_too_slow(&self) -> bool {
        let Some(queue) = self.queue.get() else { return false };
        let entries = queue.entries.lock();
        let mut sources = entries.queue.iter().filter_map(|entry| match entry {
            Entry::Source(source) => Some(source),
            Entry::Frame(_) => None,
        });
        sources.any(|source| source.is_too_slow())
    }

    fn pop_first(&self) {
        self.queue().entries.lock().queue.pop_front();
        self.connection.outbox_len().fetch_sub(1, SeqCst);
    }

    /// Whether the handler must be called for a gap.
    pub(crate) fn has_gap(&self) -> bool {
        self.marked_len() & Mark::Gap as u32 != 0
    }

    /// The gap for which the handler is called. Nothing is taken from the queue until [`end_gap`](Self::end_gap).
    pub(crate) fn begin_gap(&self) -> Option<Gap> {
        let first = match self.queue().entries.lock().queue.front() {
            Some(Entry::Source(source)) => Some(source.clone()),
            _ => None,
        };
        let gap = first.and_then(|source| source.take_gap());
        if gap.is_none() {
            self.end_gap(); // the source has ended meanwhile
        }
        gap
    }

    pub(crate) fn end_gap(&self) {
        self.clear(Mark::Gap);
    }
}
