//! What one model charges, and the exact cost of one call.

use std::fmt;

use super::money::Money;
use super::usage::{ServiceTier, TokenKind, Usage};
use crate::{Error, ErrorKind, Result};

const TOKENS_PER_PRICE: u128 = 1_000_000;

/// The prices of one model, per million tokens, each a whole number of nano-dollars.
///
/// Prices may differ by [`TokenKind`], by [`ServiceTier`], and for calls whose prompt exceeds a number of tokens. For
/// a call, the price of a kind is looked up like this:
///
/// 1. The longest context tier that the whole prompt exceeds (all kinds together, cached or not) prices the whole
///    call, output included. This is Anthropic's rule ("If your request exceeds 200K input tokens, all tokens incur
///    premium pricing", "The 200K threshold is based solely on input tokens (including cache reads/writes)":
///    <https://platform.claude.com/docs/en/about-claude/pricing>, long context), and that of OpenAI, Google and
///    LiteLLM's calculator (`litellm/litellm_core_utils/llm_cost_calc/utils.py`).
/// 2. Within it, the price for the call's service tier. Where only one of the two is known (long context at the
///    standard tier, or the service tier at short context), the dearer of them.
/// 3. A kind without a price in a variant has its standard price. Reasoning follows the output price of the variant,
///    and a one-hour cache write never costs less than a five-minute one there.
/// 4. A kind without any price: cache reads and writes cost the input price (reads are then not discounted; writes
///    are free of surcharge with providers that list none), one-hour writes the five-minute price, reasoning the
///    output price, cached audio the audio input price. Other kinds have no sensible stand-in: a call that used them
///    is an error, not a guess.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    short: Rates,
    /// Sorted by length.
    long: Vec<LongContext>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LongContext {
    /// The shortest prompt that these prices apply to, in tokens.
    from_tokens: u64,
    rates: Rates,
}

/// Never negative; by service tier and kind.
type Rates = [[Option<Money>; TokenKind::COUNT]; ServiceTier::COUNT];

/// A price and how closely it fits the call: a closer one of the parent kind may take precedence.
#[derive(Clone, Copy)]
struct Match {
    rate: Money,
    closeness: u8,
}

impl Price {
    /// The plain formula: `input` and `output` dollars per million tokens, in every tier.
    ///
    /// cost = input / 1e6 x input price + output / 1e6 x output price
    ///
    /// ```
    /// use costguard::model::{Price, Usage};
    ///
    /// let price = Price::per_million("0.003".parse()?, "0.015".parse()?)?;
    /// let cost = price.quote(&Usage::new(1000, 500))?;
    /// assert_eq!(cost.input.to_string(), "0.000003");
    /// assert_eq!(cost.output.to_string(), "0.0000075");
    /// assert_eq!(cost.total.to_string(), "0.0000105");
    /// assert_eq!(cost.cents_rounded_up(), 1);
    /// # Ok::<(), costguard::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when a price is negative.
    pub fn per_million(input: Money, output: Money) -> Result<Self> {
        Self::default().with(TokenKind::Input, input)?.with(TokenKind::Output, output)
    }

    /// Sets the standard price of one kind, in dollars per million tokens.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the price is negative.
    pub fn with(self, kind: TokenKind, per_million: Money) -> Result<Self> {
        self.with_tier(ServiceTier::Standard, kind, per_million)
    }

    /// Sets the price of one kind in a service tier, in dollars per million tokens.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the price is negative.
    pub fn with_tier(mut self, tier: ServiceTier, kind: TokenKind, per_million: Money) -> Result<Self> {
        self.set(kind, tier, None, per_million)?;
        Ok(self)
    }

    /// Sets the price of one kind for calls whose prompt has more than `above_tokens` tokens.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] when the price is negative.
    pub fn with_long_context(
        mut self,
        above_tokens: u64,
        tier: ServiceTier,
        kind: TokenKind,
        per_million: Money,
    ) -> Result<Self> {
        self.set(kind, tier, Some(above_tokens.saturating_add(1)), per_million)?;
        Ok(self)
    }

    pub(super) fn set(
        &mut self,
        kind: TokenKind,
        tier: ServiceTier,
        from_tokens: Option<u64>,
        rate: Money,
    ) -> Result<()> {
        if rate < Money::ZERO {
            return Err(Error::invalid(format!("the price of {kind} tokens is negative ({rate}): prices start at 0")));
        }
        let rates = match from_tokens {
            None => &mut self.short,
            Some(from_tokens) => {
                let at = match self.long.binary_search_by_key(&from_tokens, |long| long.from_tokens) {
                    Ok(at) => at,
                    Err(at) => {
                        self.long.insert(at, LongContext { from_tokens, rates: Rates::default() });
                        at
                    }
                };
                &mut self.long[at].rates
            }
        };
        rates[tier as usize][kind as usize] = Some(rate);
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.long.is_empty() && self.short == Rates::default()
    }

    /// The price per million tokens of `kind` for a call of this service tier and prompt length; `None` when there is
    /// neither a price nor a stand-in.
    #[must_use]
    pub fn rate(&self, kind: TokenKind, tier: ServiceTier, prompt_tokens: u64) -> Option<Money> {
        let long = self.long.iter().rfind(|long| long.from_tokens <= prompt_tokens).map(|long| &long.rates);
        self.resolve(kind, tier, long).map(|found| found.rate)
    }

