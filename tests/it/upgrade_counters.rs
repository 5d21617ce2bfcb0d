//! Counters over upgrades: a scraper never sees one decrease, and their sums are exact when the old processes have
//! ended.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};

use harness::{Signal, TEST_TIMEOUT};
use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::Value;

use crate::admin::ask;
use crate::failed_upgrades::wait_until;
use crate::upgrade::{Installed, script};

const CONFIG: &str = "[log]\nlevel = 'info,switchboard::connection=warn'\n[admin]\nlisten = 'unix:admin'\n\
                      [listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nframing = 'lines'\n";

type Samples = BTreeMap<String, f64>;

/// The counters and histograms of a page of metrics.
fn counters(page: &str) -> Samples {
    let samples = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let is_counter = |name: &str| {
        let name = name.split('{').next().unwrap_or(name);
        ["_total", "_bucket", "_sum", "_count"].iter().any(|ending| name.ends_with(ending))
    };
    samples
        .filter(|(name, _)| is_counter(name))
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn admin(place: &Path) -> UnixStream {
    let io = UnixStream::connect(place.join("admin")).unwrap();
    io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    io
}

fn scrape(place: &Path) -> Samples {
    let reply = ask(admin(place), "GET", "/metrics", "", "");
    assert_eq!(reply.status, 200, "{}", reply.body);
    counters(&reply.body)
}

fn value(samples: &Samples, name: &str) -> u64 {
    let value = samples.get(name).unwrap_or_else(|| panic!("{name}: {samples:?}"));
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
    let whole = *value as u64;
    whole
}

/// Fails if a sample of both is smaller in the second.
#[track_caller]
fn assert_grows(before: &Samples, now: &Samples) {
    for (name, value) in now {
        assert!(before.get(name).is_none_or(|before| value >= before), "{name}: {:?}, then {value}", before.get(name));
    }
}

/// Sends requests on one connection for as long as the server keeps it open.
struct KeepAlive(BufReader<UnixStream>);

impl KeepAlive {
    fn open(place: &Path) -> Self {
        Self(BufReader::new(admin(place)))
    }

    /// The body of the reply, and whether the server closes the connection after it.
    fn get(&mut self, path: &str) -> (String, bool) {
        write!(self.0.get_mut(), "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let (mut length, mut closes, mut line) = (0, false, String::new());
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "every request has a reply");
            match line.trim_end().to_ascii_lowercase().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("connection", value)) => closes = value == "close",
                Some(_) => {}
                None if line == "\r\n" => break,
                None => assert!(line.starts_with("HTTP/1.1 200"), "{line}"),
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (String::from_utf8(body).unwrap(), closes)
    }
}

/// Scrapes until stopped: over a new connection each time, or over one connection while the server keeps it. No sample
/// may decrease from one scrape to the next. Returns the number of scrapes.
fn run_scraper(place: PathBuf, stop: Arc<AtomicBool>, keeps_alive: bool) -> JoinHandle<u64> {
    thread::spawn(move || {
        let (mut before, mut scrapes, mut connection) = (Samples::new(), 0, None);
        while !stop.load(SeqCst) {
            let now = if keeps_alive {
                let (page, closes) = connection.get_or_insert_with(|| KeepAlive::open(&place)).get("/metrics");
                if closes {
                    connection = None;
                }
                counters(&page)
            } else {
                scrape(&place)
            };
            assert_grows(&before, &now);
            (before, scrapes) = (now, scrapes + 1);
        }
        scrapes
    })
}

/// What the clients have sent and received.
#[derive(Default)]
struct Totals {
    connections: AtomicU64,
    messages: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
}

fn read_line(client: &mut impl BufRead) -> String {
    let mut line = String::new();
    client.read_line(&mut line).unwrap();
    line
}

/// A client that has received the welcome.
fn connect(address: &str, totals: &Totals) -> BufReader<TcpStream> {
    let io = TcpStream::connect(address).expect("no client is rejected");
    io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    totals.connections.fetch_add(1, SeqCst);
    let mut client = BufReader::new(io);
    let welcome = read_line(&mut client);
    assert_eq!(welcome, "welcome!\n");
    totals.received.fetch_add(welcome.len() as u64, SeqCst);
    client
}

