//! From what a script returned to a [`Reply`], as Redis converts it (script_lua.c, `luaReplyToRedisReply`).

use mlua::{Either, Table, Value};

use super::bridge::NotText;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Reply;

/// Tables nested deeper than this are refused, as Redis refuses a reply that runs out of Lua stack.
const DEEPEST: usize = 32;

/// One element, without the detour over `mlua::Value` for strings.
pub(super) type Item = Option<Either<NotText, String>>;

/// A whole reply. By hand: mlua's own conversions turn the string `"12"` into a number.
pub(super) fn from_item(item: Item) -> Result<Reply> {
    match item {
        None => Ok(Reply::Null),
        Some(Either::Right(text)) => Ok(Reply::Text(text)),
        Some(Either::Left(NotText(value))) => convert(&value, 0),
    }
}

fn convert(value: &Value, depth: usize) -> Result<Reply> {
    match value {
        Value::Nil | Value::Boolean(false) => Ok(Reply::Null),
        Value::Boolean(true) => Ok(Reply::Int(1)),
        Value::Integer(number) => Ok(Reply::Int(*number)),
        Value::Number(number) => whole(*number).map(Reply::Int),
        Value::String(text) => self::text(text).map(Reply::Text),
        Value::Table(table) if depth < DEEPEST => array(table, depth),
        Value::Table(_) => Err(not_a_reply("arrays nested too deep")),
        // Redis answers null to a function or a thread; no script means to return one.
        other => Err(not_a_reply(&format!("a Lua {}", other.type_name()))),
    }
}

fn array(table: &Table, depth: usize) -> Result<Reply> {
    if let Some(text) = field(table, "err")? {
        return Ok(Reply::Error(one_line(&text)));
    }
    if let Some(text) = field(table, "ok")? {
        return Ok(Reply::Status(one_line(&text)));
    }
    let mut items = Vec::new();
    for at in 1.. {
        match table.raw_get::<Item>(at).map_err(|_| not_a_reply("text that is not UTF-8"))? {
            None => break,
            Some(Either::Right(text)) => items.push(Reply::Text(text)),
            Some(Either::Left(NotText(item))) => items.push(convert(&item, depth + 1)?),
        }
    }
    Ok(Reply::Array(items))
}

fn field(table: &Table, name: &str) -> Result<Option<String>> {
    match table.raw_get::<Value>(name).map_err(|err| not_a_reply(&err.to_string()))? {
        Value::String(text) => self::text(&text).map(Some),
        _ => Ok(None),
    }
}

/// The C cast toward zero. Outside the range, where the cast is undefined, a loud error instead.
fn whole(number: f64) -> Result<i64> {
    format!("{:.0}", number.trunc())
        .parse()
        .map_err(|_| not_a_reply(&format!("the number {number}; return large amounts as strings")))
}

fn text(text: &mlua::LuaString) -> Result<String> {
    text.to_str().map(|text| text.to_owned()).map_err(|_| not_a_reply("text that is not UTF-8"))
}

/// A line break would end a status or an error on the wire: Redis sends a space.
pub(super) fn one_line(text: &str) -> String {
    text.replace(['\r', '\n'], " ")
}

pub(super) fn not_a_reply(what: &str) -> Error {
    Error::new(
        ErrorKind::Store,
        format!("the script answered {what}, which the embedded engine does not turn into a reply"),
    )
}
