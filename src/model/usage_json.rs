//! Reading the usage objects of OpenAI and Anthropic, whose counts overlap in different ways.

use serde_json::{Map, Value};

use super::usage::{ServiceTier, Usage};
use crate::{Error, Result};

type Object = Map<String, Value>;

/// Cache counts that Anthropic reports beside the prompt count, not inside it.
const ANTHROPIC_CACHE: [&str; 3] = ["cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"];

impl Usage {
    /// Reads a whole response object (with `usage`) or a bare usage object, and tells the convention by its fields.
    ///
    /// `prompt_tokens` or `completion_tokens` is OpenAI's chat API; `input_tokens` with one of Anthropic's cache counts
    /// is Anthropic; `input_tokens` otherwise is OpenAI's Responses API, which reads the same as Anthropic without
    /// caching. See [`Usage::from_openai_json`] and [`Usage::from_anthropic_json`] for what is part of what.
    ///
    /// ```
    /// use costguard::model::Usage;
    /// use serde_json::json;
    ///
    /// let openai = json!({"usage": {
    ///     "prompt_tokens": 1000, "completion_tokens": 300, "total_tokens": 1300,
    ///     "prompt_tokens_details": {"cached_tokens": 800},
    ///     "completion_tokens_details": {"reasoning_tokens": 200}}});
    /// let usage = Usage::from_json(&openai)?;
    /// assert_eq!((usage.input, usage.cache_read, usage.output, usage.reasoning), (200, 800, 100, 200));
    ///
    /// let anthropic = json!({"input_tokens": 200, "cache_read_input_tokens": 800, "output_tokens": 300});
    /// let usage = Usage::from_json(&anthropic)?;
    /// assert_eq!((usage.input, usage.cache_read, usage.output), (200, 800, 300));
    /// # Ok::<(), costguard::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid), naming the field that is missing, is not a count,
    /// contradicts another, or makes the convention ambiguous.
    pub fn from_json(value: &Value) -> Result<Self> {
        let usage = usage_object(value)?;
        let anthropic_cache = ANTHROPIC_CACHE.into_iter().find(|field| counts_something(usage, field));
        let Some(cache_field) = anthropic_cache else {
            // Nothing cached, so the two conventions only differ in where they put thinking.
            let chat = is_present(usage, "prompt_tokens") || is_present(usage, "completion_tokens");
            let anthropic = !chat && ANTHROPIC_CACHE.into_iter().any(|field| is_present(usage, field));
            return if anthropic { Self::from_anthropic_json(value) } else { Self::from_openai_json(value) };
        };
        // Gateways that speak OpenAI's form repeat Anthropic's fields beside it; the details then say what is inside.
        let (details, _) = details(usage, &["prompt_tokens_details"])?;
        if details.is_some_and(|details| is_present(details, "cached_tokens")) {
            return Self::from_openai_json(value);
        }
        if is_present(usage, "prompt_tokens") || is_present(usage, "input_tokens_details") {
            return Err(Error::invalid(format!(
                "`{cache_field}` beside OpenAI's fields leaves open whether it is part of the prompt count: read the \
                 object with `from_openai_json` or `from_anthropic_json`"
            )));
        }
        Self::from_anthropic_json(value)
    }

