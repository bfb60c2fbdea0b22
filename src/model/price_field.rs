//! The field names and numbers of a LiteLLM price file.

use serde_json::value::RawValue;

use super::money::Money;
use super::usage::{ServiceTier, TokenKind};

/// What a field of a model's entry says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Field {
    /// A price per token that the catalogue keeps.
    Price { kind: TokenKind, tier: ServiceTier, above_tokens: Option<u64> },
    /// Something that changes what a call costs and that the catalogue does not apply.
    Unpriced,
    /// Limits, features, sources.
    Metadata,
}

/// Fields whose name does not say that they change what a call costs.
const UNPRICED: [&str; 1] = ["provider_specific_entry"];

impl Field {
    /// Reads `{kind}[_above_{n}k_tokens][_batches|_flex|_priority]`, the last two in either order.
    pub(super) fn parse(name: &str) -> Self {
        let (mut rest, mut tier, mut above_tokens) = (name, None, None);
        loop {
            if let Some(kind) = kind(rest) {
                return Self::Price { kind, tier: tier.unwrap_or_default(), above_tokens };
            }
            if let (None, Some((shorter, found))) = (tier, split_tier(rest)) {
                (rest, tier) = (shorter, Some(found));
            } else if let (None, Some((shorter, found))) = (above_tokens, split_context(rest)) {
                (rest, above_tokens) = (shorter, Some(found));
            } else {
                break;
            }
        }
        let costs = ["cost", "price", "pricing", "multiplier"].iter().any(|word| name.contains(word));
        if costs || UNPRICED.contains(&name) { Self::Unpriced } else { Self::Metadata }
    }
}

fn kind(name: &str) -> Option<TokenKind> {
    Some(match name {
        "input_cost_per_token" => TokenKind::Input,
        "output_cost_per_token" => TokenKind::Output,
        "output_cost_per_reasoning_token" => TokenKind::Reasoning,
        "input_cost_per_audio_token" => TokenKind::AudioInput,
        "output_cost_per_audio_token" => TokenKind::AudioOutput,
        "cache_read_input_token_cost" | "input_cost_per_token_cache_hit" => TokenKind::CacheRead,
        "cache_creation_input_token_cost" => TokenKind::CacheWrite5m,
        "cache_creation_input_token_cost_above_1hr" => TokenKind::CacheWrite1h,
        "cache_read_input_audio_token_cost" => TokenKind::AudioCacheRead,
        "cache_creation_input_audio_token_cost" => TokenKind::AudioCacheWrite,
        _ => return None,
    })
}

fn split_tier(name: &str) -> Option<(&str, ServiceTier)> {
    let tiers = [("_batches", ServiceTier::Batch), ("_flex", ServiceTier::Flex), ("_priority", ServiceTier::Priority)];
    tiers.into_iter().find_map(|(suffix, tier)| Some((name.strip_suffix(suffix)?, tier)))
}

fn split_context(name: &str) -> Option<(&str, u64)> {
    let (rest, count) = name.strip_suffix("_tokens")?.rsplit_once("_above_")?;
    let (digits, unit) = count.strip_suffix('k').map_or((count, 1), |digits| (digits, 1_000));
    let count: u64 = digits.parse().ok()?;
    Some((rest, count.checked_mul(unit)?))
}

/// Reads a price per token (`3e-06`, or the same as a string) into the price per million tokens, from its text: a
/// float would not hold it exactly. A null is no price.
///
/// A price finer than a nano-dollar per million tokens, which none is but for float noise in generated files
/// (`2.9999999999999997e-07`), is rounded up to it.
pub(super) fn parse_rate(raw: &RawValue) -> Result<Option<Money>, String> {
    let text = raw.get();
    let unquoted = match text.as_bytes() {
        [b'"', ..] => serde_json::from_str::<String>(text).map_err(|error| error.to_string())?,
        [b'-' | b'0'..=b'9', ..] => text.to_owned(),
        _ if text == "null" => return Ok(None),
        _ => return Err(format!("is not a number but {}", excerpt(text))),
    };
    decimal_to_rate(&unquoted).map(Some)
}

fn decimal_to_rate(text: &str) -> Result<Money, String> {
    /// Nano-dollars per million tokens in a dollar per token, as a power of ten.
    const SCALE: i64 = 15;
    let not_a_number = || format!("is not a number but {}", excerpt(text));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent).ok_or_else(not_a_number)?),
        None => (text, 0),
    };
    let (negative, mantissa) = mantissa.strip_prefix('-').map_or((false, mantissa), |rest| (true, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(not_a_number());
    }
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(Money::ZERO);
    }
    if negative {
        return Err(format!("is negative ({}): prices start at 0", excerpt(text)));
    }
    let too_large = || format!("is too large ({})", excerpt(text));
    let fraction_len = i64::try_from(fraction.len()).map_err(|_| too_large())?;
    let digits_len = i64::try_from(digits.len()).map_err(|_| too_large())?;
    let shift = exponent.saturating_add(SCALE).saturating_sub(fraction_len);
    // i64::MAX has 19 digits, so more than that is out of range and need not be multiplied out.
    let whole_len = digits_len.saturating_add(shift);
    if whole_len > 19 {
        return Err(too_large());
    }
    let kept = usize::try_from(whole_len.clamp(0, digits_len)).map_err(|_| too_large())?;
    let (kept, dropped) = digits.split_at(kept);
    let zeros = usize::try_from(shift.max(0)).map_err(|_| too_large())?;
    let value: u64 = format!("0{kept}{:0<zeros$}", "").parse().map_err(|_| too_large())?;
    let round_up = u64::from(dropped.bytes().any(|digit| digit != b'0'));
    i64::try_from(value + round_up).map(Money::from_nanos).map_err(|_| too_large())
}

