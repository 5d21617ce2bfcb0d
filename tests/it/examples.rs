//! The examples: each starts, serves a client, and drains on SIGTERM.

mod dns;
mod jsonrpc;
mod mqtt;
mod smtp;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, Program, Running, Signal, TEST_TIMEOUT, free_port, tool, unique};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::fleet::Redis;

/// Starts an example on a free port and returns its address.
fn serve(name: &str) -> (Running, String) {
    let at = format!("127.0.0.1:{}", free_port());
    (Program::example(name).arg(format!("tcp://{at}")).start(), at)
}

async fn connect(at: &str) -> Client<TcpStream> {
    Client(TcpStream::connect(at).await.unwrap())
}

/// Stops an example with SIGTERM and expects status 0 and no output.
#[track_caller]
fn stop(server: Running) {
    server.signal(Signal::SIGTERM);
    let ended = server.wait();
    assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""));
}

/// Runs a program with this standard input and returns its output.
#[track_caller]
fn run(program: Program, input: &str) -> String {
    let ended = program.input(input).run();
    assert_eq!(ended.code(), Some(0), "{}{}", ended.stdout, ended.stderr);
    ended.stdout
}

#[tokio::test]
async fn shout_numbers_the_replies_of_each_connection() {
    let (server, at) = serve("shout");
    let (mut one, mut two) = (connect(&at).await, connect(&at).await);
    one.send("hi\nyou\r\n").await.expect("1: HI\n2: YOU\n").await;
    two.send("hi\n").await.expect("1: HI\n").await;
    drop((one, two));
    stop(server);
}

#[tokio::test]
async fn handler_fn_reverses_lines_and_replies_after_a_half_close() {
    let (server, at) = serve("handler_fn");
    let mut client = connect(&at).await;
    client.send("abc\n\nlast").await.half_close().await.expect("cba\n\ntsal\n").await.expect_end().await;
    stop(server);
}

#[tokio::test]
async fn rate_limit_delays_messages_and_rejects_connections() {
    let (server, at) = serve("rate_limit");
    let mut client = connect(&at).await;
    let begun = Instant::now();
    client.send("x\n".repeat(21)).await.expect("x\n".repeat(21)).await;
    // A burst of 10, then 11 at 10 per second.
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());

    let mut clients = Vec::new();
    for _ in 0..100 {
        clients.push(TcpStream::connect(&at).await.unwrap());
    }
    // The clients send nothing, so only a rejected connection is readable (end of stream).
    let readable = clients.iter().map(|client| Box::pin(client.readable()));
    timeout(TEST_TIMEOUT, futures_util::future::select_all(readable))
        .await
        .expect("a connection is rejected")
        .0
        .unwrap();
    let mut refused = 0;
    for mut client in clients {
        refused += usize::from(timeout(Duration::from_millis(1), client.read(&mut [0])).await.is_ok());
    }
    assert!((1..100).contains(&refused), "{refused} of 100");
    stop(server);
}

#[tokio::test]
async fn custom_transport_serves_standard_input_and_exits() {
    assert_eq!(run(Program::example("custom_transport"), "hi\nyou"), "HI\nYOU\n");
    assert_eq!(run(Program::example("custom_transport").arg("stdio:"), &"x\n".repeat(50_000)), "X\n".repeat(50_000));
    let wrong = Program::example("custom_transport").arg("stdio:x").run();
    assert_eq!((wrong.code(), wrong.stdout.as_str()), (Some(1), ""));
    assert!(wrong.stderr.contains("stdio: takes no address"), "{}", wrong.stderr);

    let (server, at) = serve("custom_transport");
    connect(&at).await.send("hi\n").await.expect("HI\n").await.half_close().await.expect_end().await;
    stop(server);
}

#[test]
fn custom_transport_exits_on_a_signal_while_input_is_open() {
    let path = Program::example("custom_transport").command().get_program().to_owned();
    let (input, output) = (Stdio::piped(), Stdio::piped());
    // Not with tokio: its handler of SIGCHLD interrupts reads with a timeout in all other tests (signal(7)).
    let mut child = Command::new(path).stdin(input).stdout(output).spawn().unwrap();
    let id = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (sender, events) = mpsc::channel();
    thread::spawn(move || {
        let mut answer = [0; 3];
        output.read_exact(&mut answer).unwrap();
        sender.send(answer.to_vec()).unwrap();
        let status = child.wait().unwrap();
        sender.send(format!("{:?}", status.code()).into_bytes()).unwrap();
    });
    input.write_all(b"hi\n").unwrap();
    let answer = events.recv_timeout(TEST_TIMEOUT);
    nix::sys::signal::kill(id, Signal::SIGTERM).unwrap();
    assert_eq!(answer.unwrap(), b"HI\n");
    assert_eq!(events.recv_timeout(TEST_TIMEOUT).expect("it exits"), b"Some(0)");
    drop(input);
}

