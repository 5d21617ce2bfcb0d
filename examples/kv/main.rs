//! A key-value server with the Redis protocol. Try it: `redis-cli -p 9999`, `redis-benchmark -p 9999 -t get,set`.
//!
//! Messages are typed. `resp` decodes `Command`s and encodes `Value`s. This file executes the commands.
//! `store` holds the data. None of them uses sockets.

mod command;
mod resp;
mod store;

use std::time::Duration;

use switchboard::prelude::*;
use switchboard::settings::{Limits, Timeouts};
use tokio::runtime::Builder;

use crate::command::Command;
use crate::resp::{Resp, Value};
use crate::store::{Store, StoreResult};

/// Largest command in bytes. It also limits the size of a value.
const MAX_COMMAND: usize = 1024 * 1024;
/// Memory limit in bytes for all keys and values. Above it, writes are rejected.
const MAX_MEMORY: usize = 256 * 1024 * 1024;

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
            Command::ListCommands => Value::Array(0),
            Command::NoOp => Value::OK,
            Command::Invalid(error) => Value::Error(error),
            // The array header and each value are separate frames. The server writes while it encodes, so a reply with
            // many large values is never in memory as a whole.
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
             # Memory\r\nused_memory:{used}\r\nmaxmemory:{MAX_MEMORY}\r\nmaxmemory_policy:noeviction\r\n\
             # Keyspace\r\ndb0:keys={keys},expires=0\r\n"
        )
    }
}

fn or_error(result: StoreResult<Value>) -> Value {
    result.unwrap_or_else(|error| Value::Error(error.into()))
}

fn count(number: usize) -> Value {
    Value::Integer(number as i64)
}

/// Replies to CONFIG GET. redis-benchmark requests `save` and `appendonly` at its start.
fn config(names: &[Bytes]) -> Vec<Value> {
    let memory = MAX_MEMORY.to_string();
    let known = [("save", ""), ("appendonly", "no"), ("maxmemory", &memory)];
    let is_requested =
        |known: &str| names.iter().any(|name| name.eq_ignore_ascii_case(known.as_bytes()) || &**name == b"*");
    let mut reply: Vec<_> = known
        .into_iter()
        .filter(|(name, _)| is_requested(name))
        .flat_map(|(name, value)| [name, value])
        .map(|text| Value::Bulk(Bytes::copy_from_slice(text.as_bytes())))
        .collect();
    reply.insert(0, Value::Array(reply.len()));
    reply
}

fn main() -> Result<()> {
    // On one core, a second thread would only make system calls and wake-ups slower.
    let mut runtime = match std::thread::available_parallelism() {
        Ok(cores) if cores.get() > 1 => Builder::new_multi_thread(),
        _ => Builder::new_current_thread(),
    };
    runtime.enable_all().build()?.block_on(serve())
}

async fn serve() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    let mut limits = Limits::default();
    limits.frame = MAX_COMMAND;
    limits.connections = 1_000; // Each one may buffer a command of the maximum size.
    let mut timeouts = Timeouts::default();
    timeouts.idle = Duration::from_secs(3600); // Clients keep connections in pools.
    Server::bind(address)
        .framing(framing::custom(Resp::new))
        .limits(limits)
        .timeouts(timeouts)
        .serve(Kv { store: Store::new(MAX_MEMORY, MAX_COMMAND) })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::testing::{Law, conformance};

    #[test]
    fn the_store_keeps_the_laws() {
        conformance(|| Kv { store: Store::new(MAX_MEMORY, MAX_COMMAND) })
            .framing(framing::custom(Resp::new))
            .encoded([
                "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\n10\r\n",
                "*2\r\n$4\r\nINCR\r\n$1\r\na\r\n",
                "*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n",
                "PING\r\n",
                "*1\r\n$4\r\nQUIT\r\n",
            ])
            .waive(Law::TwoAtOnce, "all clients share the values")
            .cases(40)
            .check();
    }
}
