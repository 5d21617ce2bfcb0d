//! Tests of `bans/strikes.rs`.

use std::net::Ipv4Addr;

use tokio::time::advance;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

fn source(number: u32) -> Source {
    Source::V4(Ipv4Addr::from(number))
}

/// Three strikes in ten minutes; bans of one hour, up to three.
fn settings() -> BanSettings {
    BanSettings::default().strikes(Rate::new(3, 10 * MINUTE)).term(60 * MINUTE).longest(180 * MINUTE)
}

fn strike(table: &mut StrikeTable, strikes: u32) -> Option<Exceeded> {
    table.add(source(7), strikes, &settings(), Instant::now())
}

#[tokio::test(start_paused = true)]
async fn strikes_above_the_rate_ban_and_those_of_other_sources_do_not_count() {
    let mut table = StrikeTable::default();
    for _ in 0..3 {
        assert_eq!(strike(&mut table, 1), None);
        assert_eq!(table.add(source(8), 1, &settings(), Instant::now()), None);
    }
    assert_eq!(strike(&mut table, 1), Some(Exceeded { strikes: 4, times: 1, duration: 60 * MINUTE }));
    assert_eq!(strike(&mut table, 3), None, "the count begins anew");
    assert!(strike(&mut table, u32::MAX).is_some(), "no overflow");
}

#[tokio::test(start_paused = true)]
async fn strikes_count_for_the_time_of_the_rate_and_not_longer() {
    let mut table = StrikeTable::default();
    assert_eq!(strike(&mut table, 3), None);
    advance(10 * MINUTE).await;
    assert_eq!(strike(&mut table, 1), None, "the others are too old");
    for _ in 0..2 {
        advance(4 * MINUTE).await;
        assert_eq!(strike(&mut table, 1), None);
    }
    advance(MINUTE).await;
    assert_eq!(strike(&mut table, 1).map(|exceeded| exceeded.strikes), Some(4), "within nine minutes");
    advance(1000 * MINUTE).await;
    assert_eq!(strike(&mut table, 3), None);
}

#[tokio::test(start_paused = true)]
async fn each_further_ban_takes_twice_as_long_until_it_is_forgotten() {
    let mut table = StrikeTable::default();
    let mut hours = Vec::new();
    for _ in 0..4 {
        let Exceeded { times, duration, .. } = strike(&mut table, 4).expect("above the rate");
        hours.push((times, duration.as_secs() / 3600));
        advance(duration + 179 * MINUTE).await;
    }
    assert_eq!(hours, [(1, 1), (2, 2), (3, 3), (4, 3)]);
    advance(MINUTE).await;
    assert_eq!(table.repeats(Instant::now()).count(), 0);
    assert_eq!(strike(&mut table, 4).map(|exceeded| exceeded.times), Some(1));
    assert_eq!(table.repeats(Instant::now()).count(), 1);
    table.forget("0.0.0.0/24".parse().expect("a network"));
    assert_eq!(strike(&mut table, 4).map(|exceeded| exceeded.times), Some(1), "an operator has removed the ban");
}

#[tokio::test(start_paused = true)]
async fn a_full_table_forgets_those_that_matter_least() {
    let mut table = StrikeTable::default();
    let (settings, now) = (settings(), Instant::now());
    assert!(table.add(source(0), 4, &settings, now).is_some());
    for number in 1..=MAX_STRUCK_SOURCES as u32 {
        table.add(source(number), 1, &settings, now + MINUTE);
    }
    assert!(table.0.len() <= MAX_STRUCK_SOURCES, "{}", table.0.len());
    assert_eq!(table.repeats(now).count(), 1, "a banned source is remembered longer");
    let later = now + 30 * MINUTE;
    for number in 0..MAX_STRUCK_SOURCES as u32 {
        table.add(source(number + 1_000_000), 1, &settings, later);
    }
    assert!((1..=MAX_STRUCK_SOURCES).contains(&table.0.len()));
}