#[tokio::test]
async fn custom_framing_accepts_only_netstrings_up_to_its_limit() {
    let (server, at) = serve("custom_framing");
    let mut client = connect(&at).await;
    client.send("5:hello,0:,3:a").await.expect("5:HELLO,0:,").await;
    client.send("bc,").await.half_close().await.expect("3:ABC,").await.expect_end().await;
    let largest = 64 * 1024;
    let mut client = connect(&at).await;
    client.send(format!("{largest}:{},", "x".repeat(largest))).await;
    client.expect(format!("{largest}:{},", "X".repeat(largest))).await;
    for wrong in ["05:hello,", "5:hello;", ":", "x", "-1:,", "65537:", &"9".repeat(100), "5:hel", "12"] {
        connect(&at).await.send(wrong).await.half_close().await.expect_end().await;
    }
    stop(server);
}

#[tokio::test]
async fn kv_answers_each_command_in_order() {
    let (server, at) = serve("kv");
    let mut client = connect(&at).await;
    for (request, reply) in [
        ("PING\r\n", "+PONG\r\n"),
        ("*2\r\n$4\r\nping\r\n$2\r\nhi\r\n", "$2\r\nhi\r\n"),
        ("GET k\nSET k v\nGET k\n", "$-1\r\n+OK\r\n$1\r\nv\r\n"),
        ("*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$4\r\n\0\r\n\n\r\n", "+OK\r\n"),
        ("*2\r\n$3\r\nGET\r\n$1\r\nb\r\n", "$4\r\n\0\r\n\n\r\n"),
        ("INCR n\nINCR n\nDECR n\nINCR k\n", ":1\r\n:2\r\n:1\r\n-ERR value is not an integer or out of range\r\n"),
        ("SET n -9223372036854775808\nDECR n\n", "+OK\r\n-ERR increment or decrement would overflow\r\n"),
        ("APPEND k alue\nSTRLEN k\nSTRLEN none\n", ":5\r\n:5\r\n:0\r\n"),
        ("MSET x 1 y 2 x 3\nMGET x none y\n", "+OK\r\n*3\r\n$1\r\n3\r\n$-1\r\n$1\r\n2\r\n"),
        ("EXISTS x x none\nDEL x y none\nDBSIZE\n", ":2\r\n:2\r\n:3\r\n"),
        ("FLUSHALL\nDBSIZE\n\n*0\r\nSELECT 0\n", "+OK\r\n:0\r\n+OK\r\n"),
        ("GET\n", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("SET k v EX 1\n", "-ERR SET takes a key and a value; options are not supported\r\n"),
        ("HELLO 3\n", "-ERR unknown command 'HELLO'\r\n"),
        ("\x1b[0m\n", "-ERR unknown command '\\x1b[0m'\r\n"),
    ] {
        client.send(request).await.expect(reply).await;
    }
    // A command may arrive one byte at a time.
    for byte in "*2\r\n$4\r\nECHO\r\n$2\r\nok\r\n".bytes() {
        client.send([byte]).await;
    }
    client.expect("$2\r\nok\r\n").await;
    // 16,000 commands in one write, then end of input.
    client.send("*2\r\n$4\r\nINCR\r\n$1\r\ni\r\n".repeat(16_000)).await.half_close().await;
    client.expect((1..=16_000).map(|i| format!(":{i}\r\n")).collect::<String>()).await.expect_end().await;
    connect(&at).await.send("QUIT\nPING\n").await.expect("+OK\r\n").await.expect_end().await;
    stop(server);
}

#[tokio::test]
async fn kv_rejects_invalid_commands_before_it_buffers_them() {
    let (server, at) = serve("kv");
    let (long, many) = ("x".repeat(70_000), "*5000\r\n".to_owned() + &"$1\r\nx\r\n".repeat(5_000));
    for wrong in [
        "*1\r\n$2000000\r\n",
        "*1\r\n$99999999999999999999\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n:3\r\n",
        "*x\r\n",
        "*1\r\n$4\r\nPINGxx",
        "POST / HTTP/1.1\r\nSET a b\r\n",
        "*1\r\n$4\r\nPI",
        &long,
        &many,
    ] {
        let mut client = connect(&at).await;
        // The server may close the connection during the write.
        let _ = client.0.write_all(wrong.as_bytes()).await;
        assert_eq!(client.half_close().await.rest().await, b"", "{}", &wrong[..wrong.len().min(40)]);
    }
    stop(server);
}

#[tokio::test]
async fn kv_rejects_writes_above_its_memory_limit() {
    let (server, at) = serve("kv");
    let mut client = connect(&at).await;
    let value = "x".repeat(1_000_000);
    let mut stored = 0;
    let refusal = loop {
        client.send(format!("*3\r\n$3\r\nSET\r\n$3\r\n{stored:03}\r\n$1000000\r\n{value}\r\n")).await;
        let mut answer = [0; 5];
        timeout(TEST_TIMEOUT, client.0.read_exact(&mut answer)).await.unwrap().unwrap();
        if &answer != b"+OK\r\n" {
            break answer;
        }
        stored += 1;
    };
    assert_eq!((&refusal, stored), (b"-OOM ", 268));
    client.expect("command not allowed when used memory > 'maxmemory'.\r\n").await;
    client.send("STRLEN 000\nDEL 000\nDBSIZE\n").await.expect(":1000000\r\n:1\r\n:267\r\n").await;
    client.send("SET a b\nFLUSHALL\nDBSIZE\n").await.expect("+OK\r\n+OK\r\n:0\r\n").await;
    stop(server);
}

#[test]
fn kv_serves_redis_cli() {
    let Some(redis_cli) = tool("redis-cli") else { return };
    let (server, at) = serve("kv");
    let port = at.rsplit(':').next().unwrap();
    let printed = run(Program::at(&redis_cli).args(["-p", port]), "set k v\nget k\nget none\nincr n\nmget k n\n");
    assert_eq!(printed, "OK\nv\n\n1\nv\n1\n");
    stop(server);
}

#[test]
fn kv_serves_redis_benchmark() {
    let Some(redis_benchmark) = tool("redis-benchmark") else { return };
    let (server, at) = serve("kv");
    let port = at.rsplit(':').next().unwrap();
    for pipeline in ["1", "16"] {
        let tests = ["-n", "2000", "-q", "-t", "ping,set,get,incr,mset", "-P", pipeline];
        let ended = Program::at(&redis_benchmark).args(["-p", port]).args(tests).run();
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert_eq!(ended.code(), Some(0), "{all}");
        assert!(!all.contains("WARNING") && !all.contains("rror"), "{all}");
        assert_eq!(all.matches("requests per second, p50").count(), 6, "{all}");
    }
    stop(server);
}

#[tokio::test]
async fn chat_sends_lines_and_departures_to_all_members_of_the_room() {
    const HELP: &str = "* commands: /join ROOM, /who, /quit; other lines are sent to the room\n";
    let (server, at) = serve("chat");
    let mut anna = connect(&at).await;
    anna.expect("* enter your name\n").await.send("anna\n").await;
    anna.expect("* hello, anna, you are in room lobby\n").await.expect(HELP).await;
    let mut bert = connect(&at).await;
    bert.expect("* enter your name\n")
        .await
        .send("anna\n")
        .await
        .expect("* this name is in use; enter your name\n")
        .await;
    bert.send("bert\n").await.expect("* hello, bert, you are in room lobby\n").await.expect(HELP).await;
    anna.expect("* bert joined\n").await;
    bert.send("hello \x1b[2J\u{e4}\n").await;
    anna.expect("bert: hello [2J\u{e4}\n").await.send("/who\n").await.expect("* anna, bert\n").await;
    bert.send("/join games\n").await.expect("* you are in room games\n").await.send("alone\n/who\n").await;
    bert.expect("* bert\n").await;
    anna.expect("* bert left\n").await.send("/join games\n").await.expect("* you are in room games\n").await;
    bert.expect("* anna joined\n").await;
    drop(bert);
    anna.expect("* bert left\n").await.send("/quit\n").await.expect("* bye\n").await.expect_end().await;
    stop(server);
}

/// Also what members publish when their instance stops.
#[tokio::test]
async fn chat_shares_its_rooms_with_other_instances() {
    let Some(redis) = Redis::start(&[]) else { return };
    let start = || {
        let path = std::env::temp_dir().join(unique("chat"));
        let program = Program::example("chat").arg(format!("unix:{}", path.display())).arg(redis.link());
        (program.start(), path)
    };
    let (mut one, two) = (start(), start());
    let mut anna = enter_chat(&one.1, "anna").await;
    let subscribed = || redis.run(["PUBSUB SHARDCHANNELS {switchboard}:hub:main:rooms:lobby"]) == ["*1"];
    one.0.wait_until("the lobby is subscribed", subscribed);
    let mut bert = enter_chat(&two.1, "bert").await;
    anna.expect("* bert joined\n").await.send("hi\n").await;
    bert.expect("anna: hi\n").await.send("hello\n").await;
    anna.expect("bert: hello\n").await;
    two.0.signal(Signal::SIGTERM);
    anna.expect("* bert left\n").await;
    assert_eq!(two.0.wait().code(), Some(0));
    stop(one.0);
}

/// Starts the chat on a Unix socket: the example limits the rate per network address.
fn serve_chat_on_unix() -> (Running, PathBuf) {
    let path = std::env::temp_dir().join(unique("chat"));
    (Program::example("chat").arg(format!("unix:{}", path.display())).start(), path)
}

async fn enter_chat(path: &Path, name: &str) -> Client<UnixStream> {
    let mut client = Client(UnixStream::connect(path).await.unwrap());
    client.expect("* enter your name\n").await.send(format!("{name}\n")).await;
    client.expect(format!("* hello, {name}, you are in room lobby\n")).await;
    client.expect("* commands: /join ROOM, /who, /quit; other lines are sent to the room\n").await;
    client
}

async fn read_line(client: &mut Client<UnixStream>) -> Vec<u8> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.push(timeout(TEST_TIMEOUT, client.0.read_u8()).await.unwrap().unwrap());
    }
    line
}

