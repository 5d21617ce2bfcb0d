//! Publishes the service and settings of a listener to its accept loop or datagram loop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::connection::{Kind, ListenerContext};
use crate::driver::{DatagramService, ServiceSnapshot};
use crate::pipeline::{ConnectionService, Services};

/// The sender of service snapshots. The loop uses the newest snapshot for new connections and datagrams.
#[derive(Clone)]
pub(super) enum SnapshotSender {
    Stream(watch::Sender<ServiceSnapshot<ConnectionService>>),
    Datagram(watch::Sender<ServiceSnapshot<Arc<dyn DatagramService>>>),
}

/// A snapshot without its service.
pub(super) struct SnapshotSettings {
    pub(super) listener_context: Arc<ListenerContext>,
    pub(super) handshake_timeout: Duration,
    pub(super) finish_timeout: Duration,
}

impl SnapshotSettings {
    pub(super) fn with<S>(self, service: S) -> ServiceSnapshot<S> {
        let Self { listener_context, handshake_timeout, finish_timeout } = self;
        ServiceSnapshot { listener_context, service, handshake_timeout, finish_timeout }
    }
}

impl SnapshotSender {
    /// Publishes a new snapshot. The caller has checked that the services fit the kind of the listener.
    pub(super) fn send(&self, settings: SnapshotSettings, services: Services) {
        match (self, services) {
            (Self::Stream(sender), Services { stream: Some(service), .. }) => {
                sender.send_replace(settings.with(service));
            }
            (Self::Datagram(sender), Services { datagram: Some(service), .. }) => {
                sender.send_replace(settings.with(service));
            }
            _ => {}
        }
    }

    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Stream(_) => Kind::Stream,
            Self::Datagram(_) => Kind::Datagram,
        }
    }
}
