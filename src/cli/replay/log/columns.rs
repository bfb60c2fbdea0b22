//! Which column of a log means what.

use super::counts::CachedTokens;

/// What a column can mean to a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Timestamp,
    Model,
    Input,
    Output,
    CacheRead,
    CacheWrite,
    CacheWrite5m,
    CacheWrite1h,
    Reasoning,
    /// Tokens of all kinds, where they are not told apart.
    Total,
    ServiceTier,
    Cost,
    Duration,
}

/// The names real logs use for each role, best first, compared by [`plain`].
const NAMES: [(Role, &str, &[&str]); Role::COUNT] = [
    (
        Role::Timestamp,
        "timestamp",
        &[
            "timestamp",
            "start_time",
            "created_at",
            "created",
            "time",
            "datetime",
            "request_time",
            "started_at",
            "date",
            "ts",
        ],
    ),
    (Role::Model, "model", &["model", "model_name", "model_id", "model_permaslug"]),
    (Role::Input, "input", &["input_tokens", "prompt_tokens", "context_tokens", "tokens_prompt"]),
    (Role::Output, "output", &["output_tokens", "completion_tokens", "generated_tokens", "tokens_completion"]),
    (
        Role::CacheRead,
        "cache-read",
        &[
            "cached_tokens",
            "cached_input_tokens",
            "input_cached_tokens",
            "cached_prompt_tokens",
            "tokens_cached",
            "cache_read_input_tokens",
            "cache_read_tokens",
        ],
    ),
    (
        Role::CacheWrite,
        "cache-write",
        &["cache_creation_input_tokens", "cache_creation_tokens", "cache_write_input_tokens", "cache_write_tokens"],
    ),
    (
        Role::CacheWrite5m,
        "cache-write-5m",
        &["ephemeral_5m_input_tokens", "cache_creation_5m_tokens", "cache_write_5m_tokens"],
    ),
    (
        Role::CacheWrite1h,
        "cache-write-1h",
        &["ephemeral_1h_input_tokens", "cache_creation_1h_tokens", "cache_write_1h_tokens"],
    ),
    (Role::Reasoning, "reasoning", &["reasoning_tokens", "tokens_reasoning"]),
    (Role::Total, "total", &["total_tokens", "tokens", "tokens_total", "token_count"]),
    (Role::ServiceTier, "service-tier", &["service_tier"]),
    (Role::Cost, "cost", &["cost_usd", "cost", "total_cost", "cost_total", "spend"]),
    (
        Role::Duration,
        "duration",
        &[
            "duration_ms",
            "latency_ms",
            "response_time_ms",
            "generation_time_ms",
            "elapsed_ms",
            "duration",
            "duration_seconds",
            "duration_s",
            "latency",
            "latency_seconds",
            "latency_s",
            "response_time",
            "elapsed",
        ],
    ),
];

impl Role {
    pub(crate) const COUNT: usize = 13;

    pub(crate) fn all() -> impl Iterator<Item = Self> {
        NAMES.iter().map(|(role, ..)| *role)
    }

    /// The role's word in `--column ROLE=NAME`.
    pub(crate) fn word(self) -> &'static str {
        self.row().1
    }

    /// The column names that are recognised, best first.
    pub(crate) fn names(self) -> &'static [&'static str] {
        self.row().2
    }

    pub(crate) fn from_word(word: &str) -> Option<Self> {
        let wanted = plain(word);
        Self::all().find(|role| plain(role.word()) == wanted)
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    fn row(self) -> &'static (Role, &'static str, &'static [&'static str]) {
        &NAMES[self.index()]
    }
}

/// The unit of a duration column's plain numbers, in ms: seconds, unless the name says milliseconds.
pub(crate) fn duration_unit_ms(name: &str) -> i64 {
    let lower = name.to_lowercase();
    let parted =
        |end: &str| lower.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with(['_', '-', ' ', '.']));
    let says_ms = parted("ms") || name.ends_with("Ms") || lower.ends_with("millis") || lower.ends_with("milliseconds");
    if says_ms { 1 } else { 1_000 }
}

/// A name without case and separators: `ContextTokens`, `context_tokens` and `Context Tokens` are one name.
pub(crate) fn plain(name: &str) -> String {
    let letters = name.chars().filter(|letter| !matches!(letter, '_' | '-' | ' ' | '\u{feff}'));
    letters.flat_map(char::to_lowercase).collect()
}

/// The role a column name has and its rank among the names of that role: 0 is the best.
pub(crate) fn recognise(name: &str) -> Option<(Role, usize)> {
    let name = plain(name);
    Role::all().find_map(|role| {
        let rank = role.names().iter().position(|known| plain(known) == name)?;
        Some((role, rank))
    })
}

/// The usual column names for a scope kind: `user`, `user_id`, `user_name` and a few words of their own.
pub(crate) fn scope_names(kind: &str) -> Vec<String> {
    let mut names = vec![kind.to_owned(), format!("{kind}_id"), format!("{kind}_name")];
    let others: &[&str] = match kind {
        "user" => &["end_user", "user_email"],
        "org" => &["organization", "organisation", "organization_id", "organisation_id"],
        "key" => &["api_key", "api_key_id", "api_key_name"],
        _ => &[],
    };
    names.extend(others.iter().map(|&name| name.to_owned()));
    names
}

