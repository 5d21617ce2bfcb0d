//! Tests of `log/line_limit.rs`.

use std::thread;

use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

/// Logs with a limit, reports, and returns the lines.
fn lines(rate: &str, log: impl FnOnce(&LineLimit)) -> Vec<String> {
    let limit = LineLimit::default();
    limit.set_rate(rate.parse().unwrap());
    let written = Arc::new(std::sync::Mutex::new(Vec::new()));
    let format = fmt::layer().with_ansi(false).without_time().with_writer(Written(written.clone()));
    let subscriber = tracing_subscriber::registry().with(format).with(limit.clone());
    tracing::subscriber::with_default(subscriber, || {
        log(&limit);
        limit.report();
        limit.report(); // nothing is reported twice
    });
    let written = written.lock().unwrap();
    String::from_utf8_lossy(&written).lines().map(str::to_owned).collect()
}

struct Written(Arc<std::sync::Mutex<Vec<u8>>>);

impl fmt::MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self(self.0.clone())
    }
}

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn count(lines: &[String], part: &str) -> usize {
    lines.iter().filter(|line| line.contains(part)).count()
}

#[test]
fn each_event_of_each_listener_has_a_separate_limit_and_one_report() {
    let lines = lines("10/h", |_| {
        for nth in 0..25 {
            tracing::info!(listener = "one", nth, "connection opened");
            tracing::info!(listener = %"one", nth, "connection closed");
            if nth < 12 {
                tracing::warn!(listener = "two", nth, "connection opened");
            }
            if nth < 10 {
                tracing::info!(listener = "three", nth, "connection opened");
            }
            tracing::error!("panic {}", "of a handler");
        }
    });
    assert_eq!(lines.len(), 50 + 4, "{lines:#?}");
    let reports = [
        "WARN switchboard: log lines suppressed event=\"connection opened\" listener=\"one\" count=15",
        "WARN switchboard: log lines suppressed event=\"connection closed\" listener=\"one\" count=15",
        "WARN switchboard: log lines suppressed event=\"connection opened\" listener=\"two\" count=2",
        "ERROR switchboard: log lines suppressed event=\"panic of a handler\" count=15",
    ];
    for report in reports {
        assert_eq!(count(&lines, report), 1, "{report}: {lines:#?}");
    }
}

#[test]
fn debug_and_trace_have_no_limit_and_a_rate_of_zero_is_off() {
    let lines = lines("2/h", |limit| {
        for _ in 0..50 {
            tracing::debug!("at debug");
            tracing::trace!("at trace");
            tracing::info!("at info");
        }
        limit.set_rate(Rate::default());
        for _ in 0..50 {
            tracing::info!("without a limit");
        }
    });
    let counts = ["at debug", "at trace", "at info", "without a limit"].map(|text| count(&lines, text));
    assert_eq!(counts, [50, 50, 2 + 1, 50], "{lines:#?}");
}

#[test]
fn after_a_period_lines_are_written_again() {
    let lines = lines("2/1ms", |_| {
        for _ in 0..3 {
            for _ in 0..2 {
                tracing::info!("an event");
            }
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(1) {
                thread::yield_now();
            }
        }
    });
    assert_eq!(count(&lines, "INFO"), 6, "{lines:#?}");
}

#[test]
fn names_without_a_bound_share_one_count() {
    let limit = LineLimit::default();
    limit.set_rate(Rate::per_hour(1));
    let subscriber = tracing_subscriber::registry().with(limit.clone());
    tracing::subscriber::with_default(subscriber, || {
        for nth in 0..10_000 {
            tracing::info!(listener = nth.to_string(), "an event with any number of names");
        }
    });
    assert!(limit.0.lock().counts.len() <= MAX_COUNTS + 1);
}
