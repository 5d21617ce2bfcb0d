//! The configuration of the running server.

use serde_json::Value as Json;

use crate::assemble;
use crate::client::address::AdminAddress;
use crate::client::http::{ClientError, get};

async fn running_config(server: &AdminAddress) -> Result<Json, ClientError> {
    get(server, "/config").await?.json()
}

/// Waits for the configuration. The error names the address.
pub(crate) fn wait_for_config(server: &AdminAddress) -> Result<Json, String> {
    let runtime = assemble::runtime(1).map_err(|error| error.to_string())?;
    let reply = runtime.block_on(running_config(server));
    runtime.shutdown_background();
    reply.map_err(|error| server.describe(error))
}