fn request(client: &mut BufReader<TcpStream>, text: &str, totals: &Totals) {
    let message = format!("{text}\n");
    client.get_mut().write_all(message.as_bytes()).unwrap();
    let reply = read_line(client);
    assert_eq!(reply, format!("hello, {text}!\n"), "no reply is lost");
    totals.messages.fetch_add(1, SeqCst);
    totals.sent.fetch_add(message.len() as u64, SeqCst);
    totals.received.fetch_add(reply.len() as u64, SeqCst);
}

fn finish(mut client: BufReader<TcpStream>, totals: &Totals) {
    client.get_mut().write_all(b"exit\n").unwrap();
    assert_eq!(client.read_to_end(&mut Vec::new()).unwrap(), 0);
    totals.messages.fetch_add(1, SeqCst);
    totals.sent.fetch_add(5, SeqCst);
}

/// Runs clients one after another, each with some requests, until stopped.
fn run_clients(address: String, stop: Arc<AtomicBool>, totals: Arc<Totals>, requests: usize) -> JoinHandle<()> {
    thread::spawn(move || {
        while !stop.load(SeqCst) {
            let mut client = connect(&address, &totals);
            (0..requests).for_each(|nth| request(&mut client, &nth.to_string(), &totals));
            finish(client, &totals);
        }
    })
}

/// The accepted connections of each second of the history.
fn accepted_by_second(place: &Path) -> Vec<Value> {
    let history = ask(admin(place), "GET", "/history?seconds=3600", "", "").json();
    history["columns"]["accepted"].as_array().unwrap().clone()
}

const ACCEPTED: &str = "switchboard_connections_accepted_total{listener=\"main\"}";
const CLOSED: &str = "switchboard_connections_closed_total{listener=\"main\",reason=\"handler_closed\"}";
const MESSAGES: &str = "switchboard_messages_total{listener=\"main\",outcome=\"ok\"}";
const MESSAGE_COUNT: &str = "switchboard_message_seconds_count{listener=\"main\"}";
const RECEIVED: &str = "switchboard_received_bytes_total{listener=\"main\"}";
const SENT: &str = "switchboard_sent_bytes_total{listener=\"main\"}";

#[test]
fn no_counter_decreases_over_three_upgrades_under_load_and_the_sums_are_exact() {
    let mut server = Installed::start(CONFIG);
    let place = server.place.path().to_owned();
    server.log().wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let address = server.log().socket("main");
    let (stop, totals) = (Arc::new(AtomicBool::new(false)), Arc::new(Totals::default()));
    let scrapers: Vec<_> =
        [false, true].map(|keeps_alive| run_scraper(place.clone(), stop.clone(), keeps_alive)).into();
    let clients: Vec<_> =
        [1, 3, 100].map(|requests| run_clients(address.clone(), stop.clone(), totals.clone(), requests)).into();
    wait_until("the history has rows", || accepted_by_second(&place).len() >= 2);
    let first_rows = accepted_by_second(&place);
    for _ in 0..3 {
        // This connection is served by the old process after the handover.
        let mut long = connect(&address, &totals);
        request(&mut long, "before", &totals);
        server.upgrade();
        (0..50).for_each(|nth| request(&mut long, &nth.to_string(), &totals));
        finish(long, &totals);
        let seen = totals.messages.load(SeqCst);
        wait_until("clients are served", || totals.messages.load(SeqCst) > seen + 300);
        assert!(scrapers.iter().all(|scraper| !scraper.is_finished()), "a scraper has failed");
    }
    stop.store(true, SeqCst);
    clients.into_iter().for_each(|client| client.join().unwrap());
    let scrapes: Vec<u64> = scrapers.into_iter().map(|scraper| scraper.join().unwrap()).collect();
    assert!(scrapes.iter().all(|scrapes| *scrapes > 20), "{scrapes:?}");
    let drained = || server.log().log().iter().filter(|event| event["message"] == "drained").count();
    wait_until("the old processes have drained", || drained() == 3);
    let expected = |name: &str| match name {
        ACCEPTED | CLOSED => totals.connections.load(SeqCst),
        MESSAGES | MESSAGE_COUNT => totals.messages.load(SeqCst),
        RECEIVED => totals.sent.load(SeqCst),
        _ => totals.received.load(SeqCst),
    };
    let names = [ACCEPTED, CLOSED, MESSAGES, MESSAGE_COUNT, RECEIVED, SENT];
    let sums = || {
        let samples = scrape(&place);
        names.map(|name| (value(&samples, name), expected(name)))
    };
    wait_until("the sums are exact", || sums().iter().all(|(counted, expected)| counted == expected));
    // The history has the rows of all processes, and does not show the counters of the old ones as load.
    let rows = accepted_by_second(&place);
    assert!(rows.len() > first_rows.len() && rows.starts_with(&first_rows), "{first_rows:?} {rows:?}");
    let shown: u64 = rows.iter().filter_map(Value::as_u64).sum();
    assert!(shown > totals.connections.load(SeqCst) / 2, "{shown} {rows:?}");
    assert!(shown <= totals.connections.load(SeqCst), "{shown} {rows:?}");
    let status = ask(admin(&place), "GET", "/status", "", "").json();
    assert_eq!(status["pid"], server.current);
    let log = server.stop();
    assert!(!log.contains("panicked") && !log.contains("last counters"), "{log}");
}

