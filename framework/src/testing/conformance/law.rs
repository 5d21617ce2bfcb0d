//! The laws: what must not change the replies, and what must be left when a connection has closed.

use std::fmt;

use strum::{IntoStaticStr, VariantArray};

/// One law of the conformance kit.
///
/// ```
/// use switchboard::testing::Law;
///
/// assert_eq!(Law::HalfClose.as_str(), "half_close");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum Law {
    /// The same messages, one at a time to a new handler, get the same replies. The other laws compare with these
    /// replies, so nothing else is checked if this law does not hold.
    Repeat,
    /// A closed connection leaves no task, and a stopped handler leaves none either.
    Cleanup,
    /// The replies do not depend on where the network cuts the input, and none waits for more input than its message.
    Cuts,
    /// Messages that arrive together get the same replies as one at a time.
    Pipelining,
    /// Two clients at the same time get the same replies as each one alone.
    TwoAtOnce,
    /// A client that ends its output gets all replies, also if it ends inside a message.
    HalfClose,
    /// A reset at any byte closes the connection once and leaves nothing.
    Reset,
    /// A client that reads slowly gets the same replies.
    SlowReader,
    /// A client that does not read makes the server stop reading, and the connection closes in time.
    NoReader,
    /// A drain answers the messages that have begun to arrive, and closes every connection before its deadline.
    Drain,
    /// A call that is dropped at any of its polls leaves nothing, and does not change the replies to other clients.
    Cancel,
    /// Messages up to the limit are answered, and no larger one reaches the handler.
    Sizes,
    /// Bytes that are not messages cause no panic, and the connection still ends.
    Noise,
    /// A stopped or a jumping clock does not change the replies to an active client.
    Clock,
    /// Replies come in the order of the messages, whichever is ready first.
    ReplyOrder,
    /// Messages are handled while a [later](crate::Reply::later) reply is not ready, and an
    /// [unordered](crate::Reply::unordered) reply does not wait for others.
    Concurrency,
    /// A lost datagram does not change the replies to the others.
    Loss,
    /// Each copy of a datagram gets the same reply.
    Duplication,
    /// A datagram gets the same reply at any place in the order.
    Reordering,
    /// A truncated datagram causes no panic, and does not change the replies to the others.
    Truncation,
}

impl Law {
    /// All laws.
    pub const ALL: [Self; Self::VARIANTS.len()] = *Self::VARIANTS.as_array().unwrap();

    /// The name in reports.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether the law concerns datagrams, or connections.
    pub(super) fn concerns(self, is_datagram: bool) -> bool {
        use Law as L;
        let is_of_datagrams = matches!(self, L::Loss | L::Duplication | L::Reordering | L::Truncation);
        if !is_datagram {
            return !is_of_datagrams;
        }
        is_of_datagrams
            || matches!(self, L::Repeat | L::Cleanup | L::Pipelining | L::TwoAtOnce | L::Drain | L::Noise | L::Clock)
    }
}

impl fmt::Display for Law {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
