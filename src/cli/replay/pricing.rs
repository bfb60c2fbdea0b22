//! What each call of a log costs.

use std::path::Path;

use anyhow::Context as _;
use costguard::ErrorKind;
use costguard::model::{Money, PriceCatalogue, Usage};

use super::log::LogRow;
use super::options::UnknownModel;

/// The model of a row that does not say, where costs come from the log.
const NO_MODEL: &str = "(unnamed)";

/// Where the costs of calls come from.
#[derive(Debug)]
pub(crate) enum Pricing {
    /// From tokens and a price file.
    Catalogue { prices: Box<PriceCatalogue>, unknown: Option<UnknownModel> },
    /// From the log itself.
    Recorded,
}

/// What one call costs, or why it has no cost.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Priced {
    Cost(Money),
    /// Its model has no price, and such calls are skipped.
    Skipped,
    /// Its model has no price.
    UnknownModel(String),
    /// The row cannot be priced.
    Bad(String),
}

impl Pricing {
    pub(crate) fn open(prices: Option<&Path>, unknown: Option<UnknownModel>) -> anyhow::Result<Self> {
        let Some(path) = prices else { return Ok(Self::Recorded) };
        let prices =
            PriceCatalogue::from_file(path).with_context(|| format!("cannot use the prices {}", path.display()))?;
        Ok(Self::Catalogue { prices: Box::new(prices), unknown })
    }

    /// The model a row is counted under.
    pub(crate) fn model<'a>(row: &'a LogRow, default: Option<&'a str>) -> &'a str {
        row.model.as_deref().or(default).unwrap_or(NO_MODEL)
    }

    /// Prices a row, by another usage than its own where one is given.
    pub(crate) fn price(&self, row: &LogRow, model: &str, usage: Option<Usage>) -> Priced {
        let (prices, unknown) = match self {
            Self::Recorded => {
                return row.cost.map_or_else(|| Priced::Bad("the row has no cost".to_owned()), Priced::Cost);
            }
            Self::Catalogue { prices, unknown } => (prices, unknown),
        };
        match prices.cost(model, &usage.or(row.usage).unwrap_or_default()) {
            Ok(cost) => Priced::Cost(cost),
            Err(error) if error.kind() == ErrorKind::UnknownModel => match unknown {
                Some(UnknownModel::Skip) => Priced::Skipped,
                Some(UnknownModel::Charge(amount)) => Priced::Cost(*amount),
                None => Priced::UnknownModel(error.to_string()),
            },
            Err(error) => Priced::Bad(error.to_string()),
        }
    }
}
