//! What the cache keeps. Twin of `lua/cache_get.lua` and its kin.

use std::time::Duration;

use super::engine::{Answer, Engine, unexpected};
use super::keep::{call, ttl_text};
use crate::error::Result;
use crate::script::Op;

/// The most fields of a hash.
const MOST_FIELDS: usize = 10_000;

/// A text that is stored, and how long it still lives.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) text: String,
    pub(crate) left: Duration,
}

/// What who wants to compute a value is told.
#[derive(Debug)]
pub(crate) enum Lease {
    /// The value is there.
    Hit(Text),
    /// Compute it.
    Leased,
    /// Another one does.
    Busy,
}

fn hit(mut answer: Answer) -> Result<Text> {
    answer.expect("HIT")?;
    // Without a TTL it is none of ours, and lives on.
    let left = u64::try_from(answer.int()?).map_or(Duration::MAX, Duration::from_millis);
    Ok(Text { text: answer.rest().to_owned(), left })
}

impl Engine {
    pub(crate) async fn cache_get(&self, key: String) -> Result<Option<Text>> {
        let answer = self.run_unclocked(&call(Op::CacheGet, vec![key], Vec::new())).await?;
        if answer.status() == "MISS" { Ok(None) } else { hit(answer).map(Some) }
    }

    /// Asks for the right to compute the value; `force` does so although there is one.
    pub(crate) async fn cache_lease(
        &self,
        keys: [String; 2],
        token: &str,
        lock_ttl: Duration,
        force: bool,
    ) -> Result<Lease> {
        let force = if force { "1" } else { "" };
        let args = vec![token.to_owned(), ttl_text(lock_ttl)?, force.to_owned()];
        let answer = self.run_unclocked(&call(Op::CacheLease, keys.into(), args)).await?;
        match answer.status() {
            "LEASED" => Ok(Lease::Leased),
            "BUSY" => Ok(Lease::Busy),
            _ => hit(answer).map(Lease::Hit),
        }
    }

    /// Stores what was computed, if anything, and gives the right back; whether it was still held.
    pub(crate) async fn cache_finish(
        &self,
        keys: [String; 2],
        token: &str,
        text: Option<(String, Duration)>,
    ) -> Result<bool> {
        let (text, ttl_ms) = match text {
            Some((text, ttl)) => (text, ttl_text(ttl)?),
            None => Default::default(),
        };
        let call = call(Op::CacheFinish, keys.into(), vec![token.to_owned(), text, ttl_ms]);
        let mut answer = self.run_unclocked(&call).await?;
        if answer.status() == "FENCED" {
            return Ok(false);
        }
        answer.expect("OK").map(|()| true)
    }

    /// How long a key lives; `Duration::MAX` for one without an end.
    pub(crate) async fn cache_left(&self, key: String) -> Result<Option<Duration>> {
        let mut answer = self.run_unclocked(&call(Op::CacheLeft, vec![key], Vec::new())).await?;
        answer.expect("OK")?;
        Ok(match answer.int()? {
            -2 => None,
            left_ms => Some(u64::try_from(left_ms).map_or(Duration::MAX, Duration::from_millis)),
        })
    }

    pub(crate) async fn cache_expire(&self, key: String, ttl: Duration) -> Result<bool> {
        let mut answer = self.run_unclocked(&call(Op::CacheExpire, vec![key], vec![ttl_text(ttl)?])).await?;
        answer.expect("OK")?;
        Ok(answer.int()? == 1)
    }

    /// Adds to a counter that lives for `ttl` from its first amount on.
    pub(crate) async fn cache_incr(&self, key: String, by: i64, ttl: Duration) -> Result<i64> {
        let mut call = call(Op::Count, vec![key], vec![by.to_string(), ttl_text(ttl)?, String::new()]);
        call.idempotent = false;
        let mut answer = self.run_unclocked(&call).await?;
        answer.expect("OK")?;
        answer.int()
    }

    /// The fields of a hash and their values: one, or all.
    pub(crate) async fn cache_hget(&self, key: String, field: Option<String>) -> Result<Vec<(String, String)>> {
        let mut answer = self.run_unclocked(&call(Op::CacheHget, vec![key], field.into_iter().collect())).await?;
        if answer.status() == "MISS" {
            return Ok(Vec::new());
        }
        answer.expect("HASH")?;
        read_hash(answer.rest()).ok_or_else(|| unexpected("a hash"))
    }

    pub(crate) async fn cache_hset(&self, key: String, ttl: Duration, fields: Vec<(String, String)>) -> Result<()> {
        let mut args = vec![ttl_text(ttl)?, MOST_FIELDS.to_string()];
        args.extend(fields.into_iter().flat_map(|(field, value)| [field, value]));
        let mut answer = self.run_unclocked(&call(Op::CacheHset, vec![key], args)).await?;
        answer.expect("OK")
    }

    /// The generation of a tag: `fresh` where there is none. It lives for `ttl` at least.
    pub(crate) async fn cache_tag(&self, key: String, fresh: String, ttl: Duration) -> Result<String> {
        let mut answer = self.run_unclocked(&call(Op::CacheTag, vec![key], vec![fresh, ttl_text(ttl)?])).await?;
        answer.expect("OK")?;
        Ok(answer.rest().to_owned())
    }
}

/// `bytes...`, a line break, and texts of these lengths: a field and its value in turn.
fn read_hash(text: &str) -> Option<Vec<(String, String)>> {
    let (lengths, mut texts) = text.split_once('\n')?;
    let mut lengths = lengths.split(' ');
    let mut take = |length: &str| {
        let (text, rest) = texts.split_at_checked(length.parse().ok()?)?;
        texts = rest;
        Some(text.to_owned())
    };
    let mut fields = Vec::new();
    while let Some(length) = lengths.next() {
        fields.push((take(length)?, take(lengths.next()?)?));
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_by_the_lengths_of_its_texts() {
        let pair = |field: &str, value: &str| (field.to_owned(), value.to_owned());
        assert_eq!(read_hash("1 2 3 0\nabcü1"), Some(vec![pair("a", "bc"), pair("ü1", "")]));
        for broken in ["1 2", "1\na", "2 1\na", "x 1\nab", "1 1\nü"] {
            assert_eq!(read_hash(broken), None, "{broken:?}");
        }
    }
}
