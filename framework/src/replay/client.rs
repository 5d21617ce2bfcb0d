//! A client in memory that reads all the time.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, split};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};
use tokio_util::codec::Decoder;

use crate::address::Address;
use crate::error::Result;
use crate::framing::{AnyCodec, AnyFraming, Framing};
use crate::script::Script;
use crate::transport::memory;

/// The largest message.
const MAX_MESSAGE: usize = 1 << 30;

pub(super) struct Client {
    pub(super) peer: Address,
    output: Option<WriteHalf<DuplexStream>>,
    input: Arc<Input>,
    reader: JoinHandle<()>,
    /// Decodes replies, if the script has messages.
    codec: Option<AnyCodec>,
}

#[derive(Default)]
struct Input {
    received: Mutex<Received>,
    changed: Notify,
}

#[derive(Default)]
struct Received {
    bytes: BytesMut,
    has_ended: bool,
}

impl Client {
    pub(super) async fn connect(server: &str, peer: Option<Address>, framing: Option<&AnyFraming>) -> Result<Self> {
        let peer = peer.unwrap_or_else(|| memory::unique_peer(server));
        let stream = memory::connect_as(server, peer.clone()).await?;
        let (input_half, output) = split(stream);
        let input = Arc::new(Input::default());
        let reader = tokio::spawn(read(input_half, input.clone()));
        let codec = framing.map(|framing| framing.codec(MAX_MESSAGE));
        Ok(Self { peer, output: Some(output), input, reader, codec })
    }

    /// Sends bytes. What the server does not read any more is lost.
    pub(super) async fn send(&mut self, bytes: &[u8], time: Duration) {
        if let Some(output) = &mut self.output {
            // A server that has closed, or that does not read, shows it by its replies.
            let _ = timeout(time, output.write_all(bytes)).await;
        }
    }

    pub(super) async fn end(&mut self) {
        if let Some(mut output) = self.output.take() {
            let _ = output.shutdown().await; // fails if the server has closed
        }
    }

    /// The next reply: a message, or without a framing `len` bytes or what came before the end. `None`: it has not
    /// come in this time.
    pub(super) async fn reply(&mut self, len: usize, time: Duration) -> Result<Option<Bytes>> {
        let (input, codec) = (self.input.clone(), &mut self.codec);
        let next = async {
            loop {
                let changed = input.changed.notified();
                {
                    let mut received = input.received.lock();
                    let Received { bytes, has_ended } = &mut *received;
                    match codec {
                        Some(codec) => {
                            let decoded = if *has_ended { codec.decode_eof(bytes) } else { codec.decode(bytes) };
                            if let Some(message) = decoded? {
                                return Ok(Some(message));
                            }
                        }
                        None if bytes.len() >= len || (*has_ended && !bytes.is_empty()) => {
                            let count = len.min(bytes.len());
                            return Ok(Some(bytes.split_to(count).freeze()));
                        }
                        None => {}
                    }
                    if *has_ended {
                        return Ok(None);
                    }
                }
                changed.await;
            }
        };
        timeout(time, next).await.unwrap_or(Ok(None))
    }

    /// Waits until the server ends its output. False if it does not within this time.
    pub(super) async fn ended(&self, time: Duration) -> bool {
        let ended = async {
            loop {
                let changed = self.input.changed.notified();
                if self.has_ended() {
                    return;
                }
                changed.await;
            }
        };
        timeout(time, ended).await.is_ok()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.input.received.lock().has_ended
    }

    /// Bytes that no step has taken.
    pub(super) fn surplus(&self) -> usize {
        self.input.received.lock().bytes.remaining()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(mut stream: ReadHalf<DuplexStream>, input: Arc<Input>) {
    let mut buffer = BytesMut::new();
    loop {
        let read = stream.read_buf(&mut buffer).await;
        let mut received = input.received.lock();
        received.bytes.extend_from_slice(&buffer);
        buffer.clear();
        received.has_ended = !matches!(read, Ok(1..));
        let has_ended = received.has_ended;
        drop(received);
        input.changed.notify_waiters();
        if has_ended {
            return;
        }
    }
}

/// The address of the client, if it is that of the network.
pub(super) fn recorded_address(script: &Script) -> Option<Address> {
    let address = script.info.iter().find(|(name, _)| name == "peer")?.1.parse::<SocketAddr>().ok()?;
    Some(Address::Inet(address)).filter(|_| script.peer_count() == 1)
}
