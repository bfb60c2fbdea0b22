//! The functions Lua calls into Rust with, and how values cross.
//!
//! Measured, the crossing itself costs 16 ns, a string argument 25 ns as `BString` and 110 ns as `mlua::Value`: that is why
//! arguments come as a fixed tuple. Its price: mlua cannot tell a trailing `nil` argument from none, so
//! `redis.call('SET', k, v, nil)` passes here where Redis refuses it.

use mlua::{BString, Either, FromLua, Function, Lua, MultiValue, Table, Value};

use super::commands::{self, Answer, Arg, Command, Refusal};
use super::vm::{SharedSession, lock};
use crate::store::Reply;

const NOT_TEXT: Refusal = Refusal::fixed("ERR Lua redis lib command arguments must be strings or integers");
const NO_COMMAND: Refusal = Refusal::fixed("ERR Please specify at least one argument for this redis.call() call");

/// Beyond this a number's digits depend on the server's version.
const LARGEST_NUMBER: f64 = 1e15;

/// A command argument that is not a string. Strings are turned down at the price of a reference, and then read cheaply.
enum Other {
    Number(f64),
    Neither,
}

impl FromLua for Other {
    fn from_lua(value: Value, _: &Lua) -> mlua::Result<Self> {
        match value {
            // Any error will do, it is never seen; this one allocates nothing.
            Value::String(_) => Err(mlua::Error::StackError),
            Value::Integer(number) => Ok(Self::Number(number as f64)),
            Value::Number(number) => Ok(Self::Number(number)),
            _ => Ok(Self::Neither),
        }
    }
}

type Word = Option<Either<Other, BString>>;
/// A command's name, twelve arguments the fast way, the rest the slow way.
type Words = (Option<BString>, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, Word, MultiValue);
/// What a command gives back to Lua, without the detour over `mlua::Value` where there is a shorter way.
type Out = Either<i64, Either<String, Value>>;

/// The table prelude.lua takes.
pub(super) fn native(lua: &Lua, session: &SharedSession) -> mlua::Result<Table> {
    let native = lua.create_table()?;
    native.set("call", redis_call(lua, session.clone())?)?;
    native.set("try", redis_pcall(lua, session.clone())?)?;
    native.set("failure_text", lua.create_function(|_, failure: mlua::Error| Ok(failure_text(&failure)))?)?;
    native.set("script_line", lua.create_function(|lua, ()| Ok(script_line(lua)))?)?;
    native.set("hand_over", hand_over(lua, session.clone())?)?;
    native.set(
        "sha1hex",
        lua.create_function(|_, text: BString| Ok(sha1_smol::Sha1::from(&*text).digest().to_string()))?,
    )?;
    Ok(native)
}

fn redis_call(lua: &Lua, session: SharedSession) -> mlua::Result<Function> {
    lua.create_function(move |lua, words: Words| match perform(&session, words) {
        Ok(answer) => into_lua(lua, answer),
        Err(refusal) => Err(mlua::Error::RuntimeError(refusal.to_string())),
    })
}

fn redis_pcall(lua: &Lua, session: SharedSession) -> mlua::Result<Function> {
    lua.create_function(move |lua, words: Words| match perform(&session, words) {
        Ok(answer) => into_lua(lua, answer),
        Err(refusal) => {
            let table = lua.create_table()?;
            table.raw_set("err", refusal.to_string())?;
            Ok(Either::Right(Either::Right(Value::Table(table))))
        }
    })
}

fn perform(session: &SharedSession, words: Words) -> commands::Outcome {
    let (name, a, b, c, d, e, f, g, h, i, j, k, l, rest) = words;
    let name = name.ok_or(NO_COMMAND)?;
    let mut session = lock(session);
    let command = session.command(&name)?;
    let mut args = session.take_args();
    let read = read_args(&mut args, [a, b, c, d, e, f, g, h, i, j, k, l], rest);
    let outcome = read.and_then(|()| Command::call(command, &mut session, &args));
    session.give_back_args(args);
    outcome
}

