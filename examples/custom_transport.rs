//! A custom transport: standard input and output as one connection, as for a program started by inetd.
//!
//! Try it: `printf 'hi\n' | custom_transport` prints the reply and exits. With an address as its argument it serves
//! that address: the scheme `stdio:` is added to the built-in schemes.

use std::io;

use switchboard::prelude::*;
use switchboard::transport::{Accepted, StreamListener};
use switchboard::transport::{Bind, Listener, SchemeInfo, Transport};
use switchboard::{Address, Endpoint, async_trait};

/// The listen address, and the local and peer address of its only connection.
const STDIO: &str = "stdio:";

struct Stdio;

#[async_trait]
impl Transport for Stdio {
    /// An address with a scheme that is not built in is an [`Endpoint::Other`]. The server passes it to the transport
    /// that lists the scheme here.
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("stdio", "one connection: standard input and output", Kind::Stream)]
    }

    async fn bind(&self, bind: Bind) -> io::Result<Listener> {
        match bind.endpoint {
            Endpoint::Other { rest, .. } if rest.is_empty() => Ok(Listener::Stream(Box::new(Once { accepted: false }))),
            _ => Err(io::Error::other("stdio: takes no address")),
        }
    }
}

/// Accepts one connection.
struct Once {
    accepted: bool,
}

#[async_trait]
impl StreamListener for Once {
    /// `None` means that no more connections follow. When all listeners have returned `None`, the server exits after
    /// the last connection is closed.
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        if std::mem::replace(&mut self.accepted, true) {
            return Ok(None);
        }
        // A connection is any `AsyncRead` and `AsyncWrite`; here two independent halves are joined.
        let stream = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
        Ok(Some(Accepted::ready(Address::Named(STDIO.into()), Address::Named(STDIO.into()), stream)))
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::Other { scheme: "stdio".into(), rest: String::new() }
    }
}

async fn shout(_: Context, line: Bytes) -> Result<Reply> {
    Ok(Reply::send(line.to_ascii_uppercase()))
}

fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or(STDIO.into());
    let runtime = tokio::runtime::Runtime::new()?;
    let served =
        runtime.block_on(Server::bind(address).transport(Stdio).framing(Lines::default()).serve(handler_fn(shout)));
    // tokio reads standard input in a blocking thread, which cannot be cancelled (see tokio::io::stdin). #[tokio::main]
    // would wait for that thread: after SIGTERM, until the user presses return.
    runtime.shutdown_background();
    served
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::testing::conformance;

    #[test]
    fn shout_keeps_the_laws() {
        conformance(|| handler_fn(shout)).framing(Lines::default()).messages(["hello", "", "x"]).check();
    }
}
