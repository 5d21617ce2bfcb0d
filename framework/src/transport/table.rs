//! The table of transports by scheme.

use std::fmt;

use tower::util::BoxCloneSyncService;

use crate::transport::bind::Transport;
use crate::transport::memory::Memory;
use crate::transport::scheme::SchemeInfo;
use crate::transport::service::{BoxTransport, TransportService};
use crate::transport::systemd::Systemd;
use crate::transport::tcp::Tcp;
#[cfg(feature = "udp")]
use crate::transport::udp::Udp;
#[cfg(feature = "unix")]
use crate::transport::unix::Unix;
#[cfg(feature = "unix")]
use crate::transport::unixgram::Unixgram;

/// Transports by scheme. The default contains the built-in transports.
#[derive(Clone)]
pub struct Transports(Vec<Entry>);

#[derive(Clone)]
struct Entry {
    info: SchemeInfo,
    service: BoxTransport,
}

impl Default for Transports {
    fn default() -> Self {
        let mut table = Self(Vec::new());
        table.add(Tcp);
        #[cfg(feature = "udp")]
        table.add(Udp);
        #[cfg(feature = "unix")]
        table.add(Unix).add(Unixgram);
        table.add(Memory).add(Systemd::default());
        table
    }
}

impl Transports {
    /// Adds a transport. It replaces an earlier transport of the same scheme.
    pub fn add(&mut self, transport: impl Transport) -> &mut Self {
        let schemes = transport.schemes();
        let service = BoxCloneSyncService::new(TransportService::new(transport));
        for info in schemes {
            self.0.retain(|entry| entry.info.scheme != info.scheme);
            self.0.push(Entry { info, service: service.clone() });
        }
        self
    }

    /// The schemes of all transports.
    pub fn list(&self) -> impl Iterator<Item = &SchemeInfo> {
        self.0.iter().map(|entry| &entry.info)
    }

    /// The transport of a scheme, as a service.
    pub fn service(&self, scheme: &str) -> Option<BoxTransport> {
        self.0.iter().find(|entry| entry.info.scheme == scheme).map(|entry| entry.service.clone())
    }
}

impl fmt::Debug for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|entry| entry.info.scheme)).finish()
    }
}
