//! Strikes of a connection: by its handler, and by the reason of its close or rejection.

use crate::address::Source;
use crate::close_reason::CloseReason;
use crate::connection::handle::Connection;
use crate::connection::strike_rules::StrikeRules;

impl Connection {
    /// Counts strikes of the client, for example for a wrong password. Above the rate
    /// [`BanSettings::strikes`](crate::settings::BanSettings::strikes) the server bans the source, an IPv4 address or
    /// an IPv6 /64, and closes its connections with reason [`Banned`](CloseReason::Banned).
    ///
    /// It has no effect if no ban follows strikes, if an entry of `access.allow` names the client, or if the client is
    /// not known for certain: a peer on a Unix socket, a proxy that names no client, or a datagram peer whose address
    /// is not [validated](Self::validate_address).
    ///
    /// ```
    /// use switchboard::prelude::*;
    ///
    /// /// Three wrong passwords weigh as much as 15 invalid messages.
    /// struct Login;
    ///
    /// impl Handler for Login {
    ///     type State = bool;
    ///
    ///     async fn message(&self, cx: &mut Context<bool>, message: Bytes) -> Result<Reply> {
    ///         if !cx.state && *message != *b"sesame" {
    ///             cx.strike(5);
    ///             return Ok(Reply::send("wrong password"));
    ///         }
    ///         cx.state = true;
    ///         Ok(Reply::send("welcome"))
    ///     }
    /// }
    /// ```
    pub fn strike(&self, strikes: u32) {
        self.count_strikes(strikes, "handler");
    }

    /// Counts the strikes for a close or rejection.
    pub(crate) fn strike_for(&self, reason: CloseReason) {
        self.count_strikes(self.listener_info().strike_rules.bans.weight(reason), reason.as_str());
    }

    fn count_strikes(&self, strikes: u32, cause: &str) {
        let StrikeRules { bans, exempt, .. } = &self.listener_info().strike_rules;
        if strikes == 0 || !bans.counts_strikes() {
            return;
        }
        let is_exempt = self.peer().ip().is_some_and(|ip| exempt.names(ip));
        if let (Some(source), true, false) = (self.known_source(), self.is_address_validated(), is_exempt) {
            bans.strike(source, strikes, cause);
        }
    }

    /// The source of the client. `None` if it has no network address, or if only the proxy is known: there is no PROXY
    /// header yet, or it names no client.
    pub(crate) fn known_source(&self) -> Option<Source> {
        let is_known = (!self.listener_info().strike_rules.has_proxy || self.proxy().is_some()) && !self.is_of_proxy();
        self.source().filter(|_| is_known)
    }
}