    /// Reads OpenAI's convention: chat completions, responses and realtime, whole response or bare usage object.
    ///
    /// The totals include their details: `cached_tokens`, `cache_write_tokens` and `audio_tokens` are part of
    /// `prompt_tokens` (`input_tokens`), `reasoning_tokens` and `audio_tokens` part of `completion_tokens`
    /// (`output_tokens`). xAI counts reasoning beside `completion_tokens` and only its `total_tokens` shows it, so the
    /// total decides. Predicted tokens that were rejected stay in the output count: they are billed.
    ///
    /// Source: openai-openapi, `CompletionUsage` and `ResponseUsage` ("Breakdown of tokens used in the prompt",
    /// "Cached tokens present in the prompt", "The unadjusted number of prompt tokens written to cache"; as
    /// <https://docs.rs/openai-client-base>); <https://docs.stigg.io/documentation/ai-agents/llm-wrappers/providers/openai>
    /// ("OpenAI includes cached tokens inside prompt_tokens and input_tokens"); for xAI
    /// <https://docs.x.ai/docs/key-information/consumption-and-rate-limits>, quoted in vercel/ai pull request 12425.
    ///
    /// # Errors
    /// As [`Usage::from_json`].
    pub fn from_openai_json(value: &Value) -> Result<Self> {
        let usage = usage_object(value)?;
        let chat = is_present(usage, "prompt_tokens") || is_present(usage, "completion_tokens");
        let (prompt_name, completion_name) =
            if chat { ("prompt_tokens", "completion_tokens") } else { ("input_tokens", "output_tokens") };
        let total = count(usage, "total_tokens", "total_tokens")?;
        let prompt = Count::required(usage, prompt_name)?;
        let completion = match Count::read(usage, "", completion_name)? {
            // Embeddings generate nothing and leave the field out; anything else without it is incomplete.
            None if total == Some(prompt.tokens) => Count { path: completion_name.to_owned(), tokens: 0 },
            None => return Err(missing(completion_name)),
            Some(completion) => completion,
        };
        let (input_details, input_path) =
            details(usage, &["prompt_tokens_details", "input_tokens_details", "input_token_details"])?;
        let (output_details, output_path) =
            details(usage, &["completion_tokens_details", "output_tokens_details", "output_token_details"])?;

        let cached = Count::optional(input_details, input_path, "cached_tokens")?;
        let written = match Count::read(input_details, input_path, "cache_write_tokens")? {
            Some(written) => written,
            None => Count::optional(input_details, input_path, "cache_creation_tokens")?,
        };
        let audio = Count::optional(input_details, input_path, "audio_tokens")?;
        let (cached_details, _) = details(input_details, &["cached_tokens_details"])?;
        let cached_audio = Count::optional(cached_details, "cached_tokens_details", "audio_tokens")?;
        let cache_read = cached.without(&[&cached_audio])?;
        let audio_input = audio.without(&[&cached_audio])?;
        let uncached_audio = Count { path: audio.path.clone(), tokens: audio_input };

        let reasoning = Count::optional(output_details, output_path, "reasoning_tokens")?;
        let audio_output = Count::optional(output_details, output_path, "audio_tokens")?;
        let reasoning_is_apart = reasoning.tokens > 0
            && total.is_some()
            && [prompt.tokens, completion.tokens, reasoning.tokens].iter().try_fold(0_u64, |a, b| a.checked_add(*b))
                == total;
        let output = if reasoning_is_apart {
            completion.without(&[&audio_output])?
        } else {
            completion.without(&[&reasoning, &audio_output])?
        };
        Ok(Self {
            input: prompt.without(&[&cached, &written, &uncached_audio])?,
            cache_read,
            cache_write_5m: written.tokens,
            audio_input,
            audio_cache_read: cached_audio.tokens,
            output,
            reasoning: reasoning.tokens,
            audio_output: audio_output.tokens,
            tier: service_tier(value, usage)?,
            ..Self::default()
        })
    }

    /// Reads Anthropic's convention, whole message or bare usage object.
    ///
    /// `cache_read_input_tokens` and `cache_creation_input_tokens` are not part of `input_tokens`: "Total input tokens
    /// in a request is the summation of `input_tokens`, `cache_creation_input_tokens`, and `cache_read_input_tokens`"
    /// (<https://platform.claude.com/docs/en/api/messages>). `cache_creation` splits the writes by lifetime; writes it
    /// does not split are five-minute ones, the default. `output_tokens` includes thinking (anthropic-sdk-python,
    /// `types/usage.py`: "`output_tokens` remains the inclusive, authoritative total used for billing").
    ///
    /// # Errors
    /// As [`Usage::from_json`].
    pub fn from_anthropic_json(value: &Value) -> Result<Self> {
        let usage = usage_object(value)?;
        let output = Count::required(usage, "output_tokens")?;
        let (output_details, path) = details(usage, &["output_tokens_details"])?;
        let thinking = Count::optional(output_details, path, "thinking_tokens")?;
        let (split, path) = details(usage, &["cache_creation"])?;
        let written_5m = Count::optional(split, path, "ephemeral_5m_input_tokens")?;
        let written_1h = Count::optional(split, path, "ephemeral_1h_input_tokens")?;
        let unsplit = match Count::read(usage, "", "cache_creation_input_tokens")? {
            Some(written) => written.without(&[&written_5m, &written_1h])?,
            None => 0,
        };
        Ok(Self {
            input: Count::required(usage, "input_tokens")?.tokens,
            cache_read: Count::optional(Some(usage), "", "cache_read_input_tokens")?.tokens,
            // Cannot overflow: `unsplit` is what the total leaves beside the split.
            cache_write_5m: written_5m.tokens.saturating_add(unsplit),
            cache_write_1h: written_1h.tokens,
            output: output.without(&[&thinking])?,
            reasoning: thinking.tokens,
            tier: service_tier(value, usage)?,
            ..Self::default()
        })
    }
}

