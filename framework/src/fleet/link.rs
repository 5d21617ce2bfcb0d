//! The connection to the server of a fleet.
//!
//! The client crate also has a connection that connects again by itself. It is not used here: after a failure, one of
//! its calls waits for all its attempts. The task of the fleet has the only connection, drops it after any error, and
//! connects again for a later call.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

#[cfg(feature = "tls")]
use redis::TlsCertificates;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    RedisResult, ScriptInvocation,
};

use super::failure::{FleetError, LinkFailure};
use super::lease::Request;
use super::report::FailureClass;
use super::script::{Renewal, Renewed};
use crate::address::HostPort;
use crate::deadline_timer::timeout;
use crate::settings::{FleetSettings, LinkAddress, file};

/// The first line of a certificate in a PEM file.
#[cfg(feature = "tls")]
const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The link of one instance.
pub(super) struct Link {
    settings: FleetSettings,
    renewal: Renewal,
    connection: Option<MultiplexedConnection>,
    /// The node of a cluster that has the keys, if it is not the configured one.
    node: Option<HostPort>,
}

/// Checks the settings and reads the files.
pub(super) fn check_settings(settings: &FleetSettings) -> Result<(), FleetError> {
    client(settings, None).map(drop)
}

/// Connects to the server and checks that the script can write.
pub(super) async fn check(settings: &FleetSettings) -> Result<(), FleetError> {
    check_settings(settings)?;
    Link::new(settings).call(Renewal::check, 0).await.map(drop).map_err(FleetError::from)
}

impl Link {
    pub(super) fn new(settings: &FleetSettings) -> Self {
        let id = [(); 2].map(|()| format!("{:016x}", RandomState::new().hash_one(std::process::id()))).concat();
        let renewal = Renewal::new(settings, id);
        Self { settings: settings.clone(), renewal, connection: None, node: None }
    }

    /// Counts the instance and renews leases. Waits at most twice for the configured timeout: to connect, and for the
    /// call. In a cluster, it can wait as long for another node.
    pub(super) async fn renew(&mut self, requests: &[Request]) -> Result<Renewed, LinkFailure> {
        self.call(|renewal| renewal.call(requests), requests.len()).await
    }

    /// Calls the node that another node of a cluster has named at once, too.
    async fn call(
        &mut self,
        call: impl Fn(&Renewal) -> ScriptInvocation<'_>,
        requests: usize,
    ) -> Result<Renewed, LinkFailure> {
        match self.try_call(&call, requests).await {
            Err(_) if self.node.is_some() => self.try_call(&call, requests).await,
            renewed => renewed,
        }
    }

    async fn try_call(
        &mut self,
        call: impl Fn(&Renewal) -> ScriptInvocation<'_>,
        requests: usize,
    ) -> Result<Renewed, LinkFailure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let call = call(&self.renewal);
        let reply: RedisResult<Vec<i64>> =
            match timeout(self.settings.timeout, call.invoke_async(&mut connection)).await {
                Ok(reply) => reply,
                Err(_) => return Err(LinkFailure::timeout(&self.settings)),
            };
        let reply = reply.map_err(|error| {
            self.node = moved_to(&error);
            LinkFailure::of(&error, &self.settings)
        })?;
        let renewed = Renewed::read(&reply, requests)
            .ok_or_else(|| LinkFailure::new(FailureClass::Protocol, &self.settings, "the reply has another form"))?;
        // After an error, the next call connects again.
        self.connection = Some(connection);
        Ok(renewed)
    }

    async fn connect(&mut self) -> Result<MultiplexedConnection, LinkFailure> {
        let (settings, node) = (self.settings.clone(), self.node.take());
        let connected = timeout(self.settings.timeout, async move {
            // The files of the settings may be on a network file system.
            let client = tokio::task::spawn_blocking({
                let settings = settings.clone();
                move || client(&settings, node)
            });
            let client = client
                .await
                .map_err(|panic| LinkFailure::new(FailureClass::Other, &settings, panic))?
                .map_err(|error| LinkFailure::new(FailureClass::Other, &settings, error))?;
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(settings.timeout))
                .set_response_timeout(Some(settings.timeout));
            let connected = client.get_multiplexed_async_connection_with_config(&config).await;
            connected.map_err(|error| LinkFailure::of(&error, &settings))
        });
        connected.await.unwrap_or_else(|_| Err(LinkFailure::timeout(&self.settings)))
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.link.as_ref().map_or(Ok(()), |link| link.fmt(f))
    }
}

/// The node that has the keys, from the error of another node of its cluster.
fn moved_to(error: &RedisError) -> Option<HostPort> {
    error.redirect_node().and_then(|(address, _)| HostPort::parse(address).ok())
}

/// A client for the configured server, or for another node of its cluster.
fn client(settings: &FleetSettings, node: Option<HostPort>) -> Result<Client, FleetError> {
    let missing = || FleetError::new("link", "is missing; write it like \"redis://127.0.0.1:6379\"");
    let link = settings.link.as_ref().ok_or_else(missing)?;
    let mut login = RedisConnectionInfo::default();
    if let Some(username) = &settings.username {
        login = login.set_username(username);
    }
    if let Some(password) = password(settings)? {
        login = login.set_password(password);
    }
    let address = match &link.0 {
        LinkAddress::Unix(path) => ConnectionAddr::Unix(path.clone()),
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
    let unusable = |error: &dyn fmt::Display| {
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
