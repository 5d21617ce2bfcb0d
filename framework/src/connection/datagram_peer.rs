//! What a handler can do for a datagram peer: validate its address, and keep its replies within the budget.

use crate::connection::amplification::AmplificationLimit;
use crate::connection::handle::Connection;

impl Connection {
    /// Marks the address of a datagram peer as validated: the peer has returned data that was sent only to it.
    ///
    /// The source address of a datagram can be forged. A network peer that is not validated is therefore sent at most
    /// [`Limits::amplification`](crate::settings::Limits::amplification) times the bytes it sent, replies and pushes
    /// together: three times by default. IP and UDP headers count (28 bytes per datagram for IPv4, 48 for IPv6).
    /// [`reply_budget`](Self::reply_budget) is what remains. A reply above it is not sent: the message fails, and is
    /// logged as `datagram failed`. A pushed frame above it is dropped and logged as `datagram dropped` with reason
    /// `amplification_limit`. Datagrams above the rate
    /// [`replies_per_peer`](crate::settings::Rates::replies_per_peer) are dropped with reason `reply_rate`. Validated
    /// peers have no such limits and are evicted last ([`Limits::sessions`](crate::settings::Limits::sessions)); an
    /// evicted peer is unvalidated again.
    ///
    #[cfg_attr(feature = "udp", doc = "```")]
    #[cfg_attr(not(feature = "udp"), doc = "```ignore")]
    /// use std::hash::{BuildHasher, RandomState};
    /// use switchboard::prelude::*;
    ///
    /// /// Sends a long reply to clients that return a cookie.
    /// #[derive(Default)]
    /// struct Story {
    ///     secret: RandomState,
    /// }
    ///
    /// impl Handler for Story {
    ///     const NEEDS: Needs = Needs::Datagram;
    ///     type State = ();
    ///
    ///     async fn message(&self, cx: &mut Context, message: Bytes) -> Result<Reply> {
    ///         let cookie = self.secret.hash_one(cx.peer().to_string()).to_be_bytes();
    ///         if *message != cookie {
    ///             return Ok(Reply::send(cookie.to_vec()));
    ///         }
    ///         cx.validate_address();
    ///         Ok(Reply::send("once upon a time ".repeat(50)))
    ///     }
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let server = Server::bind("udp://127.0.0.1:0").start(Story::default()).await?;
    /// let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
    /// client.connect(server.socket_addr().unwrap()).await?;
    /// let mut reply = [0; 2000];
    /// client.send(b"a story!").await?;
    /// let cookie = client.recv(&mut reply).await?;
    /// client.send(&reply[..cookie]).await?;
    /// assert_eq!(client.recv(&mut reply).await?, 850);
    /// # Ok(())
    /// # }
    /// ```
    pub fn validate_address(&self) {
        if let Some(limit) = self.amplification_limit() {
            limit.validate();
        }
    }

    /// Whether [`validate_address`](Self::validate_address) was called. Always true for a stream: the client has
    /// answered the handshake of its transport.
    pub fn is_address_validated(&self) -> bool {
        self.amplification_limit().is_none_or(AmplificationLimit::is_validated)
    }

    /// The largest datagram, in bytes as the framing encodes it, that may be sent to this peer now. `None`: there is no
    /// limit, because this is a stream, a peer on a Unix socket or a validated peer
    /// ([`validate_address`](Self::validate_address)).
    ///
    /// Each received datagram adds to the budget, and each sent datagram takes from it. Pushed frames that are still
    /// queued are not subtracted.
    ///
    /// A handler can shorten a long reply, and mark it as truncated, as DNS does (RFC 1035, section 4.1.1):
    ///
    #[cfg_attr(feature = "udp", doc = "```")]
    #[cfg_attr(not(feature = "udp"), doc = "```ignore")]
    /// # use switchboard::prelude::*;
    /// struct Article;
    ///
    /// impl Handler for Article {
    ///     type State = ();
    ///
    ///     async fn message(&self, cx: &mut Context, _: Bytes) -> Result<Reply> {
    ///         let mut reply = "a long text ".repeat(50);
    ///         if let Some(budget) = cx.reply_budget().filter(|budget| *budget < reply.len()) {
    ///             let mark = "…";
    ///             reply.truncate(budget.saturating_sub(mark.len()));
    ///             reply.push_str(mark);
    ///         }
    ///         Ok(Reply::send(reply))
    ///     }
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// # let server = Server::bind("udp://127.0.0.1:0").start(Article).await?;
    /// # let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
    /// # client.connect(server.socket_addr().unwrap()).await?;
    /// # let mut reply = [0; 2000];
    /// # client.send(b"read!").await?;
    /// let received = client.recv(&mut reply).await?;
    /// assert_eq!(received, 3 * (5 + 28) - 28); // the request has 5 bytes
    /// # Ok(())
    /// # }
    /// ```
    pub fn reply_budget(&self) -> Option<usize> {
        self.amplification_limit()?.budget(self.socket_peer())
    }
}
