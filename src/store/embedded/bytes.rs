//! Stored text: Redis's strings, with canonical integers kept as integers.

use std::borrow::Cow;

/// A Redis string. Integers in canonical form take no memory of their own and need no parsing; reading gives the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    Int(i64),
    Raw(Box<[u8]>),
}

impl Bytes {
    pub(super) fn new(text: &[u8]) -> Self {
        parse_i64(text).map_or_else(|| Self::Raw(text.into()), Self::Int)
    }

    pub(super) fn as_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Int(number) => Cow::Owned(number.to_string().into_bytes()),
            Self::Raw(text) => Cow::Borrowed(text),
        }
    }

    /// The integer this text spells, by Redis's strict rule.
    pub(super) fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Raw(_) => None,
        }
    }
}

/// Redis's `string2ll` (util.c): digits with an optional minus, no plus, no spaces, no leading zero, no `-0`, within i64.
pub(super) fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [] => return None,
        [b'0'] => return (!negative).then_some(0),
        [b'0', ..] => return None,
        _ => {}
    }
    // Counting downwards: i64 reaches one further below zero than above.
    let mut number: i64 = 0;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_sub(i64::from(value))?;
    }
    if negative { Some(number) } else { number.checked_neg() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_strictly_as_redis_does() {
        for (text, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("-7", Some(-7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("-9223372036854775809", None),
            ("99999999999999999999", None),
            ("+5", None),
            (" 5", None),
            ("5 ", None),
            ("05", None),
            ("-0", None),
            ("-", None),
            ("", None),
            ("1e3", None),
            ("1.0", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), expected, "{text:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_text_reads_back_as_it_was_written(text in "-?[0-9 +.e]{0,22}", number: i64) {
            let stored = Bytes::new(text.as_bytes());
            proptest::prop_assert_eq!(&*stored.as_bytes(), text.as_bytes());
            proptest::prop_assert_eq!(Bytes::new(number.to_string().as_bytes()), Bytes::Int(number));
        }
    }
}