    fn resolve(&self, kind: TokenKind, tier: ServiceTier, long: Option<&Rates>) -> Option<Match> {
        let own = self.listed(kind, tier, long);
        let parent = || self.resolve(stand_in(kind)?, tier, long);
        let Some(own) = own else { return parent() };
        match kind {
            TokenKind::Reasoning => parent().filter(|output| output.closeness > own.closeness).or(Some(own)),
            TokenKind::CacheWrite1h => {
                let dearer = parent().filter(|short| short.closeness > own.closeness && short.rate > own.rate);
                dearer.or(Some(own))
            }
            _ => Some(own),
        }
    }

    fn listed(&self, kind: TokenKind, tier: ServiceTier, long: Option<&Rates>) -> Option<Match> {
        let find =
            |rates: &Rates, tier, closeness| rates[tier as usize][kind as usize].map(|rate| Match { rate, closeness });
        let short = find(&self.short, tier, 1).or_else(|| find(&self.short, ServiceTier::Standard, 0));
        let Some(long) = long else { return short };
        if let Some(exact) = find(long, tier, 3) {
            return Some(exact);
        }
        let dearer = find(long, ServiceTier::Standard, 2).map(|long| {
            let rate = short.map_or(long.rate, |short| short.rate.max(long.rate));
            Match { rate, ..long }
        });
        dearer.or(short)
    }

    /// The kind of token that costs most of those that a call like this one can generate.
    pub(super) fn dearest_output(&self, usage: &Usage) -> TokenKind {
        let rate = |kind: &TokenKind| self.rate(*kind, usage.tier, usage.prompt_tokens());
        // The last of those that cost the same: plain output.
        TokenKind::COMPLETION.into_iter().rev().max_by_key(rate).unwrap_or(TokenKind::Output)
    }

    /// The exact cost of one call.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] names a kind of token that was used but has no price; [`ErrorKind::Overflow`] when the
    /// cost is beyond the range of [`Money`].
    pub fn quote(&self, usage: &Usage) -> Result<Cost> {
        let input = self.numerator(usage, &TokenKind::PROMPT)?;
        let output = self.numerator(usage, &TokenKind::COMPLETION)?;
        let total = rounded_up(input.checked_add(output).ok_or_else(too_much)?)?;
        let input = rounded_up(input)?;
        // Cannot overflow: the sum of two amounts is rounded to no less than the first one rounded.
        let output = total.checked_sub(input).ok_or_else(too_much)?;
        Ok(Cost { input, output, total })
    }

    /// The cost of these kinds in millionths of a nano-dollar.
    fn numerator(&self, usage: &Usage, kinds: &[TokenKind]) -> Result<u128> {
        let prompt_tokens = usage.prompt_tokens();
        let used = kinds.iter().map(|kind| (*kind, usage.tokens(*kind))).filter(|(_, tokens)| *tokens > 0);
        used.into_iter().try_fold(0_u128, |sum, (kind, tokens)| {
            let rate = self.rate(kind, usage.tier, prompt_tokens).ok_or_else(|| {
                Error::invalid(format!(
                    "no price for {kind} tokens, and the call used {tokens}: add one with `Price::with`"
                ))
            })?;
            // Below 2^64 x 2^63, so the product fits.
            sum.checked_add(u128::from(tokens) * u128::from(rate.nanos().unsigned_abs())).ok_or_else(too_much)
        })
    }
}

/// The kind whose price a kind without any has.
fn stand_in(kind: TokenKind) -> Option<TokenKind> {
    match kind {
        TokenKind::CacheRead | TokenKind::CacheWrite5m => Some(TokenKind::Input),
        TokenKind::CacheWrite1h => Some(TokenKind::CacheWrite5m),
        TokenKind::AudioCacheRead | TokenKind::AudioCacheWrite => Some(TokenKind::AudioInput),
        TokenKind::Reasoning => Some(TokenKind::Output),
        TokenKind::Input | TokenKind::Output | TokenKind::AudioInput | TokenKind::AudioOutput => None,
    }
}

fn rounded_up(millionths: u128) -> Result<Money> {
    i64::try_from(millionths.div_ceil(TOKENS_PER_PRICE)).map(Money::from_nanos).map_err(|_| too_much())
}

fn too_much() -> Error {
    Error::new(ErrorKind::Overflow, format!("the cost of the call is beyond {}: check the token counts", Money::MAX))
}

/// The cost of one call. The total is summed exactly over all kinds of token and rounded up once, to the nano-dollar.
///
/// The parts add up to the total: `input` is itself rounded up, and `output` is the rest, so it may be up to one
/// nano-dollar less than its exact value rounded up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Cost {
    /// The prompt, cached or not, text and audio.
    pub input: Money,
    /// The completion: text, reasoning and audio.
    pub output: Money,
    /// What to charge.
    pub total: Money,
}

impl Cost {
    /// The total in whole cents, rounded up.
    #[must_use]
    pub fn cents_rounded_up(&self) -> i64 {
        self.total.cents_rounded_up()
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (input {}, output {})", self.total, self.input, self.output)
    }
}
