//! Tests of `bench/session.rs` and `bench/arrivals.rs`, with paused time.

use futures_util::future::join;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, DuplexStream, duplex};
use tokio::time::sleep;

use super::*;
use crate::bench::arrivals::{Clock, Schedule};
use crate::bench::load::per_second;
use crate::bench::load::tests::load;

const SECOND: Duration = Duration::from_secs(1);

/// Runs one connection with this command line against this server.
async fn run<F>(args: &[&str], server: impl FnOnce(DuplexStream) -> F) -> Results
where
    F: Future<Output = ()> + Send + 'static,
{
    let framing: &[&str] = if args.contains(&"--framing") { &[] } else { &["--framing", "lines"] };
    let load = load(&[&["tcp://a:1", "-c", "1", "--warmup", "0s"], framing, args].concat()).unwrap();
    let (near, far) = duplex(4096);
    tokio::spawn(server(far));
    let start = Instant::now();
    let clock = Clock { start, end: start + load.duration, give_up: start + load.duration + load.timeout };
    let results = RefCell::new(Results::new(start));
    sleep(Duration::from_millis(1)).await; // a greeting arrives
    let mut session = Session::new(near, &load, &results);
    let _ = match load.rate {
        None => session.run(&mut Source::Closed(clock)).await,
        Some(rate) => {
            let schedule = Schedule { start, per_second: per_second(rate), connections: 1 };
            let backlogs = schedule.backlogs();
            let arrivals = schedule.run(&backlogs, clock.end, async |time| sleep_until(time).await);
            join(arrivals, session.run(&mut Source::Open(clock, backlogs[0].clone()))).await.1
        }
    };
    results.into_inner()
}

/// Answers each line after `delay`, with `copies` replies, and stalls once for a second after the 300th line.
fn echo(delay: Duration, copies: usize) -> impl FnOnce(DuplexStream) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    move |far| {
        Box::pin(async move {
            let mut lines = BufReader::new(far);
            let mut line = Vec::new();
            for number in 0.. {
                line.clear();
                if lines.read_until(b'\n', &mut line).await.unwrap() == 0 {
                    return;
                }
                sleep(if number == 300 { SECOND } else { delay }).await;
                for _ in 0..copies {
                    lines.get_mut().write_all(&line).await.unwrap();
                }
            }
        })
    }
}

fn only_error(results: &Results) -> (&'static str, u64, &str) {
    assert_eq!(results.errors.len(), 1, "{:?}", results.errors);
    let (kind, failed) = results.errors.first_key_value().unwrap();
    (kind.name(), failed.messages, &failed.sentence)
}

#[tokio::test(start_paused = true)]
async fn in_the_open_loop_a_stall_delays_every_message_that_was_due_meanwhile() {
    let results = run(&["--rate", "100/s", "--duration", "10s"], echo(Duration::ZERO, 1)).await;
    assert_eq!((results.messages(), results.failed_messages()), (1000, 0), "{:?}", results.errors);
    // 100 of 1000 messages were due in the second of the stall.
    assert!(results.quantile(0.5) < SECOND / 100, "{:?}", results.quantile(0.5));
    assert!(results.quantile(0.95) > SECOND * 4 / 10, "{:?}", results.quantile(0.95));
    assert!(results.quantile(0.99) > SECOND * 8 / 10, "{:?}", results.quantile(0.99));
}

#[tokio::test(start_paused = true)]
async fn in_the_closed_loop_a_stall_delays_the_messages_in_flight() {
    let args = ["--duration", "10s", "--depth", "4"];
    let results = run(&args, echo(Duration::from_millis(5), 1)).await;
    assert!((1700..1900).contains(&results.messages()), "{}", results.messages());
    assert!(results.quantile(0.99) < SECOND / 10 && results.quantile(1.0) >= SECOND, "{:?}", results.quantile(0.99));
}

