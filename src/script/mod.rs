//! The atomic operations as Lua: their final texts, their SHA-1s and their contracts.

mod access;
mod contract;
mod include;

use std::sync::LazyLock;

use include_dir::{Dir, include_dir};

pub use access::{COMMANDS, acl_rule};
pub use contract::{Contract, Op};

static LUA: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/lua");

/// One atomic operation: a Lua file with its includes resolved, as it is sent to a server.
#[derive(Debug)]
pub struct Script {
    op: Op,
    text: String,
    sha1: String,
    plain_sha1: String,
    shebang_len: usize,
}

impl Script {
    /// The operation this script performs.
    #[must_use]
    pub fn op(&self) -> Op {
        self.op
    }

    /// The name: the Lua file's, without its ending.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.contract().name
    }

    /// What goes in and comes out.
    #[must_use]
    pub fn contract(&self) -> &'static Contract {
        self.op.contract()
    }

    /// The final text, with its `#!lua flags=…` line: for Redis 7, Valkey and the embedded engine.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-1 of [`text`](Self::text) in lower-case hex: the name `EVALSHA` knows it by.
    #[must_use]
    pub fn sha1(&self) -> &str {
        &self.sha1
    }

    /// The same text without the `#!lua` line: for servers before Redis 7, which do not know it.
    #[must_use]
    pub fn plain_text(&self) -> &str {
        &self.text[self.shebang_len..]
    }

    /// SHA-1 of [`plain_text`](Self::plain_text).
    #[must_use]
    pub fn plain_sha1(&self) -> &str {
        &self.plain_sha1
    }

    fn load(op: Op) -> Self {
        let text = include::resolve(&LUA, op.contract().name);
        let shebang_len = if text.starts_with("#!") { text.find('\n').map_or(0, |end| end + 1) } else { 0 };
        let sha1 = sha1_smol::Sha1::from(&text).digest().to_string();
        let plain_sha1 = sha1_smol::Sha1::from(&text[shebang_len..]).digest().to_string();
        Self { op, text, sha1, plain_sha1, shebang_len }
    }
}

/// Every script, in the order of [`Op::ALL`].
#[must_use]
pub fn all() -> &'static [Script] {
    static ALL: LazyLock<Vec<Script>> = LazyLock::new(|| Op::ALL.iter().map(|op| Script::load(*op)).collect());
    &ALL
}

/// The script of one operation.
#[must_use]
pub fn of(op: Op) -> &'static Script {
    &all()[op as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines with which the file of a script must begin.
    fn header(contract: &Contract) -> String {
        let Contract { name, purpose, keys, args, reply, errors, flags } = contract;
        let shebang = format!("#!lua {flags}");
        let shebang = shebang.trim_end();
        let replies: String = reply.iter().map(|reply| format!("-- REPLY   {reply}\n")).collect();
        format!(
            "{shebang}\n-- {name}: {purpose}\n-- KEYS    {keys}\n-- ARGV    {args}\n{replies}-- ERRORS  {errors}\n-- COST    "
        )
    }

    #[test]
    fn every_lua_file_opens_with_the_contract_declared_here() {
        for script in all() {
            let header = header(script.contract());
            assert!(script.text().starts_with(&header), "lua/{}.lua should begin with\n{header}", script.name());
        }
    }

    #[test]
    fn every_lua_file_is_an_operation_and_every_operation_is_in_its_place() {
        let mut files: Vec<_> = LUA.files().filter_map(|file| file.path().file_stem()?.to_str()).collect();
        let mut names: Vec<_> = Op::ALL.iter().map(|op| op.contract().name).collect();
        files.sort_unstable();
        names.sort_unstable();
        assert_eq!(files, names);
        for (place, op) in Op::ALL.iter().enumerate() {
            assert_eq!((*op as usize, of(*op).op()), (place, *op));
        }
    }

    #[test]
    fn every_include_is_resolved() {
        for script in all() {
            assert!(!script.text().contains("@include") && !script.text().contains("is missing'"), "{}", script.name());
        }
    }

    #[test]
    fn sha1_is_over_the_final_text_and_the_plain_text_lacks_only_the_first_line() {
        for script in all() {
            assert_eq!(script.sha1(), sha1_smol::Sha1::from(script.text()).digest().to_string());
            assert_eq!(script.plain_sha1(), sha1_smol::Sha1::from(script.plain_text()).digest().to_string());
            let (shebang, rest) = script.text().split_once('\n').unwrap();
            assert!(shebang.starts_with("#!lua") && rest == script.plain_text());
        }
    }
}
