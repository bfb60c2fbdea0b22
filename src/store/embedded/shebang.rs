//! The first line `#!lua flags=…` of a script, as Redis 7 reads it (eval.c, `evalExtractShebangFlags`).

use crate::error::{Error, ErrorKind, Result};

/// Flags Redis knows. Only `no-writes` changes anything here: there is no memory limit, replica or second node.
const FLAGS: [&str; 5] = ["no-writes", "allow-oom", "allow-stale", "no-cluster", "allow-cross-slot-keys"];

/// A script's text, split.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Shebang<'a> {
    /// Whether the script may not write.
    pub(super) read_only: bool,
    /// The Lua; the line break stays, so that line numbers stand.
    pub(super) body: &'a str,
}

impl<'a> Shebang<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self> {
        let refuse = |what: String| Err(Error::new(ErrorKind::Store, format!("ERR {what}")));
        if !text.starts_with("#!") {
            return Ok(Self { read_only: false, body: text });
        }
        let Some(end) = text.find('\n') else { return refuse("Invalid script shebang".to_owned()) };
        let mut words = text[..end].split_ascii_whitespace();
        match words.next().unwrap_or_default() {
            "#!lua" => {}
            other => return refuse(format!("Unexpected engine in script shebang: {other}")),
        }
        let mut read_only = false;
        for word in words {
            let Some(flags) = word.strip_prefix("flags=") else {
                return refuse(format!("Unknown lua shebang option: {word}"));
            };
            for flag in flags.split(',').filter(|flag| !flag.is_empty()) {
                if !FLAGS.contains(&flag) {
                    return refuse(format!("Unexpected flag in script shebang: {flag}"));
                }
                read_only |= flag == "no-writes";
            }
        }
        Ok(Self { read_only, body: &text[end..] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_cut_and_its_break_kept() {
        assert_eq!(Shebang::parse("return 1").unwrap(), Shebang { read_only: false, body: "return 1" });
        assert_eq!(Shebang::parse("#!lua\nreturn 1").unwrap(), Shebang { read_only: false, body: "\nreturn 1" });
        let read_only = Shebang::parse("#!lua flags=allow-oom,no-writes\nreturn 1").unwrap();
        assert_eq!(read_only, Shebang { read_only: true, body: "\nreturn 1" });
    }

    #[test]
    fn what_redis_does_not_know_is_refused_in_its_words() {
        for (text, words) in [
            ("#!lua", "ERR Invalid script shebang"),
            ("#!js\nreturn 1", "ERR Unexpected engine in script shebang: #!js"),
            ("#!lua name=x\nreturn 1", "ERR Unknown lua shebang option: name=x"),
            ("#!lua flags=no-write\nreturn 1", "ERR Unexpected flag in script shebang: no-write"),
        ] {
            assert_eq!(Shebang::parse(text).unwrap_err().to_string(), words);
        }
    }
}
