//! The strikes of each source, and how often strikes have banned it, in a bounded table.
//!
//! The time of `bans.strikes` slides in ten steps: strikes count for at least nine tenths of it, and never longer. So a
//! source is not banned that stays below the rate.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::address::Source;
use crate::settings::{BanSettings, Network, Rate, deadline_after};

/// Maximum sources whose strikes and bans are remembered.
const MAX_STRUCK_SOURCES: usize = 65_536;
/// Sources that are forgotten together when the table is full: those that would be forgotten first anyway.
const FORGOTTEN_TOGETHER: usize = 8_192;

#[derive(Debug, Default)]
pub(super) struct StrikeTable(HashMap<Source, Record>);

/// Steps in which the time of the rate slides.
const SLICES: u32 = 10;

#[derive(Debug)]
struct Record {
    begin: Instant,
    /// The number of the current slice, since `begin`.
    current: u64,
    /// The strikes of the last slices, by their number.
    slices: [u32; SLICES as usize],
    /// How often strikes have banned the source.
    times: u32,
    /// Until when `times` counts.
    remembered_until: Instant,
}

/// A source that has exceeded its strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exceeded {
    /// The strikes in the time of the rate.
    pub(super) strikes: u32,
    /// How often strikes have banned the source, the new ban included.
    pub(super) times: u32,
    pub(super) duration: Duration,
}

/// What is remembered of a source after its ban.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    pub(super) source: Source,
    pub(super) times: u32,
    pub(super) until: Instant,
}

impl Record {
    fn new(now: Instant) -> Self {
        Self { begin: now, current: 0, slices: Default::default(), times: 0, remembered_until: now }
    }

    /// Begins a new slice if it is time for one, and forgets the slices that are too old.
    fn advance(&mut self, slice: Duration, now: Instant) {
        let elapsed = now.saturating_duration_since(self.begin).as_nanos();
        let current = u64::try_from(elapsed / slice.as_nanos()).unwrap_or(u64::MAX);
        for number in (self.current + 1..=current).take(SLICES as usize) {
            *self.slice_mut(number) = 0;
        }
        self.current = current;
        if now >= self.remembered_until {
            self.times = 0;
        }
    }

    fn slice_mut(&mut self, number: u64) -> &mut u32 {
        &mut self.slices[(number % u64::from(SLICES)) as usize]
    }

    fn strikes(&self) -> u32 {
        self.slices.iter().fold(0, |all, strikes| all.saturating_add(*strikes))
    }

    fn forgotten_at(&self, slice: Duration) -> Instant {
        let slices = u32::try_from(self.current).unwrap_or(u32::MAX).saturating_add(SLICES);
        deadline_after(self.begin, slice.saturating_mul(slices)).max(self.remembered_until)
    }
}

/// The length of a slice.
fn slice_of(rate: Rate) -> Duration {
    (rate.per() / SLICES).max(Duration::from_nanos(1))
}

impl StrikeTable {
    /// Adds strikes. Returns the ban that follows, if the source has exceeded the rate.
    pub(super) fn add(
        &mut self,
        source: Source,
        strikes: u32,
        settings: &BanSettings,
        now: Instant,
    ) -> Option<Exceeded> {
        let BanSettings { strikes: rate, term, longest, .. } = *settings;
        let slice = slice_of(rate);
        self.make_room(source, slice, now);
        let record = self.0.entry(source).or_insert_with(|| Record::new(now));
        record.advance(slice, now);
        let current = record.slice_mut(record.current);
        *current = current.saturating_add(strikes);
        let strikes = record.strikes();
        if rate.is_off() || strikes <= rate.count() {
            return None;
        }
        record.times = record.times.saturating_add(1);
        let doubled = term.saturating_mul(1 << (record.times - 1).min(31));
        let duration = doubled.min(longest.max(term));
        (record.begin, record.current, record.slices) = (now, 0, Default::default());
        record.remembered_until = deadline_after(now, duration.saturating_add(longest));
        Some(Exceeded { strikes, times: record.times, duration })
    }

    /// Forgets the strikes and the bans of the sources in a network.
    pub(super) fn forget(&mut self, network: Network) {
        self.0.retain(|source, _| !network.contains(Network::from(*source).address()));
    }

    pub(super) fn repeats(&self, now: Instant) -> impl Iterator<Item = Repeat> {
        let banned = self.0.iter().filter(move |(_, record)| record.times > 0 && record.remembered_until > now);
        banned.map(|(source, Record { times, remembered_until, .. })| Repeat {
            source: *source,
            times: *times,
            until: *remembered_until,
        })
    }

    pub(super) fn remember(&mut self, Repeat { source, times, until }: Repeat, now: Instant) {
        if self.0.len() < MAX_STRUCK_SOURCES {
            self.0.insert(source, Record { times, remembered_until: until, ..Record::new(now) });
        }
    }

    fn make_room(&mut self, source: Source, slice: Duration, now: Instant) {
        if self.0.len() < MAX_STRUCK_SOURCES || self.0.contains_key(&source) {
            return;
        }
        self.0.retain(|_, record| record.forgotten_at(slice) > now);
        if self.0.len() + FORGOTTEN_TOGETHER > MAX_STRUCK_SOURCES {
            let mut times: Vec<Instant> = self.0.values().map(|record| record.forgotten_at(slice)).collect();
            let (_, latest, _) = times.select_nth_unstable(FORGOTTEN_TOGETHER - 1);
            let latest = *latest;
            self.0.retain(|_, record| record.forgotten_at(slice) > latest);
        }
    }
}

#[cfg(test)]
mod tests;
