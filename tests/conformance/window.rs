//! `window_add`, `window_read` and `window_start`: counters of one window each.

use super::call::raw;
use super::charge::{OVERFLOWS, SUMS};
use super::*;

const START: &str = "3999999990";
const WINDOW_END: &str = "4000000050";
const TTL_MS: &str = "600000";

fn add(amount: &str, ttl_ms: &str) -> Call {
    raw(Op::WindowAdd, &["b"], &[START, WINDOW_END, amount, ttl_ms, NOW])
}

fn read() -> Call {
    raw(Op::WindowRead, &["b"], &[START, WINDOW_END, NOW])
}

/// A start on `b` while less than `cap` is in `a`.
fn start(limit: &str, cap: &str) -> Call {
    raw(Op::WindowStart, &["b", "a"], &[START, WINDOW_END, limit, TTL_MS, NOW, cap])
}

fn ok(used: &str) -> String {
    format!("OK 4000000000 0 {used}")
}

pub(crate) fn cases() -> Vec<Case> {
    [ttls(), starts(), malformed(), corrupt(), large()].into_iter().flatten().collect()
}

fn ttls() -> Vec<Case> {
    vec![
        case("window_add: the first amount sets the TTL, later ones keep it")
            .run(read(), ok("0"))
            .run(add("70", TTL_MS), ok("70"))
            .run(add("7", "900000"), ok("77"))
            .run(read(), ok("77"))
            .holds("b", "'77'", In(600_000)),
        case("window_add: until the window ends").run(add("1", ""), ok("1")).holds("b", "'1'", In(50_000)),
        case("window_add: a missing TTL is healed").put("SET", "b", &["5"]).run(add("0", TTL_MS), ok("5")).holds(
            "b",
            "'5'",
            In(600_000),
        ),
        case("window_add, window_read, window_start: another time than the store's is STALE")
            .run(raw(Op::WindowAdd, &["b"], &["3999999990", "4000000000", "1", "", NOW]), "STALE 4000000000000")
            .run(raw(Op::WindowRead, &["b"], &["4000000001", "4000000009", NOW]), "STALE 4000000000000")
            .run(raw(Op::WindowStart, &["b"], &["4000000001", "4000000009", "1", "", NOW]), "STALE 4000000000000"),
    ]
}

fn starts() -> Vec<Case> {
    let granted = |used: &str, spent: &str| format!("GRANTED 4000000000 0 {used} {spent}");
    let denied = |used: &str, spent: &str| format!("DENIED 4000000000000 {used} {spent}");
    let alone = |limit| raw(Op::WindowStart, &["b"], &[START, WINDOW_END, limit, "", NOW]);
    vec![
        case("window_start: so many, and not one more")
            .run(start("2", "10"), granted("1", "0"))
            .run(start("2", "10"), granted("2", "0"))
            .run(start("2", "10"), denied("2", "0"))
            .holds("b", "'2'", In(600_000)),
        case("window_start: one below the cap goes on, at the cap nothing starts")
            .put("SET", "a", &["9", "PXAT", END])
            .run(start("5", "10"), granted("1", "9"))
            .put("SET", "a", &["10", "PXAT", END])
            .run(start("5", "10"), denied("1", "10"))
            .holds("a", "'10'", At(END))
            .holds("b", "'1'", In(600_000)),
        case("window_start: a limit and a cap of nothing")
            .run(start("0", "10"), denied("0", "0"))
            .run(start("1", "0"), denied("0", "0")),
        case("window_start: one counter alone, until its window ends")
            .run(alone("1"), "GRANTED 4000000000 0 1")
            .run(alone("1"), "DENIED 4000000000000 1")
            .holds("b", "'1'", In(50_000)),
        case("window_start: the largest numbers")
            .put("SET", "a", &["9223372036854775806", "PXAT", END])
            .put("SET", "b", &["9007199254740993", "PXAT", END])
            .run(start(MAX, MAX), granted("9007199254740994", "9223372036854775806"))
            .put("SET", "a", &[MAX, "PXAT", END])
            .run(start(MAX, MAX), denied("9007199254740994", MAX))
            .put("SET", "b", &[MAX, "PXAT", END])
            .run(start(MAX, MAX), denied(MAX, MAX))
            .holds("a", format!("'{MAX}'"), At(END))
            .holds("b", format!("'{MAX}'"), At(END)),
    ]
}

fn malformed() -> Vec<Case> {
    let mut cases = Vec::new();
    for amount in NO_AMOUNT {
        cases.push(
            case(format!("window: {amount:?} is no amount and no limit"))
                .run(add(amount, TTL_MS), "!COSTGUARD_INVALID amount")
                .run(start(amount, "1"), "!COSTGUARD_INVALID limit")
                .run(start("1", amount), "!COSTGUARD_INVALID limit"),
        );
    }
    for ttl_ms in ["0", "-1", "+5", "1.5", "abc", "1000000000000000"] {
        let start = raw(Op::WindowStart, &["b"], &[START, WINDOW_END, "1", ttl_ms, NOW]);
        cases.push(
            case(format!("window: {ttl_ms:?} is no TTL"))
                .run(add("1", ttl_ms), "!COSTGUARD_INVALID ttl_ms")
                .run(start, "!COSTGUARD_INVALID ttl_ms"),
        );
    }
    cases
}

fn corrupt() -> Vec<Case> {
    let error = |key: &str, what: &str| format!("!COSTGUARD_CORRUPT {key} does not hold {what}");
    let mut cases = Vec::new();
    for value in CORRUPT {
        let beyond = value.len() > 18;
        cases.push(
            case(format!("window: a counter that holds {value:?}"))
                .put("SET", "b", &[value])
                .run(add("1", TTL_MS), error("b", "an integer"))
                .run(read(), error("b", if beyond { "a 64-bit integer" } else { "an integer" }))
                .run(start("5", "5"), error("b", "a 64-bit integer"))
                .holds("b", format!("'{value}'"), Never),
        );
        cases.push(
            case(format!("window_start: a cost of {value:?}"))
                .put("SET", "a", &[value])
                .run(start("5", "5"), error("a", "a 64-bit integer"))
                .holds("a", format!("'{value}'"), Never),
        );
    }
    cases.push(
        case("window: a counter of another type")
            .put("HSET", "b", &["f", "1"])
            .run(add("1", TTL_MS), error("b", "an integer"))
            .run(read(), WRONG_TYPE)
            .run(start("5", "5"), error("b", "a 64-bit integer"))
            .holds("b", "{f='1'}", Never),
    );
    cases
}

fn large() -> Vec<Case> {
    let mut cases = Vec::new();
    for (before, amount, after) in SUMS {
        cases.push(
            case(format!("window_add: {before} and {amount}"))
                .put("SET", "b", &[before])
                .run(add(amount, TTL_MS), ok(after))
                .run(read(), ok(after))
                .holds("b", format!("'{after}'"), In(600_000)),
        );
    }
    for (before, amount) in OVERFLOWS {
        cases.push(
            case(format!("window_add: {before} and {amount} overflow"))
                .put("SET", "b", &[before])
                .run(add(amount, TTL_MS), OVERFLOW_B)
                .holds("b", format!("'{before}'"), Never),
        );
    }
    cases
}
