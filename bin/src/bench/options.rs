//! The command line of `bench`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use switchboard::Endpoint;
use switchboard::settings::{Interval, Rate, Size};

use crate::dial::TlsOptions;

const AFTER_HELP: &str = "\
Without --rate, each connection sends the next message as soon as a message is answered (closed loop). With --rate, \
messages are due at fixed times, and a latency counts from the time at which its message was due, sent or not (open \
loop).

Exit status: 0 every message was answered, 1 a message failed or none was answered, 2 wrong usage.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BenchOptions {
    /// Address of the server: tcp://127.0.0.1:9999, tls://HOST:PORT, udp://HOST:PORT, unix:/run/app.sock or
    /// unixgram:/run/app.sock
    #[arg(value_name = "ADDRESS")]
    pub(super) address: Endpoint,
    #[arg(long, value_name = "NAME")]
    pub(super) framing: Option<String>,
    /// Number of connections
    #[arg(short, long, value_name = "N", default_value = "10")]
    pub(super) connections: usize,
    /// Messages of a connection that may wait for replies; default: 1, with --rate 1000
    #[arg(long, value_name = "N")]
    pub(super) depth: Option<usize>,
    /// Send at this rate over all connections, such as 5000/s
    #[arg(long, value_name = "RATE")]
    pub(super) rate: Option<Rate>,
    /// How long to measure
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(super) duration: Interval,
    /// How long to send before the measurement
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub(super) warmup: Interval,
    /// Size of the message, which is generated
    #[arg(long, value_name = "SIZE", default_value = "64B", conflicts_with = "file")]
    pub(super) size: Size,
    /// Send the content of this file as the message
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(super) file: Option<PathBuf>,
    /// Replies of the server to each message
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) replies: u32,
    /// Size of each reply; a reply of another size is an error. With the framing raw, so many bytes are one reply
    #[arg(long, value_name = "SIZE")]
    pub(super) reply_size: Option<Size>,
    /// The server sends a message to each new connection, which is no reply
    #[arg(long)]
    pub(super) greeting: bool,
    /// Open a new connection for each message; its latency includes the connection
    #[arg(long)]
    pub(super) connect_each: bool,
    /// Timeout of a reply
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(super) timeout: Interval,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) tls: TlsOptions,
}
