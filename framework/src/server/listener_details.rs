//! Details of one running listener: certificates, handshakes and the connections that closed last.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::connection::{ClosedConnection, RECENTLY_CLOSED};
use crate::drain::Phase;
use crate::server::listener::ListenerHandle;
use crate::server::running::Running;
use crate::settings::DrainSettings;
use crate::transport::tls::{CertificateInfo, LoadedCertificates};

/// Details of one listener, which would make a [`ListenerReport`](crate::server::ListenerReport) large.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerDetails {
    /// The certificates that new handshakes use.
    pub certificates: Vec<CertificateInfo>,
    /// Handshakes in progress: TLS and PROXY headers.
    pub handshakes: usize,
    /// The connections that closed last, the newest first; at most [`RECENTLY_CLOSED`].
    pub recently_closed: Vec<ClosedConnection>,
}

impl Running {
    /// Details of the listener with this name. Includes connections of an earlier listener of the same name whose
    /// last connections have not closed.
    pub fn listener_details(&self, name: &str) -> Option<ListenerDetails> {
        let listeners = self.all_listeners();
        let named: Vec<&ListenerHandle> = listeners.iter().filter(|listener| listener.spec.name == name).collect();
        let tls = named.first()?.tls.as_ref();
        let mut recently_closed: Vec<_> =
            named.iter().flat_map(|listener| listener.table().recently_closed()).collect();
        recently_closed.sort_by_key(|closed| Reverse(closed.closed));
        recently_closed.truncate(RECENTLY_CLOSED);
        Some(ListenerDetails {
            certificates: tls.map(|tls| tls.certificates().own.to_vec()).unwrap_or_default(),
            handshakes: named.iter().map(|listener| listener.handshakes()).sum(),
            recently_closed,
        })
    }

    /// The certificates that new handshakes use, by the name of the listener, for the listeners with TLS.
    pub fn certificates(&self) -> BTreeMap<String, LoadedCertificates> {
        let state = self.state();
        let certificates =
            |listener: &ListenerHandle| Some((listener.spec.name.clone(), listener.tls.as_ref()?.certificates()));
        state.listeners.iter().filter_map(certificates).collect()
    }

    /// How long a drain announces itself, and how long it may take.
    pub fn drain_settings(&self) -> DrainSettings {
        self.state().drain
    }

    /// The time until a drain in progress aborts the remaining connections. `None` if no drain is in progress.
    pub fn drain_time_left(&self) -> Option<Duration> {
        match self.phase() {
            Phase::Draining { deadline } => Some(deadline.saturating_duration_since(Instant::now())),
            Phase::Running | Phase::Cutting => None,
        }
    }
}