#[tokio::test]
async fn chat_sends_every_line_to_every_member_in_the_same_order() {
    const TALKERS: usize = 4;
    const LISTENERS: usize = 40;
    const LINES: usize = 50; // all lines fit into the queue of the room
    let (server, path) = serve_chat_on_unix();
    let mut listeners: Vec<Client<UnixStream>> = Vec::new();
    for n in 0..LISTENERS {
        let joined = enter_chat(&path, &format!("listener{n}")).await;
        for listener in &mut listeners {
            listener.expect(format!("* listener{n} joined\n")).await;
        }
        listeners.push(joined);
    }
    let mut talkers = Vec::new();
    for n in 0..TALKERS {
        talkers.push(enter_chat(&path, &format!("talker{n}")).await);
        for listener in &mut listeners {
            listener.expect(format!("* talker{n} joined\n")).await;
        }
    }
    let lines: String = (0..LINES).map(|n| format!("line {n}\n")).collect();
    for talker in &mut talkers {
        talker.send(&lines).await;
    }
    let mut heard = String::new();
    for _ in 0..TALKERS * LINES {
        heard += &String::from_utf8(read_line(&mut listeners[0]).await).unwrap();
    }
    for n in 0..TALKERS {
        let of: Vec<_> = heard.lines().filter(|line| line.starts_with(&format!("talker{n}"))).collect();
        assert_eq!(of, (0..LINES).map(|line| format!("talker{n}: line {line}")).collect::<Vec<_>>());
    }
    for listener in &mut listeners[1..] {
        listener.expect(&heard).await;
    }
    drop((talkers, listeners));
    stop(server);
}

