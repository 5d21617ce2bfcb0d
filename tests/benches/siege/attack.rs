//! The attackers: each attack goes on until standard input ends, bounded in what it opens at once.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Connections that stay open at once: with the server's own end, within what a process may open.
const MANY: usize = 5_000;
const SOME: usize = 1_000;
/// Threads of those attacks that go as fast as they can.
const THREADS: usize = 2;

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Connects and stays silent.
    Silent,
    /// Sends a byte of a message every second.
    Trickle,
    /// Asks and never reads.
    Deaf,
    /// Headers of messages of four gigabytes.
    Bombs,
    /// Takes every place that one source may have, and goes on connecting as fast as it can.
    Source,
    /// Connects and resets, as fast as it can.
    Reset,
}

impl Attack {
    pub(crate) const ALL: [Self; 6] = [Self::Silent, Self::Trickle, Self::Deaf, Self::Bombs, Self::Source, Self::Reset];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Trickle => "trickle",
            Self::Deaf => "deaf",
            Self::Bombs => "bombs",
            Self::Source => "source",
            Self::Reset => "reset",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attack| attack.name() == name)
    }

    /// Attacks until standard input ends; the end of the process does the rest.
    pub(crate) fn run(self, address: &str) {
        let address: SocketAddr = address.parse().expect("an address");
        let mut held = match self {
            Self::Silent => hold(address, MANY, |_| Ok(())),
            Self::Trickle => hold(address, SOME, |stream| stream.write_all(&[0, 0, 1, 0])),
            Self::Deaf => hold(address, SOME / 2, ask_until_it_blocks),
            Self::Source => hold(address, MANY, |_| Ok(())),
            Self::Bombs | Self::Reset => Vec::new(),
        };
        if self == Self::Trickle {
            let mut streams = std::mem::take(&mut held);
            thread::spawn(move || {
                loop {
                    for stream in &mut streams {
                        let _ = stream.write_all(b"x"); // by now it may be closed, which is the point
                    }
                    thread::park_timeout(Duration::from_secs(1));
                }
            });
        }
        if matches!(self, Self::Bombs | Self::Source | Self::Reset) {
            for _ in 0..THREADS {
                thread::spawn(move || {
                    loop {
                        let _ = self.once(address); // that the server does not like it is the point
                    }
                });
            }
        }
        println!("ready");
        let _ = io::stdin().read_to_end(&mut Vec::new());
    }

    /// One round of an attack that is quick.
    fn once(self, address: SocketAddr) -> io::Result<()> {
        match self {
            Self::Bombs => {
                let mut stream = connect(address)?;
                stream.write_all(&[0xff; 4])?;
                stream.read_to_end(&mut Vec::new()).map(drop)
            }
            Self::Source => connect(address).map(drop), // all places of this source are taken
            Self::Reset => {
                let stream = connect(address)?;
                Socket::from(stream).set_linger(Some(Duration::ZERO))
            }
            Self::Silent | Self::Trickle | Self::Deaf => Ok(()),
        }
    }
}

/// From an address of its own, so that the good clients are another source.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, 66), 0)).into())?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

fn hold(address: SocketAddr, count: usize, begin: impl Fn(&mut TcpStream) -> io::Result<()>) -> Vec<TcpStream> {
    let streams = (0..count).map_while(|_| {
        let mut stream = connect(address).ok()?;
        begin(&mut stream).ok()?;
        Some(stream)
    });
    streams.collect()
}

fn ask_until_it_blocks(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let message = [&[0, 0, 0x80, 0][..], &[b'x'; 0x8000]].concat();
    let mut written = 0;
    loop {
        match stream.write(&message[written % message.len()..]) {
            Ok(bytes) => written += bytes,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
