//! Policies from TOML.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::amount::Meter;
use super::policy::{Counter, Fraction, Limit, Mode, Policy};
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
    meter: Option<Spanned<String>>,
    limit: Option<Spanned<toml::Value>>,
    requests: Option<Spanned<i64>>,
    tokens: Option<Spanned<i64>>,
    concurrency: Option<Spanned<i64>>,
    per: Option<Spanned<String>>,
    timezone: Option<Spanned<String>>,
    algorithm: Option<Spanned<Algorithm>>,
    burst: Option<Spanned<i64>>,
    overdraft: Option<Spanned<toml::Value>>,
    mode: Option<Mode>,
    #[serde(default)]
    fixed: bool,
    warn_at: Option<Spanned<Vec<f64>>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    Fixed,
    Rate,
    Sliding,
    Log,
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
    ///     overdraft = "5.00"         # by how much it may be passed; default nothing
    ///     mode = "shadow"            # only says what it would refuse; default "enforce"
    ///     fixed = true               # no override changes it; default false
    ///
    ///     [[limit]]
    ///     scope = "user"
    ///     requests = 60              # or tokens = 100000: so many per period, evenly
    ///     per = "minute"             # second minute hour day, or 500ms, 10s, 15m
    ///     burst = 10                 # as many at once; left out: as many as the limit
    ///
    ///     [[limit]]
    ///     scope = "key"
    ///     meter = "requests"
    ///     limit = 1000
    ///     per = "hour"
    ///     algorithm = "sliding"      # the hour before each moment; "log" does it exactly, up to 1000; default "fixed"
    ///
    ///     [[limit]]
    ///     scope = "org"
    ///     concurrency = 20           # calls open at once, with reserve
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
        at(text, "scope", &self.scope, |kind| super::text::encode("scope kind", kind))?;
        let meter = self.meter(text)?;
        let counter = Counter::new(self.scope.get_ref(), meter.clone(), self.window(text)?);
        let most = match (&self.limit, [&self.requests, &self.tokens, &self.concurrency].into_iter().flatten().next()) {
            (Some(limit), None) => Some(at(text, "limit", limit, |value| amount(&meter, value))?),
            (None, most) => most.map(|most| *most.get_ref()),
            (Some(limit), Some(_)) => {
                return at(text, "limit", limit, |_| {
                    Err(Error::invalid("the number is given twice; leave `limit` out"))
                });
            }
        };
        let mut limit =
            most.map_or_else(|| Limit::count_only(counter.clone()), |most| Limit::new(counter.clone(), most));
        if let Some(burst) = &self.burst {
            limit = limit.burst(*burst.get_ref());
        }
        if let Some(overdraft) = &self.overdraft {
            limit = limit.overdraft(at(text, "overdraft", overdraft, |value| amount(&meter, value))?);
        }
        if let Some(shares) = &self.warn_at {
            // TOML has floats; their shortest decimal text is what was written.
            limit = limit.warn_at(at(text, "warn_at", shares, |shares| {
                shares.iter().map(|share| Fraction::parse(&share.to_string())).collect::<Result<Vec<_>>>()
            })?);
        }
        limit = limit.mode(self.mode.unwrap_or_default());
        let limit = if self.fixed { limit.fixed() } else { limit };
        at(text, "scope", &self.scope, |_| limit.check())?;
        Ok(limit)
    }

    fn meter(&self, text: &str) -> Result<Meter> {
        let short =
            [(&self.requests, Meter::REQUESTS), (&self.tokens, Meter::TOKENS), (&self.concurrency, Meter::CONCURRENCY)];
        let mut given = short.into_iter().filter_map(|(number, meter)| number.as_ref().map(|number| (number, meter)));
        match (&self.meter, given.next(), given.next()) {
            (Some(meter), None, _) => at(text, "meter", meter, |name| Meter::new(name)),
            (None, Some((_, meter)), None) => Ok(meter),
            (_, Some((number, meter)), _) => at(text, meter.as_str(), number, |_| {
                Err(Error::invalid(
                    "a limit counts one thing; give `meter` and `limit`, or one of these, and a table for each",
                ))
            }),
            (None, None, _) => at(text, "scope", &self.scope, |_| {
                Err(Error::invalid(
                    "what does it limit? give `meter` and `limit`, `requests`, `tokens` or `concurrency`",
                ))
            }),
        }
    }

    fn window(&self, text: &str) -> Result<Window> {
        let is_short = self.requests.is_some() || self.tokens.is_some();
        let default = if is_short { Algorithm::Rate } else { Algorithm::Fixed };
        let algorithm = self.algorithm.as_ref().map_or(default, |algorithm| *algorithm.get_ref());
        let window = match (&self.per, self.concurrency.is_some()) {
            (None, true) => Window::open(),
            (Some(per), true) => {
                return at(text, "per", per, |_| Err(Error::invalid("calls are open or not; leave `per` out")));
            }
            (None, false) => {
                return at(text, "scope", &self.scope, |_| {
                    Err(Error::invalid("per what? add `per`: day, month, 90s, or total"))
                });
            }
            (Some(per), false) => at(text, "per", per, |per| match algorithm {
                Algorithm::Fixed => Ok(Window::new(per.parse::<Per>()?)),
                Algorithm::Rate => Ok(Window::new(Per::Rate(per.parse()?))),
                Algorithm::Sliding => Ok(Window::new(Per::Sliding(per.parse()?))),
                Algorithm::Log => Ok(Window::new(Per::Log(per.parse()?))),
            })?,
        };
        match &self.timezone {
            Some(zone) => at(text, "timezone", zone, |zone| window.in_zone_named(zone)),
            None => Ok(window),
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
    fn rates_and_open_calls_read_as_they_are_written() {
        let policy = Policy::from_toml(
            "[[limit]]\nscope = 'user'\nrequests = 60\nper = 'minute'\nburst = 10\n\
             [[limit]]\nscope = 'user'\ntokens = 100000\nper = '500ms'\n\
             [[limit]]\nscope = 'key'\nmeter = 'requests'\nlimit = 9\nper = '1h'\nalgorithm = 'log'\nmode = 'shadow'\n\
             [[limit]]\nscope = 'org'\nconcurrency = 20\nfixed = true\n\
             [[limit]]\nscope = 'org'\nmeter = 'cost'\nlimit = '10.00'\nper = 'day'\noverdraft = '5.00'\n",
        )
        .unwrap();
        let shown: Vec<_> = policy.limits().iter().map(ToString::to_string).collect();
        let expected = [
            "user requests rate/1m: 60",
            "user tokens rate/500ms: 100000",
            "key requests log/1h: 9",
            "org concurrency open: 20",
            "org cost per day: 10.00",
        ];
        assert_eq!(shown, expected);
        let limits = policy.limits();
        assert_eq!((limits[0].own_burst(), limits[4].allowed_overdraft()), (Some(10), 5_000_000_000));
        assert!(limits[2].is_shadow() && limits[3].is_fixed());
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
        assert!(error("[[limit]]\nscope = 'user'\nper = 'day'").contains("what does it limit?"));
        assert!(error("[[limit]]\nscope = 'user'\nrequests = 5").contains("per what?"));
        assert!(error("[[limit]]\nscope = 'user'\nrequests = 5\ntokens = 5\nper = 'day'").contains("counts one thing"));
        assert!(error("[[limit]]\nscope = 'user'\nconcurrency = 5\nper = 'day'").starts_with("line 4, `per`"));
        assert!(error("[[limit]]\nscope = 'user'\nrequests = 0\nper = 'minute'").contains("rate of nothing"));
        assert!(error(&format!("{USER_COST}limit = '1'\nper = 'day'\nburst = 3")).contains("which only a rate has"));
        assert!(error(&format!("{USER_COST}per = 'day'\n{USER_COST}per = 'day'")).contains("limits 1 and 2"));
    }
}
