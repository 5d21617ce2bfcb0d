//! Benchmark servers in other frameworks, each short and idiomatic for its framework.
//!
//! `peers NAME PROTOCOL` listens on a free port of 127.0.0.1, prints `listening 127.0.0.1:PORT` as its first line, and
//! serves with one worker until it is killed. `peers --list` prints one `NAME PROTOCOL` per line. Build it with
//! `cargo build --release --manifest-path tests/peers/Cargo.toml`, with `--features pingora` where cmake is installed.
//!
//! | protocol | behaviour |
//! |---|---|
//! | raw | sends back what was read |
//! | lines | sends back each line |
//! | length | sends back each frame, with a big-endian length prefix of 4 bytes |
//! | hello | sends `welcome!`, answers each read M with `hello, M!`, closes on `exit` |
//! | udp | sends back each datagram |
//!
//! A framework supports lines and length if it has its own codecs. Two combinations are missing: rs-netty has no hook
//! for a greeting on a new connection, and rama uses the UDP socket of tokio.

mod actix;
mod monoio;
mod ntex;
#[cfg(feature = "pingora")]
mod pingora;
mod rama;
mod rs_netty;
mod session;
mod start;
mod tokio_util;

use std::io::Write;
use std::process::ExitCode;

/// The protocol of a benchmark server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Raw,
    Lines,
    Length,
    Hello,
    Udp,
}

use Protocol::{Hello, Length, Lines, Raw, Udp};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A framework: its name, its protocols, and the function that runs its server.
type Peer = (&'static str, &'static [Protocol], fn(Protocol) -> Outcome);

const PEERS: &[Peer] = &[
    ("actix-server", &[Raw, Hello], actix::serve),
    ("monoio", &[Raw, Hello, Udp], monoio::serve),
    ("ntex", &[Raw, Hello], ntex::serve),
    #[cfg(feature = "pingora")]
    ("pingora", &[Raw, Hello], pingora::serve),
    ("rama", &[Raw, Hello], rama::serve),
    ("rs-netty", &[Raw, Lines, Length, Udp], rs_netty::serve),
    ("tokio-util", &[Raw, Lines, Length, Hello, Udp], tokio_util::serve),
];

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Raw => "raw",
            Lines => "lines",
            Length => "length",
            Hello => "hello",
            Udp => "udp",
        }
    }
}

fn list() -> String {
    let lines = PEERS
        .iter()
        .flat_map(|(name, protocols, _)| protocols.iter().map(move |protocol| format!("{name} {}\n", protocol.name())));
    lines.collect()
}

fn run(arguments: &[String]) -> Outcome {
    let [name, protocol] = arguments else {
        if arguments == ["--list"] {
            std::io::stdout().write_all(list().as_bytes())?;
            return Ok(());
        }
        return Err("usage: peers NAME PROTOCOL, or peers --list".into());
    };
    let (_, protocols, serve) = PEERS
        .iter()
        .find(|(known, ..)| known == name)
        .ok_or_else(|| format!("unknown peer {name:?}; peers --list shows all peers"))?;
    let spoken = protocols
        .iter()
        .find(|known| known.name() == protocol)
        .ok_or_else(|| format!("{name} does not support {protocol:?}; peers --list shows its protocols"))?;
    serve(*spoken)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error cannot be written, the error cannot be reported.
            let _ = writeln!(std::io::stderr(), "peers: {error}");
            ExitCode::FAILURE
        }
    }
}