#[test]
fn requests_on_open_admin_connections_reach_the_new_process() {
    let mut server = Installed::start(CONFIG);
    let place = server.place.path().to_owned();
    server.log().wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let old = server.current;
    let mut connections: Vec<_> = (0..3).map(|_| KeepAlive::open(&place)).collect();
    let pid = |(status, closes): (String, bool)| {
        let status: Value = serde_json::from_str(&status).unwrap();
        (status["pid"].as_u64().unwrap(), closes)
    };
    connections.iter_mut().for_each(|connection| assert_eq!(pid(connection.get("/status")), (old.into(), false)));
    server.upgrade();
    for connection in &mut connections {
        assert_eq!(pid(connection.get("/status")), (server.current.into(), true));
    }
    server.next("drained");
    server.stop();
}

#[test]
fn a_killed_old_process_and_a_renamed_listener_do_no_harm() {
    let mut server = Installed::start(&CONFIG.replace("127.0.0.1:0", &format!("127.0.0.1:{}", harness::free_port())));
    let place = server.place.path().to_owned();
    let (address, totals) = (server.log().socket("main"), Totals::default());
    let old = server.current;
    let mut long = connect(&address, &totals);
    (0..10).for_each(|nth| request(&mut long, &nth.to_string(), &totals));
    server.upgrade();
    let before = scrape(&place);
    assert_eq!((value(&before, ACCEPTED), value(&before, MESSAGES)), (1, 10));
    // The old process still serves this connection, and its counters arrive.
    (0..10).for_each(|nth| request(&mut long, &nth.to_string(), &totals));
    wait_until("the later messages are counted", || value(&scrape(&place), MESSAGES) == 20);
    kill(Pid::from_raw(old.cast_signed()), Signal::SIGKILL).unwrap();
    server.next("the old process ended before it had sent its last counters");
    let after = scrape(&place);
    assert_grows(&before, &after);
    assert_eq!((value(&after, ACCEPTED), value(&after, MESSAGES)), (1, 20));
    // The counters of a listener that does not exist any more are ignored.
    let file = place.join("switchboard.toml");
    let renamed = fs::read_to_string(&file).unwrap().replace("listeners.main", "listeners.front");
    fs::write(&file, renamed).unwrap();
    let mut client = connect(&address, &totals);
    request(&mut client, "Ada", &totals);
    server.upgrade();
    let front = ACCEPTED.replace("main", "front");
    let samples = scrape(&place);
    assert_eq!((samples.get(ACCEPTED), samples.get(&front)), (None, Some(&0.0)));
    request(&mut client, "Bob", &totals);
    finish(client, &totals);
    server.next("drained");
    finish(connect(&address, &totals), &totals);
    wait_until("the connection is counted", || scrape(&place)[&front] > 0.0);
    server.signal(Signal::SIGTERM);
    server.next("drained");
    drop(server.running.take()); // every process has ended
}

#[test]
fn a_new_process_of_a_version_without_counters_takes_over() {
    let mut server = Installed::start(CONFIG);
    let other = "#!/bin/sh\nread list <&3\necho ready >&3\nread commit <&3\nexec 3>&-\nexec sleep 1000\n";
    server.install(&script(server.place.path(), "other", other));
    server.upgrade();
    server.next("drained");
    server.signal(Signal::SIGKILL);
    let ended = server.running.take().unwrap().wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
}
