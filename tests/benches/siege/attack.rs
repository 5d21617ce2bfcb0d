//! The attacks. Each one runs until standard input ends and limits its number of open connections.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// Connections that an attack keeps open, below the limit of open files per process.
const MAX_CONNECTIONS: usize = 5_000;
const SLOW_CONNECTIONS: usize = 1_000;
/// Threads of the attacks that run at full speed.
const THREADS: usize = 2;

/// An attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Connects and sends nothing.
    Idle,
    /// Sends one byte of a message per second.
    Slowloris,
    /// Sends messages and never reads the replies.
    NoRead,
    /// Announces messages of 4 GiB.
    Oversized,
    /// Opens all connections that the limit per source permits, and continues to connect at full speed.
    OneSource,
    /// Connects and resets at full speed.
    Reset,
}

impl Attack {
    pub(crate) const ALL: [Self; 6] =
        [Self::Idle, Self::Slowloris, Self::NoRead, Self::Oversized, Self::OneSource, Self::Reset];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Slowloris => "slowloris",
            Self::NoRead => "no-read",
            Self::Oversized => "oversized",
            Self::OneSource => "one-source",
            Self::Reset => "reset",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attack| attack.name() == name)
    }

    /// Attacks until standard input ends. The exit of the process closes the connections.
    pub(crate) fn run(self, address: &str) {
        let address: SocketAddr = address.parse().expect("an address");
        let mut held = match self {
            Self::Idle => hold(address, MAX_CONNECTIONS, |_| Ok(())),
            Self::Slowloris => hold(address, SLOW_CONNECTIONS, |stream| stream.write_all(&[0, 0, 1, 0])),
            Self::NoRead => hold(address, SLOW_CONNECTIONS / 2, send_until_blocked),
            Self::OneSource => hold(address, MAX_CONNECTIONS, |_| Ok(())),
            Self::Oversized | Self::Reset => Vec::new(),
        };
        if self == Self::Slowloris {
            let mut streams = std::mem::take(&mut held);
            thread::spawn(move || {
                loop {
                    for stream in &mut streams {
                        let _ = stream.write_all(b"x"); // Fails after the server has closed it.
                    }
                    thread::park_timeout(Duration::from_secs(1));
                }
            });
        }
        if matches!(self, Self::Oversized | Self::OneSource | Self::Reset) {
            for _ in 0..THREADS {
                thread::spawn(move || {
                    loop {
                        let _ = self.once(address); // An error is expected: the server rejects the attack.
                    }
                });
            }
        }
        println!("ready");
        let _ = io::stdin().read_to_end(&mut Vec::new());
    }

    /// One connection of an attack at full speed.
    fn once(self, address: SocketAddr) -> io::Result<()> {
        match self {
            Self::Oversized => {
                let mut stream = connect(address)?;
                stream.write_all(&[0xff; 4])?;
                stream.read_to_end(&mut Vec::new()).map(drop)
            }
            Self::OneSource => connect(address).map(drop), // The limit of this source is reached.
            Self::Reset => {
                let stream = connect(address)?;
                Socket::from(stream).set_linger(Some(Duration::ZERO))
            }
            Self::Idle | Self::Slowloris | Self::NoRead => Ok(()),
        }
    }
}

/// Connects from a dedicated address, so that the well-behaved clients are a different source.
fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, 66), 0)).into())?;
    socket.connect(&address.into())?;
    Ok(socket.into())
}

fn hold(address: SocketAddr, count: usize, init: impl Fn(&mut TcpStream) -> io::Result<()>) -> Vec<TcpStream> {
    let streams = (0..count).map_while(|_| {
        let mut stream = connect(address).ok()?;
        init(&mut stream).ok()?;
        Some(stream)
    });
    streams.collect()
}

fn send_until_blocked(stream: &mut TcpStream) -> io::Result<()> {
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
