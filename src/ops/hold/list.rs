//! `holds`: the open holds of a root, for people who ask why there is no room. Twin of `lua/holds.lua`.

use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;

use super::record::{Record, read_tags};
use crate::error::Result;
use crate::model::{Meter, Subject};
use crate::ops::engine::{Engine, unexpected};
use crate::ops::request::awaits;
use crate::ops::time::{injected_ms, time_text};
use crate::script::{self, Op};
use crate::store::ScriptCall;

/// The most records that one search reads, those of ended holds included.
const MOST_RECORDS: usize = 100_000;

/// How many records one script call reads: well under a millisecond of the server's time.
const RECORDS_PER_CALL: usize = 200;

/// A search for open holds, made by [`CostGuard::holds`](crate::CostGuard::holds).
#[derive(Clone, Debug)]
#[must_use = "a request does nothing until it is awaited"]
pub struct ListHolds<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) subject: &'a Subject,
    pub(crate) at: Option<DateTime<Utc>>,
}

/// The open holds under one root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHolds {
    /// Those that count, the longest held first.
    pub holds: Vec<OpenHold>,
    /// The store's time, in milliseconds since the epoch.
    pub now_ms: i64,
    /// Whether these are all. The search reads 100,000 records at most, those of holds that ended lately included.
    pub complete: bool,
}

/// A hold that nobody has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHold {
    /// Its id, for [`CostGuard::hold`](crate::CostGuard::hold).
    pub id: String,
    /// What it holds, a counter each.
    pub amounts: Vec<HeldAmount>,
    /// When it was reserved, in milliseconds since the epoch by the store's clock.
    pub reserved_ms: i64,
    /// When it ends by itself.
    pub expires_ms: i64,
    /// When its amounts come free if nobody ends it: at its expiry or up to an eighth of its TTL later.
    pub frees_ms: i64,
    /// What it was tagged with.
    pub tags: Vec<(String, String)>,
}

/// What a hold keeps of one counter, or has taken from a rate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldAmount {
    /// The key of the counter or the rate.
    pub key: String,
    /// What it counts.
    pub meter: Meter,
    /// How much is held, in the meter's unit.
    pub amount: i64,
    /// The limit at the time of the reservation; `None` when it only counts.
    pub limit: Option<i64>,
    /// What was charged for it when the hold was settled, before this was read; `None` when it was not.
    pub charged: Option<i64>,
}

impl ListHolds<'_> {
    /// Lists the holds that count at this time and not at the store's now.
    pub fn at(mut self, time: DateTime<Utc>) -> Self {
        self.at = Some(time);
        self
    }

    async fn run(self) -> Result<OpenHolds> {
        let at_ms = self.at.map(injected_ms).transpose()?;
        let prefix = self.subject.hold_keys(&self.engine.prefix)?;
        let keys = self.engine.store.keys(&prefix, MOST_RECORDS).await?;
        let now_ms = at_ms.unwrap_or_else(|| self.engine.now_ms());
        let mut open = OpenHolds { holds: Vec::new(), now_ms, complete: keys.complete };
        for keys in keys.names.chunks(RECORDS_PER_CALL) {
            let args = at_ms.map(time_text).into_iter().collect();
            let call = ScriptCall { script: script::of(Op::Holds), keys: keys.to_vec(), args, idempotent: true };
            let mut answer = self.engine.run_unclocked(&call).await?;
            answer.expect("OPEN")?;
            open.now_ms = answer.int()?;
            for line in answer.rest().lines() {
                let (place, record) = line.split_once(' ').ok_or_else(|| unexpected(line))?;
                let key = place.parse::<usize>().ok().and_then(|place| keys.get(place.checked_sub(1)?));
                let key = key.ok_or_else(|| unexpected(line))?;
                open.holds.push(OpenHold::read(key, &prefix, &Record::read(record, &self.engine.prefix)?));
            }
        }
        open.holds.sort_by(|one, other| (one.reserved_ms, &one.id).cmp(&(other.reserved_ms, &other.id)));
        Ok(open)
    }
}

impl OpenHold {
    fn read(key: &str, prefix: &str, record: &Record) -> Self {
        let id = key.strip_prefix(prefix).unwrap_or(key);
        Self {
            id: percent_decode_str(id).decode_utf8_lossy().into_owned(),
            amounts: record.amounts(),
            reserved_ms: record.reserved_us / 1000,
            expires_ms: record.expires_ms,
            frees_ms: record.bucket_ms,
            tags: read_tags(&record.tags),
        }
    }
}

awaits!(ListHolds -> OpenHolds);
