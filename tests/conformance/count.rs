//! `count`: adds to a counter that lives for a TTL.

use super::call::count;
use super::charge::{OVERFLOWS, SUMS};
use super::*;

const EXTEND: &str = "1";
const KEEP: &str = "";

pub(crate) fn cases() -> Vec<Case> {
    [ttls(), receipts(), malformed(), corrupt(), large()].into_iter().flatten().collect()
}

fn ttls() -> Vec<Case> {
    vec![
        case("count: the first hit sets the TTL, later hits keep it")
            .run(count("a", "1", "600000", KEEP), "OK 1 600000")
            .run(count("a", "2", "900000", KEEP), "OK 3 ~600000")
            .holds("a", "'3'", In(600_000)),
        case("count: or start it anew")
            .run(count("a", "1", "600000", EXTEND), "OK 1 600000")
            .run(count("a", "2", "900000", EXTEND), "OK 3 900000")
            .holds("a", "'3'", In(900_000)),
        case("count: nothing, to read").run(count("a", "0", "600000", KEEP), "OK 0 600000").holds(
            "a",
            "'0'",
            In(600_000),
        ),
        case("count: a missing TTL is healed by the next hit")
            .put("SET", "a", &["5"])
            .run(count("a", "1", "600000", KEEP), "OK 6 600000")
            .holds("a", "'6'", In(600_000)),
        case("count: a counter below zero")
            .put("SET", "a", &["-5", "PXAT", END])
            .run(count("a", "2", "600000", EXTEND), "OK -3 600000")
            .holds("a", "'-3'", In(600_000)),
        case("count: the longest TTL").run(count("a", "1", "999999999999999", KEEP), "OK 1 999999999999999").holds(
            "a",
            "'1'",
            In(999_999_999_999_999),
        ),
    ]
}

fn receipts() -> Vec<Case> {
    let one = |fingerprint| count("a", "2", "600000", KEEP).id(fingerprint);
    vec![
        case("count: an id happens once and replays its answer")
            .run(one("f"), "OK 2 600000")
            .run(count("a", "1", "600000", KEEP), "OK 3 ~600000")
            .run(one("f"), "REPLAY OK 2 600000")
            .run(one("g"), CONFLICT)
            .holds("a", "'3'", In(600_000))
            .holds("r", "'f OK 2 600000'", In(60_000)),
        case("count: something else where the receipt should be")
            .put("HSET", "r", &["f", "1"])
            .run(one("f"), WRONG_TYPE)
            .holds("r", "{f='1'}", Never),
        case("count: one that fails leaves no receipt")
            .put("SET", "a", &["abc"])
            .run(one("f"), CORRUPT_A)
            .holds("a", "'abc'", Never),
    ]
}

fn malformed() -> Vec<Case> {
    let mut cases = vec![];
    for amount in NO_AMOUNT {
        let error = "!COSTGUARD_INVALID amount";
        cases.push(
            case(format!("count: {amount:?} is no amount"))
                .run(count("a", amount, "600000", KEEP), error)
                .run(count("a", amount, "600000", EXTEND).id("f"), error),
        );
    }
    for ttl_ms in NO_TTL {
        cases.push(
            case(format!("count: {ttl_ms:?} is no TTL"))
                .run(count("a", "1", ttl_ms, KEEP), "!COSTGUARD_INVALID ttl_ms")
                .run(count("a", "1", "600000", KEEP).receipt(ttl_ms, "f"), INVALID_RECEIPT_TTL),
        );
    }
    for fingerprint in ["", " ", "a b", "f "] {
        cases.push(
            case(format!("count: {fingerprint:?} is no fingerprint"))
                .run(count("a", "1", "600000", KEEP).id(fingerprint), INVALID_FINGERPRINT),
        );
    }
    cases
}

fn corrupt() -> Vec<Case> {
    let mut cases: Vec<_> = CORRUPT
        .into_iter()
        .map(|value| {
            case(format!("count: a counter that holds {value:?}"))
                .put("SET", "b", &[value])
                .run(count("b", "1", "600000", KEEP), CORRUPT_B)
                .run(count("b", "0", "600000", EXTEND), CORRUPT_B)
                .holds("b", format!("'{value}'"), Never)
        })
        .collect();
    cases.push(
        case("count: a counter of another type")
            .put("HSET", "b", &["f", "1"])
            .run(count("b", "1", "600000", EXTEND), CORRUPT_B)
            .holds("b", "{f='1'}", Never),
    );
    cases
}

fn large() -> Vec<Case> {
    let mut cases = Vec::new();
    for (before, amount, after) in SUMS {
        cases.push(
            case(format!("count: {before} and {amount}"))
                .put("SET", "a", &[before])
                .run(count("a", amount, "600000", KEEP).id("f"), format!("OK {after} 600000"))
                .run(count("a", amount, "600000", KEEP).id("f"), format!("REPLAY OK {after} 600000"))
                .holds("a", format!("'{after}'"), In(600_000))
                .holds("r", format!("'f OK {after} 600000'"), In(60_000)),
        );
    }
    for (before, amount) in OVERFLOWS {
        cases.push(
            case(format!("count: {before} and {amount} overflow"))
                .put("SET", "b", &[before])
                .run(count("b", amount, "600000", EXTEND), OVERFLOW_B)
                .holds("b", format!("'{before}'"), Never),
        );
    }
    cases
}
