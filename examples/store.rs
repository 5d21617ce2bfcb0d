//! A store that answers from memory and writes to its file in batches: `start` opens the file, `stop` writes the rest.
//! Try it: `printf 'SET color blue\nGET color\nCOUNT\n' | nc -N 127.0.0.1 9999`, then stop the server with Ctrl-C.

use std::collections::BTreeMap;
use std::io::SeekFrom;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use switchboard::address::Endpoint;
use switchboard::metrics::{Counter, Gauge};
use switchboard::prelude::*;
use switchboard::tokio::fs::File;
use switchboard::tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use switchboard::tokio::sync::Mutex;
use switchboard::tokio_util::codec::{Decoder, Encoder, LinesCodec, LinesCodecError};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct StoreOptions {
    /// The file. Each line is a key and a value.
    path: PathBuf,
    /// Values that are kept in memory before they are written.
    batch: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { path: "store.txt".into(), batch: 1000 }
    }
}

enum Command {
    Set(String, String),
    Get(String),
    Count,
    Unknown,
}

/// Lines of text with a command each.
struct Commands(LinesCodec);

impl Decoder for Commands {
    type Item = Command;
    type Error = LinesCodecError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Command>, LinesCodecError> {
        Ok(self.0.decode(buffer)?.map(|line| Command::parse(&line)))
    }
}

impl Encoder<String> for Commands {
    type Error = LinesCodecError;

    fn encode(&mut self, reply: String, buffer: &mut BytesMut) -> Result<(), LinesCodecError> {
        self.0.encode(reply, buffer)
    }
}

impl Command {
    fn parse(line: &str) -> Self {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        match *words {
            ["SET", key, value] if !key.is_empty() => Self::Set(key.to_owned(), value.to_owned()),
            ["GET", key] => Self::Get(key.to_owned()),
            ["COUNT"] => Self::Count,
            _ => Self::Unknown,
        }
    }
}

struct Store {
    options: StoreOptions,
    /// Present from `start` to `stop`.
    log: Mutex<Option<Log>>,
    metrics: OnceLock<Metrics>,
}

struct Metrics {
    written: Counter,
    waiting: Gauge,
}

impl Store {
    // `switchboard check` builds every handler, so this must not touch the file. `start` does.
    fn new(options: StoreOptions) -> Result<Self> {
        if options.batch == 0 {
            return Err("batch: must be at least 1".into());
        }
        Ok(Self { options, log: Mutex::default(), metrics: OnceLock::new() })
    }

    async fn answer(&self, log: &mut Log, command: Command) -> Result<String> {
        Ok(match command {
            Command::Set(key, value) => {
                let is_new = log.waiting.insert(key, value).is_none();
                self.metrics().waiting.add(i64::from(is_new));
                if log.waiting.len() >= self.options.batch {
                    self.write(log).await?;
                }
                "ok".to_owned()
            }
            Command::Get(key) => {
                log.read().await?;
                log.waiting.get(&key).or_else(|| log.written.get(&key)).map_or("none", |value| value).to_owned()
            }
            Command::Count => {
                log.read().await?;
                let new = log.waiting.keys().filter(|key| !log.written.contains_key(*key)).count();
                (log.written.len() + new).to_string()
            }
            Command::Unknown => "use SET key value, GET key or COUNT".to_owned(),
        })
    }

    async fn write(&self, log: &mut Log) -> Result<()> {
        let count = log.write().await?;
        self.metrics().written.add(count as u64);
        self.metrics().waiting.add(-(count as i64));
        Ok(())
    }

    fn metrics(&self) -> &Metrics {
        self.metrics.get().expect("start has registered them")
    }
}

impl Handler<Command, String> for Store {
    type State = ();

