//! One-time tokens.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::secret::{Hashed, Token, decode};
use crate::error::Result;
use crate::model::encode;
use crate::ops::Engine;

/// How long a token that was consumed is remembered, for its consumer alone to ask again when the answer was lost.
const KEPT: Duration = Duration::from_secs(60);

/// Tokens that work once: the state of an OAuth login, a link in an e-mail. Made by
/// [`CostGuard::tokens`](crate::CostGuard::tokens).
///
/// The key is what the tokens are for and half of the token's SHA-256: `oauth:google:state:{token}`. Each call touches one,
/// so it works on a cluster as it is. `examples/sessions.rs` shows one with sessions.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let guard = costguard::CostGuard::embedded();
/// let states = guard.tokens(&["oauth", "google", "state"]);
/// let token = states.issue("/where-to-go-back").await?; // for the URL
/// assert_eq!(states.consume(token.as_str()).await?, Some("/where-to-go-back".to_owned()));
/// assert_eq!(states.consume::<String>(token.as_str()).await?, None);
/// # Ok::<(), costguard::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Tokens {
    engine: Arc<Engine>,
    // A service that can be made in one line: what is wrong with its name is said where it is used.
    start: Result<String>,
    ttl: Duration,
}

impl Tokens {
    pub(crate) fn new(engine: Arc<Engine>, purpose: &[&str]) -> Self {
        let words = purpose.iter().map(|word| encode("token purpose", word)).collect::<Result<Vec<_>>>();
        let start = words.and_then(|words| {
            encode("token purpose", &words.concat())?;
            Ok(format!("{}{}:", engine.prefix, words.join(":")))
        });
        Self { engine, start, ttl: Duration::from_secs(600) }
    }

    /// How long a token can be consumed. Default: 10 minutes.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Makes a token that gives `value` to whoever consumes it first.
    ///
    /// # Errors
    /// `Invalid` when what the tokens are for is no name, or the value is larger than 64 KiB as JSON; `Unavailable` when the
    /// store is away.
    pub async fn issue<T: Serialize + ?Sized>(&self, value: &T) -> Result<Token> {
        let (start, token) = (self.start.clone()?, Token::random("")?);
        if let Some(hashed) = Hashed::of(token.as_str()) {
            let record = format!("open {}", hashed.record(value)?);
            self.engine.put(start + &hashed.name, None, record, self.ttl).await?;
        }
        Ok(token)
    }

    /// The value of a token, once: for exactly one of those who ask, however many do at once. `None` when it was consumed,
    /// has expired or never was. A call that is sent again because its answer was lost gets the same answer.
    ///
    /// # Errors
    /// `Corrupt` when the value is no `T`; `Unavailable` when the store is away.
    pub async fn consume<T: DeserializeOwned>(&self, token: &str) -> Result<Option<T>> {
        let start = self.start.clone()?;
        let Some(hashed) = Hashed::of(token) else { return Ok(None) };
        let claim = uuid::Uuid::now_v7().simple().to_string();
        let record = self.engine.consume_token(start + &hashed.name, claim, KEPT).await?;
        record.and_then(|record| hashed.read(&record).map(decode)).transpose()
    }
}