#[test]
fn chat_serves_nc() {
    let Some(nc) = tool("nc") else { return };
    let (server, at) = serve("chat");
    let (host, port) = at.split_once(':').unwrap();
    let mut ann = Command::new(&nc).args([host, port]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (ann.stdin.take().unwrap(), BufReader::new(ann.stdout.take().unwrap()));
    let mut read = |lines: usize| {
        let mut text = String::new();
        for _ in 0..lines {
            output.read_line(&mut text).unwrap();
        }
        text
    };
    input.write_all(b"ann\n").unwrap();
    assert!(read(3).contains("* hello, ann, you are in room lobby\n"));
    let bob = run(Program::at(&nc).args([host, port]), "bob\nhi\n/quit\n");
    assert!(bob.ends_with("* bye\n"), "{bob}");
    assert_eq!(read(3), "* bob joined\nbob: hi\n* bob left\n");
    input.write_all(b"/quit\n").unwrap();
    assert_eq!(read(1), "* bye\n");
    drop(input);
    ann.wait().unwrap();
    stop(server);
}

#[tokio::test]
async fn chat_disconnects_a_slow_reader_without_delay_for_others() {
    let (server, path) = serve_chat_on_unix();
    let (mut slow, mut loud) = (enter_chat(&path, "slow").await, enter_chat(&path, "loud").await);
    // The slow client does not read. Each batch fits into the queue of the room.
    let line = "x".repeat(400) + "\n";
    let batch = line.repeat(100) + "/who\n";
    let (mut batches, mut replies) = (0, Vec::new());
    while !replies.ends_with(b"* slow left\n") {
        if !replies.ends_with(b"* loud\n") {
            assert!(batches < 1000, "the slow client is connected");
            batches += 1;
            loud.send(&batch).await;
        }
        replies.extend(read_line(&mut loud).await);
    }
    let heard = slow.rest().await.len();
    assert!(heard < batches * batch.len(), "{heard}");
    drop(loud);
    stop(server);
}

#[tokio::test]
async fn http_keeps_connections_alive_and_finishes_requests_during_a_drain() {
    let (server, at) = serve("http");
    let mut idle = connect(&at).await;
    idle.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("HTTP/1.1 200 OK\r\n").await;
    let mut client = connect(&at).await;
    let answer = async |client: &mut Client<TcpStream>| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(TEST_TIMEOUT, client.0.read_u8()).await.unwrap().unwrap());
        }
        String::from_utf8(head).unwrap().lines().next().unwrap().to_owned()
    };
    let post = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
    client.send(post).await.send("hello").await;
    assert_eq!(answer(&mut client).await, "HTTP/1.1 200 OK");
    client.expect("hello").await.send("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(answer(&mut client).await, "HTTP/1.1 404 Not Found");
    client.expect("not found; try / or /echo\n").await;
    // The second half of the body arrives during the drain, after the idle connection has closed.
    let post = post.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    client.send(post).await;
    assert_eq!(answer(&mut client).await, "HTTP/1.1 100 Continue"); // the handler reads the body
    client.send("he").await;
    server.signal(Signal::SIGTERM);
    idle.rest().await;
    client.send("llo").await;
    assert_eq!(answer(&mut client).await, "HTTP/1.1 200 OK");
    client.expect("hello").await.expect_end().await;
    assert_eq!(server.wait().code(), Some(0));
}

