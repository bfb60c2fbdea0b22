//! What a failed command means for whoever sent it.

use std::fmt;

use redis::{ErrorKind as Redis, RedisError, ServerErrorKind as Server};

use crate::error::{Error, ErrorKind};

/// What a server says that takes no writes for now: too few replicas, a disk that fails, a script that takes too long. Nothing
/// was written then, not even by a script that had begun: where a script is not refused as a whole its first write is, and
/// a later one never, for the server looks at all of that only until a script has written.
const PASSING: [&str; 3] = ["NOREPLICAS", "MISCONF", "BUSY"];

/// No connection could be had, so nothing was sent.
#[derive(Clone, Debug)]
pub(super) struct NotSent {
    message: String,
    source: Option<RedisError>,
}

/// Why a command has no answer.
#[derive(Clone, Debug)]
pub(super) enum CallError {
    /// Nothing was sent.
    NotSent(NotSent),
    /// It was sent, and this came back, or nothing did.
    Sent(RedisError),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(err) => f.write_str(&err.message),
            Self::Sent(err) => err.fmt(f),
        }
    }
}

/// What is known of a call that failed.
pub(super) enum Failure {
    /// The script, or a command in it, answered with this error.
    Answered(String),
    /// No connection in all the time the call had. Nothing happened.
    Unreachable,
    /// The server refused it for now. Nothing happened.
    Passing,
    /// The connection broke, or no answer came in time. It may have happened.
    Broken,
    /// The server refused it for good. Nothing happened.
    Final,
}

impl NotSent {
    pub(super) fn new(message: impl Into<String>, source: RedisError) -> Self {
        Self { message: message.into(), source: Some(source) }
    }

    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// Said of a call that was not even tried, because this was why others failed.
    pub(super) fn not_tried(self) -> Self {
        let message =
            format!("the store has not answered for a while, and nothing was sent to it now: {}", self.message);
        Self { message, ..self }
    }
}

impl From<NotSent> for CallError {
    fn from(err: NotSent) -> Self {
        Self::NotSent(err)
    }
}

impl From<RedisError> for CallError {
    fn from(err: RedisError) -> Self {
        Self::Sent(err)
    }
}

impl From<NotSent> for Error {
    fn from(err: NotSent) -> Self {
        match err.source {
            Some(source) => Self::with_source(ErrorKind::Unavailable, err.message, source),
            None => Self::new(ErrorKind::Unavailable, err.message),
        }
    }
}

impl CallError {
    pub(super) fn failure(&self) -> Failure {
        let err = match self {
            Self::NotSent(_) => return Failure::Unreachable,
            Self::Sent(err) => err,
        };
        if let Some(text) = self.script_answer() {
            return Failure::Answered(text);
        }
        match err.kind() {
            Redis::Server(
                Server::BusyLoading
                | Server::TryAgain
                | Server::ClusterDown
                | Server::MasterDown
                | Server::ReadOnly
                | Server::Moved
                | Server::Ask,
            ) => Failure::Passing,
            Redis::Io | Redis::Parse => Failure::Broken,
            _ if err.code().is_some_and(|code| PASSING.contains(&code)) => Failure::Passing,
            _ => Failure::Final,
        }
    }

    /// Why there is no answer, for calls that are not tried because of it.
    pub(super) fn reason(&self) -> NotSent {
        match self {
            Self::NotSent(err) => err.clone(),
            Self::Sent(err) => NotSent::new(err.to_string(), err.clone()),
        }
    }

    /// The error as the script or a command in it gave it, `CODE text`; `None` when it comes from the server or the way
    /// there.
    pub(super) fn script_answer(&self) -> Option<String> {
        let Self::Sent(err) = self else { return None };
        let (code, detail) = (err.code()?, err.detail().unwrap_or_default());
        let answered = code.starts_with("COSTGUARD_") || matches!(code, "ERR" | "WRONGTYPE");
        (answered && !self.knows_no_shebang()).then(|| format!("{code} {detail}"))
    }

    pub(super) fn is_noscript(&self) -> bool {
        matches!(self, Self::Sent(err) if err.kind() == Redis::Server(Server::NoScript))
    }

    /// Redis before 7 takes the `#` of `#!lua` for Lua.
    pub(super) fn knows_no_shebang(&self) -> bool {
        let unknown = |detail: &str| detail.contains("unexpected symbol near '#'");
        matches!(self, Self::Sent(err) if err.detail().is_some_and(unknown))
    }

    /// The failure as the crate's error. `idempotent` calls were sent again and never happened in part, so theirs is no
    /// ambiguity that the caller has to settle: the same id may be sent again.
    pub(super) fn error(&self, address: &str, idempotent: bool) -> Error {
        let err = match self {
            Self::NotSent(err) => return err.clone().into(),
            Self::Sent(err) => err,
        };
        let (kind, message) = match self.failure() {
            Failure::Passing => {
                (ErrorKind::Unavailable, format!("{address} cannot serve now: {err}; nothing was changed, try again"))
            }
            Failure::Broken if idempotent => {
                let told = format!(
                    "{address} does not answer: {err}; send the same request with the same id again, it happens once"
                );
                return Error::unanswered(told, err.clone());
            }
            Failure::Broken => (
                ErrorKind::Ambiguous,
                format!(
                    "the connection to {address} broke before the answer: {err}; the request may or may not have been \
                     applied, so look before you repeat it, and give requests an id to have them repeated safely"
                ),
            ),
            Failure::Answered(_) | Failure::Unreachable | Failure::Final => match err.code() {
                Some("OOM") => {
                    (ErrorKind::Unavailable, format!("{address} is out of memory: {err}; nothing was changed"))
                }
                Some("CROSSSLOT") => (
                    ErrorKind::Invalid,
                    format!(
                        "{address} is part of a cluster, and the keys of the call lie in several slots ({err}): use \
                         Subject::new, whose keys share one"
                    ),
                ),
                Some("NOPERM") => (ErrorKind::Store, format!("{address} does not allow this user to do that: {err}")),
                _ => (ErrorKind::Store, format!("{address} refused the call: {err}")),
            },
        };
        Error::with_source(kind, message, err.clone())
    }
}

/// Whether the answer says that this server no longer, or not yet, serves writes: another may have become the primary.
pub(super) fn is_topology_news(err: &RedisError) -> bool {
    matches!(err.kind(), Redis::Server(Server::ReadOnly | Server::BusyLoading | Server::MasterDown))
}
