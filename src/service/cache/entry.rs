//! What is stored for a value: its text, and before it what a reader must know of it.

#[cfg(feature = "msgpack")]
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};

/// How values are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheFormat {
    /// JSON, readable by everything.
    #[default]
    Json,
    /// MessagePack, in base64 because what scripts take and give is text.
    #[cfg(feature = "msgpack")]
    MessagePack,
}

impl CacheFormat {
    pub(super) fn encode<T: Serialize + ?Sized>(self, value: &T) -> Result<String> {
        match self {
            Self::Json => serde_json::to_string(value)
                .map_err(|err| Error::with_source(ErrorKind::Invalid, "the value has no form as JSON", err)),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => rmp_serde::to_vec_named(value)
                .map(|bytes| BASE64_STANDARD.encode(bytes))
                .map_err(|err| Error::with_source(ErrorKind::Invalid, "the value has no form as MessagePack", err)),
        }
    }

    pub(super) fn decode<T: DeserializeOwned>(self, text: &str) -> Result<T> {
        match self {
            Self::Json => serde_json::from_str(text).map_err(undecodable),
            #[cfg(feature = "msgpack")]
            Self::MessagePack => {
                let bytes = BASE64_STANDARD.decode(text).map_err(undecodable)?;
                rmp_serde::from_slice(&bytes).map_err(undecodable)
            }
        }
    }
}

fn undecodable(err: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::with_source(ErrorKind::Corrupt, "what is stored is not of the type asked for", err)
}

/// A tag and the generation of it.
pub(super) type Tag = (String, String);

/// A stored value. A plain one is its text alone; one that was computed or has tags has a line before it, `#took_ms
/// tag=generation;…`. Neither JSON nor base64 begins with `#`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    /// How long it took to compute, in milliseconds; 0 when it was not.
    pub(super) took_ms: u64,
    pub(super) tags: Vec<(&'a str, &'a str)>,
    pub(super) text: &'a str,
}

impl<'a> Entry<'a> {
    /// Whether there is a line before the text.
    pub(super) fn has_head(stored: &str) -> bool {
        stored.starts_with('#')
    }

    pub(super) fn read(stored: &'a str) -> Option<Self> {
        let Some(rest) = stored.strip_prefix('#') else {
            return Some(Self { took_ms: 0, tags: Vec::new(), text: stored });
        };
        let (head, text) = rest.split_once('\n')?;
        let (took_ms, tags) = head.split_once(' ')?;
        let tags = tags.split(';').filter(|tag| !tag.is_empty()).map(|tag| tag.split_once('='));
        Some(Self { took_ms: took_ms.parse().ok()?, tags: tags.collect::<Option<_>>()?, text })
    }

    /// What is stored for a text; tags are encoded.
    pub(super) fn write(took_ms: u64, tags: &[Tag], text: String) -> String {
        if took_ms == 0 && tags.is_empty() {
            return text;
        }
        let tags: Vec<_> = tags.iter().map(|(tag, generation)| format!("{tag}={generation}")).collect();
        format!("#{took_ms} {}\n{text}", tags.join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_plain_texts_are_themselves() {
        let tag = |tag: &str, generation: &str| (tag.to_owned(), generation.to_owned());
        let stored = Entry::write(12, &[tag("models", "g1"), tag("a%3Db", "g2")], "{\"a\":\n1}".to_owned());
        assert_eq!(stored, "#12 models=g1;a%3Db=g2\n{\"a\":\n1}");
        let entry = Entry::read(&stored).unwrap();
        assert_eq!(entry, Entry { took_ms: 12, tags: vec![("models", "g1"), ("a%3Db", "g2")], text: "{\"a\":\n1}" });
        assert_eq!(Entry::write(0, &[], "5".to_owned()), "5");
        assert_eq!(Entry::read("5").unwrap().text, "5");
        assert_eq!(Entry::read("#7 \n5").unwrap(), Entry { took_ms: 7, tags: vec![], text: "5" });
        for broken in ["#", "#7", "#7 \t5", "#x \n5", "#7\n5", "#7 a\n5", "#-1 \n5"] {
            assert_eq!(Entry::read(broken), None, "{broken:?}");
        }
    }
}
