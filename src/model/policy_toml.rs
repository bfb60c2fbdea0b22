//! Policies from TOML.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::amount::Meter;
use super::policy::{Counter, Fraction, Limit, Policy};
use super::window::{Per, Window};
use crate::error::{Error, ErrorKind, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    limit: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    scope: Spanned<String>,
    meter: Spanned<String>,
    limit: Option<Spanned<toml::Value>>,
    per: Spanned<String>,
    timezone: Option<Spanned<String>>,
    warn_at: Option<Spanned<Vec<f64>>>,
}

impl Policy {
    /// Reads a policy from TOML, one `[[limit]]` table a limit:
    ///
    /// ```
    /// let policy = costguard::Policy::from_toml(r#"
    ///     [[limit]]
    ///     scope = "user"             # the kind of scope it counts against
    ///     meter = "cost"             # cost, tokens, requests, or a name of your own
    ///     limit = "75.00"            # dollars in quotes for cost, a whole number elsewhere; left out: only counts
    ///     per = "day"                # minute hour day week month quarter year total, or 90s, 15m, 36h, 7d
    ///     timezone = "Europe/Berlin" # default UTC
    ///     warn_at = [0.5, 0.8]       # shares of the limit to report
    /// "#)?;
    /// # Ok::<(), costguard::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Invalid`, naming line and field.
    pub fn from_toml(text: &str) -> Result<Self> {
        let document: Document = toml::from_str(text).map_err(|err| {
            let line = err.span().map_or(1, |span| line_of(text, span.start));
            Error::invalid(format!("line {line}: {}", err.message().trim_end()))
        })?;
        let limits: Result<Vec<_>> = document.limit.iter().map(|entry| entry.read(text)).collect();
        Policy::new(limits?)
    }

    /// Reads a policy from a TOML file; see [`from_toml`](Self::from_toml).
    ///
    /// # Errors
    /// `Io` when the file cannot be read, `Invalid` naming file, line and field when it is no policy.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|err| Error::new(ErrorKind::Io, format!("cannot read the policy {}: {err}", path.display())))?;
        Self::from_toml(&text).map_err(|err| Error::new(err.kind(), format!("{}: {err}", path.display())))
    }
}

impl Entry {
    fn read(&self, text: &str) -> Result<Limit> {
        let meter = at(text, "meter", &self.meter, |name| Meter::new(name))?;
        let mut window = Window::new(at(text, "per", &self.per, |per| per.parse::<Per>())?);
        if let Some(zone) = &self.timezone {
            window = at(text, "timezone", zone, |zone| window.in_zone_named(zone))?;
        }
        at(text, "scope", &self.scope, |kind| super::text::encode("scope kind", kind))?;
        let counter = Counter::new(self.scope.get_ref(), meter.clone(), window);
        let limit = match &self.limit {
            Some(limit) => Limit::new(counter, at(text, "limit", limit, |value| amount(&meter, value))?),
            None => Limit::count_only(counter),
        };
        match &self.warn_at {
            // TOML has floats; their shortest decimal text is what was written.
            Some(shares) => Ok(limit.warn_at(at(text, "warn_at", shares, |shares| {
                shares.iter().map(|share| Fraction::parse(&share.to_string())).collect::<Result<Vec<_>>>()
            })?)),
            None => Ok(limit),
        }
    }
}

fn amount(meter: &Meter, value: &toml::Value) -> Result<i64> {
    match value {
        toml::Value::String(text) => meter.parse_amount(text),
        toml::Value::Integer(_) if *meter == Meter::COST => {
            Err(Error::invalid(format!("money is written in quotes, in dollars: \"{value}.00\"")))
        }
        toml::Value::Integer(amount) => meter.parse_amount(&amount.to_string()),
        _ if *meter == Meter::COST => Err(Error::invalid("money is written in quotes, in dollars: \"75.00\"")),
        _ => Err(Error::invalid("write a whole number, like 1000")),
    }
}

fn at<T, U>(text: &str, field: &str, value: &Spanned<T>, read: impl FnOnce(&T) -> Result<U>) -> Result<U> {
    read(value.get_ref()).map_err(|err| {
        let line = line_of(text, value.span().start);
        Error::new(err.kind(), format!("line {line}, `{field}`: {err}"))
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(toml: &str) -> String {
        Policy::from_toml(toml).unwrap_err().to_string()
    }

    const USER_COST: &str = "[[limit]]\nscope = 'user'\nmeter = 'cost'\n";

    #[test]
    fn a_policy_reads_as_it_is_written() {
        let policy = Policy::from_toml(&format!(
            "{USER_COST}limit = '75.00'\nper = 'day'\ntimezone = 'Europe/Berlin'\nwarn_at = [0.8, 0.5]\n\
             [[limit]]\nscope = 'org'\nmeter = 'tokens'\nlimit = 1000\nper = '90s'\n\
             [[limit]]\nscope = 'global'\nmeter = 'calls'\nper = 'total'\n"
        ))
        .unwrap();
        let shown: Vec<_> = policy.limits().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["user cost per day@Europe/Berlin: 75.00", "org tokens per 90s: 1000", "global calls total: no limit"]
        );
        let shares: Vec<_> = policy.limits()[0].warnings().iter().map(|share| share.of(75_000_000_000)).collect();
        assert_eq!(shares, [37_500_000_000, 60_000_000_000]);
    }

    #[test]
    fn what_is_wrong_is_named_with_line_and_field() {
        assert!(error(&format!("{USER_COST}limit = '-1'\nper = 'day'")).starts_with("line 4, `limit`: "));
        assert!(error(&format!("{USER_COST}limit = 75\nper = 'day'")).contains("money is written in quotes"));
        assert!(error(&format!("{USER_COST}limit = 0.5\nper = 'day'")).contains("money is written in quotes"));
        assert!(error(&format!("{USER_COST}limit = '1'\nper = 'fortnight'")).starts_with("line 5, `per`: "));
        assert!(
            error(&format!("{USER_COST}limit = '1'\nper = 'day'\ntimezone = 'Mars'")).starts_with("line 6, `timezone`")
        );
        assert!(error(&format!("{USER_COST}limit = '1'\nper = 'day'\nwarn_at = [1.5]")).contains("`warn_at`"));
        let unknown = error(&format!("{USER_COST}limit = '1'\nper = 'day'\nlimits = 3"));
        assert!(unknown.starts_with("line 6: ") && unknown.contains("unknown field `limits`"), "{unknown}");
        assert!(error("").contains("limit"));
        assert!(error(&format!("{USER_COST}per = 'day'\n{USER_COST}per = 'day'")).contains("limits 1 and 2"));
    }
}