fn read_args(args: &mut Vec<Arg>, words: [Word; 12], rest: MultiValue) -> Result<(), Refusal> {
    let mut ended = false;
    for word in words {
        match word {
            None => ended = true,
            Some(_) if ended => return Err(NOT_TEXT),
            Some(word) => args.push(arg(word)?),
        }
    }
    for value in rest {
        let word = match value {
            Value::String(text) => Either::Right(BString::from(&*text.as_bytes())),
            Value::Integer(number) => Either::Left(Other::Number(number as f64)),
            Value::Number(number) => Either::Left(Other::Number(number)),
            _ => return Err(NOT_TEXT),
        };
        if ended {
            return Err(NOT_TEXT);
        }
        args.push(arg(word)?);
    }
    Ok(())
}

fn arg(word: Either<Other, BString>) -> Result<Arg, Refusal> {
    match word {
        Either::Right(text) => Ok(text),
        Either::Left(Other::Number(number)) if number.fract() == 0.0 && number.abs() < LARGEST_NUMBER => {
            Ok(format!("{number:.0}").into())
        }
        Either::Left(Other::Number(number)) => Err(Refusal::owned(format!(
            "ERR the number {number} as a command argument reads differently from server to server; pass a string"
        ))),
        Either::Left(Other::Neither) => Err(NOT_TEXT),
    }
}

fn into_lua(lua: &Lua, answer: Answer) -> mlua::Result<Out> {
    Ok(match answer {
        Answer::Int(number) => Either::Left(number),
        Answer::Null => Either::Right(Either::Right(Value::Boolean(false))),
        Answer::Text(text) => Either::Right(match String::from_utf8(text) {
            Ok(text) => Either::Left(text),
            Err(bytes) => Either::Right(Value::String(lua.create_string(bytes.as_bytes())?)),
        }),
        Answer::Status(text) => {
            let table = lua.create_table()?;
            table.raw_set("ok", text)?;
            Either::Right(Either::Right(Value::Table(table)))
        }
        Answer::Array(items) => {
            let table = lua.create_table_with_capacity(items.len(), 0)?;
            for item in items {
                table.raw_push(into_lua(lua, item)?)?;
            }
            Either::Right(Either::Right(Value::Table(table)))
        }
    })
}

/// The words of a refusal, out of the wrapping it got on its way through Lua.
fn failure_text(failure: &mlua::Error) -> String {
    match failure {
        mlua::Error::CallbackError { cause, .. } => failure_text(cause),
        mlua::Error::RuntimeError(text) => text.clone(),
        mlua::Error::BadArgument { .. } | mlua::Error::FromLuaConversionError { .. } => NOT_TEXT.to_string(),
        other => format!("ERR {other}"),
    }
}

/// The line of the script that is running, innermost first.
fn script_line(lua: &Lua) -> Option<usize> {
    (0..)
        .map_while(|level| {
            lua.inspect_stack(level, |debug| {
                let in_script = debug.source().source.as_deref() == Some("@user_script");
                in_script.then(|| debug.current_line())
            })
        })
        .find_map(|line| line)
        .flatten()
}

type Item = Option<String>;

/// Takes up to eight elements of a reply; bit n of `numbers` says that the element is a number.
fn hand_over(lua: &Lua, session: SharedSession) -> mlua::Result<Function> {
    type Handed = (bool, u8, Item, Item, Item, Item, Item, Item, Item, Item);
    lua.create_function(move |_, (first, numbers, a, b, c, d, e, f, g, h): Handed| {
        let mut session = lock(&session);
        let reply = session.reply(first);
        for (at, item) in [a, b, c, d, e, f, g, h].into_iter().map_while(|item| item).enumerate() {
            let is_number = numbers >> at & 1 == 1;
            reply.push(if is_number {
                Reply::Int(item.parse().map_err(mlua::Error::external)?)
            } else {
                Reply::Text(item)
            });
        }
        Ok(())
    })
}