/// A JSON exponent; one too long for i64 keeps its sign and is as large as any.
fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX }))
}

fn excerpt(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(text: &str) -> Result<i64, String> {
        parse_rate(&RawValue::from_string(text.to_owned()).unwrap()).map(|rate| rate.map_or(-1, Money::nanos))
    }

    #[test]
    fn a_price_per_token_is_read_exactly() {
        for (text, nanos) in [
            ("3e-06", 3_000_000_000),
            ("0.000003", 3_000_000_000),
            ("3E-6", 3_000_000_000),
            ("1.5e-05", 15_000_000_000),
            ("3.625e-09", 3_625_000),
            ("1.25e-7", 125_000_000),
            ("0", 0),
            ("0.0", 0),
            ("-0", 0),
            ("0e999999999999999999999", 0),
            ("1", 1_000_000_000_000_000),
            ("9223", 9_223_000_000_000_000_000),
            ("9223.372036854775807", i64::MAX),
            ("1e-15", 1),
            ("\"3e-06\"", 3_000_000_000),
            ("null", -1),
        ] {
            assert_eq!(rate(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn a_price_finer_than_the_unit_is_rounded_up_to_it() {
        assert_eq!(rate("2.9999999999999997e-07"), Ok(300_000_000));
        assert_eq!(rate("1.0000000000000001e-06"), Ok(1_000_000_001));
        assert_eq!(rate("1e-16"), Ok(1));
        assert_eq!(rate("1e-99999999999999999999999"), Ok(1));
        assert_eq!(rate("1.0000000000000000000000e-15"), Ok(1));
    }

    #[test]
    fn a_price_that_cannot_be_is_refused() {
        assert!(rate("-1e-06").unwrap_err().contains("negative"));
        for huge in ["9223.372036854775808", "1e4", "1e99999999999999999999999", "9223.3720368547758071"] {
            assert!(rate(huge).unwrap_err().contains("too large"), "{huge}");
        }
        for junk in ["true", "[1]", "{}", "\"\"", "\"abc\"", "\"1e\"", "\"1_0\"", "\".5\"", "\"1e+-5\"", "\"--1\""] {
            assert!(rate(junk).unwrap_err().contains("not a number"), "{junk}");
        }
    }

    #[test]
    fn field_names_are_taken_apart() {
        use ServiceTier::{Batch, Flex, Priority, Standard};
        let price = |kind, tier, above_tokens| Field::Price { kind, tier, above_tokens };
        for (name, field) in [
            ("input_cost_per_token", price(TokenKind::Input, Standard, None)),
            ("input_cost_per_token_batches", price(TokenKind::Input, Batch, None)),
            ("cache_read_input_token_cost_flex", price(TokenKind::CacheRead, Flex, None)),
            ("input_cost_per_token_cache_hit", price(TokenKind::CacheRead, Standard, None)),
            ("output_cost_per_token_above_272k_tokens", price(TokenKind::Output, Standard, Some(272_000))),
            ("output_cost_per_token_above_200k_tokens_priority", price(TokenKind::Output, Priority, Some(200_000))),
            ("output_cost_per_token_priority_above_200k_tokens", price(TokenKind::Output, Priority, Some(200_000))),
            ("input_cost_per_token_above_512_tokens", price(TokenKind::Input, Standard, Some(512))),
            ("cache_creation_input_token_cost_above_1hr", price(TokenKind::CacheWrite1h, Standard, None)),
            (
                "cache_creation_input_token_cost_above_1hr_above_200k_tokens",
                price(TokenKind::CacheWrite1h, Standard, Some(200_000)),
            ),
            ("input_cost_per_audio_token_priority", price(TokenKind::AudioInput, Priority, None)),
            ("input_cost_per_image", Field::Unpriced),
            ("input_cost_per_token_flex_flex", Field::Unpriced),
            ("input_cost_per_token_above_99999999999999999999k_tokens", Field::Unpriced),
            ("search_context_cost_per_query", Field::Unpriced),
            ("tiered_pricing", Field::Unpriced),
            ("regional_processing_uplift_multiplier_eu", Field::Unpriced),
            ("provider_specific_entry", Field::Unpriced),
            ("max_input_tokens", Field::Metadata),
            ("supports_vision", Field::Metadata),
        ] {
            assert_eq!(Field::parse(name), field, "{name}");
        }
    }

    proptest! {
        #[test]
        fn decimal_text_agrees_with_integer_arithmetic(digits in 0_u64..10_000_000_000, exponent in 0_u32..40) {
            // digits x 10^-exponent dollars per token is ceil(digits x 10^15 / 10^exponent) nanos per million.
            let exact = (u128::from(digits) * 10_u128.pow(15)).div_ceil(10_u128.pow(exponent.min(38)));
            prop_assume!(exponent <= 38);
            match rate(&format!("{digits}e-{exponent}")) {
                Ok(nanos) => prop_assert_eq!(u128::try_from(nanos).unwrap(), exact),
                Err(_) => prop_assert!(exact > u128::from(i64::MAX.unsigned_abs())),
            }
        }

        #[test]
        fn no_number_makes_it_panic(text in "-?[0-9]{1,30}(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,25})?") {
            if RawValue::from_string(text.clone()).is_ok() {
                drop(rate(&text));
            }
        }
    }
}
