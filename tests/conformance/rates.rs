//! Rates in admit, admit_rate, charge, reserve, grow and peek: buckets (GCRA), sliding windows and logs, alone and in a mix.

use super::call::{admit, admit_rate, charge, grow, peek, reserve};
use super::reserve::{OPEN, bucket, granted, others};
use super::*;

/// A minute.
const SPAN: &str = "60000000";
const NOT_A_RATE: &str = "!COSTGUARD_CORRUPT s does not hold what a rate is kept in";

pub(crate) fn cases() -> Vec<Case> {
    [buckets(), alone(), sliding(), logs(), mixed(), beside_holds(), corrupt()].into_iter().flatten().collect()
}

/// Of one rate in `s`.
fn one(amount: &str, limit: &str, how: &str) -> call::Call {
    admit(&[]).state("s", amount, limit, SPAN, how).at(NOW)
}

fn buckets() -> Vec<Case> {
    vec![
        case("admit: a bucket fills by a second a request, and says what it was")
            .run(one("1", "60", ""), "GRANTED 0 ")
            .run(one("2", "60", ""), "GRANTED 4000000001000000 ")
            .run(one("0", "60", ""), "GRANTED 4000000003000000 ")
            .run(one("58", "60", ""), "DENIED 4000000000000 1 4000000003000000 ")
            .run(one("57", "60", ""), "GRANTED 4000000003000000 ")
            .holds("s", "'4000000060000000'", KEPT),
        case("admit: a burst is what fits at once")
            .run(one("3", "60", "2"), "DENIED 4000000000000 1 0 ")
            .run(one("2", "60", "2"), "GRANTED 0 ")
            .run(one("1", "60", "2"), "DENIED 4000000000000 1 4000000002000000 ")
            .run(one("1", "60", "2").at("4000000000999"), "DENIED 4000000000999 1 4000000002000000 ")
            .run(one("1", "60", "2").at("4000000001000"), "GRANTED 4000000002000000 ")
            .holds("s", "'4000000003000000'", KEPT),
        case("admit: the part of a microsecond that is left is kept")
            .run(one("1", "7", ""), "GRANTED 0 ")
            .run(one("1", "7", ""), "GRANTED 4000000008571428+4 ")
            .run(one("5", "7", ""), "GRANTED 4000000017142857+1 ")
            .run(one("1", "7", ""), "DENIED 4000000000000 1 4000000060000000 ")
            .holds("s", "'4000000060000000'", KEPT),
        case("admit: a bucket that has run dry is an empty one")
            .put("SET", "s", &["3999999999999999", "PX", "60000"])
            .run(one("1", "60", ""), "GRANTED 0 ")
            .holds("s", "'4000000001000000'", KEPT),
        case("charge: a bucket takes what does not fit as well")
            .run(charge(&[]).state("s", "2", "60", SPAN, "1").at(NOW), "OK 4000000000 0 0")
            .run(
                charge(&[("a", "5", END)]).state("s", "1", "60", SPAN, "1").at(NOW),
                "OK 4000000000 0 4000000002000000 5",
            )
            .holds("a", "'5'", At(END))
            .holds("s", "'4000000003000000'", KEPT),
        case("admit: with a receipt")
            .run(one("1", "60", "").id("f"), "GRANTED 0 ")
            .run(one("1", "60", "").id("f"), "REPLAY GRANTED 0 ")
            .holds("r", "'f GRANTED 0 '", In(60_000))
            .holds("s", "'4000000001000000'", KEPT),
    ]
}

