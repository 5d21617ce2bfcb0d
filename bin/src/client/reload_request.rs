//! The request for a reload or its dry run.

use std::time::Duration;

use axum::http::{Method, StatusCode};

use crate::client::address::AdminAddress;
use crate::client::http::{ClientError, HttpReply, send, successful};
use crate::client::report::Reloaded;

/// Time for the reply to a reload, which the server ends after 30 s.
const TIMEOUT: Duration = Duration::from_secs(35);

/// Requests a reload with this query. The reply to a rejected one has its errors.
pub(super) async fn request_reload(server: &AdminAddress, query: &str) -> Result<(HttpReply, Reloaded), ClientError> {
    let reply = send(server, Method::POST, &format!("/reload{query}"), String::new(), TIMEOUT).await?;
    let has_errors = [StatusCode::UNPROCESSABLE_ENTITY, StatusCode::SERVICE_UNAVAILABLE].contains(&reply.status);
    let reply = if has_errors { reply } else { successful(server, reply)? };
    let reloaded = reply.json()?;
    Ok((reply, reloaded))
}
