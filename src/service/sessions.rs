//! Sessions: who is logged in, and for how long.

use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::secret::{Hashed, Token, decode};
use crate::error::{Error, Result};
use crate::model::encode;
use crate::ops::Engine;

/// Sessions of users. Made by [`CostGuard::sessions`](crate::CostGuard::sessions).
///
/// ```
#[doc = include_str!("../../examples/sessions.rs")]
/// ```
///
/// The keys are `session:{user}:{session}`, with the user's id and half of the session's SHA-256: who reads the store cannot
/// log in with it. Beside them `session:{user}` holds the generation of the user's sessions;
/// [`revoke_all`](Self::revoke_all) removes it, and with it every session, also one that is just being made. Were it lost
/// otherwise, users would have to log in again.
///
/// A session and its generation are read together: on a cluster that is refused as `Invalid` unless keys are
/// [`tagged`](Self::tagged).
#[derive(Clone, Debug)]
pub struct Sessions {
    engine: Arc<Engine>,
    ttl: Duration,
    at_most: Duration,
    sliding: bool,
    tagged: bool,
}

/// A session that is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session<T> {
    /// Whose it is.
    pub user: String,
    /// What was kept with it.
    pub data: T,
    /// How long it lives unless it is used again.
    pub left: Duration,
}

/// A token taken apart: whose session it names, and where that is.
struct Named {
    user: String,
    keys: [String; 2],
    hashed: Hashed,
}

impl Sessions {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self { engine, ttl: days(1), at_most: days(30), sliding: true, tagged: false }
    }

    /// How long a session lives after it was last used. Default: 24 hours.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// How long a session lives at most, however often it is used. Default: 30 days.
    #[must_use]
    pub fn at_most(mut self, at_most: Duration) -> Self {
        self.at_most = at_most;
        self
    }

    /// Sessions end one TTL after they were made, whether they are used or not.
    #[must_use]
    pub fn fixed(mut self) -> Self {
        self.sliding = false;
        self
    }

    /// Keys with a hash tag, `session:{user_abc}:…` with the braces as they stand, so that those of a user lie in one slot of a
    /// cluster. They are other keys: choose once.
    #[must_use]
    pub fn tagged(mut self) -> Self {
        self.tagged = true;
        self
    }

    /// Makes a session of `user` with `data`, and gives what it is known by: for a cookie.
    ///
    /// # Errors
    /// `Invalid` when the id is none, or the data is larger than 64 KiB as JSON; `Ambiguous` or `Unavailable` when the store
    /// is away.
    pub async fn create<T: Serialize + ?Sized>(&self, user: &str, data: &T) -> Result<Token> {
        let token = Token::random(&format!("{}.", BASE64_URL_SAFE_NO_PAD.encode(user)))?;
        let Some(Named { keys, hashed, .. }) = self.named(token.as_str())? else {
            // Says what is wrong with the id.
            encode("user", user)?;
            return Err(Error::invalid("the user's id is too long"));
        };
        let ttl = if self.sliding { self.ttl.min(self.at_most) } else { self.ttl };
        let most = if self.sliding { self.at_most } else { self.ttl };
        let fresh = uuid::Uuid::now_v7().simple().to_string();
        self.engine.create_session(keys, hashed.record(data)?, [ttl, most], fresh).await?;
        Ok(token)
    }

    /// The session that `token` names, if it is valid; unless sessions are [`fixed`](Self::fixed) it is then used, and lives
    /// for another TTL.
    ///
    /// # Errors
    /// `Corrupt` when its data is no `T`; `Unavailable` when the store is away.
    pub async fn get<T: DeserializeOwned>(&self, token: &str) -> Result<Option<Session<T>>> {
        let Some((user, left, json)) = self.find(token).await? else { return Ok(None) };
        Ok(Some(Session { user, data: decode(&json)?, left }))
    }

    /// Uses a session: how long it lives from now on, `None` when it is not valid.
    ///
    /// # Errors
    /// `Unavailable` when the store is away.
    pub async fn touch(&self, token: &str) -> Result<Option<Duration>> {
        Ok(self.find(token).await?.map(|(_, left, _)| left))
    }

    /// Ends a session; one that is not valid any more is no error.
    ///
    /// # Errors
    /// As [`touch`](Self::touch).
    pub async fn revoke(&self, token: &str) -> Result<()> {
        if let Some(Named { keys: [session, _], .. }) = self.named(token)? {
            self.engine.remove(vec![session]).await?;
        }
        Ok(())
    }

    /// Ends every session of a user, at once.
    ///
    /// # Errors
    /// `Invalid` when the id is none; `Unavailable` when the store is away.
    pub async fn revoke_all(&self, user: &str) -> Result<()> {
        self.engine.remove(vec![self.generation_key(user)?]).await?;
        Ok(())
    }

    async fn find(&self, token: &str) -> Result<Option<(String, Duration, String)>> {
        let Some(Named { user, keys, hashed }) = self.named(token)? else { return Ok(None) };
        let found = self.engine.get_session(keys, self.sliding.then_some(self.ttl)).await?;
        Ok(found.and_then(|(left, record)| Some((user, left, hashed.read(&record)?.to_owned()))))
    }

    /// `None` for a text that is no token: it comes from a stranger.
    fn named(&self, token: &str) -> Result<Option<Named>> {
        let Some(hashed) = Hashed::of(token) else { return Ok(None) };
        let user = token.split_once('.').and_then(|(user, _)| BASE64_URL_SAFE_NO_PAD.decode(user).ok());
        let Some(user) = user.and_then(|user| String::from_utf8(user).ok()) else { return Ok(None) };
        let Ok(generation) = self.generation_key(&user) else { return Ok(None) };
        let session = format!("{generation}:{}", hashed.name);
        Ok(Some(Named { user, keys: [session, generation], hashed }))
    }

    fn generation_key(&self, user: &str) -> Result<String> {
        let user = encode("user", user)?;
        let prefix = &self.engine.prefix;
        Ok(if self.tagged { format!("{prefix}session:{{{user}}}") } else { format!("{prefix}session:{user}") })
    }
}
