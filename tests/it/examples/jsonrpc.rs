//! The example `jsonrpc`: requests in any order, notifications, batches, and an error reply to each bad input.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use harness::{Program, TEST_TIMEOUT, tool};
use serde_json::{Value, json};

use super::{connect, run, serve, stop};

/// A connection of lines of JSON.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(at: &str) -> Self {
        let io = TcpStream::connect(at).unwrap();
        io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        Self(BufReader::new(io))
    }

    fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        harness::uninterrupted(|| self.0.read_line(&mut line)).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }
}

fn result(id: u64, result: i64) -> Value {
    json!({ "jsonrpc": "2.0", "result": result, "id": id })
}

fn error(id: impl Into<Value>, code: i64, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "error": { "code": code, "message": message }, "id": id.into() })
}

fn subtract(id: u64) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": "subtract", "params": [id, 1] }).to_string()
}

#[test]
fn each_bad_request_gets_the_error_of_the_protocol_and_the_connection_goes_on() {
    let (server, at) = serve("jsonrpc");
    let mut client = Client::new(&at);
    let invalid = |id: Value| error(id, -32600, "Invalid Request");
    let deep = "[".repeat(500);
    let long_batch = Value::from(vec![1; 101]).to_string();
    let cases = [
        ("", error(Value::Null, -32700, "Parse error")),
        ("{\"jsonrpc\": \"2.0\", \"method\": \"foobar, \"params\"]", error(Value::Null, -32700, "Parse error")),
        (&deep, error(Value::Null, -32700, "Parse error")),
        ("\u{1}", error(Value::Null, -32700, "Parse error")),
        ("1", invalid(Value::Null)),
        ("null", invalid(Value::Null)),
        ("[]", invalid(Value::Null)),
        (&long_batch, invalid(Value::Null)),
        (r#"{"jsonrpc":"2.0","method":1,"params":"bar"}"#, invalid(Value::Null)),
        (r#"{"jsonrpc":"2.0","id":7}"#, invalid(7.into())),
        (r#"{"jsonrpc":"1.0","id":"a","method":"subtract","params":[1,2]}"#, invalid("a".into())),
        (r#"{"id":1.5,"method":"subtract","params":[1,2]}"#, invalid(json!(1.5))),
        (r#"{"jsonrpc":"2.0","id":{},"method":"subtract","params":[1,2]}"#, invalid(Value::Null)),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"subtract","params":[1,2]}"#, invalid(Value::Null)),
        (r#"{"jsonrpc":"2.0","id":true,"method":"subtract","params":[1,2]}"#, invalid(Value::Null)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}"#, error(1, -32601, "Method not found")),
        (r#"{"jsonrpc":"2.0","id":2,"method":"subtract"}"#, error(2, -32602, "Invalid params")),
        (r#"{"jsonrpc":"2.0","id":3,"method":"subtract","params":[1]}"#, error(3, -32602, "Invalid params")),
        (r#"{"jsonrpc":"2.0","id":4,"method":"subtract","params":{"a":1}}"#, error(4, -32602, "Invalid params")),
        (
            r#"{"jsonrpc":"2.0","id":5,"method":"subtract","params":[-9223372036854775808,1]}"#,
            error(5, -32602, "Invalid params"),
        ),
        (r#"{"jsonrpc":"2.0","id":null,"method":"sleep","params":[-1]}"#, error(Value::Null, -32602, "Invalid params")),
    ];
    for (request, expected) in cases {
        client.send(request);
        assert_eq!(client.receive(), expected, "{request}");
        client.send(&subtract(20));
        assert_eq!(client.receive(), result(20, 19), "after {request}");
    }
    drop(client);
    stop(server);
}

#[test]
fn requests_are_answered_when_they_are_ready_and_notifications_are_not() {
    let (server, at) = serve("jsonrpc");
    let mut client = Client::new(&at);
    client.send(r#"{"jsonrpc":"2.0","id":1,"method":"sleep","params":{"milliseconds":300}}"#);
    client.send(r#"{"jsonrpc":"2.0","method":"subtract","params":[1,2]}"#);
    client.send(r#"{"jsonrpc":"2.0","method":"foobar"}"#);
    client.send(&json!([{ "jsonrpc": "2.0", "method": "subtract", "params": [1, 2] }]).to_string());
    client.send(r#"{"jsonrpc":"2.0","id":2,"method":"subtract","params":{"subtrahend":23,"minuend":42}}"#);
    assert_eq!(client.receive(), result(2, 19));
    assert_eq!(client.receive(), result(1, 300));
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "sleep", "params": [100] },
        { "jsonrpc": "2.0", "method": "subtract", "params": [1, 2] },
        1,
        { "jsonrpc": "2.0", "id": 2, "method": "subtract", "params": [2, 1] },
        { "foo": "boo" },
        { "jsonrpc": "2.0", "id": 3, "method": "foo.get" },
    ]);
    client.send(&batch.to_string());
    let invalid = || error(Value::Null, -32600, "Invalid Request");
    let expected = json!([result(1, 100), invalid(), result(2, 1), invalid(), error(3, -32601, "Method not found")]);
    assert_eq!(client.receive(), expected);
    drop(client);
    stop(server);
}

#[tokio::test]
async fn a_half_closed_client_gets_each_reply_and_a_long_request_an_error() {
    let (server, at) = serve("jsonrpc");
    let mut client = connect(&at).await;
    for id in 1..=200 {
        client.send(subtract(id) + "\n").await;
    }
    let sleep = r#"{"jsonrpc":"2.0","id":0,"method":"sleep","params":[200]}"#;
    client.send(sleep).await.send("\n").await.half_close().await;
    let replies = String::from_utf8(client.rest().await).unwrap();
    let ids: Vec<u64> =
        replies.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 201);
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), (0..=200).collect());

    let mut client = connect(&at).await;
    client.send("x".repeat(70_000)).await;
    let refused = String::from_utf8(client.rest().await).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&refused).unwrap(), error(Value::Null, -32600, "Invalid Request"));
    stop(server);
}

/// An asyncio client with 500 calls at the same time.
const CONCURRENT_CALLS: &str = r"
import asyncio, json, sys
async def main():
    reader, writer = await asyncio.open_connection('127.0.0.1', int(sys.argv[1]))
    waiting = {}
    async def call(i, method, *params):
        waiting[i] = asyncio.get_running_loop().create_future()
        writer.write(json.dumps(dict(jsonrpc='2.0', id=i, method=method, params=params)).encode() + b'\n')
        await writer.drain()
        return await waiting[i]
    async def receive():
        while line := await reader.readline():
            reply = json.loads(line)
            waiting.pop(reply['id']).set_result(reply['result'])
    receiving = asyncio.create_task(receive())
    calls = [call(i, 'sleep', i % 7) if i % 2 else call(i, 'subtract', i, 1) for i in range(500)]
    results = await asyncio.gather(*calls)
    assert results == [i % 7 if i % 2 else i - 1 for i in range(500)], results
    assert not waiting and not receiving.done()
    print('done')
asyncio.run(asyncio.wait_for(main(), 60))
";

#[test]
fn an_asyncio_client_calls_500_methods_at_the_same_time() {
    let Some(python) = tool("python3") else { return };
    let (server, at) = serve("jsonrpc");
    let port = at.rsplit(':').next().unwrap();
    assert_eq!(run(Program::at(&python).args(["-c", CONCURRENT_CALLS, port]), ""), "done\n");
    stop(server);
}
