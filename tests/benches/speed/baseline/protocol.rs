//! The protocols of the baselines: minimal functions that answer all complete messages of a buffer.

use memchr::memchr_iter;

/// A protocol, as a function of bytes.
pub(crate) trait Protocol: 'static {
    /// Whether the input is sent back unchanged.
    const ECHO: bool = false;
    /// Sent to a new connection.
    const WELCOME: &'static [u8] = b"";

    /// Answers every complete message of the input. Returns the length of these messages in bytes.
    fn answer(input: &[u8], out: &mut Vec<u8>) -> usize;
}

/// Echoes all bytes.
pub(crate) struct Raw;

impl Protocol for Raw {
    const ECHO: bool = true;

    fn answer(input: &[u8], out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(input);
        input.len()
    }
}

/// Echoes lines, without a CR at their end.
pub(crate) struct Lines;

impl Protocol for Lines {
    fn answer(input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut used = 0;
        for end in memchr_iter(b'\n', input) {
            let line = &input[used..end];
            out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            out.push(b'\n');
            used = end + 1;
        }
        used
    }
}

/// Echoes messages with a 4-byte length prefix.
pub(crate) struct Length;

impl Protocol for Length {
    fn answer(input: &[u8], out: &mut Vec<u8>) -> usize {
        let mut rest = input;
        while let Some((header, body)) = rest.split_first_chunk::<4>() {
            let Some(payload) = body.get(..u32::from_be_bytes(*header) as usize) else { break };
            out.extend_from_slice(header);
            out.extend_from_slice(payload);
            rest = &body[payload.len()..];
        }
        input.len() - rest.len()
    }
}

/// Sends a greeting for each read.
pub(crate) struct Hello;

impl Protocol for Hello {
    const WELCOME: &'static [u8] = b"welcome!";

    fn answer(input: &[u8], out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(b"hello, ");
        out.extend_from_slice(input.trim_ascii_end());
        out.push(b'!');
        input.len()
    }
}