/// One rate by its own script, which has the store's time: the states are so far ahead that it does not matter.
fn alone() -> Vec<Case> {
    let full = "4000000000000000";
    vec![
        case("admit_rate: nothing of an empty bucket").run(admit_rate("0", "60", SPAN, ""), "GRANTED NOW - - 0 "),
        case("admit_rate: into a bucket that has room for months")
            .put("SET", "s", &[full, "PX", "60000"])
            .run(admit_rate("1", "1", SPAN, "100000000"), format!("GRANTED NOW - - {full} "))
            .holds("s", "'4000000060000000'", About("4000000060002")),
        case("admit_rate: what does not fit, and in shadow mode")
            .put("SET", "s", &[full, "PX", "60000"])
            .run(admit_rate("1", "60", SPAN, ""), format!("DENIED NOW 1 {full} "))
            .run(admit_rate("1", "+60", SPAN, ""), format!("GRANTED NOW - 1 {full} "))
            .holds("s", format!("'{full}'"), In(60_000)),
        case("admit_rate: where there are rules it says so")
            .put("SET", "ruled", &["1", "PX", "60000"])
            .run(admit_rate("1", "60", SPAN, ""), "RULED NOW")
            .holds("ruled", "'1'", In(60_000)),
        case("admit_rate: what is no amount, and no state")
            .put("SET", "s", &["soon", "PX", "60000"])
            .run(admit_rate("-1", "60", SPAN, ""), INVALID_AMOUNT_1)
            .run(admit_rate("1", "60", SPAN, ""), NOT_A_RATE)
            .holds("s", "'soon'", In(60_000)),
        case("admit_rate: a state of another type")
            .put("HSET", "s", &["f", "1"])
            .run(admit_rate("1", "60", SPAN, ""), NOT_A_RATE)
            .holds("s", "{f='1'}", Never),
    ]
}

/// [`NOW`] is 40 s into a minute, the 66,666,666th.
fn sliding() -> Vec<Case> {
    let one = |amount: &str| one(amount, "10", "sliding");
    vec![
        case("admit: a sliding window says when it is empty, and when there is room")
            .run(one("2"), "GRANTED 0 80000000 ")
            .run(one("9"), "DENIED 4000000000000 1 2 50000000 ")
            .run(one("11"), "DENIED 4000000000000 1 2 -1 ")
            .run(one("8"), "GRANTED 2 80000000 ")
            .holds("s", "'66666666 0 10'", KEPT),
        case("admit: of the minute before counts what lies in the sixty seconds before")
            .put("SET", "s", &["66666665 0 9", "PX", "60000"])
            .run(one("8"), "DENIED 4000000000000 1 3 6666667 ")
            .run(one("7"), "GRANTED 3 80000000 ")
            .holds("s", "'66666666 9 7'", KEPT),
        case("charge: a sliding window takes what does not fit as well")
            .run(charge(&[]).state("s", "12", "10", SPAN, "sliding").at(NOW), "OK 4000000000 0 0 80000000")
            .holds("s", "'66666666 0 12'", KEPT),
    ]
}

fn logs() -> Vec<Case> {
    let one = |amount: &str| one(amount, "2", "log");
    let entry = "4000000000000000 ";
    vec![
        case("admit: a log has the time of each request")
            .run(one("1"), "GRANTED 0 60000000 ")
            .run(one("0").at("4000000000500"), "GRANTED 1 59500000 ")
            .run(one("1").at("4000000001000"), "GRANTED 1 60000000 ")
            .run(one("1").at("4000000002000"), "DENIED 4000000002000 1 2 58000000 ")
            .run(one("3").at("4000000002000"), "DENIED 4000000002000 1 2 -1 ")
            .run(one("1").at("4000000060000"), "GRANTED 1 60000000 ")
            .holds("s", "'4000000001000000 4000000060000000 '", KEPT),
        case("charge: a log takes what does not fit as well")
            .run(charge(&[]).state("s", "3", "2", SPAN, "log").at(NOW), "OK 4000000000 0 0 60000000")
            .holds("s", format!("'{}'", entry.repeat(3)), KEPT),
    ]
}

fn mixed() -> Vec<Case> {
    let all = |amount: &str| {
        admit(&[("a", amount, END, "10")])
            .state("g", amount, "60", SPAN, "")
            .state("s", amount, "10", SPAN, "sliding")
            .state("l", amount, "5", SPAN, "log")
            .at(NOW)
    };
    vec![
        case("admit: from all kinds or from none, and each that refuses is named")
            .run(all("6"), "DENIED 4000000000000 4 0 0 80000000 0 -1 0")
            .run(all("2"), "GRANTED 0 0 80000000 0 60000000 0")
            .run(all("9"), "DENIED 4000000000000 1,3,4 4000000002000000 2 50000000 2 -1 2")
            .holds("a", "'2'", At(END))
            .holds("g", "'4000000002000000'", KEPT)
            .holds("s", "'66666666 0 2'", KEPT)
            .holds("l", "'4000000000000000 4000000000000000 '", KEPT),
        case("peek: each kind says how it stands")
            .put("SET", "a", &["3", "PXAT", END])
            .put("SET", "g", &["4000000002000000", "PX", "60000"])
            .put("SET", "s", &["66666666 0 2", "PX", "60000"])
            .put("SET", "l", &["4000000000000000 ", "PX", "60000"])
            .run(
                peek(&["a"])
                    .state("g", "0", "60", SPAN, "")
                    .state("s", "0", "10", SPAN, "sliding")
                    .state("l", "0", "5", SPAN, "log")
                    .state("n", "0", "5", SPAN, "")
                    .at(NOW),
                "OK 4000000000000 4000000002000000 2 80000000 1 60000000 0 3 0",
            )
            .holds("a", "'3'", At(END))
            .holds("g", "'4000000002000000'", In(60_000))
            .holds("s", "'66666666 0 2'", In(60_000))
            .holds("l", "'4000000000000000 '", In(60_000)),
    ]
}

