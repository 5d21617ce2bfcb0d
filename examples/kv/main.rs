//! A key-value server that speaks the protocol of Redis. Try it: `redis-cli -p 9999`, `redis-benchmark -p 9999 -t get,set`.
//!
//! Messages are typed: `resp` cuts bytes into `Command`s and turns `Value`s into bytes, this file answers the one with the
//! other, `store` keeps what is kept. None of them knows of sockets.

mod command;
mod resp;
mod store;

use std::time::Duration;

use switchboard::prelude::*;
use switchboard::settings::{Limits, Timeouts};

use crate::command::Command;
use crate::resp::{Resp, Value};
use crate::store::{Outcome, Store};

/// The largest command, and so the largest value.
const LARGEST: usize = 1024 * 1024;
/// Bytes that all keys and values may take together; then writing is refused.
const MEMORY: usize = 256 * 1024 * 1024;

struct Kv {
    store: Store,
}

impl Handler<Command, Value> for Kv {
    type State = ();

    async fn message(&self, _: &mut Context<(), Value>, command: Command) -> Result<Reply<Value>> {
        let store = &self.store;
        Ok(Reply::send(match command {
            Command::Get(key) => store.get(&key).map_or(Value::Nil, Value::Stored),
            Command::Set(key, value) => or_error(store.set(&key, &value).map(|()| Value::OK)),
            Command::Add(key, by) => or_error(store.add(&key, by).map(Value::Integer)),
            Command::Append(key, more) => or_error(store.append(&key, &more).map(count)),
            Command::Strlen(key) => count(store.get(&key).map_or(0, |value| value.len())),
            Command::Mset(pairs) => or_error(store.set_all(&pairs).map(|()| Value::OK)),
            Command::Del(keys) => count(store.remove_all(&keys)),
            Command::Exists(keys) => count(store.count(&keys)),
            Command::Dbsize => count(store.len()),
            Command::Flushall => {
                store.clear();
                Value::OK
            }
            Command::Ping => Value::Simple("PONG"),
            Command::Echo(text) => Value::Bulk(text),
            Command::Info => Value::Bulk(self.info().into()),
            Command::Empty => Value::Array(0),
            Command::Accepted => Value::OK,
            Command::Wrong(why) => Value::Error(why),
            // An array goes out as frames of its own: the server writes while it encodes, so that an answer of a thousand
            // large values never lies in memory as a whole.
            Command::Mget(keys) => {
                let values = store.get_all(&keys).into_iter().map(|found| found.map_or(Value::Nil, Value::Stored));
                return Ok(Reply::many(std::iter::once(Value::Array(keys.len())).chain(values)));
            }
            Command::ConfigGet(names) => return Ok(Reply::many(config(&names))),
            Command::Quit => return Ok(Reply::send(Value::OK).then_finish()),
            Command::Http => return Ok(Reply::close()),
        }))
    }
}

impl Kv {
    fn info(&self) -> String {
        let (used, keys) = (self.store.used(), self.store.len());
        format!(
            "# Server\r\nserver:switchboard kv example\r\n\
             # Memory\r\nused_memory:{used}\r\nmaxmemory:{MEMORY}\r\nmaxmemory_policy:noeviction\r\n\
             # Keyspace\r\ndb0:keys={keys},expires=0\r\n"
        )
    }
}

fn or_error(outcome: Outcome<Value>) -> Value {
    outcome.unwrap_or_else(|why| Value::Error(why.into()))
}

fn count(many: usize) -> Value {
    Value::Integer(many as i64)
}

/// What clients ask for when they begin; redis-benchmark does, of `save` and `appendonly`.
fn config(names: &[Bytes]) -> Vec<Value> {
    let memory = MEMORY.to_string();
    let known = [("save", ""), ("appendonly", "no"), ("maxmemory", &memory)];
    let requested =
        |known: &str| names.iter().any(|name| name.eq_ignore_ascii_case(known.as_bytes()) || &**name == b"*");
    let mut answer: Vec<_> = known
        .into_iter()
        .filter(|(name, _)| requested(name))
        .flat_map(|(name, value)| [name, value])
        .map(|text| Value::Bulk(Bytes::copy_from_slice(text.as_bytes())))
        .collect();
    answer.insert(0, Value::Array(answer.len()));
    answer
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    let mut limits = Limits::default();
    limits.frame = LARGEST;
    limits.connections = 1_000; // each may be in the middle of a command of the largest size
    let mut timeouts = Timeouts::default();
    timeouts.idle = Duration::from_secs(3600); // clients keep connections in stock
    Server::bind(address)
        .framing(framing::custom(Resp::new))
        .limits(limits)
        .timeouts(timeouts)
        .serve(Kv { store: Store::new(MEMORY, LARGEST) })
        .await
}
