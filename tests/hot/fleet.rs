//! A fleet of one instance. Its server answers each call, and grants everything.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use switchboard::fleet::{Fleet, FleetState};
use switchboard::settings::FleetSettings;

/// How long a fleet may take to be shared.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Longer than a measurement, so that the calls are no part of it.
const LEASE: Duration = Duration::from_secs(60);
/// More messages than a path sends.
const GRANTED: u32 = 1_000_000;

/// A fleet whose server runs on a thread of this process.
pub(super) fn fleet() -> Fleet {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("fleet");
    let listener = UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        let _place = place;
        for client in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || answer(&client));
        }
    });
    let link = format!("redis+unix:{}", path.display()).parse().unwrap();
    // An exchange of bans would run during a measurement.
    Fleet::new(&FleetSettings::default().link(Some(link)).lease(LEASE).bans(false)).unwrap()
}

/// Waits until the limits are shared.
pub(super) async fn is_shared(fleet: &Fleet) {
    let deadline = Instant::now() + TIMEOUT;
    while fleet.report().state != FleetState::Shared {
        assert!(Instant::now() < deadline, "{:?}", fleet.report());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads commands in the protocol of Redis, and answers a call of the script with one instance.
fn answer(mut client: &UnixStream) {
    let mut reader = BufReader::new(client);
    while let Some(command) = command(&mut reader) {
        let reply = match command.first().map(String::as_str) {
            Some("EVALSHA") => {
                let requests = command.get(2).and_then(|keys| keys.parse::<usize>().ok()).unwrap_or(2) - 2;
                format!("*{}\r\n:1\r\n{}", requests + 1, format!(":{GRANTED}\r\n").repeat(requests))
            }
            _ => "+OK\r\n".to_owned(),
        };
        if client.write_all(reply.as_bytes()).is_err() {
            return;
        }
    }
}

fn command(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let mut line = String::new();
    let mut length = |reader: &mut dyn BufRead| {
        line.clear();
        reader.read_line(&mut line).ok()?;
        line.trim_end().get(1..)?.parse::<usize>().ok()
    };
    let words = length(reader)?;
    (0..words)
        .map(|_| {
            let mut word = vec![0; length(reader)? + 2];
            reader.read_exact(&mut word).ok()?;
            Some(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned())
        })
        .collect()
}
