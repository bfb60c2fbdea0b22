//! `put`, `remove`, `session_create`, `session_get` and `token_consume`: texts with a TTL.

use super::call::raw;
use super::*;

const TTL_MS: &str = "600000";
const NO_TTL: [&str; 6] = ["0", "-1", "+5", "1.5", "abc", "1000000000000000"];

fn put(text: &str) -> Call {
    raw(Op::Put, &["b", "l"], &[text, TTL_MS])
}

fn create(record: &str, ttl_ms: &str, most_ms: &str) -> Call {
    raw(Op::SessionCreate, &["b", "a"], &[record, ttl_ms, most_ms, "g1"])
}

fn get(ttl_ms: &str) -> Call {
    raw(Op::SessionGet, &["b", "a"], &[ttl_ms])
}

fn consume(claim: &str) -> Call {
    raw(Op::TokenConsume, &["b"], &[claim, "60000"])
}

pub(crate) fn cases() -> Vec<Case> {
    [texts(), sessions(), tokens(), malformed()].into_iter().flatten().collect()
}

fn texts() -> Vec<Case> {
    vec![
        case("put: stores a text as it is, over whatever was there")
            .put("HSET", "b", &["f", "1"])
            .run(put("{\"a\": 1}\n"), "OK")
            .run(put(""), "OK")
            .run(put("ü 2"), "OK")
            .holds("b", "'ü 2'", In(600_000)),
        case("put: ends what is being computed").put("SET", "l", &["t1", "PXAT", END]).run(put("5"), "OK").holds(
            "b",
            "'5'",
            In(600_000),
        ),
        case("put: without a lock").run(raw(Op::Put, &["b"], &["5", "1"]), "OK").put("DEL", "b", &[]),
        case("remove: of any type, and says how many")
            .put("SET", "a", &["5"])
            .put("HSET", "b", &["f", "1"])
            .run(raw(Op::Remove, &["a", "b", "c"], &[]), "OK 2")
            .run(raw(Op::Remove, &["a"], &[]), "OK 0"),
    ]
}

fn sessions() -> Vec<Case> {
    let stored = |generation: &str| format!("{generation} {END} p {{\"role\": \"a b\"}}");
    let corrupt = "!COSTGUARD_CORRUPT b does not hold a session";
    vec![
        case("session_get: none, of another generation, of none")
            .run(get(TTL_MS), "NONE")
            .put("SET", "b", &[&stored("g1"), "PXAT", END])
            .run(get(TTL_MS), "NONE")
            .put("SET", "a", &["g2", "PXAT", END])
            .run(get(TTL_MS), "NONE")
            .holds("a", "'g2'", At(END))
            .holds("b", format!("'{}'", stored("g1")), At(END)),
        case("session_get: lives for a TTL from now on")
            .put("SET", "b", &[&stored("g1"), "PX", "9000"])
            .put("SET", "a", &["g1", "PXAT", END])
            .run(get(TTL_MS), "FOUND 600000 p {\"role\": \"a b\"}")
            .run(get(""), "FOUND ~600000 p {\"role\": \"a b\"}")
            .holds("a", "'g1'", At(END))
            .holds("b", format!("'{}'", stored("g1")), In(600_000)),
        case("session_get: is over at the end that it was made with")
            .put("SET", "b", &["g1 1000000000000 p 5", "PX", "9000"])
            .put("SET", "a", &["g1", "PXAT", END])
            .run(get(TTL_MS), "NONE")
            .holds("a", "'g1'", At(END))
            .holds("b", "'g1 1000000000000 p 5'", In(9_000)),
        case("session_get: what is no session").put("SET", "b", &["5", "PXAT", END]).run(get(TTL_MS), corrupt).holds(
            "b",
            "'5'",
            At(END),
        ),
        case("session_create: the first begins a generation, later ones are of it and keep it alive")
            .run(create("p 5", "60000", "60000"), "OK")
            .run(raw(Op::SessionCreate, &["c", "a"], &["p 6", "50000", TTL_MS, "g2"]), "OK")
            .run(get(""), "FOUND ~60000 p 5")
            .run(raw(Op::SessionGet, &["c", "a"], &[""]), "FOUND ~50000 p 6")
            .put("DEL", "b", &[])
            .put("DEL", "c", &[])
            .holds("a", "'g1'", In(600_000)),
        case("session_create: a generation that is none")
            .put("SET", "a", &["a b", "PXAT", END])
            .run(create("p 5", TTL_MS, TTL_MS), "!COSTGUARD_CORRUPT a does not hold a generation")
            .holds("a", "'a b'", At(END)),
        case("session_create: a generation of another type")
            .put("HSET", "a", &["f", "1"])
            .run(create("p 5", TTL_MS, TTL_MS), WRONG_TYPE)
            .holds("a", "{f='1'}", Never),
    ]
}

fn tokens() -> Vec<Case> {
    vec![
        case("token_consume: the first claim wins, and gets its answer again")
            .run(consume("c1"), "NONE")
            .put("SET", "b", &["open p {\"a\": 1}", "PX", TTL_MS])
            .run(consume("c1"), "TAKEN p {\"a\": 1}")
            .run(consume("c2"), "NONE")
            .run(consume("c1"), "TAKEN p {\"a\": 1}")
            .holds("b", "'taken c1 p {\"a\": 1}'", In(60_000)),
        case("token_consume: is not kept beyond its own end")
            .put("SET", "b", &["open p", "PX", "30000"])
            .run(consume("c1"), "TAKEN p")
            .holds("b", "'taken c1 p'", In(30_000)),
        case("token_consume: something else").put("SET", "b", &["5", "PXAT", END]).run(consume("c1"), "NONE").holds(
            "b",
            "'5'",
            At(END),
        ),
    ]
}

fn malformed() -> Vec<Case> {
    let mut cases = Vec::new();
    for ttl_ms in NO_TTL {
        cases.push(
            case(format!("keep: {ttl_ms:?} is no TTL"))
                .run(raw(Op::Put, &["b"], &["5", ttl_ms]), "!COSTGUARD_INVALID ttl_ms")
                .run(create("p", ttl_ms, TTL_MS), "!COSTGUARD_INVALID ttl_ms")
                .run(create("p", TTL_MS, ttl_ms), "!COSTGUARD_INVALID ttl_ms")
                .run(get(ttl_ms), "!COSTGUARD_INVALID ttl_ms")
                .run(raw(Op::TokenConsume, &["b"], &["c", ttl_ms]), "!COSTGUARD_INVALID kept_ms"),
        );
    }
    for name in ["", "a b", "a-b"] {
        cases.push(
            case(format!("keep: {name:?} is no claim and no generation"))
                .run(consume(name), "!COSTGUARD_INVALID claim")
                .run(
                    raw(Op::SessionCreate, &["b", "a"], &["p", TTL_MS, TTL_MS, name]),
                    "!COSTGUARD_INVALID generation",
                ),
        );
    }
    cases
}
