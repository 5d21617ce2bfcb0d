//! The simulated clients. Each checks its replies as they arrive.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use switchboard::testing::{SimulatedNetwork, SimulatedStream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, split};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::handler::{Encoding, SLOW, Style, message};

/// After that, a client gives up.
const PATIENCE: Duration = Duration::from_secs(3600);
/// A datagram client waits longer than all of its replies may take.
const QUIET: Duration = Duration::from_secs(5);

/// The address of the proxy.
pub(super) const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 200, 0, 1));

/// Connects a client, through the proxy or directly.
pub(super) async fn connect(
    net: &SimulatedNetwork,
    listener: &str,
    address: SocketAddr,
    is_proxied: bool,
) -> io::Result<SimulatedStream> {
    if !is_proxied {
        return net.connect(listener, address).await;
    }
    let mut stream = net.connect(listener, SocketAddr::new(PROXY, address.port())).await?;
    let header = format!("PROXY TCP4 {} 192.0.2.1 {} 80\r\n", address.ip(), address.port());
    stream.write_all(header.as_bytes()).await?;
    Ok(stream)
}

/// What a client does after its messages, or instead of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conduct {
    /// Ends its output, and reads to the end.
    Good,
    /// Reads until the server closes.
    Stays,
    /// Does not read for a while, in between.
    Stalls,
    /// Closes the connection without reading to the end.
    Quits,
    Resets,
    /// Sends a part of a message, and then nothing.
    Partial,
    /// Sends a message above the limit.
    Greedy,
}

#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) number: usize,
    pub(super) address: SocketAddr,
    pub(super) listener: String,
    pub(super) encoding: Encoding,
    pub(super) style: Style,
    pub(super) is_datagram: bool,
    pub(super) is_proxied: bool,
    pub(super) conduct: Conduct,
    pub(super) start: Duration,
    pub(super) messages: u64,
    pub(super) pause: Duration,
    /// How long a reply waits before the client reads it.
    pub(super) reading_delay: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Refused,
    /// The server has ended its output.
    Closed,
    Reset,
    /// The client has left.
    Left,
    GaveUp,
}

#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) client: Client,
    pub(super) end: Ending,
    /// Messages that were written completely.
    pub(super) sent: u64,
    /// When each of them was.
    pub(super) sent_at: Vec<Instant>,
    pub(super) replies: Replies,
    /// The network or the client has disturbed the connection.
    pub(super) is_faulted: bool,
    /// For each datagram: the copies that arrive complete, and the replies.
    pub(super) datagrams: Vec<(usize, usize)>,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) problem: Option<String>,
}

/// What a client has received.
#[derive(Default)]
pub(super) struct Replies {
    buffer: Vec<u8>,
    pub(super) is_greeted: bool,
    /// Complete replies; for raw framing, their bytes.
    pub(super) count: u64,
    seen: Vec<u64>,
    /// The messages of raw framing so far, and their number.
    expected: String,
    sent: u64,
    /// The reason in the last message of the server.
    pub(super) reason: Option<String>,
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_greeted, count, reason, buffer, .. } = self;
        write!(f, "greeted: {is_greeted}, replies: {count}, reason: {reason:?}, {} bytes", buffer.len())
    }
}

impl Replies {
    /// Adds bytes, of a client that has begun to send so many messages.
    fn add(&mut self, client: &Client, bytes: &[u8], begun: u64) -> Result<(), String> {
        self.buffer.extend_from_slice(bytes);
        if client.encoding == Encoding::Raw {
            return self.add_raw(client, begun);
        }
        while let Some(frame) = client.encoding.decode(&mut self.buffer) {
            let text = String::from_utf8(frame).map_err(|error| format!("received {:?}", error.as_bytes()))?;
            match text.split_at_checked(1) {
                _ if self.reason.is_some() => return Err(format!("received {text:?} behind the last message")),
                Some(("?", "")) if !self.is_greeted => self.is_greeted = true,
                Some(("!", reason)) => self.reason = Some(reason.to_owned()),
                Some(("+", reply)) if self.is_greeted => {
                    let mut candidates = match client.style {
                        Style::Unordered => 0..begun,
                        _ => self.count..begun.min(self.count + 1),
                    };
                    let found = candidates.find(|n| message(client.number, *n) == reply);
                    let n = found.ok_or_else(|| format!("received {text:?} as reply {} of {begun}", self.count))?;
                    if self.seen.contains(&n) {
                        return Err(format!("received {text:?} twice"));
                    }
                    self.seen.push(n);
                    self.count += 1;
                }
                _ => return Err(format!("received {text:?}")),
            }
        }
        Ok(())
    }

    fn add_raw(&mut self, client: &Client, begun: u64) -> Result<(), String> {
        if !self.is_greeted && self.buffer.first() == Some(&b'?') {
            self.is_greeted = true;
            self.buffer.remove(0);
        }
        while self.sent < begun {
            self.expected += &message(client.number, self.sent);
            self.sent += 1;
        }
        let (replies, reason) = match self.buffer.iter().position(|byte| *byte == b'!') {
            Some(at) => (&self.buffer[..at], Some(String::from_utf8_lossy(&self.buffer[at + 1..]).into_owned())),
            None => (&*self.buffer, None),
        };
        if !self.expected.as_bytes().starts_with(replies) {
            return Err(format!("received \"{}\"", self.buffer.escape_ascii()));
        }
        (self.count, self.reason) = (replies.len() as u64, reason);
        Ok(())
    }
}