/// Whether the input column's count already holds the cached tokens: providers differ, and the columns' names tell
/// which provider's convention a log follows.
///
/// - `prompt_tokens` and its kin include them. OpenAI, "Prompt caching" guide and the chat completion object:
///   `prompt_tokens_details.cached_tokens` says how many *of the prompt tokens* were a cache hit. LiteLLM, "Prompt
///   Caching": `prompt_tokens` are all prompt tokens, cache-miss and cache-hit, also for Anthropic models.
///   `ContextTokens` is the whole context of a call (Azure LLM inference trace 2023).
/// - `input_tokens` beside `cached_tokens` or `cached_input_tokens` includes them: OpenAI's Responses API, whose
///   `input_tokens_details.cached_tokens` is a breakdown of `input_tokens`.
/// - `input_tokens` beside `cache_read_input_tokens` or `cache_creation_input_tokens` does not: Anthropic, "Prompt
///   caching", "Tracking cache performance": total input = `cache_read_input_tokens` +
///   `cache_creation_input_tokens` + `input_tokens`, the last being only what follows the last cache breakpoint.
///
/// Of a dotted path the last name counts. `None`: the names do not tell, and the user must.
pub(crate) fn cached_tokens_convention(input: &str, cached: &[&str]) -> Option<CachedTokens> {
    if cached.is_empty() {
        return Some(CachedTokens::Excluded);
    }
    let last = |path: &str| plain(path.rsplit('.').next().unwrap_or(path));
    let input = last(input);
    if ["prompttokens", "contexttokens", "tokensprompt"].contains(&input.as_str()) {
        return Some(CachedTokens::Included);
    }
    let mut conventions = cached.iter().map(|name| {
        let name = last(name);
        let recognised = recognise(&name).is_some();
        match (recognised, name.contains("cached")) {
            (false, _) => None,
            (true, true) => Some(CachedTokens::Included),
            (true, false) => Some(CachedTokens::Excluded),
        }
    });
    let first = conventions.next()??;
    conventions.all(|other| other == Some(first)).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::{CachedTokens, NAMES, Role, cached_tokens_convention, duration_unit_ms, plain, recognise};

    #[test]
    fn the_table_of_names_is_in_the_order_of_the_roles_and_has_no_name_twice() {
        let mut seen = std::collections::HashSet::new();
        for (position, (role, word, names)) in NAMES.iter().enumerate() {
            assert_eq!(role.index(), position);
            assert_eq!(Role::from_word(word), Some(*role));
            assert!(names.iter().all(|name| seen.insert(plain(name))), "{names:?}");
        }
    }

    #[test]
    fn names_of_real_logs_are_recognised_in_any_spelling() {
        for (name, role) in [
            ("TIMESTAMP", Role::Timestamp),
            ("createdAt", Role::Timestamp),
            ("startTime", Role::Timestamp),
            ("ContextTokens", Role::Input),
            ("Prompt Tokens", Role::Input),
            ("GeneratedTokens", Role::Output),
            ("cache_read_input_tokens", Role::CacheRead),
            ("cache_creation_input_tokens", Role::CacheWrite),
            ("model_name", Role::Model),
            ("total_tokens", Role::Total),
        ] {
            assert_eq!(recognise(name).map(|(role, _)| role), Some(role), "{name}");
        }
        assert_eq!(recognise("max_tokens"), None);
    }

    #[test]
    fn each_providers_convention_for_cached_tokens_follows_from_the_pair_of_names() {
        use CachedTokens::{Excluded, Included};
        for (input, cached, expected) in [
            ("prompt_tokens", &["cached_tokens"][..], Some(Included)),
            ("prompt_tokens", &["cache_read_input_tokens", "cache_creation_input_tokens"], Some(Included)),
            ("ContextTokens", &["cached_tokens"], Some(Included)),
            ("input_tokens", &["cached_tokens"], Some(Included)),
            ("input_tokens", &["cached_input_tokens"], Some(Included)),
            ("input_tokens", &["cache_read_input_tokens"], Some(Excluded)),
            ("input_tokens", &["cache_read_input_tokens", "cache_creation_input_tokens"], Some(Excluded)),
            ("inputTokens", &["cacheReadInputTokens"], Some(Excluded)),
            ("input_tokens", &[], Some(Excluded)),
            ("input_tokens", &["cached_tokens", "cache_creation_input_tokens"], None),
            ("tokens_a", &["tokens_b"], None),
        ] {
            assert_eq!(cached_tokens_convention(input, cached), expected, "{input} {cached:?}");
        }
    }

    #[test]
    fn the_unit_of_a_duration_is_seconds_unless_its_name_says_milliseconds() {
        for (name, unit_ms) in [
            ("duration_ms", 1),
            ("Latency MS", 1),
            ("durationMs", 1),
            ("elapsed-milliseconds", 1),
            ("latency", 1_000),
            ("duration_seconds", 1_000),
            ("items", 1_000),
        ] {
            assert_eq!(duration_unit_ms(name), unit_ms, "{name}");
        }
    }
}