#[tokio::test]
async fn http_answers_a_half_closed_client_and_rejects_large_bodies() {
    let (server, at) = serve("http");
    let mut client = connect(&at).await;
    let replies = client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2)).await.half_close().await.rest().await;
    assert_eq!(String::from_utf8_lossy(&replies).matches("POST /echo").count(), 2);
    let mut client = connect(&at).await;
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n").await;
    client.expect("HTTP/1.1 413 ").await;
    stop(server);
}

#[test]
fn http_serves_curl() {
    let Some(curl) = tool("curl") else { return };
    let (server, at) = serve("http");
    let with = |args: &[&str]| run(Program::at(&curl).args(["-sS"]).args(args), "");
    assert_eq!(with(&[&format!("http://{at}/")]), "Switchboard HTTP example: POST /echo\n");
    assert_eq!(with(&["-d", "hi", "-w", " %{http_code}", &format!("http://{at}/echo")]), "hi 200");
    assert_eq!(with(&["-o", "-", "-w", "%{http_code}", "-X", "PUT", &format!("http://{at}/echo")]), "405");
    let twice = format!("http://{at}/");
    assert!(with(&["-w", "%{num_connects}", &twice, &twice]).ends_with("/echo\n0"));
    stop(server);
}

#[test]
fn a_client_that_uses_nc_is_served() {
    let Some(nc) = tool("nc") else { return };
    let (server, at) = serve("shout");
    let (host, port) = at.split_once(':').unwrap();
    assert_eq!(run(Program::at(&nc).args(["-N", host, port]), "hi\nyou"), "1: HI\n2: YOU\n");
    stop(server);
}

#[tokio::test]
async fn own_binary_has_its_handler_and_the_whole_configuration() {
    let (server, at) = serve("own_binary");
    let mut client = connect(&at).await;
    client.send("a").await.expect("yes").await.send("b").await.expect("no").await.send("c").await;
    client.expect("ask again").await.send("d").await.expect("yes").await;
    drop(client);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));

    let listed = run(Program::example("own_binary").arg("list"), "");
    for part in ["oracle", "replies to every message", "answers", "hello", "echo"] {
        assert!(listed.contains(part), "{part} in\n{listed}");
    }
    let oracle =
        |answers: &str| Program::example("own_binary").args(["check", "--handler", "oracle", "--set", answers]);
    assert_eq!(oracle("handlers.oracle.answers=heads,tails").run().code(), Some(0));
    let wrong = oracle("handlers.oracle.answer=heads").run();
    assert_eq!(wrong.code(), Some(78));
    assert!(wrong.stderr.contains("answers"), "{}", wrong.stderr);
    let empty = oracle("handlers.oracle.answers=").run();
    assert_eq!(empty.code(), Some(78));
    assert!(empty.stderr.contains("the oracle handler needs at least one answer"), "{}", empty.stderr);
}
