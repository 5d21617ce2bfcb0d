//! Connects to the server of a fleet.

use std::fmt::Display;
use std::path::Path;

#[cfg(feature = "tls")]
use redis::TlsCertificates;
use redis::aio::{AsyncPushSender, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, ProtocolVersion,
    RedisConnectionInfo, RedisError,
};

use super::failure::{FleetError, LinkFailure};
use super::report::FailureClass;
use super::sentinel;
use crate::address::HostPort;
use crate::deadline_timer::timeout;
use crate::settings::{FleetSettings, Link, LinkAddress, file};

/// The first line of a certificate in a PEM file.
#[cfg(feature = "tls")]
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// Connects to the configured server, or to the node of its cluster that has the keys.
pub(super) struct Connector {
    pub(super) settings: FleetSettings,
    /// The node of a cluster that has the keys, if it is not the configured one.
    node: Option<HostPort>,
}

impl Connector {
    pub(super) fn new(settings: &FleetSettings) -> Self {
        Self { settings: settings.clone(), node: None }
    }

    /// Whether the next connection goes to a node that another node of the cluster has named.
    pub(super) fn is_moved(&self) -> bool {
        self.node.is_some()
    }

    /// Connects, within the configured timeout. `pushes` receives the messages of subscriptions, which need version 3
    /// of the protocol.
    pub(super) async fn connect<P: AsyncPushSender>(
        &mut self,
        pushes: Option<P>,
    ) -> Result<MultiplexedConnection, LinkFailure> {
        let (settings, node) = (self.settings.clone(), self.node.take());
        let protocol = if pushes.is_some() { ProtocolVersion::RESP3 } else { ProtocolVersion::RESP2 };
        // In a box, because the future of the client crate is large.
        let connected = Box::pin(async move {
            let node = match (&settings.link, node) {
                (Some(Link(LinkAddress::Sentinel { sentinels, primary })), None) => {
                    Some(sentinel::primary(sentinels, primary, &settings).await?)
                }
                (_, node) => node,
            };
            // The files of the settings may be on a network file system.
            let client = tokio::task::spawn_blocking({
                let settings = settings.clone();
                move || client(&settings, node, protocol)
            });
            let client = client
                .await
                .map_err(|panic| LinkFailure::new(FailureClass::Other, &settings, panic))?
                .map_err(|error| LinkFailure::new(FailureClass::Other, &settings, error))?;
            let mut config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(settings.timeout))
                .set_response_timeout(Some(settings.timeout));
            if let Some(pushes) = pushes {
                config = config.set_push_sender(pushes);
            }
            let connected = client.get_multiplexed_async_connection_with_config(&config).await;
            connected.map_err(|error| LinkFailure::of(&error, &settings))
        });
        let connected = timeout(self.settings.timeout, connected).await;
        connected.unwrap_or_else(|_| Err(LinkFailure::timeout(&self.settings)))
    }

    /// The failure of a call. Remembers the node that a node of a cluster has named.
    pub(super) fn failure(&mut self, error: &RedisError) -> LinkFailure {
        self.node = moved_to(error);
        LinkFailure::of(error, &self.settings)
    }
}

/// Checks the settings and reads the files.
pub(super) fn check_settings(settings: &FleetSettings) -> Result<(), FleetError> {
    client(settings, None, ProtocolVersion::RESP2).map(drop)
}

/// The node that has the keys, from the error of another node of its cluster.
fn moved_to(error: &RedisError) -> Option<HostPort> {
    error.redirect_node().and_then(|(address, _)| HostPort::parse(address).ok())
}

/// A client for the configured server, or for another node of its cluster.
fn client(settings: &FleetSettings, node: Option<HostPort>, protocol: ProtocolVersion) -> Result<Client, FleetError> {
    let missing = || FleetError::new("link", "is missing; write it like \"redis://127.0.0.1:6379\"");
    let link = settings.link.as_ref().ok_or_else(missing)?;
    let mut login = RedisConnectionInfo::default().set_protocol(protocol);
    if let Some(username) = &settings.username {
        login = login.set_username(username);
    }
    if let Some(password) = password(settings)? {
        login = login.set_password(password);
    }
    let address = match &link.0 {
        LinkAddress::Unix(path) => ConnectionAddr::Unix(path.clone()),
        LinkAddress::Sentinel { sentinels, .. } => {
            let primary = node.or_else(|| sentinels.first().cloned());
            let HostPort { host, port } = primary.ok_or_else(missing)?;
            ConnectionAddr::Tcp(host, port)
        }
        LinkAddress::Tcp { server, is_tls, database } => {
            login = login.set_db(i64::from(*database));
            let HostPort { host, port } = node.unwrap_or_else(|| server.clone());
            match is_tls {
                true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
                false => ConnectionAddr::Tcp(host, port),
            }
        }
    };
    let invalid = |error: RedisError| FleetError::new("link", error.to_string());
    let info = address.into_connection_info().map_err(invalid)?.set_redis_settings(login);
    match &settings.ca {
        Some(path) => trusting(info, path),
        None => Client::open(info).map_err(invalid),
    }
}

/// A client that trusts the certificates of a file.
#[cfg(feature = "tls")]
fn trusting(info: ConnectionInfo, path: &Path) -> Result<Client, FleetError> {
    if !matches!(info.addr(), ConnectionAddr::TcpTls { .. }) {
        return Err(FleetError::new("ca", "has no effect without TLS; use a link that begins with rediss://"));
    }
    let unusable = |error: &dyn Display| {
        FleetError::new("ca", format!("cannot read certificates from {}: {error}", path.display()))
    };
    let pem = file::read(path).map_err(|error| unusable(&file::reason(&error)))?;
    // The client crate accepts a file without certificates, and then trusts no server.
    let has_certificate = pem.windows(CERTIFICATE.len()).any(|part| part == CERTIFICATE);
    if !has_certificate {
        return Err(unusable(&"it contains no certificate"));
    }
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
    Client::build_with_tls(info, certificates).map_err(|error| unusable(&error))
}

#[cfg(not(feature = "tls"))]
fn trusting(_: ConnectionInfo, _: &Path) -> Result<Client, FleetError> {
    Err(FleetError::new("ca", "needs a build with TLS"))
}

/// The password, from the settings or from its file.
fn password(settings: &FleetSettings) -> Result<Option<String>, FleetError> {
    match (&settings.password, &settings.password_file) {
        (Some(_), Some(_)) => {
            Err(FleetError::new("password_file", "cannot be set together with fleet.password; remove one"))
        }
        (Some(password), None) => Ok(Some(password.expose().to_owned())),
        (None, Some(path)) => match file::read_text(path) {
            Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => {
                let what = format!("cannot read the password from {}: {}", path.display(), file::reason(&error));
                Err(FleetError::new("password_file", what))
            }
        },
        (None, None) => Ok(None),
    }
}
