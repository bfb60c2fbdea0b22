//! Giving back: refunds, rates corrected by the end of a hold, and the list of holds that are open.

use costguard::script::Op;

use super::call::{raw, refund, release, settle};
use super::reserve::{OPEN, bucket, others};
use super::*;

const SPAN: &str = "60000000";
const TAKEN: &str = "4000000000000000";
const EMPTY: &str = "{next='4000000600000'}";

pub(crate) fn cases() -> Vec<Case> {
    [refunds(), malformed(), corrections(), listed()].into_iter().flatten().collect()
}

fn refunds() -> Vec<Case> {
    vec![
        case("refund: of counters, not below zero, and what is gone stays gone")
            .put("SET", "a", &["10", "PXAT", END])
            .put("SET", "b", &["3", "PXAT", END])
            .put("SET", "d", &["-2", "PXAT", END])
            .run(refund(&[("a", "4"), ("b", "5"), ("c", "5"), ("d", "5")], TAKEN).at(NOW), "OK 6 0 0 -2")
            .holds("a", "'6'", At(END))
            .holds("b", "'0'", At(END))
            .holds("d", "'-2'", At(END)),
        case("refund: once by its id")
            .put("SET", "a", &["10", "PXAT", END])
            .run(refund(&[("a", "4")], TAKEN).at(NOW).id("f"), "OK 6")
            .run(refund(&[("a", "4")], TAKEN).at(NOW).id("f"), "REPLAY OK 6")
            .run(refund(&[("a", "4")], TAKEN).at(NOW).id("g"), CONFLICT)
            .holds("a", "'6'", At(END))
            .holds("r", "'f OK 6'", In(60_000)),
        case("refund: of now by the store's clock, in the windows of now; a repeat whenever it comes")
            .put("SET", "a", &["10", "PXAT", END])
            .run(
                refund(&[("a", "4")], "").window(NOW, "4000000001000").at("3999999999999").id("f"),
                "STALE 3999999999000",
            )
            .run(
                refund(&[("a", "4")], "").window(NOW, "4000000001000").at("4000000001000").id("f"),
                "STALE 4000000001000",
            )
            .run(refund(&[("a", "4")], "").window(NOW, "4000000001000").at("4000000000999").id("f"), "OK 6")
            .run(refund(&[("a", "4")], "").window(NOW, "4000000001000").at("4000000001000").id("f"), "REPLAY OK 6")
            .holds("a", "'6'", At(END))
            .holds("r", "'f OK 6'", In(60_000)),
        case("refund: of each kind of rate")
            .put("SET", "g", &["4000000003000000", "PX", "60000"])
            .put("SET", "s", &["66666666 0 5", "PX", "60000"])
            .put("SET", "l", &["3999999999000000 4000000000000000 4000000000000001 ", "PX", "60000"])
            .run(
                refund(&[], TAKEN)
                    .state("g", "-1", "60", SPAN, "")
                    .state("s", "-2", "10", SPAN, "sliding")
                    .state("l", "-1", "5", SPAN, "log")
                    .at("4000000000001"),
                "OK",
            )
            .holds("g", "'4000000002000000'", KEPT)
            .holds("s", "'66666666 0 3'", KEPT)
            // The newest that had come when it was taken.
            .holds("l", "'3999999999000000 4000000000000001 '", KEPT),
        case("refund: all of a rate leaves nothing behind")
            .put("SET", "g", &["4000000003000000", "PX", "60000"])
            .put("SET", "l", &["4000000000000000 ", "PX", "60000"])
            .run(refund(&[], TAKEN).state("g", "-9", "60", SPAN, "").state("l", "-9", "5", SPAN, "log").at(NOW), "OK"),
        case("refund: of a bucket no more than was in it")
            .put("SET", "g", &["4000000003000000", "PX", "60000"])
            .run(refund(&[], "4000000000000000").state("g", "-2", "60", SPAN, "=90000000").at(NOW), "OK")
            .holds("g", "'4000000001500000'", KEPT),
        case("refund: a sliding window gives back in the minute in which it was taken")
            .put("SET", "s", &["66666666 4 5", "PX", "60000"])
            .run(refund(&[], "3999999950000000").state("s", "-3", "10", SPAN, "sliding").at(NOW), "OK")
            .holds("s", "'66666666 1 5'", KEPT),
    ]
}

fn malformed() -> Vec<Case> {
    let mut cases = Vec::new();
    for amount in NO_AMOUNT {
        cases.push(
            case(format!("refund: {amount:?} is no amount"))
                .run(refund(&[("a", amount)], TAKEN).at(NOW), INVALID_AMOUNT_1),
        );
    }
    for value in CORRUPT {
        cases.push(
            case(format!("refund: a counter that holds {value:?}"))
                .put("SET", "b", &[value])
                .put("SET", "a", &["9", "PXAT", END])
                .run(refund(&[("a", "1"), ("b", "1")], TAKEN).at(NOW), CORRUPT_B)
                .holds("a", "'9'", At(END))
                .holds("b", format!("'{value}'"), Never),
        );
    }
    cases.push(
        case("refund, settle, release: what is no change, and no rate; nothing is given back")
            .put("SET", "a", &["9", "PXAT", END])
            .put("SET", "s", &["soon"])
            .run(refund(&[("a", "1")], TAKEN).state("s", "1.5", "60", SPAN, "").at(NOW), "!COSTGUARD_INVALID change 1")
            .run(
                refund(&[("a", "1")], TAKEN).state("s", "-1", "60", SPAN, "").at(NOW),
                "!COSTGUARD_CORRUPT s does not hold what a rate is kept in",
            )
            .holds("a", "'9'", At(END))
            .holds("s", "'soon'", Never),
    );
    cases.push(
        case("refund: a counter of another type")
            .put("HSET", "b", &["f", "1"])
            .run(refund(&[("b", "1")], TAKEN).at(NOW), CORRUPT_B)
            .holds("b", "{f='1'}", Never),
    );
    cases
}

