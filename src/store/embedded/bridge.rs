//! The functions Lua calls into Rust with, and how values cross.
//!
//! Measured, the crossing itself costs 16 ns, a string argument 25 ns as `BString` and 110 ns as `mlua::Value`: that is why
//! arguments come as a fixed tuple. Its price: mlua cannot tell a trailing `nil` argument from none, so
//! `redis.call('SET', k, v, nil)` passes here where Redis refuses it.

use mlua::{BString, Either, FromLua, Function, Lua, MultiValue, Table, Value};

use super::commands::{self, Answer, Arg, Command, Refusal, Scalar};
use super::vm::{SharedSession, lock};

const NOT_TEXT: Refusal = Refusal::fixed("ERR Lua redis lib command arguments must be strings or integers");
const NO_COMMAND: Refusal = Refusal::fixed("ERR Please specify at least one argument for this redis lib call");

/// From here on a number's digits depend on the server's version.
const LARGEST_NUMBER: u64 = 1_000_000_000_000_000;

/// A value that is not a string. A string is turned down, which costs a reference, and then read cheaply as what it is.
pub(super) struct NotText(pub(super) Value);

impl FromLua for NotText {
    fn from_lua(value: Value, _: &Lua) -> mlua::Result<Self> {
        match value {
            // Any error will do, it is never seen; this one allocates nothing.
            Value::String(_) => Err(mlua::Error::StackError),
            value => Ok(Self(value)),
        }
    }
}

type Word = Option<Either<NotText, BString>>;
/// A command's name, its first argument (a key, always a string), five more, and the rest the slow way.
type Words = (Option<BString>, Option<BString>, Word, Word, Word, Word, Word, MultiValue);
/// What a command gives back to Lua, without the detour over `mlua::Value` where there is a shorter way.
type Out = Either<i64, Either<String, Either<BString, Value>>>;

/// The table prelude.lua takes.
pub(super) fn native(lua: &Lua, session: &SharedSession) -> mlua::Result<Table> {
    let native = lua.create_table()?;
    native.set("call", redis_call(lua, session.clone())?)?;
    native.set("try", redis_pcall(lua, session.clone())?)?;
    native.set("failure_text", lua.create_function(|_, failure: mlua::Error| Ok(failure_text(&failure)))?)?;
    native.set("script_line", lua.create_function(|lua, ()| Ok(script_line(lua)))?)?;
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
            Ok(value(Value::Table(table)))
        }
    })
}

fn perform(session: &SharedSession, words: Words) -> commands::Outcome {
    let (name, first, a, b, c, d, e, rest) = words;
    let name = name.ok_or(NO_COMMAND)?;
    let mut session = lock(session);
    let command = session.command(&name)?;
    let mut args = session.take_args();
    let read = read_args(&mut args, first, [a, b, c, d, e], rest);
    let outcome = read.and_then(|()| Command::call(command, &mut session, &args));
    session.give_back_args(args);
    outcome
}

fn read_args(args: &mut Vec<Arg>, first: Option<BString>, words: [Word; 5], rest: MultiValue) -> Result<(), Refusal> {
    let mut ended = first.is_none();
    args.extend(first);
    for word in words {
        match word {
            None => ended = true,
            Some(_) if ended => return Err(NOT_TEXT),
            Some(Either::Right(text)) => args.push(text),
            Some(Either::Left(NotText(value))) => args.push(number(&value)?),
        }
    }
    if ended && !rest.is_empty() {
        return Err(NOT_TEXT);
    }
    for value in rest {
        args.push(match value {
            Value::String(text) => BString::from(&*text.as_bytes()),
            value => number(&value)?,
        });
    }
    Ok(())
}

/// A number as Redis writes it. Only whole ones: the digits of the others depend on the server's version.
fn number(value: &Value) -> Result<Arg, Refusal> {
    match value {
        Value::Integer(number) if number.unsigned_abs() < LARGEST_NUMBER => Ok(number.to_string().into()),
        Value::Integer(_) | Value::Number(_) => Err(Refusal::fixed(
            "ERR a number with a fraction or of 1e15 and more reads differently from server to server; pass a string",
        )),
        _ => Err(NOT_TEXT),
    }
}

fn into_lua(lua: &Lua, answer: Answer) -> mlua::Result<Out> {
    Ok(match answer {
        Answer::One(scalar) => scalar_into_lua(scalar),
        Answer::Status(text) => {
            let table = lua.create_table()?;
            table.raw_set("ok", text)?;
            value(Value::Table(table))
        }
        Answer::Array(scalars) => {
            value(Value::Table(lua.create_sequence_from(scalars.into_iter().map(scalar_into_lua))?))
        }
    })
}

fn scalar_into_lua(scalar: Scalar) -> Out {
    match scalar {
        Scalar::Int(number) => Either::Left(number),
        Scalar::Null => value(Value::Boolean(false)),
        Scalar::Text(text) => Either::Right(match String::from_utf8(text) {
            Ok(text) => Either::Left(text),
            Err(bytes) => Either::Right(Either::Left(bytes.into_bytes().into())),
        }),
    }
}

fn value(value: Value) -> Out {
    Either::Right(Either::Right(Either::Right(value)))
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
