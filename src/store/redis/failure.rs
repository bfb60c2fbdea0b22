//! What a failed command means for whoever sent it.

use std::fmt;

use redis::{ErrorKind as Redis, RedisError, ServerErrorKind as Server, Value};

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

/// The error of a script as servers give it since Redis 7. Before, what went wrong stood behind the name of the script and the
/// line in it, so that every error was an `ERR`; and the line was one less, for these servers get a script without its first.
pub(super) fn unwrapped(err: RedisError) -> RedisError {
    let answer =
        err.code().zip(err.detail()).and_then(|(code, detail)| answer_since_redis_7(&format!("{code} {detail}")));
    let Some(answer) = answer else { return err };
    // Read as an answer, so that its code means what it means elsewhere.
    redis::parse_redis_value(answer.as_bytes()).and_then(Value::extract_error).err().unwrap_or(err)
}

fn answer_since_redis_7(told: &str) -> Option<String> {
    let (text, place) = match told.strip_prefix("ERR Error running script (call to f_") {
        Some(raised) => {
            let (sha1, rest) = raised.split_once("): @user_script:")?;
            let (line, text) = rest.split_once(": ")?;
            let true_line = line.parse::<u32>().ok()? + 1;
            let text = refusal(text).unwrap_or(text);
            let text = text.replace(&format!("user_script:{line}:"), &format!("user_script:{true_line}:"));
            (text, format!(" script: {sha1}, on @user_script:{true_line}."))
        }
        // Caught by the script and handed on.
        None => (refusal(told)?.to_owned(), String::new()),
    };
    let is_code = |word: &str| word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let code = if text.split(' ').next().is_some_and(is_code) { "" } else { "ERR " };
    Some(format!("-{code}{text}{place}\r\n"))
}

/// What a server before Redis 7 says of a command that it did not run, without where that was: `@user_script: 12: -OOM …`.
fn refusal(text: &str) -> Option<&str> {
    Some(text.strip_prefix("@user_script: ")?.split_once(": ")?.1.trim_start_matches('-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_server(line: &str) -> RedisError {
        redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).and_then(Value::extract_error).unwrap_err()
    }

    #[test]
    fn what_redis_6_says_of_a_script_means_what_redis_7_says() {
        let wrapped = "ERR Error running script (call to f_9e8ca2f8): @user_script:";
        for (redis_6, redis_7) in [
            ("12: WRONGTYPE Operation against a key", "WRONGTYPE Operation against a key"),
            ("12: ERR value is not an integer", "ERR value is not an integer"),
            ("12: user_script:12: attempt to index local 'x'", "ERR user_script:13: attempt to index local 'x'"),
            ("12: @user_script: 12: -OOM command not allowed", "OOM command not allowed"),
            ("12: @user_script: 12: -READONLY You can't write", "READONLY You can't write"),
            ("12: @user_script: 12: -NOREPLICAS Not enough", "NOREPLICAS Not enough"),
            ("12: @user_script: 12: The user can't run this", "ERR The user can't run this"),
        ] {
            let given = unwrapped(of_server(&format!("{wrapped}{redis_6}")));
            let expected = of_server(&format!("{redis_7} script: 9e8ca2f8, on @user_script:13."));
            assert_eq!(
                (given.kind(), given.code(), given.detail()),
                (expected.kind(), expected.code(), expected.detail())
            );
        }
        assert!(is_topology_news(&unwrapped(of_server(&format!(
            "{wrapped}12: @user_script: 12: -READONLY You can't"
        )))));
    }

    #[test]
    fn other_errors_stay_as_they_are() {
        for line in ["ERR Error running script", "ERR unknown command", "OOM command not allowed", "COSTGUARD_CONFLICT"]
        {
            let (given, expected) = (unwrapped(of_server(line)), of_server(line));
            assert_eq!(
                (given.kind(), given.code(), given.detail()),
                (expected.kind(), expected.code(), expected.detail())
            );
        }
    }
}
