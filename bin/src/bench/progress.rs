//! The progress bar on a terminal.

use std::cell::RefCell;
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep};

use super::arrivals::Clock;
use super::results::Results;

/// Interval of the updates.
const INTERVAL: Duration = Duration::from_millis(250);

/// Shows the progress until it is dropped. Without a terminal on standard error, shows nothing.
pub(super) async fn show(clock: Clock, results: &RefCell<Results>) {
    let whole = clock.end - clock.start;
    let bar = ProgressBar::new(u64::try_from(whole.as_millis()).unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{bar:30} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("##-"));
    let bar = Cleared(bar);
    loop {
        let passed = clock.start.elapsed().min(whole);
        bar.0.set_position(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
        bar.0.set_message(message(passed, whole, &results.borrow()));
        sleep(INTERVAL).await;
    }
}

fn message(passed: Duration, whole: Duration, results: &Results) -> String {
    let phase = if Instant::now() < results.begin {
        "warmup".to_owned()
    } else if results.messages() == 0 {
        "no message answered".to_owned()
    } else {
        format!("{} messages, p99 {:.3?}", HumanCount(results.messages()), results.quantile(0.99))
    };
    let failed = match results.failed_messages() {
        0 => String::new(),
        failed => format!(", {} failed", HumanCount(failed)),
    };
    format!("{:.0}/{:.0} s: {phase}{failed}", passed.as_secs_f64(), whole.as_secs_f64())
}

/// Removes the bar from the terminal when it is dropped.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
