//! What one shard holds: keys, values and when they end.

use std::collections::{BTreeMap, HashMap};
use std::hash::RandomState;
use std::sync::Arc;

use indexmap::IndexMap;

use super::bytes::Bytes;

/// Expired keys that one call reclaims at most, so that no call pays for a mass expiry.
const RECLAIMED_PER_CALL: usize = 8;

/// As many fields as Redis keeps in insertion order (`hash-max-listpack-entries`); beyond, `HDEL` stops keeping it.
const ORDERED_FIELDS: usize = 512;

/// The value of one key.
#[derive(Debug)]
pub(super) enum Value {
    Text(Bytes),
    Hash(Hash),
}

/// Fields and their values.
#[derive(Debug, Default)]
pub(super) struct Hash {
    fields: IndexMap<Box<[u8]>, Bytes>,
}

impl Hash {
    pub(super) fn get(&self, field: &[u8]) -> Option<&Bytes> {
        self.fields.get(field)
    }

    pub(super) fn get_mut(&mut self, field: &[u8]) -> Option<&mut Bytes> {
        self.fields.get_mut(field)
    }

    /// Sets one field; whether it is new.
    pub(super) fn set(&mut self, field: &[u8], value: Bytes) -> bool {
        if let Some(old) = self.fields.get_mut(field) {
            *old = value;
            return false;
        }
        self.fields.insert(field.into(), value);
        true
    }

    pub(super) fn remove(&mut self, field: &[u8]) -> bool {
        if self.fields.len() <= ORDERED_FIELDS {
            self.fields.shift_remove(field).is_some()
        } else {
            self.fields.swap_remove(field).is_some()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &Bytes)> {
        self.fields.iter().map(|(field, value)| (&**field, value))
    }
}

/// When an entry ends, and its name in the index of ends.
#[derive(Clone, Copy, Debug)]
struct End {
    at_ms: i64,
    serial: u64,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    end: Option<End>,
}

/// Keys and values, with the index that finds ended keys without a scan.
///
/// The hasher is std's keyed SipHash: keys hold ids from strangers, and lookups are a small part of a call's cost.
#[derive(Debug, Default)]
pub(super) struct Keyspace {
    entries: HashMap<Arc<[u8]>, Entry, RandomState>,
    /// Every key with a TTL, soonest first. It is exact: changing a TTL moves the entry, so nothing stale piles up.
    ends: BTreeMap<(i64, u64), Arc<[u8]>>,
    next_serial: u64,
}

/// Redis's rule: a key still lives in the very millisecond it ends at (db.c, `keyIsExpired`).
fn ended(end: Option<End>, now_ms: i64) -> bool {
    end.is_some_and(|end| end.at_ms < now_ms)
}

impl Keyspace {
    /// The value of a key that has not ended.
    pub(super) fn get(&self, key: &[u8], now_ms: i64) -> Option<&Value> {
        self.entries.get(key).filter(|entry| !ended(entry.end, now_ms)).map(|entry| &entry.value)
    }

    /// The same, to change in place; its TTL stays.
    pub(super) fn get_mut(&mut self, key: &[u8], now_ms: i64) -> Option<&mut Value> {
        self.entries.get_mut(key).filter(|entry| !ended(entry.end, now_ms)).map(|entry| &mut entry.value)
    }

    /// When a key ends: outer `None` without the key, inner `None` without a TTL.
    #[expect(clippy::option_option, reason = "no key and no TTL are different answers")]
    pub(super) fn end_ms(&self, key: &[u8], now_ms: i64) -> Option<Option<i64>> {
        let entry = self.entries.get(key).filter(|entry| !ended(entry.end, now_ms))?;
        Some(entry.end.map(|end| end.at_ms))
    }

    /// Puts a value in the place of whatever was there, without a TTL.
    pub(super) fn insert(&mut self, key: &[u8], value: Value) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.value = value;
            if let Some(end) = entry.end.take() {
                self.ends.remove(&(end.at_ms, end.serial));
            }
        } else {
            self.entries.insert(key.into(), Entry { value, end: None });
        }
    }

    /// Removes a key; whether it was there.
    pub(super) fn remove(&mut self, key: &[u8], now_ms: i64) -> bool {
        let Some(entry) = self.entries.remove(key) else { return false };
        if let Some(end) = entry.end {
            self.ends.remove(&(end.at_ms, end.serial));
        }
        !ended(entry.end, now_ms)
    }

    /// Gives an existing key a new end, or none.
    pub(super) fn set_end(&mut self, key: &[u8], at_ms: Option<i64>) {
        let Some((stored_key, entry)) = self.entries.get_key_value(key) else { return };
        if entry.end.map(|end| end.at_ms) == at_ms {
            return;
        }
        let stored_key = Arc::clone(stored_key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(old) = entry.end.take() {
            self.ends.remove(&(old.at_ms, old.serial));
        }
        if let Some(at_ms) = at_ms {
            let serial = self.next_serial;
            self.next_serial += 1;
            entry.end = Some(End { at_ms, serial });
            self.ends.insert((at_ms, serial), stored_key);
        }
    }

    /// Frees a few keys that have ended; called once per call, so that a key nobody asks for again goes too.
    pub(super) fn reclaim(&mut self, now_ms: i64) {
        for _ in 0..RECLAIMED_PER_CALL {
            match self.ends.first_key_value() {
                Some(((at_ms, _), _)) if *at_ms < now_ms => {}
                _ => return,
            }
            if let Some((_, key)) = self.ends.pop_first() {
                self.entries.remove(&key);
            }
        }
    }

    /// Every key that has not ended, in no order.
    pub(super) fn iter(&self, now_ms: i64) -> impl Iterator<Item = (&[u8], &Value, Option<i64>)> {
        let alive = self.entries.iter().filter(move |(_, entry)| !ended(entry.end, now_ms));
        alive.map(|(key, entry)| (&**key, &entry.value, entry.end.map(|end| end.at_ms)))
    }

    /// Keys in memory, ended ones that are not reclaimed yet included.
    #[cfg(test)]
    pub(super) fn held(&self) -> (usize, usize) {
        (self.entries.len(), self.ends.len())
    }
}
