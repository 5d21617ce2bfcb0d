//! Tests of the rounds, with a simulated send buffer.

use std::collections::BTreeMap;

use super::*;

const SIZE: usize = 400_000;
const REPLY: usize = 768;

/// A socket whose clients read, or do not read.
#[derive(Default)]
struct Simulation {
    replies: UnreadReplies,
    unread: BTreeMap<String, usize>,
    measurements: usize,
}

impl Simulation {
    fn unread(&self) -> usize {
        self.unread.values().sum::<usize>() * REPLY
    }

    fn ask(&mut self, peer: &str) -> Decision {
        let path = Arc::from(Path::new(peer));
        let (unread, measurements) = (self.unread(), &mut self.measurements);
        let decision = self.replies.decide(&path, 1, || {
            *measurements += 1;
            Some(SendBuffer { unread, size: SIZE })
        });
        if decision == Decision::Send {
            self.replies.sent(&path, 1);
            *self.unread.entry(peer.to_owned()).or_default() += 1;
        }
        decision
    }

    fn read(&mut self, peer: &str) {
        self.unread.remove(peer);
    }

    /// Asks until the reply is sent or dropped, and reads it. Others do not read meanwhile.
    async fn ask_and_read(&mut self, peer: &str) -> Decision {
        loop {
            match self.ask(peer) {
                Decision::Wait => tokio::time::advance(Duration::from_millis(1)).await,
                decision => {
                    self.read(peer);
                    return decision;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn clients_that_never_read_keep_room_for_one_that_reads() {
    for stalled in [1, 2, 10, 100] {
        let mut simulation = Simulation::default();
        for _ in 0..3000 {
            for nth in 0..stalled {
                simulation.ask(&format!("/stalled{nth}"));
            }
            assert_eq!(simulation.ask_and_read("/reads").await, Decision::Send);
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(simulation.unread() < SIZE * 9 / 10, "{stalled}: {}", simulation.unread());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_does_not_cause_that_another_counts_as_stalled() {
    // One asks rarely and another often, in both combinations.
    for (stalled, reads) in [(1, 50), (50, 1)] {
        let mut simulation = Simulation::default();
        for _ in 0..2000 {
            for _ in 0..stalled {
                simulation.ask("/stalled");
            }
            for _ in 0..reads {
                assert_eq!(simulation.ask_and_read("/reads").await, Decision::Send);
            }
        }
        assert!(simulation.unread() < SIZE / 2, "{}", simulation.unread());
    }
}

/// Replies are sent in order: one that waits delays the following ones.
#[tokio::test(start_paused = true)]
async fn new_clients_that_never_read_do_not_keep_out_one_that_reads() {
    for most in [10, 50, 1000] {
        let (mut simulation, begun) = (Simulation::default(), Instant::now());
        let (mut slowest, mut dropped) = (Duration::ZERO, 0);
        for second in 0..60 {
            let per_second = if second < 10 { 10 } else { most };
            for nth in 0..per_second {
                let at = begun + Duration::from_secs(second) + Duration::from_secs(nth) / per_second as u32;
                tokio::time::advance(at.saturating_duration_since(Instant::now())).await;
                for _ in 0..2 {
                    while simulation.ask(&format!("/new{second}-{nth}")) == Decision::Wait {
                        tokio::time::advance(Duration::from_millis(1)).await;
                    }
                }
                if nth % per_second.div_ceil(10) == 0 {
                    dropped += u32::from(simulation.ask_and_read("/reads").await == Decision::Drop);
                    slowest = slowest.max(at.elapsed());
                }
            }
        }
        assert!(slowest < Duration::from_secs(5) && dropped < 30, "{most}: {slowest:?}, {dropped} dropped");
        assert!(simulation.unread() < SIZE * 9 / 10, "{most}: {}", simulation.unread());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stalled_client_gets_replies_again_after_it_has_read() {
    let mut simulation = Simulation::default();
    while simulation.ask("/stalled") != Decision::Drop {
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    simulation.read("/stalled");
    assert_eq!(simulation.ask("/stalled"), Decision::Send);

    // Also if others still keep the buffer occupied.
    let mut simulation = Simulation::default();
    for peer in ["/one", "/two"] {
        while simulation.ask(peer) != Decision::Drop {
            tokio::time::advance(Duration::from_millis(1)).await;
        }
    }
    simulation.read("/two");
    tokio::time::advance(MIN_PAUSE).await;
    assert_eq!(simulation.ask_and_read("/two").await, Decision::Send);
    assert_eq!(simulation.ask_and_read("/two").await, Decision::Send);
    while simulation.ask("/one") != Decision::Drop {
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    assert_eq!(simulation.ask_and_read("/two").await, Decision::Send);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_costs_one_measurement_per_sixteenth_of_the_buffer() {
    let mut simulation = Simulation::default();
    for _ in 0..3200 {
        assert_eq!(simulation.ask_and_read("/reads").await, Decision::Send);
    }
    assert!(simulation.measurements <= 101, "{}", simulation.measurements);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_several_times_before_it_reads_gets_every_reply() {
    let mut simulation = Simulation::default();
    while simulation.ask("/stalled") != Decision::Drop {
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    let mut replies = 0;
    while replies < 20 {
        match simulation.ask("/reads") {
            Decision::Send => replies += 1,
            Decision::Wait => simulation.read("/reads"),
            Decision::Drop => panic!("dropped after {replies} replies"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_reply_is_sent_if_the_kernel_cannot_measure() {
    let (mut replies, peer) = (UnreadReplies::default(), Arc::from(Path::new("/peer")));
    for _ in 0..10_000 {
        assert_eq!(replies.decide(&peer, 1, || None), Decision::Send);
        replies.sent(&peer, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_suspects_and_the_readers_are_bounded() {
    let mut simulation = Simulation::default();
    while simulation.ask("/stalled") != Decision::Drop {
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    let rounds = simulation.replies.rounds.as_mut().unwrap();
    for nth in 0..2 * MAX_SUSPECTS {
        rounds.suspect(Arc::from(Path::new(&format!("/{nth}"))), true, Instant::now());
    }
    assert_eq!(rounds.suspects.len(), MAX_SUSPECTS);

    for nth in 0..2 * MAX_READERS {
        (rounds.peers, rounds.unread_before) = (vec![Arc::from(Path::new(&format!("/reader{nth}")))], SIZE);
        rounds.end_round(0, Instant::now());
    }
    assert_eq!(rounds.readers.len(), MAX_READERS);
}
