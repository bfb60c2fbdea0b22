//! Hashes.

use super::super::bytes::Bytes;
use super::super::keyspace::{Hash, Value};
use super::super::session::Session;
use super::{
    ANY, Answer, Arg, Command, OVERFLOW, Outcome, Refusal, Scalar, WRONG_TYPE, count, int, reads, writes,
    wrong_number_of_args,
};

pub(super) static COMMANDS: &[Command] = &[
    reads("hget", 2, 2, hget),
    reads("hmget", 2, ANY, hmget),
    reads("hgetall", 1, 1, hgetall),
    reads("hlen", 1, 1, hlen),
    writes("hset", 3, ANY, hset),
    writes("hincrby", 3, 3, hincrby),
    writes("hdel", 2, ANY, hdel),
];

fn hash<'a>(session: &'a Session, key: &[u8]) -> Result<Option<&'a Hash>, Refusal> {
    match session.get(key) {
        None => Ok(None),
        Some(Value::Hash(hash)) => Ok(Some(hash)),
        Some(_) => Err(WRONG_TYPE),
    }
}

fn hash_mut<'a>(session: &'a mut Session, key: &[u8]) -> Result<Option<&'a mut Hash>, Refusal> {
    match session.get_mut(key) {
        None => Ok(None),
        Some(Value::Hash(hash)) => Ok(Some(hash)),
        Some(_) => Err(WRONG_TYPE),
    }
}

fn hget(session: &mut Session, args: &[Arg]) -> Outcome {
    Ok(Answer::One(hash(session, &args[0])?.and_then(|hash| hash.get(&args[1])).into()))
}

fn hmget(session: &mut Session, args: &[Arg]) -> Outcome {
    let hash = hash(session, &args[0])?;
    Ok(Answer::Array(args[1..].iter().map(|field| hash.and_then(|hash| hash.get(field)).into()).collect()))
}

fn hgetall(session: &mut Session, args: &[Arg]) -> Outcome {
    let Some(hash) = hash(session, &args[0])? else { return Ok(Answer::Array(Vec::new())) };
    Ok(Answer::Array(hash.iter().flat_map(|(field, value)| [Scalar::Text(field.to_vec()), value.into()]).collect()))
}

fn hlen(session: &mut Session, args: &[Arg]) -> Outcome {
    Ok(count(hash(session, &args[0])?.map_or(0, Hash::len)))
}

fn hset(session: &mut Session, args: &[Arg]) -> Outcome {
    let (key, pairs) = (&args[0], &args[1..]);
    if !pairs.len().is_multiple_of(2) {
        return Err(wrong_number_of_args("hset"));
    }
    let fill = |hash: &mut Hash| pairs.chunks_exact(2).filter(|pair| hash.set(&pair[0], Bytes::new(&pair[1]))).count();
    let added = if let Some(hash) = hash_mut(session, key)? {
        fill(hash)
    } else {
        let mut hash = Hash::default();
        let added = fill(&mut hash);
        session.insert(key, Value::Hash(hash));
        added
    };
    Ok(count(added))
}

fn hincrby(session: &mut Session, args: &[Arg]) -> Outcome {
    let (key, field, by) = (&args[0], &args[1], int(&args[2])?);
    let Some(hash) = hash_mut(session, key)? else {
        let mut hash = Hash::default();
        hash.set(field, Bytes::Int(by));
        session.insert(key, Value::Hash(hash));
        return Ok(Answer::int(by));
    };
    let Some(value) = hash.get_mut(field) else {
        hash.set(field, Bytes::Int(by));
        return Ok(Answer::int(by));
    };
    let old = value.as_i64().ok_or(Refusal::fixed("ERR hash value is not an integer"))?;
    let sum = old.checked_add(by).ok_or(OVERFLOW)?;
    *value = Bytes::Int(sum);
    Ok(Answer::int(sum))
}

fn hdel(session: &mut Session, args: &[Arg]) -> Outcome {
    let Some(hash) = hash_mut(session, &args[0])? else { return Ok(Answer::int(0)) };
    let removed = args[1..].iter().filter(|field| hash.remove(field)).count();
    // Redis keeps no empty hash.
    if hash.len() == 0 {
        session.remove(&args[0]);
    }
    Ok(count(removed))
}
