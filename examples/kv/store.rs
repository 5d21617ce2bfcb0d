//! Keys and values in memory: bounded, in shards, so that connections seldom wait for each other.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use switchboard::prelude::Bytes;

use crate::resp::decimal;

const SHARDS: usize = 32;
/// What an entry takes beside its key and value: its place in a table that is half empty, and the allocator's own.
const ENTRY: usize = 160;

/// A refusal is a text of the protocol.
pub(crate) type Outcome<T> = Result<T, &'static str>;

const FULL: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const TOO_LONG: &str = "ERR string exceeds maximum allowed size";
const NO_INTEGER: &str = "ERR value is not an integer or out of range";
const OVERFLOW: &str = "ERR increment or decrement would overflow";

/// Values are copies of what came: a part of a message would keep the whole read buffer of its connection alive. They are
/// shared with the answers that are on their way.
type Shard = HashMap<Box<[u8]>, Arc<[u8]>>;

pub(crate) struct Store {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    used: AtomicUsize,
    memory: usize,
    longest: usize,
}

impl Store {
    /// At most `memory` bytes in all, and `longest` in one value.
    pub(crate) fn new(memory: usize, longest: usize) -> Self {
        let (shards, hasher, used) = (Default::default(), RandomState::new(), AtomicUsize::new(0));
        Self { shards, hasher, used, memory, longest }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.lock(self.shard_of(key)).get(key).cloned()
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        let mut reserve = self.reserve(cost(key, value))?;
        place(&mut self.lock(self.shard_of(key)), key, value, &mut reserve);
        Ok(())
    }

    /// Adds to a number; a key that is not there counts as 0.
    pub(crate) fn add(&self, key: &[u8], by: i64) -> Outcome<i64> {
        let mut room = [0; 20];
        let mut reserve = self.reserve(cost(key, &room))?;
        let mut shard = self.lock(self.shard_of(key));
        let before = shard.get(key).map_or(Some(0), |value| integer(value)).ok_or(NO_INTEGER)?;
        let after = before.checked_add(by).ok_or(OVERFLOW)?;
        place(&mut shard, key, decimal(after, &mut room), &mut reserve);
        Ok(after)
    }

    /// Answers how long the value is now.
    pub(crate) fn append(&self, key: &[u8], more: &[u8]) -> Outcome<usize> {
        let mut reserve = self.reserve(cost(key, more) + self.longest)?;
        let mut shard = self.lock(self.shard_of(key));
        let before = shard.get(key).map_or(&b""[..], |value| value);
        if before.len() + more.len() > self.longest {
            return Err(TOO_LONG);
        }
        let after = [before, more].concat();
        place(&mut shard, key, &after, &mut reserve);
        Ok(after.len())
    }

    pub(crate) fn len(&self) -> usize {
        (0..SHARDS).map(|index| self.lock(index).len()).sum()
    }

    pub(crate) fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    pub(crate) fn clear(&self) {
        for index in 0..SHARDS {
            let gone = std::mem::take(&mut *self.lock(index));
            // Freed without the lock: it takes a while.
            let freed = gone.into_iter().map(|(key, value)| cost(&key, &value)).sum();
            self.used.fetch_sub(freed, Relaxed);
        }
    }

    // Several keys at once: all their shards are locked together, so nobody sees half of an MSET.

    pub(crate) fn get_all(&self, keys: &[Bytes]) -> Vec<Option<Arc<[u8]>>> {
        let mut shards = self.lock_all(keys);
        keys.iter().map(|key| self.among(&mut shards, key).get(&**key).cloned()).collect()
    }

    /// Key, value, key, value …
    pub(crate) fn set_all(&self, pairs: &[Bytes]) -> Outcome<()> {
        let (pairs, _) = pairs.as_chunks::<2>();
        let mut reserve = self.reserve(pairs.iter().map(|[key, value]| cost(key, value)).sum())?;
        let mut shards = self.lock_all(pairs.iter().map(|[key, _]| key));
        for [key, value] in pairs {
            place(self.among(&mut shards, key), key, value, &mut reserve);
        }
        Ok(())
    }

    pub(crate) fn remove_all(&self, keys: &[Bytes]) -> usize {
        let mut shards = self.lock_all(keys);
        let mut removed = 0;
        for key in keys {
            if let Some(value) = self.among(&mut shards, key).remove(&**key) {
                self.used.fetch_sub(cost(key, &value), Relaxed);
                removed += 1;
            }
        }
        removed
    }

    pub(crate) fn count(&self, keys: &[Bytes]) -> usize {
        let mut shards = self.lock_all(keys);
        keys.iter().filter(|key| self.among(&mut shards, key).contains_key(&***key)).count()
    }

    fn shard_of(&self, key: &[u8]) -> usize {
        // The high bits: a table uses the low ones of a hash of its own, with another secret.
        (self.hasher.hash_one(key) >> 32) as usize % SHARDS
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the shards of these keys, always from the first to the last: two that want the same ones never wait for each
    /// other in a circle.
    fn lock_all<'a>(&self, keys: impl IntoIterator<Item = &'a Bytes>) -> Locked<'_> {
        let wanted = keys.into_iter().fold(0u32, |wanted, key| wanted | 1 << self.shard_of(key));
        std::array::from_fn(|index| (wanted >> index & 1 == 1).then(|| self.lock(index)))
    }

    fn among<'a>(&self, shards: &'a mut Locked<'_>, key: &[u8]) -> &'a mut Shard {
        shards[self.shard_of(key)].as_mut().expect("the shards of all keys are locked")
    }

    /// Sets memory aside before anything is changed, so that what has begun cannot fail.
    fn reserve(&self, bytes: usize) -> Outcome<Reserve<'_>> {
        let reserve = Reserve { used: &self.used, left: bytes };
        let before = self.used.fetch_add(bytes, Relaxed);
        if before + bytes > self.memory { Err(FULL) } else { Ok(reserve) }
    }
}

type Locked<'a> = [Option<MutexGuard<'a, Shard>>; SHARDS];

/// Memory set aside; what is left of it when dropped is given back.
struct Reserve<'a> {
    used: &'a AtomicUsize,
    left: usize,
}

impl Drop for Reserve<'_> {
    fn drop(&mut self) {
        self.used.fetch_sub(self.left, Relaxed);
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    ENTRY + key.len() + value.len()
}

/// Puts a value where it belongs. Where it is as long as the one before, and no answer holds that any more, it is written
/// over it.
fn place(shard: &mut Shard, key: &[u8], value: &[u8], reserve: &mut Reserve<'_>) {
    match shard.get_mut(key) {
        Some(before) => match Arc::get_mut(before) {
            Some(room) if room.len() == value.len() => room.copy_from_slice(value),
            _ => {
                reserve.left = reserve.left + before.len() - value.len();
                *before = value.into();
            }
        },
        None => {
            reserve.left -= cost(key, value);
            shard.insert(key.into(), value.into());
        }
    }
}

/// The number that a text is, if it is written as `decimal` would write it.
fn integer(text: &[u8]) -> Option<i64> {
    let number = std::str::from_utf8(text).ok()?.parse().ok()?;
    (decimal(number, &mut [0; 20]) == text).then_some(number)
}