/// A hold of 5 on the counter `a`, and of 100 of 6,000 a minute on the rate `s`.
fn rated(name: &str) -> Case {
    others(case(name).put("SET", "a", &["0", "PXAT", END]), "a:held", "a:holds", "5")
        .put("SET", "h", &[OPEN, "PXAT", "4000000700000"])
        .put("SET", "s", &["4000000001000000", "PX", "60000"])
}

fn corrections() -> Vec<Case> {
    let ended = |it: Case, used: &str| {
        it.holds("a", format!("'{used}'"), At(END)).holds("a:held", "'0'", At(END)).holds("a:holds", EMPTY, At(END))
    };
    let settled = |as_: &str, used: &str| format!("'settled {as_} SETTLED 0 {used} | {OPEN}'");
    vec![
        ended(rated("settle: a rate gets back what was taken too much"), "4")
            .run(
                settle(OPEN, &[("a", "5", "4")]).taken(TAKEN).state("s", "-40", "6000", SPAN, "").at(NOW),
                "SETTLED 0 4",
            )
            .run(
                settle(OPEN, &[("a", "5", "4")]).taken(TAKEN).state("s", "-40", "6000", SPAN, "").at(NOW),
                "REPLAY SETTLED 0 4",
            )
            .holds("h", settled("4", "4"), In(60_000))
            .holds("s", "'4000000000600000'", KEPT),
        ended(rated("settle: a rate is charged what was taken too little, beyond its limit too"), "4")
            .run(
                settle(OPEN, &[("a", "5", "4")]).taken(TAKEN).state("s", "6000", "6000", SPAN, "").at(NOW),
                "SETTLED 0 4",
            )
            .holds("h", settled("4", "4"), In(60_000))
            .holds("s", "'4000000061000000'", KEPT),
        ended(rated("release: a rate gets all of it back"), "0")
            .run(
                release(OPEN, RECEIPT_TTL, &[("a", "5")]).taken(TAKEN).state("s", "-100", "6000", SPAN, "").at(NOW),
                "RELEASED",
            )
            .holds("h", format!("'released release RELEASED | {OPEN}'"), In(60_000)),
        rated("settle, release: a rate that is none; nothing has ended")
            .put("SET", "s", &["soon", "PX", "60000"])
            .run(
                settle(OPEN, &[("a", "5", "4")]).taken(TAKEN).state("s", "-40", "6000", SPAN, "").at(NOW),
                "!COSTGUARD_CORRUPT s does not hold what a rate is kept in",
            )
            .run(
                release(OPEN, RECEIPT_TTL, &[("a", "5")]).taken(TAKEN).state("s", "-100", "6000", SPAN, "").at(NOW),
                "!COSTGUARD_CORRUPT s does not hold what a rate is kept in",
            )
            .holds("a", "'0'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("a:holds", bucket("5"), At(END))
            .holds("h", format!("'{OPEN}'"), At("4000000700000"))
            .holds("s", "'soon'", In(60_000)),
    ]
}

fn listed() -> Vec<Case> {
    let ended = "settled 5 SETTLED 0 5 | open 0 4000000000 0 550000 4000000600000 f -";
    let list = |now_ms: &str| raw(Op::Holds, &["g", "h", "i", "j"], &[now_ms]);
    vec![
        case("holds: those that are open, until their bucket ends")
            .put("SET", "h", &[OPEN])
            .put("SET", "i", &[ended])
            .put("SET", "j", &["open 0 4000000000 0 9000 4000000010000 f -"])
            .run(list(NOW), format!("OPEN {NOW} 2 {OPEN} 4 open 0 4000000000 0 9000 4000000010000 f -"))
            .run(
                list("4000000009999"),
                format!("OPEN 4000000009999 2 {OPEN} 4 open 0 4000000000 0 9000 4000000010000 f -"),
            )
            .run(list("4000000010000"), format!("OPEN 4000000010000 2 {OPEN}"))
            .run(list(BUCKET), format!("OPEN {BUCKET} "))
            .run(raw(Op::Holds, &["g", "i"], &[]), "OPEN NOW ")
            .holds("h", format!("'{OPEN}'"), Never)
            .holds("i", format!("'{ended}'"), Never)
            .holds("j", "'open 0 4000000000 0 9000 4000000010000 f -'", Never),
        case("holds: what is no hold is none")
            .put("SET", "h", &["abc"])
            .put("HSET", "i", &["f", "1"])
            .run(list(NOW), format!("OPEN {NOW} "))
            .holds("h", "'abc'", Never)
            .holds("i", "{f='1'}", Never),
    ]
}
