//! Keys of any type: whether they are there, and until when.

use super::super::session::Session;
use super::{ANY, Answer, Arg, Command, Keys, Outcome, count, int, invalid_expire_time, of_keys, reads, writes};

pub(super) static COMMANDS: &[Command] = &[
    of_keys(writes("del", 1, ANY, del), Keys::All),
    of_keys(reads("exists", 1, ANY, exists), Keys::All),
    reads("pttl", 1, 1, pttl),
    writes("persist", 1, 1, persist),
    writes("pexpire", 2, 2, |session, args| expire(session, args, "pexpire", session.now_ms())),
    writes("pexpireat", 2, 2, |session, args| expire(session, args, "pexpireat", 0)),
];

fn del(session: &mut Session, args: &[Arg]) -> Outcome {
    Ok(count(args.iter().filter(|key| session.remove(key)).count()))
}

fn exists(session: &mut Session, args: &[Arg]) -> Outcome {
    Ok(count(args.iter().filter(|key| session.get(key).is_some()).count()))
}

/// -2 without the key, -1 without a TTL.
fn pttl(session: &mut Session, args: &[Arg]) -> Outcome {
    Ok(Answer::int(match session.end_ms(&args[0]) {
        None => -2,
        Some(None) => -1,
        Some(Some(end_ms)) => end_ms.saturating_sub(session.now_ms()),
    }))
}

fn persist(session: &mut Session, args: &[Arg]) -> Outcome {
    let had_ttl = session.end_ms(&args[0]).flatten().is_some();
    if had_ttl {
        session.set_end(&args[0], None);
    }
    Ok(Answer::int(i64::from(had_ttl)))
}

/// Both `PEXPIRE`s (expire.c, `expireGenericCommand`): a moment that has passed deletes the key and answers 1.
fn expire(session: &mut Session, args: &[Arg], name: &str, from_ms: i64) -> Outcome {
    let key = &args[0];
    let end_ms = int(&args[1])?.checked_add(from_ms).ok_or_else(|| invalid_expire_time(name))?;
    if session.end_ms(key).is_none() {
        return Ok(Answer::int(0));
    }
    if end_ms <= session.now_ms() {
        session.remove(key);
    } else {
        session.set_end(key, Some(end_ms));
    }
    Ok(Answer::int(1))
}
