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

    /// The count of one kind.
    #[must_use]
    pub fn tokens(&self, kind: TokenKind) -> u64 {
        match kind {
            TokenKind::Input => self.input,
            TokenKind::CacheRead => self.cache_read,
            TokenKind::CacheWrite5m => self.cache_write_5m,
            TokenKind::CacheWrite1h => self.cache_write_1h,
            TokenKind::AudioInput => self.audio_input,
            TokenKind::AudioCacheRead => self.audio_cache_read,
            TokenKind::AudioCacheWrite => self.audio_cache_write,
            TokenKind::Output => self.output,
            TokenKind::Reasoning => self.reasoning,
            TokenKind::AudioOutput => self.audio_output,
        }
    }

    /// And so many generated tokens of one kind; nothing for a kind that prompts consist of. Saturates at `u64::MAX`.
    pub(super) fn generating(mut self, kind: TokenKind, tokens: u64) -> Self {
        let count = match kind {
            TokenKind::Reasoning => &mut self.reasoning,
            TokenKind::AudioOutput => &mut self.audio_output,
            TokenKind::Output => &mut self.output,
            _ => return self,
        };
        *count = count.saturating_add(tokens);
        self
    }

    /// All tokens of the prompt, cached or not, text or audio. Saturates at `u64::MAX`.
    ///
    /// This is the length that context tiers ("above 200,000 tokens") are decided by.
    #[must_use]
    pub fn prompt_tokens(&self) -> u64 {
        self.sum(&TokenKind::PROMPT)
    }

    /// All generated tokens: text, reasoning and audio. Saturates at `u64::MAX`.
    #[must_use]
    pub fn completion_tokens(&self) -> u64 {
        self.sum(&TokenKind::COMPLETION)
    }

    /// Prompt and generated tokens together. Saturates at `u64::MAX`.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens().saturating_add(self.completion_tokens())
    }

    fn sum(&self, kinds: &[TokenKind]) -> u64 {
        kinds.iter().fold(0, |sum, kind| sum.saturating_add(self.tokens(*kind)))
    }
}

/// The kinds of token that are counted and priced apart, named like the fields of [`Usage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TokenKind {
    /// [`Usage::input`]
    Input,
    /// [`Usage::cache_read`]
    CacheRead,
    /// [`Usage::cache_write_5m`]
    CacheWrite5m,
    /// [`Usage::cache_write_1h`]
    CacheWrite1h,
    /// [`Usage::audio_input`]
    AudioInput,
    /// [`Usage::audio_cache_read`]
    AudioCacheRead,
    /// [`Usage::audio_cache_write`]
    AudioCacheWrite,
    /// [`Usage::output`]
    Output,
    /// [`Usage::reasoning`]
    Reasoning,
    /// [`Usage::audio_output`]
    AudioOutput,
}

impl TokenKind {
    /// The kinds a prompt consists of.
    pub const PROMPT: [Self; 7] = [
        Self::Input,
        Self::CacheRead,
        Self::CacheWrite5m,
        Self::CacheWrite1h,
        Self::AudioInput,
        Self::AudioCacheRead,
        Self::AudioCacheWrite,
    ];
    /// The kinds a completion consists of.
    pub const COMPLETION: [Self; 3] = [Self::Output, Self::Reasoning, Self::AudioOutput];
    pub(super) const COUNT: usize = Self::PROMPT.len() + Self::COMPLETION.len();
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Input => "input",
            Self::CacheRead => "cache_read",
            Self::CacheWrite5m => "cache_write_5m",
            Self::CacheWrite1h => "cache_write_1h",
            Self::AudioInput => "audio_input",
            Self::AudioCacheRead => "audio_cache_read",
            Self::AudioCacheWrite => "audio_cache_write",
            Self::Output => "output",
            Self::Reasoning => "reasoning",
            Self::AudioOutput => "audio_output",
        })
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

impl ServiceTier {
    pub(super) const COUNT: usize = 4;
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
