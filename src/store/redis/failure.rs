//! What a failed command means for whoever sent it.

use redis::{ErrorKind as Redis, RedisError, ServerErrorKind as Server};

use crate::error::{Error, ErrorKind};

/// What is known of a call that failed.
pub(super) enum Failure {
    /// The script, or a command in it, answered with this error.
    Answered(String),
    /// The server refused it for now, or was not reached. Nothing happened.
    Passing,
    /// The connection broke, or no answer came in time. It may have happened.
    Broken,
    /// The server refused it for good. Nothing happened.
    Final,
}

pub(super) fn of(err: &RedisError) -> Failure {
    if let Some(text) = script_answer(err) {
        return Failure::Answered(text);
    }
    match err.kind() {
        Redis::Server(
            Server::BusyLoading | Server::TryAgain | Server::ClusterDown | Server::MasterDown | Server::ReadOnly,
        ) => Failure::Passing,
        Redis::Io if err.is_connection_refusal() => Failure::Passing,
        Redis::Io | Redis::Parse => Failure::Broken,
        _ => Failure::Final,
    }
}

/// The error as the script or a command in it gave it, `CODE text`; `None` when it comes from the server or the way there.
pub(super) fn script_answer(err: &RedisError) -> Option<String> {
    let (code, detail) = (err.code()?, err.detail().unwrap_or_default());
    let answered = code.starts_with("COSTGUARD_") || matches!(code, "ERR" | "WRONGTYPE");
    (answered && !is_noscript(err) && !knows_no_shebang(err)).then(|| format!("{code} {detail}"))
}

pub(super) fn is_noscript(err: &RedisError) -> bool {
    err.kind() == Redis::Server(Server::NoScript)
}

/// Redis before 7 takes the `#` of `#!lua` for Lua.
pub(super) fn knows_no_shebang(err: &RedisError) -> bool {
    err.detail().is_some_and(|detail| detail.contains("unexpected symbol near '#'"))
}

/// The failure as the crate's error. `idempotent` calls were sent again and never happened in part, so theirs is no
/// ambiguity that the caller has to settle: the same id may be sent again.
pub(super) fn error(err: &RedisError, address: &str, idempotent: bool) -> Error {
    let (kind, message) = match of(err) {
        Failure::Passing => {
            (ErrorKind::Unavailable, format!("{address} cannot serve now: {err}; nothing was changed, try again"))
        }
        Failure::Broken if idempotent => (
            ErrorKind::Unavailable,
            format!("{address} does not answer: {err}; send the same request with the same id again, it happens once"),
        ),
        Failure::Broken => (
            ErrorKind::Ambiguous,
            format!(
                "the connection to {address} broke before the answer: {err}; the request may or may not have been \
                     applied, so look before you repeat it, and give requests an id to have them repeated safely"
            ),
        ),
        Failure::Answered(_) | Failure::Final => match err.code() {
            Some("OOM") => (ErrorKind::Unavailable, format!("{address} is out of memory: {err}; nothing was changed")),
            Some("NOPERM") => (ErrorKind::Store, format!("{address} does not allow this user to do that: {err}")),
            _ => (ErrorKind::Store, format!("{address} refused the call: {err}")),
        },
    };
    Error::with_source(kind, message, err.clone())
}
