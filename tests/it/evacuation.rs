//! Evacuation: a share of the connections closes at the requested rate, idle ones first, each with its last message.

use std::io::{BufRead, Read, Write};
use std::time::{Duration, Instant};

use harness::{Client, Program, Signal, unique};
use serde_json::{Value, json};
use switchboard::prelude::*;
use switchboard::registry::HandlerInstance;
use switchboard::server::{Evacuation, EvacuationError, EvacuationReport, EvacuationState, ListenerSpec};
use switchboard::settings::Rate;
use switchboard::transport::Transports;
use switchboard::{Networks, ProxySettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::admin::AdminServer;
use crate::commands::Configured;
use crate::support::{MemClient, Probe, connect, millis, secs, serve};

/// Echoes, and ends with `bye`.
struct Bye;

impl Handler for Bye {
    type State = ();

    async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
        Ok(Reply::send(message))
    }

    fn closing(&self, _: &mut Context, reason: CloseReason) -> Option<Bytes> {
        Some(format!("bye {reason}").into())
    }
}

async fn served(count: usize) -> (Running, Vec<MemClient>) {
    let name = unique("evacuation");
    let running = Server::bind(format!("mem:{name}")).framing(Lines::default()).start(Bye).await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = connect(&name).await;
        client.send("hi\n").await.expect("hi\n").await;
        clients.push(client);
    }
    (running, clients)
}

async fn result(running: &Running) -> EvacuationReport {
    let ended = tokio::time::timeout(secs(600), running.evacuated()).await.expect("the evacuation ends");
    ended.expect("there was an evacuation")
}

fn closed_by(running: &Running, reason: CloseReason) -> u64 {
    running.report()[0].closed.iter().find(|(of, _)| *of == reason).unwrap().1
}

