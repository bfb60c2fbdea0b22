//! A hold as it is stored: one line of words.

use std::fmt;

use super::HeldAmount;
use crate::error::{Error, Result};
use crate::model::{Limit, Meter, Per};
use crate::ops::engine::unexpected;
use crate::ops::plan::counter_letters;

/// The most bytes of all tags, encoded.
const MAX_TAGS_BYTES: usize = 400;

/// How a hold stands. One that nobody ended stays open, also after its expiry, and can still be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldState {
    /// Nobody has ended it.
    Open,
    /// What the call cost was charged.
    Settled,
    /// All was given back.
    Released,
}

/// `open STEP NOW_S US TTL_MS BUCKET_MS FINGERPRINT TAGS`, then `COUNTER AMOUNT LIMIT` a counter. `STEP` names the last four
/// requests by which it grew, `0` before the first. When it has ended that follows on `STATE AS REPLY | `: by what, and the
/// answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The line as it is stored: the scripts compare it.
    pub(crate) line: String,
    pub(crate) state: HoldState,
    pub(crate) reserved_us: i64,
    pub(crate) expires_ms: i64,
    pub(crate) bucket_ms: i64,
    /// As one word.
    pub(crate) tags: String,
    pub(crate) entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) meter: Meter,
    pub(crate) amount: i64,
    pub(crate) bound: Bound,
    /// How it forgets, when it is no counter: `rate/60s`.
    pub(crate) rate: Option<Per>,
    /// What the hold was settled with.
    pub(crate) charged: Option<i64>,
}

/// How far a limit went when its counter was reserved: `LIMIT`, `-` for none, with `~OVERDRAFT` or `/BURST` where it has one,
/// and a plus before it where it refuses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) limit: Option<i64>,
    overdraft: i64,
    burst: Option<i64>,
    pub(crate) is_shadow: bool,
}

impl Bound {
    pub(crate) fn of(limit: &Limit) -> Self {
        let (overdraft, burst) = (limit.allowed_overdraft(), limit.own_burst());
        Self { limit: limit.limit(), overdraft, burst, is_shadow: limit.is_shadow() }
    }

    /// The same with another limit: an override's.
    pub(crate) fn with_limit(self, limit: Option<i64>) -> Self {
        Self { limit, ..self }
    }

    fn read(word: &str) -> Option<Self> {
        let (is_shadow, rest) = word.strip_prefix('+').map_or((false, word), |rest| (true, rest));
        let (rest, burst) = rest.split_once('/').map_or((rest, None), |(rest, burst)| (rest, Some(burst)));
        let (limit, overdraft) = rest.split_once('~').unwrap_or((rest, "0"));
        let limit = if limit == "-" { None } else { Some(limit.parse().ok()?) };
        let burst = burst.map(str::parse).transpose().ok()?;
        Some(Self { limit, overdraft: overdraft.parse().ok()?, burst, is_shadow })
    }

    /// The limit as the scripts read it.
    pub(crate) fn text(&self) -> String {
        let sign = if self.is_shadow { "+" } else { "" };
        self.limit.map(|limit| format!("{sign}{}", limit.saturating_add(self.overdraft))).unwrap_or_default()
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(limit) = self.limit else { return f.write_str("-") };
        write!(f, "{}{limit}", if self.is_shadow { "+" } else { "" })?;
        if self.overdraft != 0 {
            write!(f, "~{}", self.overdraft)?;
        }
        self.burst.map_or(Ok(()), |burst| write!(f, "/{burst}"))
    }
}

impl Entry {
    /// `span_us, how` of a rate.
    pub(crate) fn span_and_how(&self) -> [String; 2] {
        let (period, how) = match self.rate {
            Some(Per::Sliding(period)) => (Some(period), "sliding".to_owned()),
            Some(Per::Log(period)) => (Some(period), "log".to_owned()),
            rate => {
                (rate.and_then(Per::rate_period), self.bound.burst.map(|burst| burst.to_string()).unwrap_or_default())
            }
        };
        [period.map_or(0, |period| period.us()).to_string(), how]
    }
}

