//! Policies from TOML.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, Visitor};
use toml::Spanned;

use super::amount::Meter;
use super::policy::{Counter, Fraction, Limit, Mode, Policy};
use super::window::{Per, Window};
use crate::error::{Error, ErrorKind, Result};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    limit: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    scope: Spanned<String>,
    meter: Option<Spanned<String>>,
    limit: Option<Spanned<Number>>,
    requests: Option<Spanned<i64>>,
    tokens: Option<Spanned<i64>>,
    concurrency: Option<Spanned<i64>>,
    per: Option<Spanned<String>>,
    timezone: Option<Spanned<String>>,
    algorithm: Option<Spanned<Algorithm>>,
    burst: Option<Spanned<i64>>,
    overdraft: Option<Spanned<Number>>,
    mode: Option<Spanned<Mode>>,
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

/// An amount, whatever is made of it.
enum Number {
    Whole(i128),
    Text(String),
    Other,
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNumber)
    }
}

struct AnyNumber;

impl Visitor<'_> for AnyNumber {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, or dollars in quotes")
    }

    fn visit_i64<E>(self, number: i64) -> std::result::Result<Number, E> {
        Ok(Number::Whole(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> std::result::Result<Number, E> {
        Ok(Number::Whole(number.into()))
    }

    fn visit_i128<E>(self, number: i128) -> std::result::Result<Number, E> {
        Ok(Number::Whole(number))
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Number, E> {
        Ok(Number::Text(text.to_owned()))
    }

    fn visit_f64<E>(self, _: f64) -> std::result::Result<Number, E> {
        Ok(Number::Other)
    }
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
            let start = err.span().map_or(0, |span| span.start);
            let field = field_at(text, start).map_or_else(String::new, |field| format!(", `{field}`"));
            Error::invalid(format!("line {}{field}: {}", line_of(text, start), err.message().trim_end()))
        })?;
        let limits: Result<Vec<_>> = document.limit.iter().map(|entry| Entry::read(entry, text)).collect();
        let limits = limits?;
        if let Some((place, err)) = Policy::excess(&limits) {
            let line = document.limit.get(place).map_or(1, |entry| line_of(text, entry.span().start));
            return Err(Error::invalid(format!("line {line}, `[[limit]]`: {err}")));
        }
        Policy::new(limits)
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
    fn read(entry: &Spanned<Self>, text: &str) -> Result<Limit> {
        let this = entry.get_ref();
        at(text, "scope", &this.scope, |kind| super::text::check_kind(kind))?;
        let meter = Self::meter(entry, text)?;
        let counter = Counter::new(this.scope.get_ref(), meter.clone(), Self::window(entry, text)?);
        let most = match (&this.limit, [&this.requests, &this.tokens, &this.concurrency].into_iter().flatten().next()) {
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
        if let Some(burst) = &this.burst {
            limit = limit.burst(*burst.get_ref());
        }
        if let Some(overdraft) = &this.overdraft {
            limit = limit.overdraft(at(text, "overdraft", overdraft, |value| amount(&meter, value))?);
        }
        if let Some(shares) = &this.warn_at {
            // TOML has floats; their shortest decimal text is what was written.
            limit = limit.warn_at(at(text, "warn_at", shares, |shares| {
                shares.iter().map(|share| Fraction::parse(&share.to_string())).collect::<Result<Vec<_>>>()
            })?);
        }
        limit = limit.mode(this.mode.as_ref().map(|mode| *mode.get_ref()).unwrap_or_default());
        let limit = if this.fixed { limit.fixed() } else { limit };
        match limit.fault() {
            None => Ok(limit),
            Some(fault) => {
                let (field, start) = this.place(fault.field).unwrap_or((fault.field, entry.span().start));
                Err(Error::invalid(format!("line {}, `{field}`: {}", line_of(text, start), fault.error(&counter))))
            }
        }
    }

    /// How the field is called here, and where it is.
    fn place(&self, field: &'static str) -> Option<(&'static str, usize)> {
        fn start<T>(field: &'static str, value: Option<&Spanned<T>>) -> Option<(&'static str, usize)> {
            value.map(|value| (field, value.span().start))
        }
        match field {
            "burst" => start(field, self.burst.as_ref()),
            "overdraft" => start(field, self.overdraft.as_ref()),
            "warn_at" => start(field, self.warn_at.as_ref()),
            "mode" => start(field, self.mode.as_ref()),
            "per" => start(field, self.per.as_ref()),
            _ => start("limit", self.limit.as_ref())
                .or_else(|| start("requests", self.requests.as_ref()))
                .or_else(|| start("tokens", self.tokens.as_ref()))
                .or_else(|| start("concurrency", self.concurrency.as_ref())),
        }
    }

    fn meter(entry: &Spanned<Self>, text: &str) -> Result<Meter> {
        let this = entry.get_ref();
        let short =
            [(&this.requests, Meter::REQUESTS), (&this.tokens, Meter::TOKENS), (&this.concurrency, Meter::CONCURRENCY)];
        let mut given = short.into_iter().filter_map(|(number, meter)| number.as_ref().map(|number| (number, meter)));
        match (&this.meter, given.next(), given.next()) {
            (Some(meter), None, _) => at(text, "meter", meter, |name| Meter::new(name)),
            (None, Some((_, meter)), None) => Ok(meter),
            (_, Some((number, meter)), _) => at(text, meter.as_str(), number, |_| {
                Err(Error::invalid(
                    "a limit counts one thing; give `meter` and `limit`, or one of these, and a table for each",
                ))
            }),
            (None, None, _) => at(text, "meter", entry, |_| {
                Err(Error::invalid(
                    "what does it limit? give `meter` and `limit`, `requests`, `tokens` or `concurrency`",
                ))
            }),
        }
    }

    fn window(entry: &Spanned<Self>, text: &str) -> Result<Window> {
        let this = entry.get_ref();
        let is_short = this.requests.is_some() || this.tokens.is_some();
        let default = if is_short { Algorithm::Rate } else { Algorithm::Fixed };
        let algorithm = this.algorithm.as_ref().map_or(default, |algorithm| *algorithm.get_ref());
        let window = match (&this.per, this.concurrency.is_some()) {
            (None, true) => Window::open(),
            (Some(per), true) => {
                return at(text, "per", per, |_| Err(Error::invalid("calls are open or not; leave `per` out")));
            }
            (None, false) => {
                return at(text, "per", entry, |_| {
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
        match &this.timezone {
            Some(zone) => at(text, "timezone", zone, |zone| window.in_zone_named(zone)),
            None => Ok(window),
        }
    }
}

fn amount(meter: &Meter, number: &Number) -> Result<i64> {
    match number {
        Number::Text(text) => meter.parse_amount(text),
        Number::Whole(..0) => Err(Error::invalid("an amount is 0 or more")),
        Number::Whole(dollars) if *meter == Meter::COST => {
            Err(Error::invalid(format!("money is written in quotes, in dollars: \"{dollars}.00\"")))
        }
        Number::Whole(amount) => meter.parse_amount(&amount.to_string()),
        Number::Other if *meter == Meter::COST => {
            Err(Error::invalid("money is written in quotes, in dollars: \"75.00\""))
        }
        Number::Other => Err(Error::invalid("write a whole number, like 1000")),
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

/// The field that this is in, to name it where TOML's own errors do not.
fn field_at(text: &str, offset: usize) -> Option<&str> {
    let line_len = text.get(offset..)?.find('\n').unwrap_or(text.len() - offset);
    // Of an array over several lines the name is above.
    let mut lines = text[..offset + line_len].lines().rev().take_while(|line| !line.trim_start().starts_with('['));
    lines.find_map(|line| Some(line.split_once('=')?.0.trim()))
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
        assert!(unknown.starts_with("line 6, `limits`: ") && unknown.contains("unknown field `limits`"), "{unknown}");
        assert!(error("").contains("limit"));
        assert!(error("[[limit]]\nscope = 'user'\nper = 'day'").contains("what does it limit?"));
        assert!(error("[[limit]]\nscope = 'user'\nrequests = 5").contains("per what?"));
        assert!(error("[[limit]]\nscope = 'user'\nrequests = 5\ntokens = 5\nper = 'day'").contains("counts one thing"));
        assert!(error("[[limit]]\nscope = 'user'\nconcurrency = 5\nper = 'day'").starts_with("line 4, `per`"));
        assert!(error("[[limit]]\nscope = 'user'\nrequests = 0\nper = 'minute'").contains("rate of nothing"));
        assert!(error(&format!("{USER_COST}limit = '1'\nper = 'day'\nburst = 3")).contains("which only a rate has"));
        assert!(error(&format!("{USER_COST}per = 'day'\n{USER_COST}per = 'day'")).contains("limits 1 and 2"));
    }

    #[test]
    fn every_error_names_the_line_and_the_field() {
        let cost = |rest: &str| format!("{USER_COST}limit = '1'\nper = 'day'\n{rest}");
        let rate = |rest: &str| format!("[[limit]]\nscope = 'user'\nrequests = 60\nper = 'minute'\n{rest}");
        let limit = |limit: &str| format!("{USER_COST}limit = {limit}\nper = 'day'\n");
        let many: String =
            (0..33).map(|number| format!("[[limit]]\nscope = 's{number}'\nrequests = 1\nper = 'day'\n")).collect();
        for (toml, place, what) in [
            (cost("burst = 3"), "line 6, `burst`", "which only a rate has"),
            (cost("mode = 'shadw'"), "line 6, `mode`", "unknown variant `shadw`, expected `enforce` or `shadow`"),
            (cost("warn_at = 0.5"), "line 6, `warn_at`", "expected a sequence"),
            (cost("warn_at = [\n0.5,\n'x',\n]"), "line 8, `warn_at`", "invalid type: string"),
            (cost("fixed = 'yes'"), "line 6, `fixed`", "expected a boolean"),
            (cost("fixed = "), "line 6, `fixed`", ""),
            (cost("overdraft = '9223372036.8'"), "line 6, `overdraft`", "64-bit range"),
            (rate("burst = 0"), "line 5, `burst`", "a rate of nothing"),
            (rate("overdraft = 1"), "line 5, `overdraft`", "which has no overdraft"),
            (rate("warn_at = [0.5]"), "line 5, `warn_at`", "which has no warnings"),
            (rate("").replace("60", "0"), "line 3, `requests`", "a rate of nothing"),
            (rate("").replace("60", "-60"), "line 3, `requests`", "is negative"),
            (rate("").replace("60", "'60'"), "line 3, `requests`", "invalid type: string"),
            (rate("algorithm = 'log'").replace("60", "5000"), "line 3, `requests`", "for up to 1,000"),
            (rate("").replace("per = 'minute'", ""), "line 1, `per`", "per what?"),
            (limit("2").replace("cost", "requests").replace("day", "open"), "line 5, `per`", "write `concurrency = 2`"),
            (limit("3").replace("cost", "concurrency"), "line 5, `per`", "write `concurrency = 3`"),
            (format!("{USER_COST}per = 'day'").replace("cost", "concurrency"), "line 4, `per`", "never add up"),
            (rate("").replace("requests = 60", ""), "line 1, `meter`", "what does it limit?"),
            (limit("99999999999999999999").replace("cost", "calls"), "line 4, `limit`", "is too large: the most is"),
            (limit("-1"), "line 4, `limit`", "an amount is 0 or more"),
            (limit("75"), "line 4, `limit`", "in dollars: \"75.00\""),
            (limit("true"), "line 4, `limit`", "expected a whole number, or dollars in quotes"),
            (format!("{USER_COST}per = 'day'\nmode = 'shadow'"), "line 5, `mode`", "only counts"),
            (format!("{USER_COST}per = 'day'\n{USER_COST}per = 'day'"), "line 5, `[[limit]]`", "limits 1 and 2 both"),
            (many, "line 129, `[[limit]]`", "1 to 32 limits, this one 33"),
            (cost("scope = 'user'"), "line 6, `scope`", "duplicate key"),
        ] {
            let error = error(&toml);
            assert!(error.starts_with(&format!("{place}: ")) && error.contains(what), "{error}\n{toml}");
        }
    }
}
