//! The load: what is sent, how often, and which replies are expected. Checks the command line.

use std::fmt::Display;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use switchboard::Registry;
use switchboard::framing::{AnyFraming, Framing};
use switchboard::settings::{Rate, Size, file};
use tokio_util::codec::Encoder;

use super::options::BenchOptions;
use crate::config;
use crate::dial::Server;
use crate::exit;
use crate::failure::Failure;

/// Maximum number of connections.
const MAX_CONNECTIONS: usize = 100_000;
/// Maximum number of messages that wait for replies, over all connections.
const MAX_WAITING: usize = 1_000_000;
/// Default of --depth with --rate.
const DEFAULT_DEPTH: usize = 1000;
/// Maximum size of the messages of all connections, and of their replies.
const MAX_BUFFERS: usize = 1 << 30;
/// Maximum size of a reply. With many connections it is smaller.
const MAX_REPLY: usize = 16 << 20;
/// Maximum size of a reply with any number of connections.
const MIN_REPLY: usize = 64 << 10;
/// Maximum number of messages per second.
const MAX_RATE: f64 = 10_000_000.0;

#[derive(Debug)]
pub(super) struct Load {
    pub(super) server: Server,
    pub(super) framing: AnyFraming,
    pub(super) message: Bytes,
    pub(super) connections: usize,
    /// Messages of a connection that may wait for replies.
    pub(super) depth: usize,
    pub(super) rate: Option<Rate>,
    pub(super) duration: Duration,
    pub(super) warmup: Duration,
    pub(super) replies: u32,
    pub(super) reply_size: Option<usize>,
    pub(super) has_greeting: bool,
    pub(super) connect_each: bool,
    pub(super) timeout: Duration,
}

impl Load {
    pub(super) fn new(options: BenchOptions, registry: &Registry) -> Result<Self, Failure> {
        let usage = |error: &dyn Display| Failure::usage(error);
        let framing = config::read_framing(options.framing.as_deref().unwrap_or("raw"), registry)
            .map_err(|error| usage(&format_args!("invalid value for '--framing <NAME>': {error}")))?;
        let server = Server::new(options.address, &options.tls)?;
        let (connections, reply_size) = (options.connections, options.reply_size.map(|size| *size));
        if !(1..=MAX_CONNECTIONS).contains(&connections) {
            return Err(usage(&format_args!("--connections {connections}: use 1 to {MAX_CONNECTIONS}")));
        }
        if let Some(rate) = options.rate
            && !(0.0..=MAX_RATE).contains(&per_second(rate))
        {
            return Err(usage(&format_args!("--rate {rate}: use at most {MAX_RATE}/s")));
        }
        if options.rate.is_some_and(|rate| rate.is_off()) {
            return Err(usage(&"--rate 0/s sends nothing; leave --rate out to send without pauses"));
        }
        if options.duration.is_zero() || options.timeout.is_zero() {
            return Err(usage(&"--duration and --timeout must be longer than 0s"));
        }
        if options.greeting && server.is_datagram() {
            return Err(usage(&"--greeting needs connections; a server of datagrams sends nothing first"));
        }
        let depth = depth(options.depth, options.rate, &framing, &server, connections, reply_size)?;
        let message = message(options.file.as_deref(), options.size, &framing, &server)?;
        if message.len().saturating_mul(connections) > MAX_BUFFERS {
            let most = MAX_BUFFERS / connections;
            return Err(usage(&format_args!(
                "{connections} connections can send messages of at most {most} bytes, and this one has {}; \
                 lower --connections or --size",
                message.len()
            )));
        }
        Ok(Self {
            server,
            framing,
            message,
            connections,
            depth,
            rate: options.rate,
            duration: *options.duration,
            warmup: *options.warmup,
            replies: options.replies,
            reply_size,
            has_greeting: options.greeting,
            connect_each: options.connect_each,
            timeout: *options.timeout,
        })
    }

    /// The limit of a reply for the framing.
    pub(super) fn max_reply(&self) -> usize {
        (MAX_BUFFERS / self.connections).clamp(MIN_REPLY, MAX_REPLY)
    }
}

pub(super) fn per_second(rate: Rate) -> f64 {
    if rate.is_off() { 0.0 } else { f64::from(rate.count()) / rate.per().as_secs_f64() }
}

/// Checks that replies can be assigned to messages.
fn depth(
    wanted: Option<usize>,
    rate: Option<Rate>,
    framing: &AnyFraming,
    server: &Server,
    connections: usize,
    reply_size: Option<usize>,
) -> Result<usize, Failure> {
    let only_one = if server.is_datagram() {
        Some("the reply of a lost datagram would be missing; use more --connections")
    } else if framing.name() == "raw" && reply_size.is_none() {
        Some("with the framing raw, replies have no boundaries; name another --framing or the --reply-size")
    } else {
        None
    };
    match (wanted, only_one) {
        (Some(0), _) => Err(Failure::usage("--depth 0: use at least 1")),
        (Some(depth), Some(why)) if depth > 1 => Err(Failure::usage(format_args!("--depth {depth}: {why}"))),
        (_, Some(_)) => Ok(1),
        (Some(depth), None) if depth.saturating_mul(connections) > MAX_WAITING => Err(Failure::usage(format_args!(
            "--depth {depth} with {connections} connections: at most {MAX_WAITING} messages can wait for replies"
        ))),
        (Some(depth), None) => Ok(depth),
        (None, None) if rate.is_some() => Ok(DEFAULT_DEPTH.min(MAX_WAITING / connections)),
        (None, None) => Ok(1),
    }
}

/// The content of the file, or a text of this size that fits the framing.
fn message(
    path: Option<&std::path::Path>,
    size: Size,
    framing: &AnyFraming,
    server: &Server,
) -> Result<Bytes, Failure> {
    let (flag, candidates) = match path {
        Some(path) => {
            let read = file::read(path);
            let content = read.map_err(|error| {
                Failure::new(format_args!("--file {}: cannot be read: {}", path.display(), exit::reason(&error)))
            })?;
            (format!("--file {}", path.display()), vec![Bytes::from(content)])
        }
        None => {
            let text = "x".repeat(*size);
            // A JSON value is needed for some framings.
            let json = format!("\"{}\"", "x".repeat(size.saturating_sub(2)));
            (format!("--size {size}"), vec![text.into(), json.into()])
        }
    };
    let length = candidates[0].len();
    let most = framing.limit(MAX_REPLY);
    if length > most {
        return Err(Failure::usage(format_args!(
            "{flag}: the message has {length} bytes, and the framing {} allows {most}",
            framing.name()
        )));
    }
    let mut why = String::new();
    for message in candidates {
        match encoded_length(framing, server, &message) {
            Ok(0) => why = "an empty message sends nothing".to_owned(),
            Ok(_) => return Ok(message),
            Err(error) => why = error,
        }
    }
    let hint = if path.is_none() { "; use --file with a message that does" } else { "" };
    Err(Failure::usage(format_args!("{flag}: the message does not fit the framing {}: {why}{hint}", framing.name())))
}

fn encoded_length(framing: &AnyFraming, server: &Server, message: &Bytes) -> Result<usize, String> {
    if server.is_datagram() {
        return framing.datagram_out(message.clone()).map(|datagram| datagram.len()).map_err(|error| error.to_string());
    }
    let mut buffer = BytesMut::new();
    let encoded = framing.codec(MAX_REPLY).encode(message.clone(), &mut buffer);
    encoded.map(|()| buffer.len()).map_err(|error| error.to_string())
}

#[cfg(test)]
pub(super) mod tests;
