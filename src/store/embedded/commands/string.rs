//! Strings and counters.

use super::super::bytes::Bytes;
use super::super::keyspace::Value;
use super::super::session::Session;
use super::{
    ANY, Answer, Arg, Command, Keys, NOT_AN_INTEGER, OVERFLOW, Outcome, Refusal, SYNTAX, Scalar, WRONG_TYPE, int,
    invalid_expire_time, of_keys, reads, writes,
};

pub(super) static COMMANDS: &[Command] = &[
    reads("get", 1, 1, get),
    of_keys(reads("mget", 1, ANY, mget), Keys::All),
    writes("set", 2, ANY, set),
    writes("psetex", 3, 3, psetex),
    writes("incrby", 2, 2, |session, args| add(session, &args[0], int(&args[1])?)),
    writes("decrby", 2, 2, decrby),
];

fn text<'a>(session: &'a Session, key: &[u8]) -> Result<Option<&'a Bytes>, Refusal> {
    match session.get(key) {
        None => Ok(None),
        Some(Value::Text(text)) => Ok(Some(text)),
        Some(_) => Err(WRONG_TYPE),
    }
}

fn get(session: &mut Session, args: &[Arg]) -> Outcome {
    Ok(Answer::One(text(session, &args[0])?.into()))
}

/// A key of another type counts as absent, as in Redis.
fn mget(session: &mut Session, args: &[Arg]) -> Outcome {
    Ok(Answer::Array(args.iter().map(|key| text(session, key).ok().flatten().into()).collect()))
}

fn add(session: &mut Session, key: &[u8], by: i64) -> Outcome {
    match session.get_mut(key) {
        None => {
            session.insert(key, Value::Text(Bytes::Int(by)));
            Ok(Answer::int(by))
        }
        Some(Value::Text(text)) => {
            let sum = text.as_i64().ok_or(NOT_AN_INTEGER)?.checked_add(by).ok_or(OVERFLOW)?;
            *text = Bytes::Int(sum);
            Ok(Answer::int(sum))
        }
        Some(_) => Err(WRONG_TYPE),
    }
}

fn decrby(session: &mut Session, args: &[Arg]) -> Outcome {
    let by = int(&args[1])?.checked_neg().ok_or(Refusal::fixed("ERR decrement would overflow"))?;
    add(session, &args[0], by)
}

/// The options of one `SET`.
#[derive(Default)]
struct SetOptions<'a> {
    only_new: bool,
    keep_ttl: bool,
    /// The option's name and its value, not yet read: Redis reads it after all options.
    end: Option<(End, &'a Arg)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Px,
    PxAt,
}

impl<'a> SetOptions<'a> {
    /// Redis's rule (t_string.c, `parseExtendedStringArgumentsOrReply`): the same time option twice is fine, the last counts.
    fn parse(args: &'a [Arg]) -> Result<Self, Refusal> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.to_ascii_lowercase().as_slice() {
                b"nx" => options.only_new = true,
                b"keepttl" if options.end.is_none() => options.keep_ttl = true,
                name => {
                    let end = match name {
                        b"px" => End::Px,
                        b"pxat" => End::PxAt,
                        _ => return Err(SYNTAX),
                    };
                    if options.keep_ttl || options.end.is_some_and(|(other, _)| other != end) {
                        return Err(SYNTAX);
                    }
                    options.end = Some((end, args.next().ok_or(SYNTAX)?));
                }
            }
        }
        Ok(options)
    }

    fn end_ms(&self, now_ms: i64) -> Result<Option<i64>, Refusal> {
        let Some((end, arg)) = self.end else { return Ok(None) };
        let invalid = || invalid_expire_time("set");
        let number = int(arg)?;
        if number <= 0 {
            return Err(invalid());
        }
        let at_ms = match end {
            End::Px => number.checked_add(now_ms),
            End::PxAt => Some(number),
        };
        at_ms.map(Some).ok_or_else(invalid)
    }
}

fn set(session: &mut Session, args: &[Arg]) -> Outcome {
    let (key, value) = (&args[0], &args[1]);
    let options = SetOptions::parse(&args[2..])?;
    let mut end_ms = options.end_ms(session.now_ms())?;
    let current_end = session.end_ms(key);
    if options.only_new && current_end.is_some() {
        return Ok(Answer::One(Scalar::Null));
    }
    if options.keep_ttl {
        end_ms = current_end.flatten();
    }
    session.insert(key, Value::Text(Bytes::new(value)));
    if end_ms.is_some() {
        session.set_end(key, end_ms);
    }
    Ok(Answer::Status("OK"))
}

fn psetex(session: &mut Session, args: &[Arg]) -> Outcome {
    let invalid = || invalid_expire_time("psetex");
    let ms = int(&args[1])?;
    let end_ms = ms.checked_add(session.now_ms()).filter(|_| ms > 0).ok_or_else(invalid)?;
    session.insert(&args[0], Value::Text(Bytes::new(&args[2])));
    session.set_end(&args[0], Some(end_ms));
    Ok(Answer::Status("OK"))
}