fn beside_holds() -> Vec<Case> {
    let reserve = |amount: &str| reserve(&[("a", amount, END, "10")], "f").state("s", amount, "60", SPAN, "6").at(NOW);
    let reserve_one = |most: &str| call::reserve(&[("a", "1", END, most)], "f").at(NOW);
    let grown = format!("open {NONCE}.0 4000000000 0 550000 4000000600000 f more");
    vec![
        case("reserve, grow: a rate is taken from at once")
            .run(reserve("7"), format!("DENIED {NOW} 2 0 0"))
            .run(reserve("5"), granted("0 0"))
            .run(
                grow(OPEN, "more", &[("a", "2", "10")]).state("s", "2", "60", SPAN, "6").at(NOW),
                format!("DENIED {NOW} 2 4000000005000000 0 5 -1"),
            )
            .run(
                grow(OPEN, "more", &[("a", "1", "10")]).state("s", "1", "60", SPAN, "6").at(NOW),
                format!("GRANTED {grown}"),
            )
            .holds("a", "'0'", At(END))
            .holds("a:held", "'6'", At(END))
            .holds("a:holds", bucket("6"), At(END))
            .holds("h", format!("'{grown}'"), In(700_000))
            .holds("s", "'4000000006000000'", KEPT),
        others(case("reserve: calls open at once, of which nothing is ever used"), "a:held", "a:holds", "2")
            .put("SET", "a", &["0", "PXAT", END])
            .run(reserve_one("2"), format!("DENIED {NOW} 1 0 2 {BUCKET}"))
            .run(reserve_one("3"), granted("0 2"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'3'", At(END))
            .holds("a:holds", bucket("3"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
    ]
}

fn corrupt() -> Vec<Case> {
    let mut cases = Vec::new();
    for (how, values) in [
        ("", ["soon", "1+", "-"]),
        ("sliding", ["1 2", "a b c", "4000000000000000"]),
        ("log", ["now", "1 2 3", "4000000000000000"]),
    ] {
        for value in values {
            cases.push(
                case(format!("admit, charge, reserve, peek: {value:?} is not what is kept of {how:?}"))
                    .put("SET", "s", &[value, "PX", "60000"])
                    .run(admit(&[("a", "1", END, "10")]).state("s", "1", "10", SPAN, how).at(NOW), NOT_A_RATE)
                    .run(charge(&[("a", "1", END)]).state("s", "1", "10", SPAN, how).at(NOW), NOT_A_RATE)
                    .run(reserve(&[("a", "1", END, "10")], "f").state("s", "1", "10", SPAN, how).at(NOW), NOT_A_RATE)
                    .run(peek(&["a"]).state("s", "0", "10", SPAN, how).at(NOW), NOT_A_RATE)
                    .holds("s", format!("'{value}'"), In(60_000)),
            );
        }
    }
    for amount in NO_AMOUNT {
        cases.push(
            case(format!("admit, charge: {amount:?} is no amount of a rate"))
                .run(admit(&[("a", "1", END, "10")]).state("s", amount, "10", SPAN, "").at(NOW), INVALID_AMOUNT_2)
                .run(charge(&[("a", "1", END)]).state("s", amount, "10", SPAN, "").at(NOW), INVALID_AMOUNT_2),
        );
    }
    cases.push(
        case("admit, charge: a rate of another type")
            .put("HSET", "s", &["f", "1"])
            .run(admit(&[("a", "1", END, "10")]).state("s", "1", "10", SPAN, "").at(NOW), NOT_A_RATE)
            .run(charge(&[("a", "1", END)]).state("s", "1", "10", SPAN, "").at(NOW), NOT_A_RATE)
            .holds("s", "{f='1'}", Never),
    );
    cases
}
