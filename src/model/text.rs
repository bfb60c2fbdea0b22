//! Text from outside, made safe to stand in a key.

use std::fmt::Write as _;

use crate::error::{Error, Result};

/// The longest id, kind, meter or operation id, in bytes as given.
pub(crate) const MAX_TEXT_BYTES: usize = 200;

/// Percent-encodes what has a meaning in keys or in a terminal: `:`, `{`, `}`, `%`, control and white-space characters.
/// So an id is always one segment of a key and never its hash tag.
///
/// # Errors
/// `Invalid` when the text is empty or longer than [`MAX_TEXT_BYTES`]; `what` names it.
pub(crate) fn encode(what: &str, text: &str) -> Result<String> {
    if text.is_empty() {
        return Err(Error::invalid(format!("the {what} is empty; give it at least one character")));
    }
    if text.len() > MAX_TEXT_BYTES {
        return Err(Error::invalid(format!(
            "the {what} is {} bytes long; the most is {MAX_TEXT_BYTES}, so use a hash of it",
            text.len()
        )));
    }
    Ok(escape(text, |c| matches!(c, ':' | '{' | '}' | '%')))
}

/// Refuses a kind of scope that would have to be encoded: it comes from no stranger, and policies and subjects name it alike.
///
/// # Errors
/// `Invalid` when it has such a character, and as [`encode`].
pub(crate) fn check_kind(kind: &str) -> Result<()> {
    if encode("scope kind", kind)? == kind {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the scope kind {kind:?} has a character that means something in keys; use letters and digits"
    )))
}

/// Encodes the name or value of a tag: as [`encode`], and `=` and `;`, which part tags.
///
/// # Errors
/// As [`encode`].
pub(crate) fn encode_tag(text: &str) -> Result<String> {
    encode("tag", text).map(|_| escape(text, |c| matches!(c, ':' | '{' | '}' | '%' | '=' | ';')))
}

/// Encodes a key prefix: as [`encode`], but `:` stays, for that is how prefixes end, and it may be empty.
///
/// # Errors
/// `Invalid` when it is longer than [`MAX_TEXT_BYTES`].
pub(crate) fn encode_prefix(prefix: &str) -> Result<String> {
    if prefix.len() > MAX_TEXT_BYTES {
        return Err(Error::invalid(format!("the key prefix is longer than {MAX_TEXT_BYTES} bytes; shorten it")));
    }
    Ok(escape(prefix, |c| matches!(c, '{' | '}' | '%')))
}

/// The longest key of a cached value, in bytes as given: paths with queries are among them.
const MAX_KEY_BYTES: usize = 1024;

/// Encodes a key of a cached value: as [`encode_prefix`], for it stands between braces of its own.
///
/// # Errors
/// `Invalid` when it is empty or longer than 1 KiB.
pub(crate) fn encode_key(key: &str) -> Result<String> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(Error::invalid(format!(
            "the key is {} bytes long; it has 1 to {MAX_KEY_BYTES}, so use a hash of a longer one",
            key.len()
        )));
    }
    Ok(escape(key, |c| matches!(c, '{' | '}' | '%')))
}

fn escape(text: &str, reserved: impl Fn(char) -> bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        if reserved(c) || c.is_control() || c.is_whitespace() {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a String cannot fail.
                let _ = write!(encoded, "%{byte:02X}");
            }
        } else {
            encoded.push(c);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn what_has_a_meaning_in_keys_is_encoded() {
        assert_eq!(encode("id", "a:2026-02-01").unwrap(), "a%3A2026-02-01");
        assert_eq!(encode("id", "{x}").unwrap(), "%7Bx%7D");
        assert_eq!(encode("id", "50%\n né").unwrap(), "50%25%0A%20né");
        assert_eq!(encode_prefix("app:{x}:").unwrap(), "app:%7Bx%7D:");
    }

    #[test]
    fn a_kind_of_scope_stands_in_keys_as_it_is() {
        for kind in ["user", "api-key", "команда", "v1.2_x"] {
            assert!(check_kind(kind).is_ok(), "{kind}");
        }
        for kind in ["", "a b", "50%", "a:b", "{a}", "a\n"] {
            assert_eq!(check_kind(kind).unwrap_err().kind(), ErrorKind::Invalid, "{kind}");
        }
    }

    #[test]
    fn empty_and_endless_text_is_refused() {
        assert!(encode("id", "").is_err());
        assert!(encode("id", &"x".repeat(MAX_TEXT_BYTES + 1)).is_err());
        assert!(encode("id", &"x".repeat(MAX_TEXT_BYTES)).is_ok());
    }

    proptest! {
        #[test]
        fn two_texts_never_share_an_encoding(one in "\\PC{1,12}|[:{}% a]{1,6}", other in "\\PC{1,12}|[:{}% a]{1,6}") {
            let encoded = (encode("id", &one).unwrap(), encode("id", &other).unwrap());
            prop_assert_eq!(one == other, encoded.0 == encoded.1);
            let reserved = encoded.0.contains([':', '{', '}', ' ']);
            prop_assert!(!reserved, "reached outside its segment: {}", encoded.0);
        }
    }
}
