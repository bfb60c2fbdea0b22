//! What one model call consumed, in tokens, each token counted under exactly one kind.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The token counts of one model call. The kinds are disjoint: a token is counted once, under the kind it is priced by.
///
/// Providers do not count this way (cached tokens are part of OpenAI's prompt count, reasoning is part of everybody's
/// output count), so read their objects with [`Usage::from_json`], which takes the parts out of the totals.
///
/// ```
/// use costguard::model::Usage;
///
/// let usage = Usage { cache_read: 900, ..Usage::new(100, 50) };
/// assert_eq!(usage.prompt_tokens(), 1_000);
/// assert_eq!(usage.total_tokens(), 1_050);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Usage {
    /// Prompt tokens that are neither audio nor read from nor written to a cache.
    pub input: u64,
    /// Prompt tokens read from the provider's cache.
    pub cache_read: u64,
    /// Prompt tokens written to a cache that lives five minutes, the default (and the only kind outside Anthropic).
    pub cache_write_5m: u64,
    /// Prompt tokens written to a cache that lives an hour.
    pub cache_write_1h: u64,
    /// Audio tokens of the prompt, apart from cached ones.
    pub audio_input: u64,
    /// Audio tokens of the prompt read from the provider's cache.
    pub audio_cache_read: u64,
    /// Audio tokens of the prompt written to the provider's cache.
    pub audio_cache_write: u64,
    /// Generated tokens that are visible text: neither reasoning nor audio.
    pub output: u64,
    /// Generated reasoning tokens.
    pub reasoning: u64,
    /// Generated audio tokens.
    pub audio_output: u64,
    /// The service tier that the call was processed in.
    pub tier: ServiceTier,
}

impl Usage {
    /// A plain call: `input` prompt tokens, `output` generated tokens, nothing cached.
    #[must_use]
    pub fn new(input: u64, output: u64) -> Self {
        Self { input, output, ..Self::default() }
    }

    /// The same counts in another service tier.
    #[must_use]
    pub fn with_tier(self, tier: ServiceTier) -> Self {
        Self { tier, ..self }
    }

    /// All tokens of the prompt, cached or not, text or audio. Saturates at `u64::MAX`.
    ///
    /// This is the length that context tiers ("above 200,000 tokens") are decided by.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        [
            self.input,
            self.cache_read,
            self.cache_write_5m,
            self.cache_write_1h,
            self.audio_input,
            self.audio_cache_read,
            self.audio_cache_write,
        ]
        .into_iter()
        .fold(0, u64::saturating_add)
    }

    /// All generated tokens: text, reasoning and audio. Saturates at `u64::MAX`.
    #[must_use]
    pub fn completion_tokens(&self) -> u64 {
        self.output.saturating_add(self.reasoning).saturating_add(self.audio_output)
    }

    /// Prompt and generated tokens together. Saturates at `u64::MAX`.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens().saturating_add(self.completion_tokens())
    }
}

/// The service tier a call was processed in; providers sell the same model at another price in each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceTier {
    /// The list price.
    #[default]
    Standard,
    /// Asynchronous batches.
    Batch,
    /// Slower at a lower price.
    Flex,
    /// Faster at a higher price.
    Priority,
}

impl fmt::Display for ServiceTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Standard => "standard",
            Self::Batch => "batch",
            Self::Flex => "flex",
            Self::Priority => "priority",
        })
    }
}

impl FromStr for ServiceTier {
    type Err = Error;

    /// Reads the names that OpenAI and Anthropic report as `service_tier`.
    ///
    /// `default`, `auto` and `scale` (capacity paid for in advance) are [`ServiceTier::Standard`].
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for another name: its price is not known.
    fn from_str(text: &str) -> Result<Self> {
        match text {
            "standard" | "default" | "auto" | "scale" => Ok(Self::Standard),
            "batch" => Ok(Self::Batch),
            "flex" => Ok(Self::Flex),
            "priority" => Ok(Self::Priority),
            _ => Err(Error::invalid(format!(
                "the service tier {text:?} is not known: use standard, batch, flex or priority"
            ))),
        }
    }
}
