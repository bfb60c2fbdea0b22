//! The scripts of the cache: what is stored as the value `b` under the lock `l`.

use super::call::raw;
use super::*;

const TTL_MS: &str = "600000";
const LOCK_TTL_MS: &str = "30000";
const NO_TTL: [&str; 6] = ["0", "-1", "+5", "1.5", "abc", "1000000000000000"];

fn get() -> Call {
    raw(Op::CacheGet, &["b"], &[])
}

fn lease(token: &str, force: &str) -> Call {
    raw(Op::CacheLease, &["b", "l"], &[token, LOCK_TTL_MS, force])
}

fn finish(token: &str, text: &str, ttl_ms: &str) -> Call {
    raw(Op::CacheFinish, &["b", "l"], &[token, text, ttl_ms])
}

fn hget(field: &[&str]) -> Call {
    raw(Op::CacheHget, &["b"], field)
}

fn hset(fields: &[&str]) -> Call {
    raw(Op::CacheHset, &["b"], &[&[TTL_MS, "3"], fields].concat())
}

fn tag(fresh: &str, ttl_ms: &str) -> Call {
    raw(Op::CacheTag, &["b"], &[fresh, ttl_ms])
}

pub(crate) fn cases() -> Vec<Case> {
    [values(), leases(), hashes(), tags(), malformed()].into_iter().flatten().collect()
}

fn values() -> Vec<Case> {
    vec![
        case("cache_get: nothing, a text, an empty one")
            .run(get(), "MISS")
            .put("SET", "b", &["{\"a\": \"ü\"}", "PX", TTL_MS])
            .run(get(), "HIT ~600000 {\"a\": \"ü\"}")
            .put("SET", "b", &["5"])
            .run(get(), "HIT -1 5")
            .holds("b", "'5'", Never),
        case("cache_get: something else than a text")
            .put("HSET", "b", &["f", "1"])
            .run(get(), WRONG_TYPE)
            .run(lease("t1", ""), WRONG_TYPE)
            .run(lease("t1", "1"), "LEASED")
            .run(finish("t1", "5", TTL_MS), "OK")
            .holds("b", "'5'", In(600_000)),
        case("cache_left, cache_expire: of any type")
            .run(raw(Op::CacheLeft, &["b"], &[]), "OK -2")
            .run(raw(Op::CacheExpire, &["b"], &[TTL_MS]), "OK 0")
            .put("HSET", "b", &["f", "1"])
            .run(raw(Op::CacheLeft, &["b"], &[]), "OK -1")
            .run(raw(Op::CacheExpire, &["b"], &[TTL_MS]), "OK 1")
            .run(raw(Op::CacheLeft, &["b"], &[]), "OK ~600000")
            .holds("b", "{f='1'}", In(600_000)),
    ]
}

fn leases() -> Vec<Case> {
    vec![
        case("cache_lease: one computes, asked again or not, and the others wait")
            .run(lease("t1", ""), "LEASED")
            .run(lease("t2", ""), "BUSY ~30000")
            .run(lease("t1", ""), "LEASED")
            .holds("l", "'t1'", In(30_000)),
        case("cache_lease: a value that is there is given, or forced")
            .put("SET", "b", &["5", "PX", TTL_MS])
            .run(lease("t1", ""), "HIT ~600000 5")
            .run(lease("t1", "1"), "LEASED")
            .run(lease("t2", ""), "HIT ~600000 5")
            .run(lease("t2", "1"), "BUSY ~30000")
            .holds("b", "'5'", In(600_000))
            .holds("l", "'t1'", In(30_000)),
        case("cache_finish: stores and gives the lock back")
            .run(lease("t1", ""), "LEASED")
            .run(finish("t1", "#1 \n5", TTL_MS), "OK")
            .run(lease("t2", ""), "HIT ~600000 #1  5")
            .run(finish("t1", "6", TTL_MS), "FENCED")
            .holds("b", "'#1 \n5'", In(600_000)),
        case("cache_finish: nothing, after a failure")
            .run(lease("t1", ""), "LEASED")
            .run(finish("t2", "", ""), "FENCED")
            .run(finish("t1", "", ""), "OK")
            .run(lease("t2", ""), "LEASED")
            .holds("l", "'t2'", In(30_000)),
        case("cache_finish: who was late, or whose value was set or removed meanwhile, is fenced off")
            .run(lease("t1", ""), "LEASED")
            .put("DEL", "l", &[])
            .run(lease("t2", ""), "LEASED")
            .run(finish("t1", "old", TTL_MS), "FENCED")
            .run(finish("t2", "new", TTL_MS), "OK")
            .run(lease("t3", "1"), "LEASED")
            .run(raw(Op::Put, &["b", "l"], &["newer", TTL_MS]), "OK")
            .run(finish("t3", "old", TTL_MS), "FENCED")
            .holds("b", "'newer'", In(600_000)),
    ]
}