impl Client {
    pub(super) async fn run(self, net: SimulatedNetwork) -> Outcome {
        sleep(self.start).await;
        let mut outcome = Outcome {
            end: Ending::Refused,
            sent: 0,
            sent_at: Vec::new(),
            replies: Replies::default(),
            is_faulted: false,
            datagrams: Vec::new(),
            began: Instant::now(),
            ended: Instant::now(),
            problem: None,
            client: self,
        };
        if outcome.client.is_datagram {
            outcome.exchange(&net).await;
        } else {
            outcome.converse(&net).await;
        }
        outcome.ended = Instant::now();
        outcome
    }
}

impl Outcome {
    async fn converse(&mut self, net: &SimulatedNetwork) {
        let client = &self.client;
        let connected = connect(net, &client.listener, client.address, client.is_proxied).await;
        let Ok(stream) = connected else { return };
        let (mut reader, mut writer) = split(stream);
        let (begun, sent_at) = (&AtomicU64::new(0), &Mutex::new(Vec::new()));
        let write = async {
            for n in 0..client.messages {
                begun.store(n + 1, Relaxed);
                if writer.write_all(&client.encoding.encode(message(client.number, n).as_bytes())).await.is_err() {
                    return;
                }
                sent_at.lock().unwrap().push(Instant::now());
                sleep(client.pause).await;
            }
            match client.conduct {
                Conduct::Good | Conduct::Stalls => drop(writer.shutdown().await),
                Conduct::Partial => drop(writer.write_all(&client.encoding.encode(b"partial")[..5]).await),
                Conduct::Greedy => drop(writer.write_all(&client.encoding.encode(&[b'x'; 70_000])).await),
                Conduct::Stays | Conduct::Quits | Conduct::Resets => {}
            }
        };
        let both = async {
            let replies = &mut self.replies;
            let read = read_replies(&mut reader, client, replies, begun);
            let leaves = matches!(client.conduct, Conduct::Quits | Conduct::Resets);
            let write = async {
                write.await;
                if !leaves {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                end = read => end,
                () = write => Ok(Ending::Left),
            }
        };
        let end = timeout(PATIENCE, both).await.unwrap_or(Ok(Ending::GaveUp));
        self.sent_at = std::mem::take(&mut *sent_at.lock().unwrap());
        self.sent = self.sent_at.len() as u64;
        match end {
            Ok(end) => self.end = end,
            Err(problem) => self.problem = Some(problem),
        }
        let stream = reader.unsplit(writer);
        self.is_faulted = stream.is_faulted();
        if self.client.conduct == Conduct::Resets {
            stream.reset();
        }
    }

    async fn exchange(&mut self, net: &SimulatedNetwork) {
        let Client { number, address, listener, messages, pause, .. } = &self.client;
        let socket = net.socket(listener, *address);
        let texts: Vec<String> = (0..*messages).map(|n| message(*number, n)).collect();
        let mut counts = vec![(0, 0); texts.len()];
        let send = async {
            let mut arriving = Vec::new();
            for text in &texts {
                arriving.push(socket.send(text));
                sleep(*pause).await;
            }
            arriving
        };
        let receive = async {
            let end = Instant::now() + (*pause + SLOW) * u32::try_from(*messages).unwrap() + QUIET;
            while let Ok(reply) = timeout_at(end, socket.receive()).await {
                // Truncated on the way, or complete.
                let found = texts.iter().position(|text| reply.strip_prefix(b"+") == Some(text.as_bytes()));
                match found {
                    Some(n) => counts[n].1 += 1,
                    None if texts.iter().any(|text| format!("+{text}").as_bytes().starts_with(&reply)) => {}
                    None => return Some(format!("received \"{}\"", reply.escape_ascii())),
                }
            }
            None
        };
        let (arriving, problem) = tokio::join!(send, receive);
        counts.iter_mut().zip(arriving).for_each(|(count, arriving)| count.0 = arriving);
        (self.sent, self.datagrams, self.problem, self.end) = (*messages, counts, problem, Ending::Left);
    }
}

async fn read_replies(
    reader: &mut (impl AsyncRead + Unpin),
    client: &Client,
    replies: &mut Replies,
    begun: &AtomicU64,
) -> Result<Ending, String> {
    let mut buffer = [0; 2048];
    loop {
        if client.conduct == Conduct::Stalls && [3, 6].contains(&replies.count) {
            sleep(Duration::from_secs(3)).await;
        }
        let mut read = Some(reader.read(&mut buffer).await);
        sleep(client.reading_delay).await;
        while let Some(result) = read {
            match result {
                Ok(0) => return Ok(Ending::Closed),
                Ok(read) => replies.add(client, &buffer[..read], begun.load(Relaxed))?,
                Err(_) => return Ok(Ending::Reset),
            }
            // What has arrived during the delay is read without another one.
            let has_more = !client.reading_delay.is_zero();
            read = if has_more { reader.read(&mut buffer).now_or_never() } else { None };
        }
    }
}