    async fn start(&self, cx: &StartContext) -> Result<()> {
        let metrics = Metrics {
            written: cx.metrics().counter("written_total", "Values written to the file.")?,
            waiting: cx.metrics().gauge("waiting", "Values that are only in memory.")?,
        };
        let _ = self.metrics.set(metrics); // `start` is called once
        let mut log = Log::open(&self.options.path).await?;
        log.read().await?;
        *self.log.lock().await = Some(log);
        Ok(())
    }

    async fn message(&self, _: &mut Context<(), String>, command: Command) -> Result<Reply<String>> {
        let mut log = self.log.lock().await;
        let log = log.as_mut().ok_or("the store is not open")?;
        Ok(Reply::send(self.answer(log, command).await?))
    }

    async fn stop(&self) -> Result<()> {
        let Some(mut log) = self.log.lock().await.take() else { return Ok(()) };
        self.write(&mut log).await?;
        Ok(log.file.sync_all().await?)
    }
}

/// The file and what is not in it yet.
///
/// In a reload and in an upgrade, the old and the new store have the file open at the same time. Both append whole
/// lines, and `read` takes the lines of the other one in.
struct Log {
    file: File,
    /// The bytes of the file that have been read.
    position: u64,
    written: BTreeMap<String, String>,
    waiting: BTreeMap<String, String>,
}

impl Log {
    async fn open(path: &PathBuf) -> Result<Self> {
        let opened = File::options().read(true).append(true).create(true).open(path).await;
        let file = opened.map_err(|error| format!("path: cannot open {}: {error}", path.display()))?;
        Ok(Self { file, position: 0, written: BTreeMap::new(), waiting: BTreeMap::new() })
    }

    /// Reads the lines that were appended since the last call.
    async fn read(&mut self) -> Result<()> {
        let mut text = Vec::new();
        self.file.seek(SeekFrom::Start(self.position)).await?;
        self.file.read_to_end(&mut text).await?;
        let complete = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.position += complete as u64;
        for line in String::from_utf8_lossy(&text[..complete]).lines() {
            let (key, value) = line.split_once(' ').ok_or("the file has a line without a value")?;
            self.written.insert(key.to_owned(), value.to_owned());
        }
        Ok(())
    }

    /// Appends the values that are only in memory. They stay there if this fails.
    async fn write(&mut self) -> Result<usize> {
        let lines: String = self.waiting.iter().map(|(key, value)| format!("{key} {value}\n")).collect();
        self.file.write_all(lines.as_bytes()).await?;
        self.file.flush().await?; // waits for the write, and returns its error
        let count = self.waiting.len();
        self.waiting.clear();
        self.read().await?;
        Ok(count)
    }
}

fn main() -> ExitCode {
    let mut registry = switchboard_server::registry();
    let framing = |_: &StoreOptions| framing::custom(|limit| Commands(LinesCodec::new_with_max_length(limit)));
    registry
        .typed_handler("store", "text commands", framing, Store::new)
        .set_summary("keeps values in memory and writes them to a file");

    // The shorthand makes it start like the other examples. Without it: `switchboard_server::run(registry)`.
    let mut args: Vec<String> = std::env::args().collect();
    if args.len() == 2 && args[1].parse::<Endpoint>().is_ok() {
        args.splice(1..1, ["--handler", "store", "--listen"].map(String::from));
    }
    switchboard_server::run_from(registry, args)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use switchboard::testing::{Law, conformance};

    #[test]
    fn the_store_keeps_the_laws() {
        let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let number = AtomicUsize::new(0);
        let store = || {
            let path = directory.path().join(number.fetch_add(1, Relaxed).to_string());
            Store::new(StoreOptions { path, batch: 2 }).unwrap_or_else(|error| panic!("{error}"))
        };
        let commands = framing::custom(|limit| Commands(LinesCodec::new_with_max_length(limit)));
        conformance(store)
            .framing(commands)
            .encoded(["SET a 1\n", "GET a\n", "COUNT\n", "SET b 2\n", "\n"])
            .waive(Law::TwoAtOnce, "all clients share the values")
            .cases(15)
            .check();
    }
}
