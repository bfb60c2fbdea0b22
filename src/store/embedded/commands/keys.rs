//! Keys of any type: whether they are there, and until when.

use super::super::session::Session;
use super::{
    ANY, Answer, Arg, Command, Keys, Outcome, Refusal, count, int, invalid_expire_time, of_keys, reads, writes,
};

pub(super) static COMMANDS: &[Command] = &[
    of_keys(writes("del", 1, ANY, del), Keys::All),
    of_keys(reads("exists", 1, ANY, exists), Keys::All),
    reads("type", 1, 1, type_of),
    reads("ttl", 1, 1, |session, args| Ok(remaining(session, &args[0], |ms| ms.saturating_add(500) / 1000))),
    reads("pttl", 1, 1, |session, args| Ok(remaining(session, &args[0], |ms| ms))),
    reads("pexpiretime", 1, 1, pexpiretime),
    writes("persist", 1, 1, persist),
    writes("expire", 2, ANY, |session, args| expire(session, args, "expire", 1000, true)),
    writes("pexpire", 2, ANY, |session, args| expire(session, args, "pexpire", 1, true)),
    writes("expireat", 2, ANY, |session, args| expire(session, args, "expireat", 1000, false)),
    writes("pexpireat", 2, ANY, |session, args| expire(session, args, "pexpireat", 1, false)),
];

fn del(session: &mut Session, args: &[Arg]) -> Outcome {
    Ok(count(args.iter().filter(|key| session.remove(key)).count()))
}

fn exists(session: &mut Session, args: &[Arg]) -> Outcome {
    Ok(count(args.iter().filter(|key| session.get(key).is_some()).count()))
}

fn type_of(session: &mut Session, args: &[Arg]) -> Outcome {
    Ok(Answer::Status(session.get(&args[0]).map_or("none", |value| value.type_name())))
}

/// -2 without the key, -1 without a TTL.
fn remaining(session: &Session, key: &[u8], unit: fn(i64) -> i64) -> Answer {
    Answer::int(match session.end_ms(key) {
        None => -2,
        Some(None) => -1,
        Some(Some(end_ms)) => unit(end_ms.saturating_sub(session.now_ms())),
    })
}

fn pexpiretime(session: &mut Session, args: &[Arg]) -> Outcome {
    Ok(Answer::int(session.end_ms(&args[0]).map_or(-2, |end_ms| end_ms.unwrap_or(-1))))
}

fn persist(session: &mut Session, args: &[Arg]) -> Outcome {
    let had_ttl = session.end_ms(&args[0]).flatten().is_some();
    if had_ttl {
        session.set_end(&args[0], None);
    }
    Ok(Answer::int(i64::from(had_ttl)))
}

/// When `NX`, `XX`, `GT` and `LT` let an expiry change.
#[derive(Default)]
struct Conditions {
    only_without_ttl: bool,
    only_with_ttl: bool,
    only_later: bool,
    only_sooner: bool,
}

impl Conditions {
    fn parse(args: &[Arg]) -> Result<Self, Refusal> {
        let mut conditions = Self::default();
        for arg in args {
            match arg.to_ascii_lowercase().as_slice() {
                b"nx" => conditions.only_without_ttl = true,
                b"xx" => conditions.only_with_ttl = true,
                b"gt" => conditions.only_later = true,
                b"lt" => conditions.only_sooner = true,
                _ => return Err(Refusal::owned(format!("ERR Unsupported option {arg}"))),
            }
        }
        if conditions.only_without_ttl && (conditions.only_with_ttl || conditions.only_later || conditions.only_sooner)
        {
            return Err(Refusal::fixed("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.only_later && conditions.only_sooner {
            return Err(Refusal::fixed("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// No TTL counts as endless: later than any.
    fn allow(&self, current_ms: Option<i64>, new_ms: i64) -> bool {
        !(self.only_without_ttl && current_ms.is_some()
            || self.only_with_ttl && current_ms.is_none()
            || self.only_later && current_ms.is_none_or(|current_ms| new_ms <= current_ms)
            || self.only_sooner && current_ms.is_some_and(|current_ms| new_ms >= current_ms))
    }
}

/// The four `EXPIRE`s (expire.c, `expireGenericCommand`): a moment that has passed deletes the key and answers 1.
fn expire(session: &mut Session, args: &[Arg], name: &str, unit_ms: i64, relative: bool) -> Outcome {
    let key = &args[0];
    let conditions = Conditions::parse(&args[2..])?;
    let now_ms = session.now_ms();
    let from_ms = if relative { now_ms } else { 0 };
    let end_ms = int(&args[1])?.checked_mul(unit_ms).and_then(|ms| ms.checked_add(from_ms));
    let end_ms = end_ms.ok_or_else(|| invalid_expire_time(name))?;
    let Some(current_ms) = session.end_ms(key) else { return Ok(Answer::int(0)) };
    if !conditions.allow(current_ms, end_ms) {
        return Ok(Answer::int(0));
    }
    if end_ms <= now_ms {
        session.remove(key);
    } else {
        session.set_end(key, Some(end_ms));
    }
    Ok(Answer::int(1))
}
