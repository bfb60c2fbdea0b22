//! What servers say of a script that raised an error, in words that all of them share.

/// An error without what differs between servers: Valkey 9 leaves out which script it was (`script: SHA1, on @…`) and words
/// some errors differently. What is left is Redis 7's wording, which is also the embedded engine's.
pub fn shared_words(error: &str) -> String {
    let mut text = without_place(error).to_owned();
    for (valkey, redis) in [
        ("args calling command", "args calling Redis command"),
        ("ERR Command arguments must be", "ERR Lua redis lib command arguments must be"),
        ("argument for this call", "argument for this redis lib call"),
    ] {
        text = text.replace(valkey, redis);
    }
    if let Some(engine) = text.strip_prefix("ERR Could not find scripting engine '") {
        text = format!("ERR Unexpected engine in script shebang: #!{}", engine.trim_end_matches('\''));
    }
    match error[without_place(error).len()..].split_once("on @") {
        Some((_, line)) => format!("{text} script: on @{line}"),
        None => text,
    }
}

/// An error without what servers add to it: which script it was, and where in it.
pub fn without_place(error: &str) -> &str {
    error.split(" script: ").next().unwrap_or_default()
}
