//! A transport of one's own: the one connection of standard input and output, as a program started by inetd has it.
//!
//! Try it: `printf 'hi\n' | custom_transport` prints the reply and ends by itself. With an address it serves that address:
//! the new scheme `stdio:` stands beside the built-in ones.

use std::io;

use switchboard::prelude::*;
use switchboard::transport::{Accepted, StreamListener};
use switchboard::transport::{Bind, Listener, SchemeInfo, Transport};
use switchboard::{Address, Endpoint, async_trait};

/// Where it listens, who comes, and what comes there: there is only one of each.
const STDIO: &str = "stdio:";

struct Stdio;

#[async_trait]
impl Transport for Stdio {
    /// A text whose scheme ListenerSet does not know is an [`Endpoint::Other`]; the server asks the transport that names it.
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("stdio", "one connection: standard input and output", Kind::Stream)]
    }

    async fn bind(&self, bind: Bind) -> io::Result<Listener> {
        match bind.endpoint {
            Endpoint::Other { rest, .. } if rest.is_empty() => Ok(Listener::Stream(Box::new(Once { came: false }))),
            _ => Err(io::Error::other("nothing follows stdio:")),
        }
    }
}

/// Brings one connection.
struct Once {
    came: bool,
}

#[async_trait]
impl StreamListener for Once {
    /// `None` says that nobody will come any more; a server whose listeners all say so ends when the last connection has.
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        if std::mem::replace(&mut self.came, true) {
            return Ok(None);
        }
        // Anything that reads and writes asynchronously is a connection: here two halves that know nothing of each other.
        let both = tokio::io::join(tokio::io::stdin(), tokio::io::stdout());
        Ok(Some(Accepted::ready(Address::Named(STDIO.into()), Address::Named(STDIO.into()), both)))
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
    // tokio reads standard input in a thread of its own, and nothing can call a thread back that waits there. #[tokio::main]
    // would wait for it: after SIGTERM, until somebody presses return.
    runtime.shutdown_background();
    served
}
