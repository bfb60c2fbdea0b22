//! The prices of many models, read from a price file in LiteLLM's layout.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::money::Money;
use super::price::{Cost, Price};
use super::price_field::{Field, parse_rate};
use super::usage::Usage;
use crate::{Error, ErrorKind, Result};

/// How many names [`PriceCatalogue::nearest`] gives at most.
const NEAREST: usize = 3;
/// Longer names are compared by their start only, so that a hostile one costs nothing.
const NAME_CHARS: usize = 100;

/// Prices by model name.
///
/// The file format is LiteLLM's `model_prices_and_context_window.json`: an object of models, each an object of fields,
/// prices in dollars per token. Prices per token are kept exactly; what else may cost money (images, seconds, web
/// searches, regional surcharges) is not priced and listed by [`PriceCatalogue::unpriced`].
///
/// ```
/// use costguard::model::{PriceCatalogue, Usage};
///
/// let prices = PriceCatalogue::from_json(
///     r#"{"claude-sonnet-4-5": {"input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05}}"#,
/// )?;
/// assert_eq!(prices.cost("claude-sonnet-4-5", &Usage::new(1000, 500))?.to_string(), "0.0105");
/// # Ok::<(), costguard::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PriceCatalogue {
    prices: BTreeMap<String, Price>,
    unpriced: Vec<Unpriced>,
}

/// Something in a price file that costs money and that no cost includes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unpriced {
    /// The model.
    pub model: String,
    /// The field that is not applied; `None` when the model has no price per token at all.
    pub field: Option<String>,
}

impl fmt::Display for Unpriced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.field {
            Some(field) => write!(f, "{}: `{field}` is not priced", self.model),
            None => write!(f, "{}: no price per token", self.model),
        }
    }
}

