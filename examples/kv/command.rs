//! What a client can ask for. Anything else it may say is an error that it is told.

use std::borrow::Cow;
use std::ops::Range;

use switchboard::prelude::Bytes;

/// One command, its arguments still in the bytes in which they came.
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
    /// COMMAND: redis-cli wants to help with the commands there are; it can do without.
    Empty,
    /// Fine, and nothing to do.
    Accepted,
    Quit,
    /// A browser, made to talk to us by a page of someone else: it gets no second line.
    Http,
    /// What is wrong, as the client is told.
    Wrong(Cow<'static, str>),
}

/// The words of a command: where each lies in its bytes.
pub(crate) struct Words<'a> {
    pub(crate) bytes: &'a Bytes,
    pub(crate) at: &'a [Range<usize>],
}

impl Words<'_> {
    fn read(&self, index: usize) -> &[u8] {
        &self.bytes[self.at[index].clone()]
    }

    /// A share of the message's bytes, not a copy.
    fn share(&self, index: usize) -> Bytes {
        self.bytes.slice(self.at[index].clone())
    }

    fn share_from(&self, first: usize) -> Vec<Bytes> {
        (first..self.at.len()).map(|index| self.share(index)).collect()
    }

    /// A word in capitals; none is longer than the longest name that we know.
    fn capitals<'b>(&self, index: usize, room: &'b mut [u8; 8]) -> &'b [u8] {
        let word = self.at.get(index).map_or(&b""[..], |_| self.read(index));
        let Some(room) = room.get_mut(..word.len()) else { return b"" };
        room.copy_from_slice(word);
        room.make_ascii_uppercase();
        room
    }
}

impl Command {
    /// What at least one word means.
    pub(crate) fn of(words: &Words<'_>) -> Self {
        let (mut first, mut second) = ([0; 8], [0; 8]);
        match (words.capitals(0, &mut first), words.at.len()) {
            (b"GET", 2) => Self::Get(words.share(1)),
            (b"SET", 3) => Self::Set(words.share(1), words.share(2)),
            (b"SET", 4..) => Self::Wrong("ERR SET takes a key and a value; options are not supported".into()),
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
            (b"FLUSHALL", 2) => match words.capitals(1, &mut second) {
                b"SYNC" | b"ASYNC" => Self::Flushall,
                _ => Self::Wrong("ERR syntax error".into()),
            },
            (b"PING", 1) => Self::Ping,
            (b"PING" | b"ECHO", 2) => Self::Echo(words.share(1)),
            (b"INFO", _) => Self::Info,
            (b"CONFIG", 3..) if words.capitals(1, &mut second) == b"GET" => Self::ConfigGet(words.share_from(2)),
            (b"COMMAND", _) => Self::Empty,
            (b"SELECT", 2) if words.read(1) == b"0" => Self::Accepted,
            (b"SELECT", 2) => Self::Wrong("ERR DB index is out of range".into()),
            (b"CLIENT", 3..) if matches!(words.capitals(1, &mut second), b"SETINFO" | b"SETNAME") => Self::Accepted,
            (b"CLIENT" | b"CONFIG", 2..) => Self::Wrong("ERR unknown subcommand".into()),
            (b"QUIT", _) => Self::Quit,
            (b"POST" | b"HOST:", _) => Self::Http,
            (
                b"GET" | b"SET" | b"INCR" | b"DECR" | b"APPEND" | b"STRLEN" | b"MGET" | b"MSET" | b"DEL" | b"EXISTS"
                | b"DBSIZE" | b"FLUSHALL" | b"PING" | b"ECHO" | b"CONFIG" | b"SELECT" | b"CLIENT",
                _,
            ) => {
                let name = show(words.read(0)).to_lowercase();
                Self::Wrong(format!("ERR wrong number of arguments for '{name}' command").into())
            }
            // HELLO too, as servers before version 6 have it: clients then go on in the protocol that we speak.
            _ => Self::Wrong(format!("ERR unknown command '{}'", show(words.read(0))).into()),
        }
    }
}

/// A word of the client in a sentence for the client: short, and on one line.
fn show(word: &[u8]) -> String {
    word[..word.len().min(64)].escape_ascii().to_string()
}
