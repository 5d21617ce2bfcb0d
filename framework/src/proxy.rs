//! The PROXY protocol in plain words: whom a listener believes ([`ProxySettings`]), and what a header told ([`ProxyFacts`]).
//!
//! Plain values without I/O. The machinery that reads the header is [`transport::proxy`](crate::transport::proxy).

use bytes::Bytes;

use crate::access::Networks;
use crate::address::Address;

/// Where a PROXY header (version 1 or 2) is required, and from whom. There is no optional header: whoever may send one
/// must, and nobody else is let in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxySettings {
    /// The networks of the proxies. A peer on a Unix socket is believed: who may connect there is a matter of the socket's mode.
    /// One that a transport only names is believed where no network is given.
    pub trusted: Networks,
}

/// What a proxy said of a connection that it passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyFacts {
    /// The client and the address that it had connected to. `None` when the proxy speaks for itself (a health check, `LOCAL`),
    /// or does not know (`UNKNOWN`): then its own address counts.
    pub addresses: Option<(Address, Address)>,
    /// The proxy says that it speaks for itself (`LOCAL`). Nobody came through it, so access, limits by source and rates, which are
    /// about clients, do not apply; a health check is not turned away.
    pub is_local: bool,
    /// What else the header carried (version 2), in its order: the type of each and its bytes. Padding and the checksum are
    /// not among them.
    pub tlvs: Vec<(u8, Bytes)>,
}

impl ProxyFacts {
    /// A proxy that speaks for itself.
    pub fn local() -> Self {
        Self { addresses: None, is_local: true, tlvs: Vec::new() }
    }

    /// What a header said: the client and what it connected to, if that is known, and what else was in it.
    pub fn new(addresses: Option<(Address, Address)>, tlvs: Vec<(u8, Bytes)>) -> Self {
        Self { addresses, is_local: false, tlvs }
    }

    /// The first value of that type: `0x02` is the host that the client asked for, `0x05` a unique id …
    pub fn tlv(&self, kind: u8) -> Option<&Bytes> {
        self.tlvs.iter().find(|(of, _)| *of == kind).map(|(_, value)| value)
    }
}
