//! The echo handler.

use bytes::Bytes;
use switchboard::{Context, Handler, Reply, Result};

/// Sends each message or datagram back unchanged.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo;

impl Handler for Echo {
    type State = ();

    async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
        Ok(Reply::send(message))
    }
}
