//! Parses commands from the words of a request.

use std::borrow::Cow;
use std::ops::Range;

use switchboard::prelude::Bytes;

/// A command. Its arguments share the bytes of the request.
pub(crate) enum Command {
    Get(Bytes),
    Set(Bytes, Bytes),
    /// INCR, DECR.
    Add(Bytes, i64),
    Append(Bytes, Bytes),
    Strlen(Bytes),
    Mget(Vec<Bytes>),
    /// Key, value, key, value …
    Mset(Vec<Bytes>),
    Del(Vec<Bytes>),
    Exists(Vec<Bytes>),
    Dbsize,
    Flushall,
    Ping,
    Echo(Bytes),
    Info,
    ConfigGet(Vec<Bytes>),
    /// COMMAND: redis-cli requests the command table for its hints. The reply is an empty table.
    ListCommands,
    /// Replies OK and does nothing.
    NoOp,
    Quit,
    /// An HTTP request from a browser. The connection is closed, as Redis does against cross-protocol scripting.
    Http,
    /// The error text for the client.
    Invalid(Cow<'static, str>),
}

/// The words of a request and their positions in its bytes.
pub(crate) struct Words<'a> {
    pub(crate) bytes: &'a Bytes,
    pub(crate) at: &'a [Range<usize>],
}

impl Words<'_> {
    fn read(&self, index: usize) -> &[u8] {
        &self.bytes[self.at[index].clone()]
    }

    /// Shares the bytes of the request, without a copy.
    fn share(&self, index: usize) -> Bytes {
        self.bytes.slice(self.at[index].clone())
    }

    fn share_from(&self, first: usize) -> Vec<Bytes> {
        (first..self.at.len()).map(|index| self.share(index)).collect()
    }

    /// A word in upper case. Returns an empty word if it is longer than every known name.
    fn uppercase<'b>(&self, index: usize, buffer: &'b mut [u8; 8]) -> &'b [u8] {
        let word = self.at.get(index).map_or(&b""[..], |_| self.read(index));
        let Some(buffer) = buffer.get_mut(..word.len()) else { return b"" };
        buffer.copy_from_slice(word);
        buffer.make_ascii_uppercase();
        buffer
    }
}

impl Command {
    /// Parses a request of at least one word.
    pub(crate) fn parse(words: &Words<'_>) -> Self {
        let (mut first, mut second) = ([0; 8], [0; 8]);
        match (words.uppercase(0, &mut first), words.at.len()) {
            (b"GET", 2) => Self::Get(words.share(1)),
            (b"SET", 3) => Self::Set(words.share(1), words.share(2)),
            (b"SET", 4..) => Self::Invalid("ERR SET takes a key and a value; options are not supported".into()),
            (b"INCR", 2) => Self::Add(words.share(1), 1),
            (b"DECR", 2) => Self::Add(words.share(1), -1),
            (b"APPEND", 3) => Self::Append(words.share(1), words.share(2)),
            (b"STRLEN", 2) => Self::Strlen(words.share(1)),
            (b"MGET", 2..) => Self::Mget(words.share_from(1)),
            (b"MSET", count @ 3..) if count % 2 == 1 => Self::Mset(words.share_from(1)),
            (b"DEL", 2..) => Self::Del(words.share_from(1)),
            (b"EXISTS", 2..) => Self::Exists(words.share_from(1)),
            (b"DBSIZE", 1) => Self::Dbsize,
            (b"FLUSHALL", 1) => Self::Flushall,
            (b"FLUSHALL", 2) => match words.uppercase(1, &mut second) {
                b"SYNC" | b"ASYNC" => Self::Flushall,
                _ => Self::Invalid("ERR syntax error".into()),
            },
            (b"PING", 1) => Self::Ping,
            (b"PING" | b"ECHO", 2) => Self::Echo(words.share(1)),
            (b"INFO", _) => Self::Info,
            (b"CONFIG", 3..) if words.uppercase(1, &mut second) == b"GET" => Self::ConfigGet(words.share_from(2)),
            (b"COMMAND", _) => Self::ListCommands,
            (b"SELECT", 2) if words.read(1) == b"0" => Self::NoOp,
            (b"SELECT", 2) => Self::Invalid("ERR DB index is out of range".into()),
            (b"CLIENT", 3..) if matches!(words.uppercase(1, &mut second), b"SETINFO" | b"SETNAME") => Self::NoOp,
            (b"CLIENT" | b"CONFIG", 2..) => Self::Invalid("ERR unknown subcommand".into()),
            (b"QUIT", _) => Self::Quit,
            (b"POST" | b"HOST:", _) => Self::Http,
            (
                b"GET" | b"SET" | b"INCR" | b"DECR" | b"APPEND" | b"STRLEN" | b"MGET" | b"MSET" | b"DEL" | b"EXISTS"
                | b"DBSIZE" | b"FLUSHALL" | b"PING" | b"ECHO" | b"CONFIG" | b"SELECT" | b"CLIENT",
                _,
            ) => {
                let name = escape(words.read(0)).to_lowercase();
                Self::Invalid(format!("ERR wrong number of arguments for '{name}' command").into())
            }
            // HELLO is unknown too, as in Redis before version 6: clients then continue with RESP2.
            _ => Self::Invalid(format!("ERR unknown command '{}'", escape(words.read(0))).into()),
        }
    }
}

/// Escapes and shortens a word for an error text.
fn escape(word: &[u8]) -> String {
    word[..word.len().min(64)].escape_ascii().to_string()
}