/// A count with the path it was read from, so that a contradiction can name both sides.
struct Count {
    path: String,
    tokens: u64,
}

impl Count {
    fn read<'a>(object: impl Into<Option<&'a Object>>, parent: &str, field: &str) -> Result<Option<Self>> {
        let path = if parent.is_empty() { field.to_owned() } else { format!("{parent}.{field}") };
        let Some(object) = object.into() else { return Ok(None) };
        Ok(count(object, field, &path)?.map(|tokens| Self { path, tokens }))
    }

    fn optional(object: Option<&Object>, parent: &str, field: &str) -> Result<Self> {
        Ok(Self::read(object, parent, field)?.unwrap_or(Self { path: String::new(), tokens: 0 }))
    }

    fn required(object: &Object, field: &str) -> Result<Self> {
        Self::read(object, "", field)?.ok_or_else(|| missing(field))
    }

    /// What is left of this total without its parts.
    fn without(&self, parts: &[&Self]) -> Result<u64> {
        let mut left = self.tokens;
        for part in parts {
            left = left.checked_sub(part.tokens).ok_or_else(|| {
                let parts: Vec<_> = parts
                    .iter()
                    .filter(|part| part.tokens > 0)
                    .map(|p| format!("`{}` ({})", p.path, p.tokens))
                    .collect();
                let verb = if parts.len() == 1 { "is" } else { "are together" };
                let total = if self.path.is_empty() { "the cached tokens" } else { &self.path };
                Error::invalid(format!(
                    "{} {verb} more than `{total}` ({}), of which they are part: check the usage object",
                    parts.join(" and "),
                    self.tokens
                ))
            })?;
        }
        Ok(left)
    }
}

fn usage_object(value: &Value) -> Result<&Object> {
    match value.get("usage") {
        Some(Value::Object(usage)) => Ok(usage),
        Some(Value::Null) => {
            Err(Error::invalid("`usage` is null: ask for it (when streaming, with `stream_options.include_usage`)"))
        }
        Some(_) => Err(Error::invalid("`usage` is not an object: pass a response or a usage object")),
        None => value.as_object().ok_or_else(|| Error::invalid("not an object: pass a response or a usage object")),
    }
}

fn is_present(object: &Object, field: &str) -> bool {
    object.get(field).is_some_and(|value| !value.is_null())
}

/// Present and not zero: gateways fill in zeros for fields their provider does not have.
fn counts_something(object: &Object, field: &str) -> bool {
    match object.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::Object(split)) => split.values().any(|value| value.as_u64() != Some(0)),
        Some(value) => value.as_u64() != Some(0),
    }
}

fn count(object: &Object, field: &str, path: &str) -> Result<Option<u64>> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| {
            Error::invalid(format!(
                "`{path}` is not a token count: expected a whole number from 0, not {}",
                kind_of(value)
            ))
        }),
    }
}

/// The first of these fields that is there, with its name for messages.
fn details<'a, 'n>(object: impl Into<Option<&'a Object>>, names: &[&'n str]) -> Result<(Option<&'a Object>, &'n str)> {
    let Some(object) = object.into() else { return Ok((None, "")) };
    for name in names {
        match object.get(*name) {
            None | Some(Value::Null) => {}
            Some(Value::Object(details)) => return Ok((Some(details), name)),
            Some(value) => {
                return Err(Error::invalid(format!("`{name}` is not an object but {}", kind_of(value))));
            }
        }
    }
    Ok((None, ""))
}

/// Anthropic reports the tier in the usage object, OpenAI beside it.
fn service_tier(value: &Value, usage: &Object) -> Result<ServiceTier> {
    match usage.get("service_tier").filter(|tier| !tier.is_null()).or_else(|| value.get("service_tier")) {
        None | Some(Value::Null) => Ok(ServiceTier::Standard),
        Some(Value::String(tier)) => tier.parse(),
        Some(value) => Err(Error::invalid(format!("`service_tier` is not a text but {}", kind_of(value)))),
    }
}

