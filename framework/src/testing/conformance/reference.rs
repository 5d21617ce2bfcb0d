//! The run that all others are compared with: the messages one at a time, without any disturbance.

use std::time::Duration;

use bytes::Bytes;

use crate::close_reason::CloseReason;
use crate::testing::conformance::record::{CallRecord, Disturbance};
use crate::testing::conformance::session::{Ended, Fault, Outcome, Session, TICK, WINDOW};
use crate::testing::conformance::subject::Subject;

/// The replies to a conversation.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    pub(super) messages: Vec<Bytes>,
    /// Messages before the server closed the connection.
    pub(super) answered: usize,
    pub(super) greeting: Vec<Vec<u8>>,
    /// The replies to each message.
    pub(super) replies: Vec<Vec<Vec<u8>>>,
    /// What came after the end of the input.
    pub(super) tail: Vec<Vec<u8>>,
    pub(super) reason: CloseReason,
    pub(super) calls: CallRecord,
    pub(super) left_tasks: usize,
    pub(super) left_after_stop: usize,
    pub(super) frame_limit: usize,
    /// The longest time that a reply took.
    pub(super) slowest: Duration,
}

impl Reference {
    /// For laws that expect no certain replies.
    pub(super) fn without_replies(messages: Vec<Bytes>, of: &Self) -> Self {
        Self { messages, answered: 0, greeting: Vec::new(), replies: Vec::new(), tail: Vec::new(), ..of.clone() }
    }

    /// Runs the conversation.
    pub(super) async fn run(subject: &dyn Subject, messages: &[Bytes]) -> Result<Self, Fault> {
        let mut session = Session::start(subject, Disturbance::default(), WINDOW).await;
        let client = session.open().await;
        let greeting = session.frames(client);
        let (mut replies, mut seen, mut slowest) = (Vec::new(), greeting.len(), Duration::ZERO);
        for message in messages {
            if session.reason(client).is_some() {
                break;
            }
            session.send(client, message);
            slowest = slowest.max(session.settle().await);
            let frames = session.frames(client);
            replies.push(frames[seen.min(frames.len())..].to_vec());
            seen = frames.len();
        }
        let frame_limit = session.record.frame_limit();
        let Ended { mut clients, left_tasks, left_after_stop, .. } = session.finish().await?;
        let Outcome { frames, reason, calls } = clients.remove(0);
        let tail = frames[seen.min(frames.len())..].to_vec();
        Ok(Self {
            messages: messages.to_vec(),
            answered: replies.len(),
            greeting,
            replies,
            tail,
            reason,
            calls,
            left_tasks,
            left_after_stop,
            frame_limit,
            slowest,
        })
    }

    /// Whether the server ended the connection before the client did.
    pub(super) fn closes_early(&self) -> bool {
        self.reason != CloseReason::PeerClosed
    }

    /// Whether every reply was ready without any time, and without a thread for blocking work.
    pub(super) fn is_instant(&self) -> bool {
        self.slowest <= TICK && self.calls.polls.iter().all(|polls| *polls <= 1)
    }

    /// The greeting and the replies to the first messages.
    pub(super) fn first(&self, messages: usize) -> Vec<Vec<u8>> {
        self.greeting.iter().chain(self.replies.iter().take(messages).flatten()).cloned().collect()
    }

    /// Everything that the client receives.
    pub(super) fn all(&self) -> Vec<Vec<u8>> {
        let mut all = self.first(self.answered);
        all.extend(self.tail.iter().cloned());
        all
    }

    /// The bytes of the messages that are answered.
    pub(super) fn input(&self) -> Bytes {
        self.messages[..self.answered].concat().into()
    }

    /// The positions behind each answered message.
    pub(super) fn boundaries(&self) -> Vec<usize> {
        let sizes = self.messages[..self.answered].iter().map(Bytes::len);
        sizes
            .scan(0, |end, size| {
                *end += size;
                Some(*end)
            })
            .collect()
    }

    /// The number of messages that are complete in the first bytes of the input.
    pub(super) fn complete(&self, bytes: usize) -> usize {
        self.boundaries().iter().take_while(|end| **end <= bytes).count()
    }
}
