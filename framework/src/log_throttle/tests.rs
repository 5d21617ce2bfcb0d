//! Tests of `log_throttle.rs`.

use super::*;

/// The counts of the lines, with the time of each.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<(Duration, u64)>>>);

impl Lines {
    fn count(&self, throttle: &LogThrottle, origin: Instant, events: u64) {
        for _ in 0..events {
            let lines = self.0.clone();
            throttle.log(|| move |count| lines.lock().push((origin.elapsed(), count)));
        }
    }

    fn counts(&self) -> Vec<u64> {
        self.0.lock().iter().map(|(_, count)| *count).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn every_event_is_counted_in_at_most_one_line_per_second() {
    // The number of events in each tenth of a second.
    let cases: [&[u64]; 6] = [
        &[1],
        &[5],
        &[5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3],
        &[1, 1, 1],
        &[7; 45],
        &[0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    ];
    for events in cases {
        let (lines, throttle, origin) = (Lines::default(), LogThrottle::default(), Instant::now());
        for events in events {
            lines.count(&throttle, origin, *events);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(INTERVAL).await; // no further event
        assert_eq!(lines.counts().iter().sum::<u64>(), events.iter().sum::<u64>(), "{events:?}");
        let times: Vec<_> = lines.0.lock().iter().map(|(time, _)| *time).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= INTERVAL), "{events:?}: {times:?}");
    }
}

#[test]
fn the_count_is_written_when_the_runtime_stops() {
    let (lines, throttle) = (Lines::default(), LogThrottle::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { lines.count(&throttle, Instant::now(), 100) });
    assert_eq!(lines.counts(), [1]);
    drop(runtime);
    assert_eq!(lines.counts(), [1, 99]);
}