fn missing(field: &str) -> Error {
    Error::invalid(format!("`{field}` is missing: pass a response or usage object of OpenAI or Anthropic"))
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Usage {
        Usage::from_json(&value).unwrap()
    }

    fn refusal(value: Value) -> String {
        let error = Usage::from_json(&value).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Invalid);
        error.to_string()
    }

    #[test]
    fn openai_chat_totals_include_their_details() {
        let usage = read(json!({
            "id": "chatcmpl-1", "object": "chat.completion", "service_tier": "flex",
            "usage": {
                "prompt_tokens": 2000, "completion_tokens": 500, "total_tokens": 2500,
                "prompt_tokens_details": {"cached_tokens": 1200, "audio_tokens": 300, "cache_write_tokens": 100},
                "completion_tokens_details": {
                    "reasoning_tokens": 256, "audio_tokens": 44,
                    "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 9
                }
            }
        }));
        let expected = Usage {
            input: 400,
            cache_read: 1200,
            cache_write_5m: 100,
            audio_input: 300,
            output: 200,
            reasoning: 256,
            audio_output: 44,
            tier: ServiceTier::Flex,
            ..Usage::default()
        };
        assert_eq!(usage, expected);
        assert_eq!(usage.total_tokens(), 2500);
    }

    #[test]
    fn openai_responses_totals_include_their_details() {
        let usage = read(json!({
            "object": "response", "service_tier": "default",
            "usage": {
                "input_tokens": 4895, "input_tokens_details": {"cached_tokens": 4776, "cache_write_tokens": 0},
                "output_tokens": 330, "output_tokens_details": {"reasoning_tokens": 300}, "total_tokens": 5225
            }
        }));
        assert_eq!(usage, Usage { cache_read: 4776, reasoning: 300, ..Usage::new(119, 30) });
    }

    #[test]
    fn realtime_audio_in_the_cache_is_counted_once() {
        let usage = read(json!({
            "input_tokens": 132, "output_tokens": 121, "total_tokens": 253,
            "input_token_details": {
                "text_tokens": 59, "audio_tokens": 73, "cached_tokens": 64,
                "cached_tokens_details": {"text_tokens": 24, "audio_tokens": 40}
            },
            "output_token_details": {"text_tokens": 30, "audio_tokens": 91}
        }));
        let expected =
            Usage { cache_read: 24, audio_input: 33, audio_cache_read: 40, audio_output: 91, ..Usage::new(35, 30) };
        assert_eq!(usage, expected);
        assert_eq!(usage.total_tokens(), 253);
    }

    #[test]
    fn embeddings_generate_nothing() {
        assert_eq!(read(json!({"prompt_tokens": 8, "total_tokens": 8})), Usage::new(8, 0));
        assert!(refusal(json!({"prompt_tokens": 8, "total_tokens": 9})).contains("`completion_tokens` is missing"));
        assert!(refusal(json!({"prompt_tokens": 8})).contains("`completion_tokens` is missing"));
    }

    #[test]
    fn xai_counts_reasoning_beside_the_completion() {
        let usage = read(json!({
            "prompt_tokens": 10120, "completion_tokens": 1499, "total_tokens": 14428,
            "prompt_tokens_details": {"cached_tokens": 128},
            "completion_tokens_details": {"reasoning_tokens": 2809}
        }));
        assert_eq!(usage, Usage { cache_read: 128, reasoning: 2809, ..Usage::new(9992, 1499) });
    }

    #[test]
    fn anthropic_cache_counts_are_beside_the_input() {
        let usage = read(json!({
            "type": "message", "model": "claude-sonnet-4-5",
            "usage": {
                "input_tokens": 50, "cache_read_input_tokens": 100_000, "cache_creation_input_tokens": 248,
                "cache_creation": {"ephemeral_5m_input_tokens": 148, "ephemeral_1h_input_tokens": 100},
                "output_tokens": 503, "output_tokens_details": {"thinking_tokens": 400},
                "server_tool_use": {"web_search_requests": 1}, "service_tier": "batch"
            }
        }));
        let expected = Usage {
            cache_read: 100_000,
            cache_write_5m: 148,
            cache_write_1h: 100,
            reasoning: 400,
            tier: ServiceTier::Batch,
            ..Usage::new(50, 103)
        };
        assert_eq!(usage, expected);
    }

    #[test]
    fn anthropic_writes_without_a_lifetime_are_five_minute_ones() {
        let usage = read(json!({"input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 30}));
        assert_eq!(usage, Usage { cache_write_5m: 30, ..Usage::new(1, 2) });
        let partly = json!({"input_tokens": 1, "output_tokens": 2, "cache_creation_input_tokens": 30,
            "cache_creation": {"ephemeral_1h_input_tokens": 10}});
        assert_eq!(read(partly), Usage { cache_write_5m: 20, cache_write_1h: 10, ..Usage::new(1, 2) });
    }

    #[test]
    fn without_caching_both_conventions_read_the_same() {
        let value = json!({"input_tokens": 7, "output_tokens": 9, "cache_read_input_tokens": null});
        assert_eq!(read(value.clone()), Usage::new(7, 9));
        assert_eq!(Usage::from_anthropic_json(&value).unwrap(), Usage::from_openai_json(&value).unwrap());
    }

    #[test]
    fn a_gateway_that_repeats_anthropic_fields_is_read_by_its_details() {
        let usage = read(json!({
            "prompt_tokens": 1000, "completion_tokens": 1, "total_tokens": 1001,
            "prompt_tokens_details": {"cached_tokens": 700, "cache_creation_tokens": 200},
            "cache_read_input_tokens": 700, "cache_creation_input_tokens": 200
        }));
        assert_eq!(usage, Usage { cache_read: 700, cache_write_5m: 200, ..Usage::new(100, 1) });
        let ambiguous = json!({"prompt_tokens": 1000, "completion_tokens": 1, "cache_read_input_tokens": 700});
        assert!(refusal(ambiguous).contains("`cache_read_input_tokens` beside OpenAI's fields"));
        let zeros = json!({"prompt_tokens": 1000, "completion_tokens": 1, "cache_read_input_tokens": 0});
        assert_eq!(read(zeros), Usage::new(1000, 1));
    }

    #[test]
    fn parts_that_exceed_their_total_are_named() {
        let text = refusal(json!({"input_tokens": 5136, "output_tokens": 201,
            "input_tokens_details": {"cached_tokens": 10192}}));
        assert!(text.contains("`input_tokens_details.cached_tokens` (10192)"), "{text}");
        assert!(text.contains("more than `input_tokens` (5136)"), "{text}");
        let text = refusal(json!({"prompt_tokens": 1, "completion_tokens": 5,
            "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 2}}));
        assert!(text.contains("reasoning_tokens` (4) and `completion_tokens_details.audio_tokens` (2)"), "{text}");
        let text = refusal(json!({"input_tokens": 1, "output_tokens": 5, "cache_creation_input_tokens": 3,
            "cache_creation": {"ephemeral_1h_input_tokens": 4}}));
        assert!(text.contains("cache_creation.ephemeral_1h_input_tokens"), "{text}");
    }

    #[test]
    fn what_is_no_count_is_named() {
        for bad in [json!(-1), json!(1.5), json!("12"), json!([1]), json!(true), json!({}), json!(1e30)] {
            let text = refusal(json!({"prompt_tokens": bad, "completion_tokens": 1}));
            assert!(text.contains("`prompt_tokens` is not a token count"), "{text}");
        }
        assert!(refusal(json!({"output_tokens": 1})).contains("`input_tokens` is missing"));
        assert!(
            refusal(json!({"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": 3}))
                .contains("`prompt_tokens_details` is not an object")
        );
        assert!(refusal(json!({"usage": null})).contains("include_usage"));
        assert!(refusal(json!({"usage": []})).contains("not an object"));
        for hostile in [json!(null), json!([]), json!("usage"), json!(3), json!({})] {
            refusal(hostile);
        }
        let text = refusal(json!({"input_tokens": 1, "output_tokens": 1, "service_tier": "ultrafast"}));
        assert!(text.contains("ultrafast"), "{text}");
    }

    #[test]
    fn the_largest_counts_neither_panic_nor_wrap() {
        let max = u64::MAX;
        let usage = read(json!({"input_tokens": max, "output_tokens": max, "cache_read_input_tokens": max}));
        assert_eq!(usage.total_tokens(), u64::MAX);
        refusal(json!({"prompt_tokens": max, "completion_tokens": max, "total_tokens": max,
            "prompt_tokens_details": {"cached_tokens": max, "audio_tokens": max},
            "completion_tokens_details": {"reasoning_tokens": max, "audio_tokens": max}}));
    }
}