#[tokio::test(start_paused = true)]
async fn messages_of_the_warmup_do_not_count() {
    let load = load(&["tcp://a:1", "--framing", "lines"]).unwrap();
    let results = RefCell::new(Results::new(Instant::now() + SECOND));
    let now = Instant::now();
    results.borrow_mut().answered(now, now + 2 * SECOND, load.message.len(), 1);
    results.borrow_mut().answered(now + SECOND, now + 2 * SECOND, load.message.len(), 1);
    let results = results.into_inner();
    assert_eq!((results.messages(), results.sent_bytes, results.received_bytes), (1, 64, 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_is_answered_by_the_last_of_its_replies() {
    let results = run(&["--duration", "1s", "--replies", "3"], echo(Duration::from_millis(10), 3)).await;
    assert_eq!((results.messages(), results.failed_messages()), (100, 0), "{:?}", results.errors);
    assert_eq!(results.received_bytes, 3 * results.sent_bytes);
}

#[tokio::test(start_paused = true)]
async fn more_replies_than_expected_are_an_error() {
    let results = run(&["--duration", "1s"], echo(Duration::from_millis(10), 2)).await;
    let (kind, _, sentence) = only_error(&results);
    assert!(kind == "unexpected_reply" && sentence.contains("--replies N"), "{sentence}");
}

#[tokio::test(start_paused = true)]
async fn a_greeting_is_skipped_or_reported() {
    let server = |mut far: DuplexStream| async move {
        far.write_all(b"welcome!\n").await.unwrap();
        echo(Duration::from_millis(10), 1)(far).await;
    };
    let results = run(&["--duration", "1s", "--greeting"], server).await;
    assert_eq!((results.messages(), results.failed_messages()), (100, 0), "{:?}", results.errors);
    let results = run(&["--duration", "1s"], server).await;
    let (kind, messages, sentence) = only_error(&results);
    assert!((kind, messages) == ("unexpected_reply", 1) && sentence.contains("use --greeting"), "{sentence}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_a_timeout() {
    let silent = |mut far: DuplexStream| async move {
        let _ = far.read_to_end(&mut Vec::new()).await;
    };
    for (args, what) in [(&["--depth", "3"][..], "no reply within 5s"), (&["--greeting"], "no greeting within 5s")] {
        let results = run(args, silent).await;
        let (kind, messages, sentence) = only_error(&results);
        assert_eq!((kind, messages), ("timeout", if args.len() == 2 { 3 } else { 1 }));
        assert!(sentence.starts_with(what), "{sentence}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_server_closes_fails_its_messages() {
    let closes = |mut far: DuplexStream| async move {
        far.read_exact(&mut [0; 130]).await.unwrap();
        far.write_all(b"one\n").await.unwrap();
    };
    let results = run(&["--depth", "3"], closes).await;
    assert_eq!(results.messages(), 1);
    let (kind, messages, sentence) = only_error(&results);
    assert_eq!((kind, messages), ("closed", 3), "{sentence}");
}

#[tokio::test(start_paused = true)]
async fn replies_of_a_wrong_size_and_invalid_replies_are_errors() {
    let results = run(&["--duration", "1s", "--reply-size", "65B"], echo(Duration::from_millis(10), 1)).await;
    assert_eq!(only_error(&results), ("wrong_size", 100, "a reply has 64 bytes, and --reply-size is 65"));
    assert_eq!(results.messages(), 0);
    let invalid = |mut far: DuplexStream| async move {
        far.read_exact(&mut [0; 65]).await.unwrap();
        far.write_all(b"no json\n").await.unwrap();
        let _ = far.read_to_end(&mut Vec::new()).await;
    };
    let args = ["tcp://a:1", "--framing", "json-lines", "-c", "1"];
    let load = load(&args).unwrap();
    let (near, far) = duplex(4096);
    tokio::spawn(invalid(far));
    let results = RefCell::new(Results::new(Instant::now()));
    let _ = Session::new(near, &load, &results).run(&mut Source::Single(Some(Instant::now()))).await;
    assert_eq!(only_error(&results.into_inner()).0, "invalid_reply");
}

#[tokio::test(start_paused = true)]
async fn without_a_framing_the_size_of_a_reply_is_its_boundary() {
    let server = |mut far: DuplexStream| async move {
        while far.read_exact(&mut [0; 64]).await.is_ok() {
            for part in ["ab", "cde", "f"] {
                far.write_all(part.as_bytes()).await.unwrap();
                sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let results = run(&["--framing", "raw", "--reply-size", "6B", "--duration", "1s"], server).await;
    assert!(results.messages() > 300 && results.failed_messages() == 0, "{:?}", results.errors);
}
