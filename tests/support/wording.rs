//! What servers say of a script that raised an error, in words that all of them share.

/// An error without what differs between servers: Valkey 9 leaves out which script it was (`script: SHA1, on @…`) and words
/// some errors differently. What is left is Redis 7's wording, which is also the embedded engine's.
pub fn shared_words(error: &str) -> String {
    let (error, place) = error.split_once(" script: ").unwrap_or((error, ""));
    let mut error = error.to_owned();
    for (valkey, redis) in [
        ("args calling command", "args calling Redis command"),
        ("ERR Command arguments must be", "ERR Lua redis lib command arguments must be"),
        ("argument for this call", "argument for this redis lib call"),
        ("Could not find scripting engine '", "Unexpected engine in script shebang: #!"),
    ] {
        error = error.replace(valkey, redis);
    }
    let error = error.trim_end_matches('\'');
    match place.split_once("on @") {
        Some((_, line)) => format!("{error} script: on @{line}"),
        None => error.to_owned(),
    }
}
