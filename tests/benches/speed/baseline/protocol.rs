//! What the baselines speak: answers to all whole messages of a buffer, in the fewest lines.

use memchr::memchr_iter;

/// A protocol, as a function of bytes.
pub(crate) trait Protocol: 'static {
    /// What is read goes back as it is.
    const ECHO: bool = false;
    /// What is said first.
    const WELCOME: &'static [u8] = b"";

    /// Answers every whole message of the input; tells how many bytes those were.
    fn answer(input: &[u8], out: &mut Vec<u8>) -> usize;
}

/// Whatever comes is echoed.
pub(crate) struct Raw;

impl Protocol for Raw {
    const ECHO: bool = true;

    fn answer(input: &[u8], out: &mut Vec<u8>) -> usize {
        out.extend_from_slice(input);
        input.len()
    }
}

/// Lines are echoed, without a CR at their end.
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

/// Messages behind four bytes of length are echoed.
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

/// Each read is a name that is greeted.
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
