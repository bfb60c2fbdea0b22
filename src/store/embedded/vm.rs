//! One shard's Lua VM: set up once, then runs scripts against its keyspace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, StdLib, Table, Value, Variadic};

use super::bridge;
use super::reply;
use super::session::Session;
use super::shebang::Shebang;
use crate::error::{Error, ErrorKind, Result};
use crate::store::Reply;

/// Compiled scripts kept at most; the crate has far fewer, only a stream of ad-hoc texts gets there.
const MOST_SCRIPTS: usize = 500;

/// The session, shared between the VM's owner and the commands inside Lua.
///
/// Never contended: whoever runs a script holds the shard's own lock. It is a lock because mlua asks callbacks to be `Send`.
pub(super) type SharedSession = Arc<Mutex<Session>>;

/// Locks and goes on after a panic elsewhere: every command leaves the keyspace whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A script text and its name.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    /// Lower-case hex.
    pub(super) sha1: &'a str,
}

struct Compiled {
    function: Function,
    read_only: bool,
}

pub(super) struct Vm {
    lua: Lua,
    session: SharedSession,
    set_keys: Function,
    run: Function,
    scripts: HashMap<String, Compiled>,
}

/// What `run` in prelude.lua says it returns.
const HANDED_OVER: i64 = 1;
const RAISED: i64 = 2;

impl Vm {
    pub(super) fn new(session: SharedSession) -> Result<Self> {
        let (lua, set_keys, run) = set_up(&session).map_err(|err| {
            Error::with_source(ErrorKind::Store, "the embedded engine's Lua could not be set up", err)
        })?;
        Ok(Self { lua, session, set_keys, run, scripts: HashMap::new() })
    }

    /// Runs one script at one moment. Nothing is rolled back when it fails, as on Redis.
    pub(super) fn run(&mut self, source: Source<'_>, keys: &[String], args: &[String], now_ms: i64) -> Result<Reply> {
        if !self.scripts.contains_key(source.sha1) {
            let compiled = self.compile(source)?;
            if self.scripts.len() >= MOST_SCRIPTS {
                self.scripts.clear();
            }
            self.scripts.insert(source.sha1.to_owned(), compiled);
        }
        let Some(script) = self.scripts.get(source.sha1) else {
            return Err(failed(&"it was just compiled and is gone"));
        };
        lock(&self.session).begin(keys, now_ms, script.read_only);
        self.set_keys.call::<()>(strings(keys)).map_err(|err| failed(&err))?;
        let (outcome, value, line): (i64, Value, Option<i64>) =
            self.run.call((&script.function, strings(args))).map_err(|err| failed(&err))?;
        match outcome {
            HANDED_OVER => Ok(Reply::Array(lock(&self.session).take_reply())),
            RAISED => raised(&value, source.sha1, line),
            _ => reply::from_lua(&value),
        }
    }

    fn compile(&self, source: Source<'_>) -> Result<Compiled> {
        let shebang = Shebang::parse(source.text)?;
        let chunk = self.lua.load(shebang.body).set_name("@user_script").set_mode(ChunkMode::Text);
        let function = chunk.into_function().map_err(|err| {
            let text = match err {
                mlua::Error::SyntaxError { message, .. } => message,
                other => other.to_string(),
            };
            Error::new(ErrorKind::Store, format!("ERR Error compiling script (new function): {text}"))
        })?;
        Ok(Compiled { function, read_only: shebang.read_only })
    }
}

fn set_up(session: &SharedSession) -> mlua::Result<(Lua, Function, Function)> {
    let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, LuaOptions::new())?;
    let native: Table = bridge::native(&lua, session)?;
    let prelude = lua.load(include_str!("prelude.lua")).set_name("=prelude");
    let (set_keys, run) = prelude.call::<(Function, Function)>(native)?;
    Ok((lua, set_keys, run))
}

fn strings(texts: &[String]) -> Variadic<&str> {
    texts.iter().map(String::as_str).collect()
}

/// A script's uncaught error in the words of Redis 7.
fn raised(value: &Value, sha1: &str, line: Option<i64>) -> Result<Reply> {
    let Reply::Text(text) = reply::from_lua(value)? else {
        return Err(reply::not_a_reply("an error without a text"));
    };
    let place = line.map(|line| format!(", on @user_script:{line}")).unwrap_or_default();
    Ok(Reply::Error(reply::one_line(&format!("{text} script: {sha1}{place}."))))
}

fn failed(err: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Store, format!("the embedded engine could not run the script: {err}"))
}
