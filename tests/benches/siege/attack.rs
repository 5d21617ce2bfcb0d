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
    /// Ten thousand connections from one source, again and again.
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
            Self::Bombs | Self::Source | Self::Reset => Vec::new(),
        };
        match self {
            Self::Silent | Self::Deaf => {}
            Self::Trickle => drop(thread::spawn(move || {
                loop {
                    for stream in &mut held {
                        let _ = stream.write_all(b"x"); // by now it may be closed, which is the point
                    }
                    thread::park_timeout(Duration::from_secs(1));
                }
            })),
            Self::Bombs | Self::Source | Self::Reset => {
                for _ in 0..THREADS {
                    thread::spawn(move || {
                        loop {
                            let _ = self.once(address);
                        }
                    });
                }
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
            Self::Source => {
                let streams: Vec<_> = (0..MANY + 100).map_while(|_| connect(address).ok()).collect();
                drop(streams);
                Ok(())
            }
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
