//! The script that renews leases at the server: its arguments and its reply.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use redis::{Script, ScriptInvocation};

use super::lease::{Ask, Bucket, Request};
use super::terms::INSTANCE_EXPIRY;
use crate::settings::FleetSettings;

/// Maximum requests of one call.
pub(super) const MAX_REQUESTS: usize = 1_000;
/// How long the instances need at most to find a server again, beyond the renewal of their leases.
const RECONNECT_TIME: Duration = Duration::from_secs(3);

/// The names of the keys of a fleet. All contain the same hash tag, so that a cluster stores them in one slot.
#[derive(Debug)]
pub(super) struct Renewal {
    script: Script,
    name: String,
    id: String,
    /// The time after the start of the data in which no number of connections grows.
    settling: Duration,
}

/// The answer of the server.
#[derive(Debug, PartialEq)]
pub(super) struct Renewed {
    pub(super) instances: u32,
    /// What is granted to each request.
    pub(super) granted: Vec<u32>,
}

impl Renewal {
    /// For an instance with a random id.
    pub(super) fn new(settings: &FleetSettings) -> Self {
        let id = [(); 2].map(|()| format!("{:016x}", RandomState::new().hash_one(std::process::id()))).concat();
        let settling = settings.lease.saturating_mul(3) + RECONNECT_TIME;
        Self { script: Script::new(include_str!("renew.lua")), name: settings.name.clone(), id, settling }
    }

    /// A call that counts the instance and renews leases.
    pub(super) fn call(&self, requests: &[Request]) -> ScriptInvocation<'_> {
        self.call_with("instances", requests)
    }

    /// A call that uses keys of its own, to check that the server can be used.
    pub(super) fn check(&self) -> ScriptInvocation<'_> {
        self.call_with("check", &[])
    }

    fn call_with(&self, instances: &str, requests: &[Request]) -> ScriptInvocation<'_> {
        let mut call = self.script.prepare_invoke();
        let key = |rest: &str| format!("{{{}}}:{rest}", self.name);
        call.key(key(instances)).key(key(&format!("{instances}-since")));
        call.arg(&*self.id).arg(micros(INSTANCE_EXPIRY)).arg(micros(self.settling));
        for Request { key: rest, ask, .. } in requests {
            call.key(key(rest));
            match ask {
                Ask::Tokens { bucket: Bucket { each, capacity, initial }, want, is_idle } => call
                    .arg("tokens")
                    .arg(micros(*each))
                    .arg(*capacity)
                    .arg(*initial)
                    .arg(*want)
                    .arg(u8::from(*is_idle)),
                Ask::Open { limit, open, want, expiry } => {
                    call.arg("open").arg(*limit).arg(*open).arg(*want).arg(micros(*expiry)).arg(0)
                }
            };
        }
        call
    }
}

impl Renewed {
    /// Reads the reply to a call with so many requests. `None` if it is not one.
    pub(super) fn read(reply: &[i64], requests: usize) -> Option<Self> {
        let (instances, granted) = reply.split_first().filter(|(_, granted)| granted.len() == requests)?;
        let count = |number: &i64| u32::try_from((*number).max(0)).unwrap_or(u32::MAX);
        Some(Self { instances: count(instances), granted: granted.iter().map(count).collect() })
    }
}

/// Microseconds with a fraction: events can be less than a microsecond apart.
fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_the_instances_and_one_number_for_each_request() {
        let read = Renewed::read(&[3, 5, -1], 2);
        assert_eq!(read, Some(Renewed { instances: 3, granted: vec![5, 0] }));
        assert_eq!(Renewed::read(&[3, 5], 2), None);
        assert_eq!(Renewed::read(&[], 0), None);
    }
}
