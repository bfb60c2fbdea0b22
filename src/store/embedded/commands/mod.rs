//! The Redis commands scripts may call. A family of commands is a file with a table of them; adding one adds a file.

mod hash;
mod keys;
mod string;

use std::borrow::Cow;
use std::sync::LazyLock;
use std::{collections::HashMap, fmt};

use super::bytes::{Bytes, parse_i64};
use super::session::Session;

/// One argument of a command, its name not counted.
pub(super) type Arg = mlua::BString;

/// One value a command answers.
#[derive(Debug)]
pub(super) enum Scalar {
    /// Absent: `false` in Lua, null in a reply.
    Null,
    Int(i64),
    Text(Vec<u8>),
}

impl From<&Bytes> for Scalar {
    fn from(text: &Bytes) -> Self {
        Self::Text(text.as_bytes().into_owned())
    }
}

impl From<Option<&Bytes>> for Scalar {
    fn from(text: Option<&Bytes>) -> Self {
        text.map_or(Self::Null, Self::from)
    }
}

/// What a command answers to the script.
#[derive(Debug)]
pub(super) enum Answer {
    One(Scalar),
    Status(&'static str),
    Array(Vec<Scalar>),
}

impl Answer {
    fn int(number: i64) -> Self {
        Self::One(Scalar::Int(number))
    }
}

/// Why a command refused, as Redis words it: `CODE text`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal(Cow<'static, str>);

impl Refusal {
    pub(super) const fn fixed(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }

    pub(super) fn owned(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const NOT_AN_INTEGER: Refusal = Refusal::fixed("ERR value is not an integer or out of range");
const OVERFLOW: Refusal = Refusal::fixed("ERR increment or decrement would overflow");
const SYNTAX: Refusal = Refusal::fixed("ERR syntax error");
const WRONG_TYPE: Refusal = Refusal::fixed("WRONGTYPE Operation against a key holding the wrong kind of value");

/// The result of one command.
pub(super) type Outcome = Result<Answer, Refusal>;

/// Which arguments of a command are keys.
#[derive(Clone, Copy, Debug)]
enum Keys {
    None,
    First,
    All,
}

/// A command: its name in lower case, how many arguments it takes, which are keys, whether it writes, and what it does.
#[derive(Debug)]
pub(super) struct Command {
    name: &'static str,
    least: usize,
    most: usize,
    keys: Keys,
    writes: bool,
    run: fn(&mut Session, &[Arg]) -> Outcome,
}

const ANY: usize = usize::MAX;

const fn reads(name: &'static str, least: usize, most: usize, run: fn(&mut Session, &[Arg]) -> Outcome) -> Command {
    Command { name, least, most, keys: Keys::First, writes: false, run }
}

const fn writes(name: &'static str, least: usize, most: usize, run: fn(&mut Session, &[Arg]) -> Outcome) -> Command {
    Command { name, least, most, keys: Keys::First, writes: true, run }
}

const fn of_keys(mut command: Command, keys: Keys) -> Command {
    command.keys = keys;
    command
}

/// `TIME`: seconds and microseconds of the run's one moment; the embedded clock counts milliseconds. Ten digits, as every server
/// has had since 2001: scripts compare them as texts.
fn time(session: &mut Session, _: &[Arg]) -> Outcome {
    let now_ms = session.now_ms();
    let (seconds, us) = (now_ms.div_euclid(1000), now_ms.rem_euclid(1000) * 1000);
    let text = |text: String| Scalar::Text(text.into_bytes());
    Ok(Answer::Array(vec![text(format!("{seconds:010}")), text(us.to_string())]))
}

static OTHERS: &[Command] = &[of_keys(reads("time", 0, 0, time), Keys::None)];

static BY_NAME: LazyLock<HashMap<&'static str, &'static Command>> = LazyLock::new(|| {
    let families = [string::COMMANDS, hash::COMMANDS, keys::COMMANDS, OTHERS];
    families.into_iter().flatten().map(|command| (command.name, command)).collect()
});

/// The names of all commands.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    BY_NAME.keys().copied()
}

/// Finds a command by its name in any case.
pub(super) fn find(name: &[u8]) -> Result<&'static Command, Refusal> {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    BY_NAME.get(name.as_str()).copied().ok_or_else(|| {
        Refusal::owned(format!(
            "ERR Unknown Redis command called from script; the embedded engine has no '{name}', only what its scripts use"
        ))
    })
}

impl Command {
    /// Checks a call as Redis checks one from a script, in its order, and runs it.
    pub(super) fn call(&self, session: &mut Session, args: &[Arg]) -> Outcome {
        if args.len() < self.least || args.len() > self.most {
            return Err(Refusal::fixed("ERR Wrong number of args calling Redis command from script"));
        }
        if self.writes && session.read_only() {
            return Err(Refusal::fixed("ERR Write commands are not allowed from read-only scripts."));
        }
        match (self.keys, args) {
            (Keys::First, [key, ..]) => session.declared(key)?,
            (Keys::All, keys) => keys.iter().try_for_each(|key| session.declared(key))?,
            _ => {}
        }
        (self.run)(session, args)
    }
}

fn wrong_number_of_args(name: &str) -> Refusal {
    Refusal::owned(format!("ERR wrong number of arguments for '{name}' command"))
}

fn invalid_expire_time(name: &str) -> Refusal {
    Refusal::owned(format!("ERR invalid expire time in '{name}' command"))
}

fn int(arg: &Arg) -> Result<i64, Refusal> {
    parse_i64(arg).ok_or(NOT_AN_INTEGER)
}

fn count(number: usize) -> Answer {
    Answer::int(i64::try_from(number).unwrap_or(i64::MAX))
}
