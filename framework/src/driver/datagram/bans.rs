//! Bans and strikes of datagram peers.

use crate::close_reason::CloseReason;
use crate::connection::{Connection, ListenerContext};
use crate::driver::close_outcome::reason_of;
use crate::driver::datagram::dispatcher::Dispatcher;
use crate::driver::datagram::drop_reason::DropReason;
use crate::driver::handler_calls::HandlerCalls;
use crate::error::BoxError;
use crate::framing::Framing;
use crate::transport::Route;

impl<F, C, N> Dispatcher<F, C, N>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
    N: Fn(&Route, &ListenerContext) -> (Connection, C) + 'static,
{
    /// Drops a received datagram. It can count as strikes of its peer.
    #[cold]
    pub(super) fn drop_received(&mut self, route: &Route, reason: DropReason) {
        self.send_queue.drop_one(route, reason);
        if let Some(reason) = reason.strikes_as()
            && let Some(peer) = self.peers.peek(route)
        {
            peer.connection.strike_for(reason);
        }
    }

    /// Counts and logs a failed message. It can count as strikes of its peer.
    #[cold]
    pub(super) fn message_failed(&mut self, peer: usize, error: &BoxError) {
        let peer = self.peers.get(peer);
        self.send_queue.message_failed(&peer.route, error);
        peer.connection.strike_for(reason_of(&**error));
    }

    /// Removes the peers that are banned. A peer whose message is being handled stays until the next call: the message
    /// refers to it. False if there is one.
    pub(super) fn forget_banned(&mut self) -> bool {
        let admission = &self.send_queue.listener_context.admission;
        let banned = self.peers.keys(|peer| admission.bans(&peer.route.peer));
        let mut is_complete = true;
        for key in banned {
            let peer = self.peers.get(key);
            if peer.calls.is_some() || self.later.is_idle(key) {
                self.remove_peer(key, CloseReason::Banned);
            } else {
                let dropped = self.jobs.clear(&mut peer.queue);
                self.send_queue.listener_context.info.metrics.dropped(dropped);
                peer.connection.finish(CloseReason::Banned);
                is_complete = false;
            }
        }
        is_complete
    }
}
