//! Requests and expected replies. Every message carries its connection and its number.

/// Length of a stamp in bytes.
const STAMP: usize = 8;

/// A batch of requests and its replies. All connections share the memory, so each use writes new stamps.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Sent by the server to a new connection.
    pub(crate) welcome: &'static [u8],
    request: Direction,
    answer: Direction,
}

/// One direction of a batch.
#[derive(Debug, Clone)]
struct Direction {
    bytes: Vec<u8>,
    message: usize,
    stamp_at: usize,
}

impl Traffic {
    /// Creates a batch of `depth` messages with `size` bytes of payload, plus the bytes of the framing.
    pub(crate) fn new(protocol: &str, size: usize, depth: usize) -> Self {
        assert!(size >= STAMP, "{size} bytes are too few for the stamp");
        // Printable bytes without line ends; neighbouring bytes differ.
        let payload: Vec<u8> = (0..size).map(|at| b'0' + (at.wrapping_mul(31) ^ (at >> 5)) as u8 % 64).collect();
        let (welcome, before, after): (&[u8], Vec<u8>, &[u8]) = match protocol {
            "lines" => (b"", Vec::new(), b"\n"),
            "length" => (b"", (size as u32).to_be_bytes().to_vec(), b""),
            _ => (b"", Vec::new(), b""),
        };
        let request = Direction::new(&[&before, &payload, after], before.len(), depth);
        match protocol {
            "hello" => {
                let answer = Direction::new(&[b"hello, ", &payload, b"!"], 7, depth);
                Self { welcome: b"welcome!", request, answer }
            }
            _ => Self { welcome, answer: request.clone(), request },
        }
    }

    /// The requests of a batch of a connection.
    pub(crate) fn request(&mut self, connection: usize, batch: u32) -> &[u8] {
        self.request.stamped(connection, batch)
    }

    /// The expected replies to the batch.
    pub(crate) fn answer(&mut self, connection: usize, batch: u32) -> &[u8] {
        self.answer.stamped(connection, batch)
    }

    /// The requests of a batch as separate messages.
    pub(crate) fn requests(&mut self, connection: usize, batch: u32) -> impl Iterator<Item = &[u8]> {
        let message = self.request.message;
        self.request.stamped(connection, batch).chunks_exact(message)
    }

    pub(crate) fn answers(&mut self, connection: usize, batch: u32) -> impl Iterator<Item = &[u8]> {
        let message = self.answer.message;
        self.answer.stamped(connection, batch).chunks_exact(message)
    }

    /// Number of messages per batch.
    pub(crate) fn depth(&self) -> usize {
        self.request.bytes.len() / self.request.message
    }
}

impl Direction {
    fn new(parts: &[&[u8]], stamp_at: usize, depth: usize) -> Self {
        let message = parts.concat();
        Self { message: message.len(), bytes: message.repeat(depth), stamp_at }
    }

    fn stamped(&mut self, connection: usize, batch: u32) -> &[u8] {
        for (nth, message) in self.bytes.chunks_exact_mut(self.message).enumerate() {
            // Six bits per byte, so that the stamp is printable: one byte for the index in the batch, three for the
            // connection, four for the batch.
            let number = (nth as u64 & 0x3f) | (connection as u64 & 0x3_ffff) << 6 | u64::from(batch & 0xff_ffff) << 24;
            for (at, byte) in message[self.stamp_at..self.stamp_at + STAMP].iter_mut().enumerate() {
                *byte = b'0' + (number >> (6 * at) & 0x3f) as u8;
            }
        }
        &self.bytes
    }
}
