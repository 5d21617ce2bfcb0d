//! The history with simulated time: hours of samples, minutes, gaps, and listeners that come and go.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::sample::COLUMNS;
use super::*;
use crate::admin::Admin;
use crate::{assemble, config};

fn history() -> History {
    History::new(Instant::now())
}

/// Counters after this many seconds with ten messages, one new connection and a kilobyte per second.
fn load(seconds: u64) -> Sample {
    Sample {
        open: seconds % 7,
        accepted: seconds,
        messages: 10 * seconds,
        bytes_in: 1000 * seconds,
        ..Sample::default()
    }
}

fn run(history: &History, seconds: impl IntoIterator<Item = u64>, names: &[&str]) {
    for second in seconds {
        let listeners: Vec<_> = names.iter().map(|name| ((*name).to_owned(), load(second))).collect();
        history.record_at(second, &listeners);
    }
}

fn column(history: &History, step: Step, listener: Option<&str>, name: &str, limit: usize) -> Vec<Option<u64>> {
    let place = COLUMNS.iter().position(|column| *column == name).unwrap();
    let (_, rows) = history.read(step, listener, limit).unwrap();
    rows.iter().map(|row| row[place].get()).collect()
}

#[test]
fn an_hour_of_seconds_and_a_day_of_minutes_are_kept() {
    let history = history();
    run(&history, 0..=30 * 3600, &["a", "b"]);
    for (step, length, messages) in [(Step::Second, SECONDS, 10), (Step::Minute, MINUTES, 600)] {
        let (last, rows) = history.read(step, None, usize::MAX).unwrap();
        assert_eq!((last, rows.len()), (if step == Step::Second { 108_000 } else { 1800 }, length));
        assert_eq!(column(&history, step, Some("a"), "messages", length), vec![Some(messages); length]);
        assert_eq!(column(&history, step, None, "messages", 1), [Some(2 * messages)]);
    }
    // Of a minute, the most open connections: here of both listeners.
    assert_eq!(column(&history, Step::Minute, None, "open", 2), [Some(12), Some(12)]);
    assert_eq!(history.read(Step::Second, None, 10).unwrap().1.len(), 10);
}

#[test]
fn a_row_takes_twenty_bytes_and_a_series_less_than_100_kib() {
    assert_eq!(size_of::<Row>(), 20);
    assert!((SECONDS + MINUTES) * size_of::<Row>() <= 100 * 1024);
}

#[test]
fn nothing_is_allocated_or_shown_before_it_was_measured() {
    let history = history();
    assert_eq!(history.read(Step::Second, None, 300).unwrap(), (0, Vec::new()));
    // The admin endpoint is enabled after 100 seconds.
    run(&history, [100], &["a"]);
    assert_eq!(column(&history, Step::Second, None, "accepted", 2), [None, Some(1)]);
    assert_eq!(history.read(Step::Second, Some("a"), 300).unwrap(), (100, Vec::new()));
    run(&history, [101], &["a"]);
    assert_eq!(column(&history, Step::Second, Some("a"), "accepted", 300), [Some(1)]);
    assert!(history.read(Step::Second, Some("b"), 300).is_none());
}

#[test]
fn a_paused_process_leaves_a_gap() {
    let history = history();
    run(&history, (0..=10).chain([15, 15, 14, 16]), &["a"]);
    let gap = [Some(10), None, None, None, None, Some(10), Some(10)];
    assert_eq!(column(&history, Step::Second, Some("a"), "messages", 7), gap);
    assert_eq!(column(&history, Step::Second, None, "messages", 7), gap);
    // Two hours later, the hour is empty, and the minutes have a gap of their own.
    run(&history, [16 + 7200, 17 + 7200], &["a"]);
    let seconds = column(&history, Step::Second, None, "messages", SECONDS);
    assert_eq!(seconds.iter().flatten().count(), 2);
    assert_eq!(seconds.len(), SECONDS);
    let minutes = column(&history, Step::Minute, None, "messages", MINUTES);
    assert_eq!((minutes.len(), minutes.iter().flatten().count()), (120, 1));
}

#[test]
fn a_listener_that_a_reload_adds_or_removes_has_rows_for_its_time_only() {
    let history = history();
    run(&history, 0..=5, &["a"]);
    let with_b = |second: u64| {
        let young = Sample { messages: 3 * (second - 5), ..Sample::default() };
        [("a".to_owned(), load(second)), ("b".to_owned(), young)]
    };
    (6..=8).for_each(|second| history.record_at(second, &with_b(second)));
    // It began in second 6 with counters of zero.
    assert_eq!(column(&history, Step::Second, Some("b"), "messages", 300), [Some(3), Some(3), Some(3)]);
    run(&history, 9..=10, &["a"]);
    assert_eq!(column(&history, Step::Second, Some("b"), "messages", 300), [Some(3), Some(3), Some(3), None, None]);
    assert_eq!(column(&history, Step::Second, Some("a"), "messages", 300), vec![Some(10); 10]);
    // A listener with the same name and an address of its own counts from zero.
    history.record_at(11, &[("a".to_owned(), load(11)), ("b".to_owned(), Sample { messages: 2, ..Sample::default() })]);
    assert_eq!(column(&history, Step::Second, Some("b"), "messages", 1), [Some(2)]);
}

