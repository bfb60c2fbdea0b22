//! What a call may cost, before anyone knows.

use super::amount::{Amounts, Meter};
use super::catalogue::PriceCatalogue;
use super::money::Money;
use super::usage::{TokenKind, Usage};
use crate::error::Result;

/// The amounts to reserve for a request whose cost is known only when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    amounts: Amounts,
    /// The meter of which the store decides the amount, and whether up to the one in `amounts`.
    part: Option<(Meter, bool)>,
}

impl Estimate {
    /// A known or flat amount of money, in decimal dollars: `Estimate::money("0.12")?`.
    ///
    /// # Errors
    /// `Invalid` when the text is no amount of money.
    pub fn money(text: &str) -> Result<Self> {
        Ok(text.parse::<Money>()?.into())
    }

    /// The most that a call can cost: its input, and up to `max_output_tokens` of the dearest kind that it can generate by the
    /// model's price, in this service tier and at this length of prompt. That is plain output for most models, and reasoning
    /// or audio where these cost more. Holds the same number of tokens, too. For a call that will not think or speak
    /// [`PriceCatalogue::cost`] prices less.
    ///
    /// # Errors
    /// `UnknownModel` when the catalogue has no price for the model, `Invalid` when a price is missing or too large.
    pub fn priced(catalogue: &PriceCatalogue, model: &str, input: &Usage, max_output_tokens: u64) -> Result<Self> {
        let dearest = catalogue.get(model).map_or(TokenKind::Output, |price| price.dearest_output(input));
        let usage = input.generating(dearest, max_output_tokens);
        let tokens = usage.total_tokens();
        Ok(Amounts::cost(catalogue.cost(model, &usage)?).tokens(tokens).into())
    }

    /// All the money that is left of the tightest limit, decided by the store in the same step: for an agent that may use
    /// up what there is. Refused when nothing is left.
    #[must_use]
    pub fn remaining() -> Self {
        Self { amounts: Amounts::cost(Money::ZERO), part: Some((Meter::COST, false)) }
    }

    /// What there is of a meter, up to an amount, decided by the store in the same step. Refused when nothing is left.
    #[must_use]
    pub fn at_most(meter: Meter, amount: impl Into<i128>) -> Self {
        Self { amounts: Amounts::new().with(meter.clone(), amount), part: Some((meter, true)) }
    }

    /// And an amount of another meter.
    #[must_use]
    pub fn with(mut self, meter: Meter, amount: impl Into<i128>) -> Self {
        self.amounts = self.amounts.with(meter, amount);
        self
    }

    pub(crate) fn amounts(&self) -> &Amounts {
        &self.amounts
    }

    /// The meter of which what there is is asked, and whether up to a bound.
    pub(crate) fn part(&self) -> Option<(&Meter, bool)> {
        self.part.as_ref().map(|(meter, bounded)| (meter, *bounded))
    }
}

impl From<Amounts> for Estimate {
    fn from(amounts: Amounts) -> Self {
        Self { amounts, part: None }
    }
}

impl From<Money> for Estimate {
    fn from(cost: Money) -> Self {
        Amounts::cost(cost).into()
    }
}