fn hashes() -> Vec<Case> {
    let full = "!COSTGUARD_INVALID a hash of the cache has at most 3 fields; make several of it";
    vec![
        case("cache_hset, cache_hget: one field, all, none")
            .run(hget(&[]), "MISS")
            .run(hget(&["f"]), "MISS")
            .run(hset(&["f", "\"ü\"", "g h", "2"]), "OK 2")
            .run(hset(&["g h", "33"]), "OK 0")
            .run(hget(&["g h"]), "HASH 3 2 g h33")
            .run(hget(&["x"]), "MISS")
            .run(hget(&[]), "HASH 1 4 3 2 f\"ü\"g h33")
            .holds("b", "{f='\"ü\"' g h='33'}", In(600_000)),
        case("cache_hset: so many fields")
            .run(hset(&["a", "1", "b", "2", "c", "3", "d", "4"]), full)
            .run(hset(&["a", "1", "b", "2", "c", "3"]), "OK 3")
            .run(hset(&["d", "1"]), full)
            .holds("b", "{a='1' b='2' c='3'}", In(600_000)),
        case("cache_hset: not on a text")
            .put("SET", "b", &["5"])
            .run(hset(&["a", "1"]), WRONG_TYPE)
            .run(hget(&["a"]), WRONG_TYPE)
            .run(hget(&[]), WRONG_TYPE)
            .holds("b", "'5'", Never),
    ]
}

fn tags() -> Vec<Case> {
    vec![
        case("cache_tag: begins a generation, keeps it, and lives as long as it must")
            .run(tag("g1", "60000"), "OK g1")
            .run(tag("g2", "50000"), "OK g1")
            .run(tag("g3", TTL_MS), "OK g1")
            .run(tag("g4", "50000"), "OK g1")
            .holds("b", "'g1'", In(600_000)),
        case("cache_tag: something else")
            .put("SET", "b", &["a b"])
            .run(tag("g1", TTL_MS), "!COSTGUARD_CORRUPT b does not hold a generation")
            .holds("b", "'a b'", Never),
    ]
}

fn malformed() -> Vec<Case> {
    let mut cases = Vec::new();
    for ttl_ms in NO_TTL {
        let error = "!COSTGUARD_INVALID ttl_ms";
        cases.push(
            case(format!("cache: {ttl_ms:?} is no TTL"))
                .run(raw(Op::CacheLease, &["b", "l"], &["t1", ttl_ms, ""]), "!COSTGUARD_INVALID lock_ttl_ms")
                .run(finish("t1", "5", ttl_ms), error)
                .run(raw(Op::CacheExpire, &["b"], &[ttl_ms]), error)
                .run(raw(Op::CacheHset, &["b"], &[ttl_ms, "3", "a", "1"]), error)
                .run(tag("g1", ttl_ms), error),
        );
    }
    for name in ["", "a b", "a-b"] {
        cases.push(
            case(format!("cache: {name:?} is no token and no generation"))
                .run(lease(name, ""), "!COSTGUARD_INVALID token")
                .run(tag(name, TTL_MS), "!COSTGUARD_INVALID generation"),
        );
    }
    cases.push(
        case("cache_hset: fields without values")
            .run(hset(&[]), "!COSTGUARD_INVALID fields")
            .run(hset(&["a"]), "!COSTGUARD_INVALID fields")
            .run(raw(Op::CacheHset, &["b"], &[TTL_MS, "x", "a", "1"]), "!COSTGUARD_INVALID fields"),
    );
    cases
}
