//! What a server's user must be allowed for the scripts to work.

/// The commands that the scripts call.
pub const COMMANDS: [&str; 19] = [
    "DECRBY",
    "DEL",
    "EXISTS",
    "GET",
    "HDEL",
    "HGET",
    "HGETALL",
    "HINCRBY",
    "HLEN",
    "HMGET",
    "HSET",
    "INCRBY",
    "MGET",
    "PEXPIRE",
    "PEXPIREAT",
    "PSETEX",
    "PTTL",
    "SET",
    "TIME",
];

/// The least rights with which every operation on keys that match `pattern` works, as `ACL SETUSER` takes them: the scripts, and
/// what they call; [`key_pattern`](crate::CostGuard::key_pattern) gives the pattern. `holds` needs `+scan` besides, and
/// [`Durability::wait`](crate::store::Durability::wait) `+wait`; what a cluster, sentinels or a database other than 0 need
/// [`RedisConfig::acl_rule`](crate::store::redis::RedisConfig::acl_rule) knows.
///
/// ```
/// assert!(costguard::script::acl_rule("app:*").starts_with("~app:* +eval +evalsha +getex +decrby "));
/// ```
#[must_use]
pub fn acl_rule(pattern: &str) -> String {
    // GETEX asks whether the store has lost its data.
    let commands = ["EVAL", "EVALSHA", "GETEX"].into_iter().chain(COMMANDS);
    let rights = commands.map(|command| format!(" +{}", command.to_ascii_lowercase()));
    format!("~{pattern}{}", rights.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::script;

    /// The words in capitals that are the first argument of a call: `call('GET'`, `redis.pcall('GET'`, `try('GET'`.
    fn called(text: &str) -> impl Iterator<Item = &str> {
        text.split("('")
            .skip(1)
            .filter_map(|rest| rest.split_once('\''))
            .map(|(word, _)| word)
            .filter(|word| word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase()))
    }

    #[test]
    fn the_commands_are_those_that_the_lua_texts_call() {
        let texts: BTreeSet<_> = script::all().iter().flat_map(|script| called(script.text())).collect();
        assert_eq!(texts, BTreeSet::from(COMMANDS));
    }
}