impl PriceCatalogue {
    /// A catalogue without models, to be filled with [`PriceCatalogue::insert`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a price file's text.
    ///
    /// A context tier begins above its number of tokens, for xAI's models at it (LiteLLM,
    /// `litellm/litellm_core_utils/llm_cost_calc/utils.py`, `_INCLUSIVE_THRESHOLD_PROVIDERS`). The entry `sample_spec`
    /// of LiteLLM's own file is documentation and left out.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for text that is not such an object, and for a price that is negative, too large or not
    /// a number, or a name that occurs twice; it names the model and the field.
    pub fn from_json(text: &str) -> Result<Self> {
        let models: Entries<'_> = serde_json::from_str(text).map_err(|error| {
            Error::with_source(
                ErrorKind::Invalid,
                format!("not a price file: {error}; expected an object of models, as LiteLLM publishes it"),
                error,
            )
        })?;
        let mut catalogue = Self::new();
        for (model, entry) in models.0 {
            if model != "sample_spec" {
                let price = catalogue.read_entry(&model, entry)?;
                if catalogue.prices.insert(model.clone(), price).is_some() {
                    return Err(Error::invalid(format!("price file: the model {model:?} occurs twice: remove one")));
                }
            }
        }
        Ok(catalogue)
    }

    /// Reads a price file.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] when the file cannot be read, else as [`PriceCatalogue::from_json`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let message = format!("cannot read the price file {}: {error}", path.display());
            Error::with_source(ErrorKind::Io, message, error)
        })?;
        Self::from_json(&text).map_err(|error| Error::new(error.kind(), format!("{}: {error}", path.display())))
    }

    fn read_entry(&mut self, model: &str, entry: &RawValue) -> Result<Price> {
        let fields: Entries<'_> = serde_json::from_str(entry.get())
            .map_err(|error| Error::invalid(format!("price file: the entry of {model:?} cannot be read: {error}")))?;
        let inclusive = fields.0.iter().any(|(name, raw)| name == "litellm_provider" && raw.get() == "\"xai\"");
        let mut price = Price::default();
        let mut seen: BTreeMap<_, (String, Money)> = BTreeMap::new();
        for (name, raw) in fields.0 {
            let fault = |what: &str| Error::invalid(format!("price file: {model:?}: `{name}` {what}"));
            match Field::parse(&name) {
                Field::Price { kind, tier, above_tokens } => {
                    let Some(rate) = parse_rate(raw).map_err(|what| fault(&what))? else { continue };
                    let from_tokens = above_tokens.map(|above| above.saturating_add(u64::from(!inclusive)));
                    // Two spellings of one price may stand side by side, as long as they agree.
                    if let Some((other, known)) = seen.insert((kind, tier, from_tokens), (name.clone(), rate))
                        && known != rate
                    {
                        return Err(fault(&format!("contradicts `{other}`: remove one")));
                    }
                    price.set(kind, tier, from_tokens, rate).map_err(|error| fault(&error.to_string()))?;
                }
                Field::Unpriced if raw.get() != "null" => {
                    self.unpriced.push(Unpriced { model: model.to_owned(), field: Some(name) });
                }
                Field::Unpriced | Field::Metadata => {}
            }
        }
        if price.is_empty() {
            self.unpriced.push(Unpriced { model: model.to_owned(), field: None });
        }
        Ok(price)
    }

    /// Sets the price of a model, giving back the one it replaces.
    pub fn insert(&mut self, model: impl Into<String>, price: Price) -> Option<Price> {
        let model = model.into();
        // What the file said about the model no longer matters.
        self.unpriced.retain(|unpriced| unpriced.model != model);
        self.prices.insert(model, price)
    }

    /// The price of a model.
    ///
    /// A name that is not listed is looked up once more without each leading `provider/` (`anthropic/claude-opus-5`
    /// as `claude-opus-5`). List the full name when a reseller's price differs.
    #[must_use]
    pub fn get(&self, model: &str) -> Option<&Price> {
        std::iter::successors(Some(model), |name| Some(name.split_once('/')?.1)).find_map(|name| self.prices.get(name))
    }

    /// What one call costs: the total of [`PriceCatalogue::quote`].
    ///
    /// # Errors
    /// As [`PriceCatalogue::quote`].
    pub fn cost(&self, model: &str, usage: &Usage) -> Result<Money> {
        self.quote(model, usage).map(|cost| cost.total)
    }

    /// What one call costs, in parts.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownModel`] for a model that is not listed, naming the nearest ones that are; else as
    /// [`Price::quote`], naming the model.
    pub fn quote(&self, model: &str, usage: &Usage) -> Result<Cost> {
        let price = self.get(model).ok_or_else(|| self.unknown(model))?;
        price.quote(usage).map_err(|error| Error::new(error.kind(), format!("{}: {error}", excerpt(model))))
    }

    /// The listed names that look most like this one, the likeliest first; none when nothing is near. A name that this one goes on
    /// from, as with a date (`gpt-4o` of `gpt-4o-2024-08-06`), is near.
    #[must_use]
    pub fn nearest(&self, model: &str) -> Vec<String> {
        let name = excerpt(model).to_lowercase();
        let most_edits = (name.chars().count() / 3).max(2);
        let goes_on_from = |known: &str| {
            let names = std::iter::successors(Some(name.as_str()), |name| Some(name.split_once('/')?.1));
            let mut rests = names.filter_map(|name| name.strip_prefix(known));
            !known.is_empty() && rests.any(|rest| !rest.starts_with(char::is_alphanumeric))
        };
        let mut near: Vec<_> = self
            .prices
            .keys()
            .map(|known| (strsim::damerau_levenshtein(&name, &excerpt(known).to_lowercase()), known))
            .filter(|(edits, known)| {
                let known = known.to_lowercase();
                *edits <= most_edits || (name.len() >= 4 && known.contains(&name)) || goes_on_from(&known)
            })
            .collect();
        near.sort();
        near.into_iter().take(NEAREST).map(|(_, known)| known.clone()).collect()
    }

    fn unknown(&self, model: &str) -> Error {
        let nearest = self.nearest(model);
        let hint = if nearest.is_empty() {
            "none of the listed names is near".to_owned()
        } else {
            format!("did you mean {}?", nearest.join(", "))
        };
        Error::new(
            ErrorKind::UnknownModel,
            format!("no price for the model {:?}: {hint} (or add its price to the catalogue)", excerpt(model)),
        )
    }

    /// What the price files mention and no cost includes.
    #[must_use]
    pub fn unpriced(&self) -> &[Unpriced] {
        &self.unpriced
    }

    /// The listed model names, sorted.
    pub fn models(&self) -> impl Iterator<Item = &str> {
        self.prices.keys().map(String::as_str)
    }

    /// How many models are listed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prices.len()
    }

    /// Whether no model is listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prices.is_empty()
    }
}

/// The start of a name: enough to compare and to show.
fn excerpt(name: &str) -> &str {
    name.char_indices().nth(NAME_CHARS).map_or(name, |(end, _)| &name[..end])
}

/// An object's fields in their order, with the text of their values; a map would drop a name that occurs twice.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor(PhantomData))
    }
}

struct EntriesVisitor<'a>(PhantomData<&'a ()>);

impl<'de: 'a, 'a> Visitor<'de> for EntriesVisitor<'a> {
    type Value = Entries<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Entries(entries))
    }
}
