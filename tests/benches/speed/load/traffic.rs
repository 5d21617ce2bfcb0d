//! What is sent, and what must come back: every message carries its connection and its number.

/// The bytes of a stamp.
const STAMP: usize = 8;

/// A batch of messages and their answers, stamped anew for each use: connections share the memory.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// What the server says first.
    pub(crate) welcome: &'static [u8],
    request: Side,
    answer: Side,
}

/// One direction of a batch.
#[derive(Debug, Clone)]
struct Side {
    bytes: Vec<u8>,
    message: usize,
    stamp_at: usize,
}

impl Traffic {
    /// Messages of so many bytes, so many in a batch. The bytes of a frame come on top.
    pub(crate) fn new(protocol: &str, size: usize, depth: usize) -> Self {
        assert!(size >= STAMP, "a message of {size} bytes has no room for its number");
        // No two places alike, printable, and without the end of a line.
        let payload: Vec<u8> = (0..size).map(|at| b'0' + (at.wrapping_mul(31) ^ (at >> 5)) as u8 % 64).collect();
        let (welcome, before, after): (&[u8], Vec<u8>, &[u8]) = match protocol {
            "lines" => (b"", Vec::new(), b"\n"),
            "length" => (b"", (size as u32).to_be_bytes().to_vec(), b""),
            _ => (b"", Vec::new(), b""),
        };
        let request = Side::new(&[&before, &payload, after], before.len(), depth);
        match protocol {
            "hello" => {
                let answer = Side::new(&[b"hello, ", &payload, b"!"], 7, depth);
                Self { welcome: b"welcome!", request, answer }
            }
            _ => Self { welcome, answer: request.clone(), request },
        }
    }

    /// The batch that a connection sends under that number.
    pub(crate) fn request(&mut self, connection: usize, batch: u32) -> &[u8] {
        self.request.stamped(connection, batch)
    }

    /// What it is to get for that.
    pub(crate) fn answer(&mut self, connection: usize, batch: u32) -> &[u8] {
        self.answer.stamped(connection, batch)
    }

    /// The same, one by one.
    pub(crate) fn requests(&mut self, connection: usize, batch: u32) -> impl Iterator<Item = &[u8]> {
        let message = self.request.message;
        self.request.stamped(connection, batch).chunks_exact(message)
    }

    pub(crate) fn answers(&mut self, connection: usize, batch: u32) -> impl Iterator<Item = &[u8]> {
        let message = self.answer.message;
        self.answer.stamped(connection, batch).chunks_exact(message)
    }

    /// How many messages are in a batch.
    pub(crate) fn depth(&self) -> usize {
        self.request.bytes.len() / self.request.message
    }
}

impl Side {
    fn new(parts: &[&[u8]], stamp_at: usize, depth: usize) -> Self {
        let message = parts.concat();
        Self { message: message.len(), bytes: message.repeat(depth), stamp_at }
    }

    fn stamped(&mut self, connection: usize, batch: u32) -> &[u8] {
        for (nth, message) in self.bytes.chunks_exact_mut(self.message).enumerate() {
            // Six bits a byte, so that it is printable too: one of the place in the batch, three of the connection, four of the batch.
            let number = (nth as u64 & 0x3f) | (connection as u64 & 0x3_ffff) << 6 | u64::from(batch & 0xff_ffff) << 24;
            for (at, byte) in message[self.stamp_at..self.stamp_at + STAMP].iter_mut().enumerate() {
                *byte = b'0' + (number >> (6 * at) & 0x3f) as u8;
            }
        }
        &self.bytes
    }
}
