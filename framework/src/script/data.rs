//! The bytes of a step. Some of them may be unknown.

use std::iter::repeat_n;

/// A sequence of bytes, of which some can have any value.
///
/// ```
/// use switchboard::script::Data;
///
/// let mut data = Data::from(b"id ");
/// data.push_unknown(2);
/// assert_eq!(data.first_difference(0, b"id 42"), None);
/// assert_eq!(data.first_difference(0, b"ID 42"), Some(0));
/// assert_eq!(data.to_string(), r#""id " *2"#);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Data {
    parts: Vec<Part>,
    len: usize,
}

/// A part of the data. Two parts in sequence are of different kinds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// Bytes with these values.
    Bytes(Vec<u8>),
    /// So many bytes with any value.
    Unknown(usize),
}

impl Data {
    /// No bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        match self.parts.last_mut() {
            _ if bytes.is_empty() => {}
            Some(Part::Bytes(last)) => last.extend_from_slice(bytes),
            _ => self.parts.push(Part::Bytes(bytes.to_vec())),
        }
    }

    /// Appends bytes that can have any value.
    pub fn push_unknown(&mut self, count: usize) {
        self.len += count;
        match self.parts.last_mut() {
            _ if count == 0 => {}
            Some(Part::Unknown(last)) => *last += count,
            _ => self.parts.push(Part::Unknown(count)),
        }
    }

    /// The parts in their order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The number of bytes, known or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes, if all are known.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        match &self.parts[..] {
            [] => Some(Vec::new()),
            [Part::Bytes(bytes)] => Some(bytes.clone()),
            _ => None,
        }
    }

    /// The index of the first byte that can have any value.
    pub fn first_unknown(&self) -> Option<usize> {
        match &self.parts[..] {
            [Part::Unknown(_), ..] => Some(0),
            [Part::Bytes(bytes), Part::Unknown(_), ..] => Some(bytes.len()),
            _ => None,
        }
    }

    /// Each byte; `None` can have any value.
    pub fn bytes(&self) -> impl Iterator<Item = Option<u8>> {
        self.parts.iter().flat_map(|part| {
            let (known, unknown) = match part {
                Part::Bytes(bytes) => (&bytes[..], 0),
                Part::Unknown(count) => (&[][..], *count),
            };
            known.iter().copied().map(Some).chain(repeat_n(None, unknown))
        })
    }

    /// Compares `received` with the bytes from the index `from` on. Returns the index of the first byte that differs.
    /// Bytes that one side lacks do not count.
    pub fn first_difference(&self, from: usize, received: &[u8]) -> Option<usize> {
        let mut start = 0;
        for part in &self.parts {
            let len = match part {
                Part::Bytes(bytes) => bytes.len(),
                Part::Unknown(count) => *count,
            };
            let begin = start.max(from);
            let end = (start + len).min(from + received.len());
            if let Part::Bytes(bytes) = part
                && begin < end
            {
                let (expected, received) = (&bytes[begin - start..end - start], &received[begin - from..end - from]);
                if expected != received {
                    let equal = expected.iter().zip(received).take_while(|(one, other)| one == other).count();
                    return Some(begin + equal);
                }
            }
            start += len;
        }
        None
    }
}

impl<T: AsRef<[u8]>> From<T> for Data {
    fn from(bytes: T) -> Self {
        let mut data = Self::new();
        data.push(bytes.as_ref());
        data
    }
}
