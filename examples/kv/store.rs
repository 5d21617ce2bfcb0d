//! Keys and values in memory, with a memory limit. Data is sharded to reduce lock contention.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use switchboard::prelude::Bytes;

use crate::resp::decimal;

const SHARDS: usize = 32;
/// Estimated bytes per entry besides key and value: its slots in the hash table and the overhead of the allocator.
const ENTRY_OVERHEAD: usize = 160;

/// The error is a text of the protocol.
pub(crate) type StoreResult<T> = Result<T, &'static str>;

const OUT_OF_MEMORY: &str = "OOM command not allowed when used memory > 'maxmemory'.";
const TOO_LONG: &str = "ERR string exceeds maximum allowed size";
const NOT_INTEGER: &str = "ERR value is not an integer or out of range";
const OVERFLOW: &str = "ERR increment or decrement would overflow";

/// Keys and values are copied: a slice of a message would keep the whole read buffer of its connection in memory.
/// Unwritten replies share the values.
struct Entry {
    hash: u64,
    key: Box<[u8]>,
    value: Arc<[u8]>,
}

/// The table takes hashes from its caller: one hash of a key selects its shard and its place.
type Shard = HashTable<Entry>;

/// A key and its hash.
#[derive(Clone, Copy)]
struct Key<'a> {
    bytes: &'a [u8],
    hash: u64,
}

impl Key<'_> {
    fn shard(self) -> usize {
        (self.hash >> 32) as usize % SHARDS
    }

    fn is_of(self, entry: &Entry) -> bool {
        *entry.key == *self.bytes
    }

    fn find(self, shard: &Shard) -> Option<&Arc<[u8]>> {
        shard.find(self.hash, |entry| self.is_of(entry)).map(|entry| &entry.value)
    }

    fn remove(self, shard: &mut Shard) -> Option<Entry> {
        let entry = shard.find_entry(self.hash, |entry| self.is_of(entry)).ok()?;
        Some(entry.remove().0)
    }
}

pub(crate) struct Store {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    used: AtomicUsize,
    max_memory: usize,
    max_value: usize,
}

