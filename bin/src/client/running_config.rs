//! What the running server would do if it reloaded: its configuration, and a dry run.

use serde_json::Value as Json;

use crate::admin::Difference;
use crate::assemble;
use crate::client::address::AdminAddress;
use crate::client::http::{ClientError, get};
use crate::client::reload_request::request_reload;

/// The state of the running server before a reload.
#[derive(Debug)]
pub(crate) struct RunningConfig {
    /// The values in use.
    pub(crate) values: Json,
    /// The files, such as certificates, whose content has changed.
    pub(crate) file_contents: Vec<Difference>,
    /// Why the server would reject a reload now.
    pub(crate) errors: Vec<String>,
}

async fn running_config(server: &AdminAddress) -> Result<RunningConfig, ClientError> {
    let values = get(server, "/config").await?.json()?;
    let (_, dry_run) = request_reload(server, "?dry_run=true").await?;
    let file_contents = dry_run.keys.into_iter().filter(|key| key.is_file_content).collect();
    Ok(RunningConfig { values, file_contents, errors: dry_run.errors })
}

/// Waits for the replies of the server. The error names the address.
pub(crate) fn wait_for_config(server: &AdminAddress) -> Result<RunningConfig, String> {
    let runtime = assemble::runtime(1).map_err(|error| error.to_string())?;
    let reply = runtime.block_on(running_config(server));
    runtime.shutdown_background();
    reply.map_err(|error| error.describe(server))
}
