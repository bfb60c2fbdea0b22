//! Secrets that are handed out and never stored.

use std::fmt;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{Error, ErrorKind, Result};

/// The longest text that is looked up: ours are shorter.
const MOST_BYTES: usize = 512;
/// The most that may be kept with a session or a token, as JSON.
const MOST_RECORD_BYTES: usize = 64 * 1024;

/// What a session or a one-time token is known by, for the client to keep: 256 random bits in a text that stands in URLs and
/// cookies as it is. The store knows its SHA-256 only. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The text to hand out.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A new one, behind `start`.
    pub(super) fn random(start: &str) -> Result<Self> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|err| {
            Error::new(ErrorKind::Io, format!("the system gave no random numbers ({err}); nothing was made"))
        })?;
        Ok(Self(format!("{start}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The SHA-256 of a secret in two halves of 128 bits: the first finds it in the store, the second is compared, in a time that
/// tells nothing of it.
pub(super) struct Hashed {
    pub(super) name: String,
    proof: String,
}

impl Hashed {
    /// `None` for what is none of ours by its length.
    pub(super) fn of(secret: &str) -> Option<Self> {
        if secret.is_empty() || secret.len() > MOST_BYTES {
            return None;
        }
        let mut name: String = Sha256::digest(secret.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        let proof = name.split_off(name.len() / 2);
        Some(Self { name, proof })
    }

    /// What is stored under the name.
    pub(super) fn record<T: Serialize + ?Sized>(&self, value: &T) -> Result<String> {
        let json = serde_json::to_string(value)
            .map_err(|err| Error::with_source(ErrorKind::Invalid, "the value has no form as JSON", err))?;
        if json.len() > MOST_RECORD_BYTES {
            return Err(Error::invalid(format!(
                "the value is {} bytes long as JSON; at most {MOST_RECORD_BYTES} are kept, so keep an id of it",
                json.len()
            )));
        }
        Ok(format!("{} {json}", self.proof))
    }

    /// The value in a record, if it was stored for this secret.
    pub(super) fn read<'a>(&self, record: &'a str) -> Option<&'a str> {
        let (proof, json) = record.split_once(' ')?;
        bool::from(proof.as_bytes().ct_eq(self.proof.as_bytes())).then_some(json)
    }
}

pub(super) fn decode<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json)
        .map_err(|err| Error::with_source(ErrorKind::Corrupt, "what is stored is not of the type asked for", err))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_never_shown() {
        let (one, other) = (Token::random("").unwrap(), Token::random("").unwrap());
        assert_eq!(one.as_str().len(), 43);
        assert!(one != other && format!("{one:?}") == "Token(..)");
    }

    #[test]
    fn a_record_is_read_with_its_own_secret_only() {
        // The first line of `printf abc | sha256sum`.
        let abc = Hashed::of("abc").unwrap();
        assert_eq!(abc.name, "ba7816bf8f01cfea414140de5dae2223");
        let record = abc.record(&7).unwrap();
        assert_eq!(record, "b00361a396177a9cb410ff61f20015ad 7");
        assert_eq!(abc.read(&record), Some("7"));
        assert_eq!(Hashed::of("abd").unwrap().read(&record), None);
        assert_eq!(abc.read("7"), None);
        assert!(Hashed::of("").is_none() && Hashed::of(&"x".repeat(MOST_BYTES + 1)).is_none());
        assert!(abc.record(&"x".repeat(MOST_RECORD_BYTES)).is_err());
    }
}
