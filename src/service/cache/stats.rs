//! What a cache has done.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a cache of this process has done since it was made: [`Cache::stats`](super::Cache::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Reads that found a value.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Values that were computed.
    pub computes: u64,
    /// Those that were computed before the old value ended.
    pub early: u64,
    /// Requests that waited for another's computation.
    pub waits: u64,
    /// Computed values that were not stored, since the lock was lost meanwhile.
    pub fenced: u64,
    /// Values that could not be read as what was asked for.
    pub undecodable: u64,
    /// Computed values that were too large to be stored.
    pub too_large: u64,
    /// Reads that were misses because the store was away.
    pub away_reads: u64,
    /// Writes that did nothing because the store was away.
    pub away_writes: u64,
    /// Bytes of values that were read.
    pub bytes_read: u64,
    /// Bytes of values that were written.
    pub bytes_written: u64,
}

macro_rules! counters {
    ($($name:ident),*) => {
        /// The numbers of [`CacheStats`], counted.
        #[derive(Debug, Default)]
        pub(super) struct Counts {
            $(pub(super) $name: AtomicU64,)*
        }

        impl Counts {
            pub(super) fn stats(&self) -> CacheStats {
                CacheStats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}
counters!(
    hits,
    misses,
    computes,
    early,
    waits,
    fenced,
    undecodable,
    too_large,
    away_reads,
    away_writes,
    bytes_read,
    bytes_written
);

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(super) fn count_bytes(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
}
