//! Calls scripts at the server of a fleet.
//!
//! The client crate also has a connection that connects again by itself. It is not used here: after a failure, one of
//! its calls waits for all its attempts. Each task of the fleet has a connection of its own, drops it after any error,
//! and connects again for a later call.

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, RedisResult, ScriptInvocation};

use super::bus::PushSender;
use super::client::Connector;
use super::failure::{FleetError, LinkFailure};
use super::report::FailureClass;
use super::script::{Renewal, Renewed};
use crate::deadline_timer::timeout;
use crate::settings::FleetSettings;

/// A connection that calls scripts.
pub(crate) struct Link {
    connector: Connector,
    connection: Option<MultiplexedConnection>,
}

/// Connects to the server and checks that the script can write.
pub(super) async fn check(settings: &FleetSettings) -> Result<(), FleetError> {
    super::client::check_settings(settings)?;
    let renewal = Renewal::new(settings);
    let reply: Result<Vec<i64>, LinkFailure> = Link::new(settings).call(&renewal.check()).await;
    let is_renewal = |reply: Vec<i64>| Renewed::read(&reply, 0).is_some();
    match reply.map(is_renewal) {
        Ok(true) => Ok(()),
        Ok(false) => Err(unexpected(settings).into()),
        Err(failure) => Err(failure.into()),
    }
}

/// The failure of a call whose reply does not fit.
pub(crate) fn unexpected(settings: &FleetSettings) -> LinkFailure {
    LinkFailure::new(FailureClass::Protocol, settings, "the reply has another form")
}

impl Link {
    pub(super) fn new(settings: &FleetSettings) -> Self {
        Self { connector: Connector::new(settings), connection: None }
    }

    /// Waits at most twice for the configured timeout: to connect, and for the call. In a cluster, it can wait as long
    /// for another node, which is called at once.
    pub(crate) async fn call<T: FromRedisValue>(&mut self, call: &ScriptInvocation<'_>) -> Result<T, LinkFailure> {
        match self.try_call(call).await {
            Err(_) if self.connector.is_moved() => self.try_call(call).await,
            reply => reply,
        }
    }

    async fn try_call<T: FromRedisValue>(&mut self, call: &ScriptInvocation<'_>) -> Result<T, LinkFailure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connector.connect(None::<PushSender>).await?,
        };
        let settings = &self.connector.settings;
        let reply: RedisResult<T> = match timeout(settings.timeout, call.invoke_async(&mut connection)).await {
            Ok(reply) => reply,
            Err(_) => return Err(LinkFailure::timeout(settings)),
        };
        let reply = reply.map_err(|error| self.connector.failure(&error))?;
        // After an error, the next call connects again.
        self.connection = Some(connection);
        Ok(reply)
    }
}