#[test]
fn the_number_of_listeners_is_bounded_and_those_that_are_gone_make_room() {
    let history = history();
    let names: Vec<String> = (0..MAX_LISTENERS + 20).map(|number| format!("l{number:03}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    run(&history, 0..=2, &names);
    assert!(history.read(Step::Second, Some("l099"), 1).is_some());
    assert!(history.read(Step::Second, Some("l100"), 1).is_none());
    assert_eq!(column(&history, Step::Second, None, "accepted", 1), [Some(names.len() as u64)]);
    run(&history, 3..=4, &names[1..]);
    assert!(history.read(Step::Second, Some("l000"), 1).is_none());
    assert!(history.read(Step::Second, Some("l100"), 1).is_some());
}

/// A server whose admin endpoint was not asked for an hour: the reply shows that hour and the incident in it.
#[tokio::test]
async fn a_request_after_an_hour_of_load_shows_that_hour() {
    let registry = crate::registry();
    let text = "[admin]\nlisten = 'tcp://127.0.0.1:0'\n[listeners.main]\nlisten = 'tcp://127.0.0.1:0'\n".to_owned();
    let inputs = config::Inputs { file: Some("text.toml".into()), text: Some(text), ..config::Inputs::default() };
    let config = config::load(&inputs, &registry).unwrap();
    let (listeners, assembled) = assemble::assemble(config, &registry, None).map_err(|e| e.to_string()).unwrap();
    let running = Arc::new(listeners.start().await.unwrap());
    let (admin, _reloads) = Admin::new(running, None, &assembled.config).await.unwrap();
    admin.open(&assembled.config, Vec::new()).await.unwrap();
    for second in 0..=3600 {
        // For a minute, connections close by errors.
        let errors = 5 * (second.clamp(1800, 1860) - 1800);
        let sample = Sample { errors, ..load(second) };
        admin.state.history.record_at(second, &[("main".to_owned(), sample)]);
    }
    let mut io = TcpStream::connect(admin.running.socket_addr().unwrap()).await.unwrap();
    let request = "GET /history?seconds=3600&listener=main HTTP/1.0\r\nhost: localhost\r\n\r\n";
    io.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    io.read_to_string(&mut reply).await.unwrap();
    let reply: Value = serde_json::from_str(reply.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&reply["last"], &reply["step_seconds"]), (&3600.into(), &1.into()));
    let column = |name: &str| reply["columns"][name].as_array().unwrap().clone();
    assert_eq!(column("messages"), vec![Value::from(10); 3600]);
    let errors = column("errors");
    let incident: Vec<usize> = (0..3600).filter(|second| errors[*second] != 0).collect();
    assert_eq!(incident, (1800..1860).collect::<Vec<_>>());
    admin.stop().await;
}

#[test]
fn a_new_process_continues_the_rows_of_the_old_one() {
    let hour = Duration::from_secs(3600);
    let old = History::new(Instant::now().checked_sub(hour).unwrap());
    run(&old, 0..=3600, &["a", "b"]);
    let new = history();
    let text = serde_json::to_string(&old.parts()).unwrap();
    let parts: Vec<HistoryPart> = serde_json::from_str(&text).unwrap();
    assert!(parts.iter().all(|part| serde_json::to_string(part).unwrap().len() < 32 << 10));
    parts.into_iter().for_each(|part| new.continue_from(part));
    assert_eq!(new.second(), 3600);
    for (step, listener) in [(Step::Second, None), (Step::Second, Some("b")), (Step::Minute, Some("a"))] {
        assert_eq!(new.read(step, listener, SECONDS), old.read(step, listener, SECONDS));
    }
    // Seconds without a row while the process changed, then the next row. A third process gets all of them.
    for name in [Some("a"), None] {
        new.rings.lock().seconds.begin_with(name, &load(3602), 3602);
        new.rings.lock().minutes.begin_with(name, &load(3602), 60);
    }
    run(&new, 3603..3605, &["a"]);
    let newest = history();
    new.parts().into_iter().for_each(|part| newest.continue_from(part));
    let expected = [Some(10), None, None, Some(10), Some(10)];
    assert_eq!(column(&newest, Step::Second, Some("a"), "messages", 5), expected);
    assert_eq!(column(&newest, Step::Second, None, "messages", 4), [None, None, Some(10), Some(10)]);
    assert_eq!(column(&newest, Step::Second, Some("b"), "messages", 5), [Some(10), None, None, None, None]);
}