#[tokio::test(start_paused = true)]
async fn a_third_closes_at_the_requested_rate_each_with_its_last_message() {
    let (running, clients) = served(900).await;
    let began = tokio::time::Instant::now();
    let begun = running.evacuate(Evacuation::new(1.0 / 3.0, Rate::per_second(100))).unwrap();
    assert_eq!((begun.open, begun.chosen, begun.state), (900, 300, EvacuationState::InProgress));
    tokio::time::sleep(secs(2)).await;
    let halfway = running.evacuation().unwrap();
    assert!((150..=200).contains(&halfway.signalled) && halfway.is_in_progress(), "{halfway:?}");
    let report = result(&running).await;
    assert_eq!((report.signalled, report.closed, report.remaining()), (300, 300, 0));
    assert_eq!(report.state, EvacuationState::Finished);
    let seconds = began.elapsed().as_secs_f64();
    assert!((3.0..3.6).contains(&seconds), "{seconds}");
    assert_eq!((running.open(), closed_by(&running, CloseReason::Drain)), (600, 300));
    let mut said_bye = 0;
    for mut client in clients {
        let mut byte = [0];
        match tokio::time::timeout(millis(1), client.0.read(&mut byte)).await {
            Ok(read) => {
                assert_eq!((read.unwrap(), byte), (1, *b"b"));
                client.expect("ye drain\n").await.expect_end().await;
                said_bye += 1;
            }
            Err(_) => drop(client.send("on\n").await.expect("on\n").await),
        }
    }
    assert_eq!(said_bye, 300);
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_idle_for_longest_close_first() {
    let (running, mut clients) = served(30).await;
    tokio::time::sleep(secs(60)).await;
    running.evacuate(Evacuation::new(0.5, Rate::per_second(5))).unwrap();
    // The second half talks during the evacuation.
    while running.evacuation().unwrap().is_in_progress() {
        for client in &mut clients[15..] {
            client.send("on\n").await.expect("on\n").await;
        }
        tokio::time::sleep(millis(100)).await;
    }
    for client in &mut clients[..15] {
        client.expect("bye drain\n").await.expect_end().await;
    }
    for client in &mut clients[15..] {
        client.send("on\n").await.expect("on\n").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_gets_its_reply_and_is_never_aborted() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("wait\n").await;
    served.probe.called("message", 1).await;
    served.running.evacuate(Evacuation::new(1.0, Rate::per_second(10))).unwrap();
    let report = result(&served.running).await;
    assert_eq!((report.signalled, report.closed, report.remaining()), (1, 0, 1));
    assert_eq!((report.state, report.elapsed.as_secs()), (EvacuationState::Finished, 30)); // the drain deadline
    // Another evacuation can begin, and has nobody to close.
    served.running.evacuate(Evacuation::new(1.0, Rate::per_second(10))).unwrap();
    assert_eq!((result(&served.running).await.id, result(&served.running).await.signalled), (2, 0));
    served.probe.gate.add_permits(1);
    client.expect("waited\n").await.expect_end().await;
    assert_eq!(served.probe.reason().await, "drain");
}

#[tokio::test(start_paused = true)]
async fn a_drain_or_a_cancellation_ends_it() {
    let (running, clients) = served(100).await;
    running.evacuate(Evacuation::new(1.0, Rate::per_second(10))).unwrap();
    tokio::time::sleep(millis(2500)).await;
    let again = running.evacuate(Evacuation::new(1.0, Rate::per_second(10)));
    let Err(EvacuationError::InProgress(progress)) = again else { panic!("{again:?}") };
    assert!((20..=23).contains(&progress.signalled), "{progress:?}");
    assert!(running.cancel_evacuation());
    let cancelled = result(&running).await;
    assert_eq!(cancelled.state, EvacuationState::Cancelled);
    assert!((20..=25).contains(&cancelled.signalled), "{cancelled:?}");
    assert!(!running.cancel_evacuation());
    running.evacuate(Evacuation::new(1.0, Rate::per_hour(1))).unwrap();
    let drained = running.drain().await;
    assert!((100 - cancelled.signalled..=100 - cancelled.closed).contains(&drained.open), "{drained:?} {cancelled:?}");
    assert_eq!(drained.cut, 0);
    assert_eq!((result(&running).await.state, result(&running).await.signalled), (EvacuationState::Cancelled, 0));
    assert_eq!(running.evacuate(Evacuation::new(1.0, Rate::per_hour(1))), Err(EvacuationError::Draining));
    drop(clients);
}

#[tokio::test(start_paused = true)]
async fn connections_that_close_by_themselves_are_not_counted_and_new_ones_stay() {
    let (running, mut clients) = served(10).await;
    running.evacuate(Evacuation::new(0.8, Rate::per_second(1))).unwrap();
    clients.truncate(2); // the others disconnect
    let report = result(&running).await;
    assert_eq!((report.chosen, report.signalled, report.closed), (8, 2, 2));
}

/// Says `bye` when it is to close, from a task of its own.
struct RawBye;

impl StreamHandler for RawBye {
    async fn serve(&self, connection: Connection, mut stream: ByteStream) -> Result<()> {
        let mut drain = connection.drain();
        // Not the task of the connection.
        let waiting = tokio::spawn(async move { drain.draining().await });
        let mut byte = [0];
        tokio::select! {
            read = stream.read(&mut byte) => drop(read?),
            ended = waiting => ended?,
        }
        assert!(connection.drain().is_draining() && connection.drain().deadline().is_none());
        stream.write_all(b"bye").await?;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_handler_sees_that_its_connection_is_to_close() {
    let name = unique("evacuation");
    let running = Server::bind(format!("mem:{name}")).start_stream(RawBye).await.unwrap();
    let (mut one, mut two) = (connect(&name).await, connect(&name).await);
    while running.open() < 2 {
        tokio::task::yield_now().await;
    }
    running.evacuate(Evacuation::new(0.5, Rate::per_second(10))).unwrap();
    assert_eq!((result(&running).await.closed, running.open()), (1, 1));
    assert!(running.readiness().is_ready());
    running.evacuate(Evacuation::new(1.0, Rate::per_second(10))).unwrap();
    one.expect("bye").await.expect_end().await;
    two.expect("bye").await.expect_end().await;
}

#[tokio::test]
async fn only_the_chosen_listener_and_network_are_concerned() {
    let probe = Probe::default();
    let handler = HandlerInstance::new(probe);
    let mut listeners = ListenerSet::new(Transports::default());
    let mut proxied = ListenerSpec::new("proxied", "tcp://127.0.0.1:0".parse().unwrap());
    let proxies: Networks = ["127.0.0.0/8".parse().unwrap()].into_iter().collect();
    proxied.proxy = Some(ProxySettings::default().trusted(proxies));
    listeners.listen(ListenerSpec::new("main", "tcp://127.0.0.1:0".parse().unwrap()), &handler);
    listeners.listen(proxied, &handler);
    listeners.listen(ListenerSpec::new("dns", "udp://127.0.0.1:0".parse().unwrap()), &handler);
    let running = listeners.start().await.unwrap();
    let port = |name: &str| running.addresses().iter().find(|(of, _)| of == name).unwrap().1.port().unwrap();
    let open = async |name: &str, header: &str| {
        let io = tokio::net::TcpStream::connect(("127.0.0.1", port(name))).await.unwrap();
        let mut client = Client(io);
        client.send(format!("{header}x")).await.expect("x").await;
        client
    };
    let mut plain = open("main", "").await;
    let mut near = open("proxied", "PROXY TCP4 10.1.2.3 10.0.0.1 1000 9999\r\n").await;
    let mut far = open("proxied", "PROXY TCP4 192.0.2.7 10.0.0.1 1000 9999\r\n").await;
    let all = || Evacuation::new(1.0, Rate::per_second(100));
    let plan = |evacuation: Evacuation| running.plan_evacuation(&evacuation).map(|plan| (plan.open, plan.chosen));
    assert_eq!(plan(all()), Ok((3, 3)));
    assert_eq!(plan(all().listener("main")), Ok((1, 1)));
    // The address of the PROXY header counts, not the one of the proxy.
    assert_eq!(plan(all().source("127.0.0.0/8".parse().unwrap())), Ok((1, 1)));
    assert_eq!(plan(all().listener("main").source("10.0.0.0/8".parse().unwrap())), Ok((0, 0)));
    assert_eq!(plan(all().listener("other")), Err(EvacuationError::UnknownListener("other".to_owned())));
    assert_eq!(plan(all().listener("dns")), Err(EvacuationError::Datagrams("dns".to_owned())));
    running.evacuate(all().source("10.0.0.0/8".parse().unwrap())).unwrap();
    near.expect_end().await;
    assert_eq!(result(&running).await.closed, 1);
    plain.send("x").await.expect("x").await;
    far.send("x").await.expect("x").await;
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn the_command_closes_a_third_and_the_log_and_the_metrics_show_it() {
    let this = Configured::start("unix:admin.sock", "[log]\nlines = '10000/s'\n");
    let clients: Vec<_> = (0..300).map(|_| this.client()).collect();
    let planned = this.run(&["evacuate", "--share", "0.3334", "--rate", "200/s", "--dry-run"]);
    assert_eq!((planned.code(), &*planned.stdout), (Some(0), "would close 100 of 300 connections within 500ms\n"));
    let began = Instant::now();
    let ended = this.run(&["evacuate", "--share", "0.3334", "--rate", "200/s", "--source", "127.0.0.0/8"]);
    assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""), "{}", ended.stdout);
    let (first, last) = (ended.stdout.lines().next().unwrap(), ended.stdout.lines().last().unwrap());
    assert_eq!(first, "evacuating 100 of 300 connections at 200/s");
    assert_eq!(last, "evacuated; 100 of 100 connections closed");
    assert!(began.elapsed() >= Duration::from_millis(495), "{:?}", began.elapsed());
    let begun = this.server.wait_for_event(|event| event["message"] == "evacuating");
    assert_eq!((&begun["open"], &begun["chosen"], &begun["rate"]), (&json!(300), &json!(100), &json!("200/s")));
    assert_eq!((&begun["source"], begun.get("listener")), (&json!("127.0.0.0/8"), None));
    let done = this.server.wait_for_event(|event| event["message"] == "evacuated");
    assert_eq!((&done["state"], &done["closed"], &done["remaining"]), (&json!("finished"), &json!(100), &json!(0)));
    let closed = this.server.log().iter().filter(|event| event["message"] == "connection closed").count();
    assert_eq!(closed, 100);
    let status = json(&this.run(&["status", "--json"]).stdout);
    let evacuation = &status["evacuation"];
    assert_eq!(
        (&evacuation["state"], &evacuation["closed"], &evacuation["id"]),
        (&json!("finished"), &json!(100), &json!(1))
    );
    assert_eq!(
        (&status["listeners"][0]["open"], &status["listeners"][0]["closed"]["drain"]),
        (&json!(200), &json!(100))
    );
    // The others are served.
    let mut served = 0;
    for mut client in clients {
        let mut line = String::new();
        let _ = client.get_mut().write_all(b"Ada\n");
        let _ = client.read_line(&mut line); // a closed connection can be reset
        served += usize::from(line == "hello, Ada!\n");
    }
    assert_eq!(served, 200);
}

#[test]
fn a_busy_connection_is_reported_and_an_evacuation_can_be_cancelled() {
    let this = Configured::start("tcp://127.0.0.1:0", "[drain]\ndeadline = '1s'\n");
    let mut busy = this.client();
    busy.get_mut().write_all(b"A").unwrap();
    let ended = this.run(&["evacuate", "--share", "1", "--rate", "100/s", "--json"]);
    let report = json(&ended.stdout);
    assert_eq!((ended.code(), &report["closed"], &report["remaining"]), (Some(0), &json!(0), &json!(1)));
    busy.get_mut().write_all(b"da\n").unwrap();
    let mut rest = String::new();
    busy.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "hello, Ada!\n");
    let _idle = this.client();
    let begun = this.run(&["evacuate", "--share", "1", "--rate", "1/h", "--no-wait"]);
    assert_eq!((begun.code(), &*begun.stdout), (Some(0), "evacuating 1 of 1 connections at 1/h\n"));
    let second = this.run(&["evacuate", "--share", "1", "--rate", "1/h"]);
    assert_eq!(second.code(), Some(1));
    let text = "an evacuation is in progress: 0 of 1 connections are signalled; wait for its end, or cancel it";
    assert!(second.stderr.contains(text), "{}", second.stderr);
    let cancelled = this.run(&["evacuate", "--cancel"]);
    assert_eq!((cancelled.code(), &*cancelled.stdout), (Some(0), "the evacuation is cancelled\n"));
    this.server.wait_for_event(|event| event["message"] == "evacuated" && event["state"] == "cancelled");
    let none = this.run(&["evacuate", "--cancel"]);
    assert!(none.code() == Some(1) && none.stderr.contains("no evacuation is in progress"), "{}", none.stderr);
}

#[test]
fn wrong_parameters_are_rejected() {
    let server = AdminServer::start(&[]);
    for (query, text) in [
        ("", "share (above 0, at most 1) and rate (such as 200/s), which are required"),
        ("?share=0.3", "which are required"),
        ("?share=0.3&rate=1/s&speed=2", "invalid query"),
        ("?share=0&rate=1/s", "the share is 0; it must be above 0 and at most 1"),
        ("?share=lots&rate=1/s", "it must be above 0 and at most 1"),
        ("?share=1.5&rate=1/s", "it must be above 0 and at most 1"),
        ("?share=1&rate=0/s", "the rate is zero"),
        ("?share=1&rate=fast", "rate: \"fast\" is not a rate"),
        ("?share=1&rate=1/s&source=10.0.0.1/8", "source: \"10.0.0.1/8\" is not a network: it has host bits"),
        ("?share=1&rate=1/s&listener=%1b", "there is no listener \\u001B"),
    ] {
        let reply = server.send("POST", &format!("/evacuate{query}"), "");
        assert_eq!(reply.status, 422, "{query}: {}", reply.body);
        assert!(reply.body.contains(text), "{query}: {}", reply.body);
    }
    assert_eq!(server.send("DELETE", "/evacuate", "").status, 404);
    assert_eq!(server.send("POST", "/evacuate?share=1&rate=1/s", "").status, 202);
    server.0.wait_for_event(|event| event["message"] == "evacuated");
    for wrong in [
        "--share 0 --rate 1/s",
        "--share 2 --rate 1/s",
        "--share NaN --rate 1/s",
        "--share 1 --rate 0/s",
        "--share 1 --rate 1/s --source 10.0.0.1/8",
        "--share 1",
        "--rate 1/s",
        "--cancel --share 1",
    ] {
        let command = Program::switchboard().args(["evacuate", "--admin", "unix:x"]).args(wrong.split(' '));
        assert_eq!(command.run().code(), Some(2), "{wrong}");
    }
}

#[test]
fn an_evacuation_ends_with_the_drain_of_the_server() {
    let server = AdminServer::start(&[]);
    let _client = server.client();
    assert_eq!(server.send("POST", "/evacuate?share=1&rate=1/h", "").status, 202);
    assert_eq!(server.metric("switchboard_evacuating"), Some(1.0));
    server.0.signal(Signal::SIGTERM);
    let ended = server.0.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("\"evacuated\"") && ended.stderr.contains("\"cancelled\""), "{}", ended.stderr);
}
