//! One shard's Lua VM: set up once, then runs scripts against its keyspace.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlua::chunk::ChunkMode;
use mlua::{Either, Function, Lua, LuaOptions, StdLib, Variadic};

use super::bridge;
use super::reply::{self, Item};
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
    session: SharedSession,
    library: Library,
}

/// What is compiled in one VM.
struct Library {
    lua: Lua,
    make_runner: Function,
    /// The ways into Lua, by the number of keys.
    runners: Vec<Option<Function>>,
    scripts: Vec<Compiled>,
    by_sha1: HashMap<String, usize>,
}

/// What `run` in prelude.lua returns: a reply; or an error's text, `true` and its line. A tuple that ends early costs less.
type Outcome = (Item, Option<bool>, Option<usize>);

impl Vm {
    pub(super) fn new(session: SharedSession) -> Result<Self> {
        let (lua, make_runner) = set_up(&session).map_err(|err| {
            Error::with_source(ErrorKind::Store, "the embedded engine's Lua could not be set up", err)
        })?;
        let library = Library { lua, make_runner, runners: Vec::new(), scripts: Vec::new(), by_sha1: HashMap::new() };
        Ok(Self { session, library })
    }

    /// Runs one script at one moment. Nothing is rolled back when it fails, as on Redis.
    pub(super) fn run(&mut self, source: Source<'_>, keys: &[String], args: &[String], now_ms: i64) -> Result<Reply> {
        let (script, runner) = self.library.find(source, keys.len())?;
        lock(&self.session).begin(keys, now_ms, script.read_only);
        let texts: Variadic<&str> = keys.iter().chain(args).map(String::as_str).collect();
        let outcome: Outcome = runner.call((&script.function, texts)).map_err(|err| failed(&err))?;
        match outcome {
            (err, Some(true), line) => raised(err, source.sha1, line),
            (reply, ..) => reply::from_item(reply),
        }
    }
}

impl Library {
    /// The compiled script and the way in, made when they are first asked for.
    fn find(&mut self, source: Source<'_>, key_count: usize) -> Result<(&Compiled, &Function)> {
        let at = match self.by_sha1.get(source.sha1) {
            Some(at) => *at,
            None => self.add_script(source)?,
        };
        if self.runners.get(key_count).is_none_or(Option::is_none) {
            self.add_runner(key_count)?;
        }
        match (self.scripts.get(at), self.runners.get(key_count)) {
            (Some(script), Some(Some(runner))) => Ok((script, runner)),
            _ => Err(Error::new(ErrorKind::Store, "the embedded engine lost a compiled script")),
        }
    }

    fn add_script(&mut self, source: Source<'_>) -> Result<usize> {
        let script = compile(&self.lua, source)?;
        if self.scripts.len() >= MOST_SCRIPTS {
            self.by_sha1.clear();
            self.scripts.clear();
        }
        self.by_sha1.insert(source.sha1.to_owned(), self.scripts.len());
        self.scripts.push(script);
        Ok(self.scripts.len() - 1)
    }

    fn add_runner(&mut self, key_count: usize) -> Result<()> {
        let runner = self.make_runner.call(key_count).map_err(|err| failed(&err))?;
        if self.runners.len() <= key_count {
            self.runners.resize(key_count + 1, None);
        }
        self.runners[key_count] = Some(runner);
        Ok(())
    }
}

fn compile(lua: &Lua, source: Source<'_>) -> Result<Compiled> {
    let shebang = Shebang::parse(source.text)?;
    let chunk = lua.load(shebang.body).set_name("@user_script").set_mode(ChunkMode::Text);
    let function = chunk.into_function().map_err(|err| {
        let text = match err {
            mlua::Error::SyntaxError { message, .. } => message,
            other => other.to_string(),
        };
        Error::new(ErrorKind::Store, format!("ERR Error compiling script (new function): {text}"))
    })?;
    Ok(Compiled { function, read_only: shebang.read_only })
}

fn set_up(session: &SharedSession) -> mlua::Result<(Lua, Function)> {
    let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING | StdLib::MATH, LuaOptions::new())?;
    let native = bridge::native(&lua, session)?;
    let make_runner = lua.load(include_str!("prelude.lua")).set_name("=prelude").call(native)?;
    Ok((lua, make_runner))
}

/// A script's uncaught error in the words of Redis 7.
fn raised(err: Item, sha1: &str, line: Option<usize>) -> Result<Reply> {
    let Some(Either::Right(text)) = err else { return Err(reply::not_a_reply("an error without a text")) };
    let place = line.map(|line| format!(", on @user_script:{line}")).unwrap_or_default();
    Ok(Reply::Error(reply::one_line(&format!("{text} script: {sha1}{place}."))))
}

fn failed(err: &mlua::Error) -> Error {
    Error::new(ErrorKind::Store, format!("the embedded engine could not run the script: {err}"))
}
