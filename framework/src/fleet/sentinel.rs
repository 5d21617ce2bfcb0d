//! Asks Redis Sentinel for the address of the primary.

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, cmd};

use super::failure::LinkFailure;
use super::report::FailureClass;
use crate::address::HostPort;
use crate::deadline_timer::timeout;
use crate::settings::FleetSettings;

/// The address of a primary by its name, from the first sentinel that knows it. Each sentinel has a part of the
/// timeout.
pub(super) async fn primary(
    sentinels: &[HostPort],
    name: &str,
    settings: &FleetSettings,
) -> Result<HostPort, LinkFailure> {
    let time = settings.timeout / u32::try_from(sentinels.len() + 1).unwrap_or(u32::MAX);
    let mut failure = LinkFailure::timeout(settings);
    for sentinel in sentinels {
        failure = match timeout(time, ask(sentinel, name, time)).await {
            Ok(Ok(Some((host, port)))) => return Ok(HostPort { host, port }),
            Ok(Ok(None)) => {
                let reason = format!("the sentinel {sentinel} knows no primary {name:?}");
                LinkFailure::new(FailureClass::Other, settings, reason)
            }
            Ok(Err(error)) => LinkFailure::of(&error, settings),
            Err(_) => LinkFailure::timeout(settings),
        };
    }
    Err(failure)
}

async fn ask(sentinel: &HostPort, name: &str, time: Duration) -> Result<Option<(String, u16)>, RedisError> {
    let address = ConnectionAddr::Tcp(sentinel.host.clone(), sentinel.port);
    let info: ConnectionInfo = address.into_connection_info()?;
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(time)).set_response_timeout(Some(time));
    let mut connection = Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await?;
    cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name).query_async(&mut connection).await
}
