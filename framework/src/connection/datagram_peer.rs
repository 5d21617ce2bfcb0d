//! What a handler can do for a datagram peer: validate its address.

use crate::connection::handle::Connection;

impl Connection {
    /// Marks the address of a datagram peer as validated: the peer has returned data that was sent only to it.
    ///
    /// The source address of a datagram can be forged. A network peer that is not validated is therefore sent at most
    /// three times the bytes it sent, replies and pushes together. IP and UDP headers count (28 bytes per datagram for
    /// IPv4, 48 for IPv6). Datagrams above the limit are dropped and logged as `datagram dropped` with reason
    /// `amplification_limit`. Datagrams above the rate [`replies_per_peer`](crate::settings::Rates::replies_per_peer)
    /// are dropped with reason `reply_rate`. Validated peers have no such limits and are evicted last
    /// ([`Limits::sessions`](crate::settings::Limits::sessions)); an evicted peer is unvalidated again.
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
        self.amplification_limit().validate();
    }

    /// Whether [`validate_address`](Self::validate_address) was called.
    pub fn is_address_validated(&self) -> bool {
        self.amplification_limit().is_validated()
    }
}
