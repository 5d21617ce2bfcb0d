//! The script that exchanges bans at the server of a fleet: its arguments and its reply.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use redis::{Script, ScriptInvocation};
use tokio::time::Instant;

use crate::bans::ban::{Ban, BanOrigin, MAX_REASON};
use crate::bans::outgoing::Change;
use crate::settings::text::is_unsafe;
use crate::settings::{Network, deadline_after};

/// Maximum changes in one call.
pub(super) const MAX_CHANGES: usize = 500;
/// How long the fleet remembers that a ban was removed, for instances that are not connected.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Removed bans that the fleet remembers beyond the maximum number of bans.
const REMOVED: usize = 10_000;
/// Values of a reply before its changes, and of each change.
const HEAD: usize = 5;
const VALUES: usize = 7;

pub(super) struct Exchange {
    script: Script,
    keys: [String; 3],
}

/// The state of the fleet that an instance has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Position {
    epoch: String,
    version: u64,
}

/// What a call returns.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reply {
    pub(super) position: Position,
    pub(super) has_more: bool,
    /// The data of the server are not those that the instance knows, so these are the first of all bans.
    pub(super) is_all: bool,
    /// Changes of the instance that did not fit.
    pub(super) refused: usize,
    pub(super) changes: Vec<Received>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Received {
    Ban(Ban),
    Removed(Network),
}

impl Exchange {
    /// For a fleet with this name.
    pub(super) fn new(fleet: &str) -> Self {
        let keys = ["bans", "bans-log", "bans-ends"].map(|key| format!("{{{fleet}}}:{key}"));
        Self { script: Script::new(include_str!("sync.lua")), keys }
    }

    /// `bans`: the ban of each change, unless it is a removal. A ban that has ended is left out.
    pub(super) fn call<'a>(
        &self,
        position: &Position,
        entries: usize,
        changes: impl Iterator<Item = (Network, Change, Option<&'a Ban>)>,
    ) -> ScriptInvocation<'_> {
        let mut call = self.script.prepare_invoke();
        call.key(&self.keys[..]);
        let random = format!("{:016x}", RandomState::new().hash_one(std::process::id()));
        call.arg(random).arg(&position.epoch).arg(position.version).arg(entries + REMOVED);
        call.arg(MAX_CHANGES).arg(micros(REMEMBERED));
        for (network, change, ban) in changes {
            let name = match change {
                Change::Added => "added",
                Change::Known => "known",
                Change::Removed => "removed",
            };
            match ban {
                Some(Ban { reason, origin, times, began, .. }) if change != Change::Removed => {
                    let age = SystemTime::now().duration_since(*began).unwrap_or_default();
                    let left = ban.map(Ban::time_left).unwrap_or_default();
                    call.arg(name).arg(network.to_string()).arg(micros(left)).arg(micros(age)).arg(*times);
                    call.arg(origin.as_str()).arg(u8::from(*origin == BanOrigin::Operator)).arg(&**reason);
                }
                None if change == Change::Removed => {
                    call.arg(name).arg(network.to_string()).arg(&[""; 6]);
                }
                _ => {}
            }
        }
        call
    }
}

impl Reply {
    /// `None` if the reply has another form. Changes that are not valid are left out.
    pub(super) fn read(reply: &[String]) -> Option<Self> {
        let (head, changes) = reply.split_at_checked(HEAD)?;
        let [epoch, version, has_more, is_all, refused] = head else { return None };
        let changes = changes.chunks_exact(VALUES).filter_map(received).collect();
        Some(Self {
            position: Position { epoch: epoch.clone(), version: version.parse().ok()? },
            has_more: has_more == "1",
            is_all: is_all == "1",
            refused: refused.parse().ok()?,
            changes,
        })
    }
}

fn received(values: &[String]) -> Option<Received> {
    let [network, kind, left, age, times, origin, reason] = values else { return None };
    let network: Network = network.parse().ok()?;
    if kind == "l" {
        return Some(Received::Removed(network));
    }
    let is_valid = network.prefix_len() > 0 && reason.len() <= MAX_REASON && !reason.chars().any(is_unsafe);
    let micros = |text: &str| text.parse().ok().map(Duration::from_micros);
    is_valid.then_some(())?;
    Some(Received::Ban(Ban {
        network,
        reason: reason.as_str().into(),
        // A newer program may know more origins.
        origin: BanOrigin::ALL.into_iter().find(|known| known.as_str() == origin).unwrap_or_default(),
        times: times.parse().ok()?,
        began: SystemTime::now().checked_sub(micros(age)?).unwrap_or(SystemTime::UNIX_EPOCH),
        until: deadline_after(Instant::now(), micros(left)?),
    }))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(MAX_MICROS)
}

/// About a hundred years: the server calculates with 53 bits.
const MAX_MICROS: u64 = 3_200_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(values: &[&str]) -> Option<Reply> {
        Reply::read(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_reply_has_changes_and_those_that_are_not_valid_are_left_out() {
        let head = ["1.2.x", "17", "1", "0", "3"];
        let ban = ["192.0.2.1", "b", "60000000", "1000", "2", "strikes", "20 strikes"];
        let changes = [
            ban,
            ["192.0.2.2", "l", "1", "0", "0", "-", ""],
            ["0.0.0.0/0", "b", "60000000", "1000", "2", "strikes", ""],
            ["nonsense", "b", "60000000", "1000", "2", "strikes", ""],
            ["192.0.2.3", "b", "60000000", "1000", "2", "future", "\u{1b}[2J"],
            ["192.0.2.4", "b", "-5", "1000", "2", "future", ""],
            ["192.0.2.5", "b", "60000000", "1000", "0", "future", ""],
        ];
        let read = reply(&[&head[..], &changes.concat()].concat()).unwrap();
        assert_eq!(read.position, Position { epoch: "1.2.x".into(), version: 17 });
        assert_eq!((read.has_more, read.is_all, read.refused), (true, false, 3));
        let [Received::Ban(first), Received::Removed(second), Received::Ban(third)] = &read.changes[..] else {
            panic!("{read:?}");
        };
        assert_eq!((first.origin, first.times, &*first.reason), (BanOrigin::Strikes, 2, "20 strikes"));
        assert_eq!(*second, "192.0.2.2".parse().unwrap());
        assert_eq!(third.origin, BanOrigin::Operator);
        assert_eq!(reply(&head[..4]), None);
        assert_eq!(reply(&["1", "x", "0", "0", "0"]), None);
    }
}