impl Record {
    /// Reads a record; `prefix` is the guard's.
    pub(crate) fn read(line: &str, prefix: &str) -> Result<Self> {
        let (end, open) = ended(line);
        let mut end = end.map(|end| end.split(' '));
        let state = match end.as_mut().map(|end| end.next().unwrap_or_default()) {
            None => HoldState::Open,
            Some("settled") => HoldState::Settled,
            Some("released") => HoldState::Released,
            _ => return Err(unexpected(line)),
        };
        let open = open.strip_prefix("open ").ok_or_else(|| unexpected(line))?;
        let mut words = open.split(' ');
        let mut word = || words.next().ok_or_else(|| unexpected(line));
        let int = |word: &str| word.parse::<i64>().map_err(|_| unexpected(line));
        let _step = word()?;
        let (from_s, us) = (int(word()?)?, int(word()?)?);
        let (ttl_ms, bucket_ms) = (int(word()?)?, int(word()?)?);
        let reserved_us = from_s.checked_mul(1_000_000).and_then(|from_us| from_us.checked_add(us));
        let reserved_us = reserved_us.ok_or_else(|| unexpected(line))?;
        let expires_ms = (reserved_us / 1000).saturating_add(ttl_ms);
        let _fingerprint = word()?;
        let tags = word()?.to_owned();
        let mut entries = Vec::new();
        while let Some(key) = words.next() {
            let (amount, limit) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let meter =
                key.strip_prefix(prefix).and_then(|key| key.split_once(':')).map(|(meter, _)| Meter::of_key(meter));
            let meter = meter.ok_or_else(|| unexpected(line))?;
            let bound = Bound::read(limit).ok_or_else(|| unexpected(line))?;
            let window = key.rsplit(':').next().unwrap_or_default();
            let rate = window.contains('/').then(|| window.parse::<Per>().ok()).flatten();
            let rate = rate.filter(|per| per.rate_period().is_some());
            entries.push(Entry { key: key.to_owned(), meter, amount: int(amount)?, bound, rate, charged: None });
        }
        if state == HoldState::Settled {
            // Counters first, then rates, as `settle` sends them.
            let (rates, counters): (Vec<_>, Vec<_>) = entries.iter_mut().partition(|entry| entry.rate.is_some());
            let amounts = end.and_then(|mut end| end.next()).ok_or_else(|| unexpected(line))?.split(',');
            for (entry, amount) in counters.into_iter().chain(rates).zip(amounts) {
                entry.charged = Some(int(amount)?);
            }
        }
        Ok(Self { line: line.to_owned(), state, reserved_us, expires_ms, bucket_ms, tags, entries })
    }

    fn step(&self) -> &str {
        ended(&self.line).1.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn has_grown(&self) -> bool {
        self.step() != "0"
    }

    /// Whether the request of this nonce is one of the last by which it grew.
    pub(crate) fn grew_by(&self, nonce: &str) -> bool {
        self.step().split('.').any(|step| step == nonce)
    }

    /// What is kept in counters.
    pub(crate) fn counters(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.rate.is_none())
    }

    /// What was taken from rates.
    pub(crate) fn rates(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.rate.is_some())
    }

    /// One letter a counter: how the scripts know where counters end.
    pub(crate) fn letters(&self) -> String {
        counter_letters(self.counters().count())
    }

    /// Bucket names have thirteen digits.
    pub(crate) fn bucket(&self) -> String {
        format!("{:013}", self.bucket_ms)
    }

    pub(crate) fn amounts(&self) -> Vec<HeldAmount> {
        let held = |Entry { key, meter, amount, bound, charged, .. }: &Entry| HeldAmount {
            key: key.clone(),
            meter: meter.clone(),
            amount: *amount,
            limit: bound.limit,
            charged: *charged,
        };
        self.entries.iter().map(held).collect()
    }
}

/// How a hold ended, and its line when it was open.
fn ended(line: &str) -> (Option<&str>, &str) {
    line.split_once(" | ").map_or((None, line), |(end, open)| (Some(end), open))
}

/// The end of a record: tags, then `COUNTER AMOUNT LIMIT` a counter.
pub(crate) fn write_tail<'a>(tags: &str, entries: impl Iterator<Item = (&'a str, String, Bound)>) -> String {
    let mut tail = tags.to_owned();
    for (key, amount, bound) in entries {
        tail.extend([" ", key, " ", &amount, " ", &bound.to_string()]);
    }
    tail
}

/// Tags as one word: `name=value;name=value`, `-` for none.
pub(crate) fn write_tags(tags: &[(String, String)]) -> Result<String> {
    let encode = |text: &String| crate::model::encode_tag(text);
    let pairs: Result<Vec<_>> =
        tags.iter().map(|(name, value)| Ok(format!("{}={}", encode(name)?, encode(value)?))).collect();
    let word = pairs?.join(";");
    if word.len() > MAX_TAGS_BYTES {
        return Err(Error::invalid(format!(
            "the tags of a hold take up to {MAX_TAGS_BYTES} bytes; keep the rest elsewhere"
        )));
    }
    Ok(if word.is_empty() { "-".to_owned() } else { word })
}

/// Tags from their word.
pub(crate) fn read_tags(word: &str) -> Vec<(String, String)> {
    let decode = |text| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = word.split(';').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name), decode(value))).collect()
}