impl Store {
    /// Limits all entries to `max_memory` bytes and a value to `max_value` bytes.
    pub(crate) fn new(max_memory: usize, max_value: usize) -> Self {
        let (shards, hasher, used) = (Default::default(), RandomState::new(), AtomicUsize::new(0));
        Self { shards, hasher, used, max_memory, max_value }
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        let key = self.key(key);
        key.find(&self.lock(key.shard())).cloned()
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8]) -> StoreResult<()> {
        let mut reserve = self.reserve(cost(key, value))?;
        let key = self.key(key);
        insert(&mut self.lock(key.shard()), key, value, &mut reserve);
        Ok(())
    }

    /// Adds to an integer and returns the sum. A missing key counts as 0.
    pub(crate) fn add(&self, key: &[u8], by: i64) -> StoreResult<i64> {
        let mut buffer = [0; 20];
        let mut reserve = self.reserve(cost(key, &buffer))?;
        let key = self.key(key);
        let mut shard = self.lock(key.shard());
        let before = key.find(&shard).map_or(Some(0), |value| integer(value)).ok_or(NOT_INTEGER)?;
        let after = before.checked_add(by).ok_or(OVERFLOW)?;
        insert(&mut shard, key, decimal(after, &mut buffer), &mut reserve);
        Ok(after)
    }

    /// Appends to a value and returns its new length.
    pub(crate) fn append(&self, key: &[u8], more: &[u8]) -> StoreResult<usize> {
        let mut reserve = self.reserve(cost(key, more) + self.max_value)?;
        let key = self.key(key);
        let mut shard = self.lock(key.shard());
        let before = key.find(&shard).map_or(&b""[..], |value| value);
        if before.len() + more.len() > self.max_value {
            return Err(TOO_LONG);
        }
        let after = [before, more].concat();
        insert(&mut shard, key, &after, &mut reserve);
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
            let removed = std::mem::take(&mut *self.lock(index));
            // The entries are freed after the lock is released, because that is slow.
            let freed = removed.into_iter().map(|entry| cost(&entry.key, &entry.value)).sum();
            self.used.fetch_sub(freed, Relaxed);
        }
    }

    // Commands with several keys lock all their shards first, so that MSET is atomic.

    pub(crate) fn get_all(&self, keys: &[Bytes]) -> Vec<Option<Arc<[u8]>>> {
        let keys = self.keys(keys);
        let mut shards = self.lock_all(&keys);
        keys.iter().map(|key| key.find(shard_of(&mut shards, *key)).cloned()).collect()
    }

    /// Key, value, key, value …
    pub(crate) fn set_all(&self, pairs: &[Bytes]) -> StoreResult<()> {
        let (pairs, _) = pairs.as_chunks::<2>();
        let mut reserve = self.reserve(pairs.iter().map(|[key, value]| cost(key, value)).sum())?;
        let keys = self.keys(pairs.iter().map(|[key, _]| key));
        let mut shards = self.lock_all(&keys);
        for (key, [_, value]) in keys.iter().zip(pairs) {
            insert(shard_of(&mut shards, *key), *key, value, &mut reserve);
        }
        Ok(())
    }

    pub(crate) fn remove_all(&self, keys: &[Bytes]) -> usize {
        let keys = self.keys(keys);
        let mut shards = self.lock_all(&keys);
        let mut removed = 0;
        for key in keys {
            if let Some(entry) = key.remove(shard_of(&mut shards, key)) {
                self.used.fetch_sub(cost(&entry.key, &entry.value), Relaxed);
                removed += 1;
            }
        }
        removed
    }

    pub(crate) fn count(&self, keys: &[Bytes]) -> usize {
        let keys = self.keys(keys);
        let mut shards = self.lock_all(&keys);
        keys.iter().filter(|key| key.find(shard_of(&mut shards, **key)).is_some()).count()
    }

    fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key { bytes, hash: self.hasher.hash_one(bytes) }
    }

    fn keys<'a>(&self, keys: impl IntoIterator<Item = &'a Bytes>) -> Vec<Key<'a>> {
        keys.into_iter().map(|key| self.key(key)).collect()
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the shards of these keys in ascending order, which prevents deadlocks.
    fn lock_all(&self, keys: &[Key<'_>]) -> Locked<'_> {
        let wanted = keys.iter().fold(0u32, |wanted, key| wanted | 1 << key.shard());
        std::array::from_fn(|index| (wanted >> index & 1 == 1).then(|| self.lock(index)))
    }

    /// Reserves memory before a change, so that a command never fails after a part of it is done.
    fn reserve(&self, bytes: usize) -> StoreResult<Reservation<'_>> {
        let reserve = Reservation { used: &self.used, left: bytes };
        let before = self.used.fetch_add(bytes, Relaxed);
        if before + bytes > self.max_memory { Err(OUT_OF_MEMORY) } else { Ok(reserve) }
    }
}

type Locked<'a> = [Option<MutexGuard<'a, Shard>>; SHARDS];

fn shard_of<'a>(shards: &'a mut Locked<'_>, key: Key<'_>) -> &'a mut Shard {
    shards[key.shard()].as_mut().expect("the shards of all keys are locked")
}

/// Reserved memory. `drop` releases what was not used.
struct Reservation<'a> {
    used: &'a AtomicUsize,
    left: usize,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.used.fetch_sub(self.left, Relaxed);
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    ENTRY_OVERHEAD + key.len() + value.len()
}

/// Stores a value. If the old value has the same length and no reply shares it, its memory is reused.
fn insert(shard: &mut Shard, key: Key<'_>, value: &[u8], reserve: &mut Reservation<'_>) {
    match shard.find_mut(key.hash, |entry| key.is_of(entry)) {
        Some(Entry { value: before, .. }) => match Arc::get_mut(before) {
            Some(old) if old.len() == value.len() => old.copy_from_slice(value),
            _ => {
                reserve.left = reserve.left + before.len() - value.len();
                *before = value.into();
            }
        },
        None => {
            reserve.left -= cost(key.bytes, value);
            let entry = Entry { hash: key.hash, key: key.bytes.into(), value: value.into() };
            shard.insert_unique(key.hash, entry, |entry| entry.hash);
        }
    }
}

/// Parses an integer. Only the canonical form, as written by `decimal`, is accepted.
fn integer(text: &[u8]) -> Option<i64> {
    let number = std::str::from_utf8(text).ok()?.parse().ok()?;
    (decimal(number, &mut [0; 20]) == text).then_some(number)
}
