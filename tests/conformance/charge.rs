//! `charge`: adds amounts, whatever the limits.

use costguard::script::Op;

use super::call::{charge, raw};
use super::*;

pub(crate) fn cases() -> Vec<Case> {
    [writes(), ttls(), times(), receipts(), malformed(), corrupt(), large(), many()].into_iter().flatten().collect()
}

fn writes() -> Vec<Case> {
    vec![
        case("charge: the first write sets the TTL").run(charge(&[("a", "5", END)]), "OK 5").holds("a", "'5'", At(END)),
        case("charge: later writes add up and keep the TTL")
            .put("SET", "a", &["5", "PXAT", "4050000000000"])
            .run(charge(&[("a", "3", END)]), "OK 8")
            .run(charge(&[("a", "0", END)]), "OK 8")
            .holds("a", "'8'", At("4050000000000")),
        case("charge: nothing at all still makes the counter").run(charge(&[("a", "0", END)]), "OK 0").holds(
            "a",
            "'0'",
            At(END),
        ),
        case("charge: several counters, in order")
            .put("SET", "b", &["100"])
            .run(charge(&[("a", "1", END), ("b", "2", END), ("c", "3", "4200000000000")]), "OK 1 102 3")
            .holds("a", "'1'", At(END))
            .holds("b", "'102'", Never)
            .holds("c", "'3'", At("4200000000000")),
        case("charge: a counter below zero")
            .put("SET", "a", &["-5", "PXAT", END])
            .put("SET", "b", &["-5", "PXAT", END])
            .run(charge(&[("a", "3", END)]), "OK -2")
            .run(charge(&[("a", "2", END), ("b", "6", END)]), "OK 0 1")
            .holds("a", "'0'", At(END))
            .holds("b", "'1'", At(END)),
    ]
}

fn ttls() -> Vec<Case> {
    vec![
        case("charge: a span is set by the first write").run(charge(&[("a", "5", "+600000")]), "OK 5").holds(
            "a",
            "'5'",
            In(600_000),
        ),
        case("charge: a span is renewed by a write that looks, and by no other")
            .put("SET", "a", &["5", "PX", "60000"])
            .put("SET", "b", &["5", "PX", "60000"])
            .run(charge(&[("a", "5", "+600000")]).touch(), "OK 10")
            .run(charge(&[("b", "5", "+600000")]), "OK 10")
            .holds("a", "'10'", In(600_000))
            .holds("b", "'10'", In(60_000)),
        case("charge: a lost TTL is healed by a write that looks, and by no other")
            .put("SET", "a", &["5"])
            .put("SET", "b", &["5"])
            .put("SET", "c", &["5"])
            .put("SET", "d", &["5"])
            .run(charge(&[("a", "1", END), ("b", "1", "+600000")]).touch(), "OK 6 6")
            .run(charge(&[("c", "1", END), ("d", "1", "+600000")]), "OK 6 6")
            .holds("a", "'6'", At(END))
            .holds("b", "'6'", In(600_000))
            .holds("c", "'6'", Never)
            .holds("d", "'6'", Never),
        case("charge: a write that looks keeps a TTL that is there")
            .put("SET", "a", &["5", "PXAT", "4050000000000"])
            .run(charge(&[("a", "1", END)]).touch(), "OK 6")
            .holds("a", "'6'", At("4050000000000")),
        case("charge: a TTL never falls into the past because the injected time is old")
            .put("SET", "b", &["5"])
            .run(
                charge(&[("a", "1", "1000086400000"), ("b", "1", "1000086400000"), ("c", "1", "+600000")])
                    .at("1000000000000")
                    .touch(),
                "OK 1 6 1",
            )
            .holds("a", "'1'", In(86_400_000))
            .holds("b", "'6'", In(86_400_000))
            .holds("c", "'1'", In(600_000)),
        case("charge: a TTL is what it says when the injected time is yet to come")
            .run(charge(&[("a", "1", END)]).at(NOW), "OK 1")
            .holds("a", "'1'", At(END)),
    ]
}

fn times() -> Vec<Case> {
    let one = || charge(&[("a", "5", END)]);
    vec![
        case("charge: windows that are over, or still to come, by the store's clock")
            .run(one().window("0", "1000"), "STALE NOW")
            .run(one().window(NOW, END), "STALE NOW"),
        case("charge: windows begin at their start and end before their end")
            .run(one().window("4000000000000", "4000000060000").at("3999999999999"), "STALE 3999999999000")
            .run(one().window("4000000000000", "4000000060000").at("4000000060000"), "STALE 4000000060000")
            .run(one().window("4000000000000", "4000000060000").at("4000000000000"), "OK 5")
            .run(one().window("4000000000000", "4000000060000").at("4000000059999"), "OK 10")
            .holds("a", "'10'", At(END)),
        case("charge: what is stale leaves no receipt").run(one().window("0", "1000").id("f"), "STALE NOW"),
    ]
}

fn receipts() -> Vec<Case> {
    let two = || charge(&[("a", "5", END), ("b", "7", END)]);
    vec![
        case("charge: an id happens once and replays its answer, whatever has come since")
            .run(two().id("f"), "OK 5 7")
            .run(charge(&[("a", "1", END)]), "OK 6")
            .run(two().id("f"), "REPLAY OK 5 7")
            .run(two().id("f").window("0", "1000"), "REPLAY OK 5 7")
            .run(two().id("f").at(NOW).touch(), "REPLAY OK 5 7")
            .holds("a", "'6'", At(END))
            .holds("b", "'7'", At(END))
            .holds("r", "'f OK 5 7'", In(60_000)),
        case("charge: an id that was used for something else is a conflict")
            .run(two().id("f"), "OK 5 7")
            .run(two().id("g"), CONFLICT)
            .run(two().id("ff"), CONFLICT)
            .run(charge(&[("a", "5", END)]).id("F"), CONFLICT)
            .holds("a", "'5'", At(END))
            .holds("b", "'7'", At(END))
            .holds("r", "'f OK 5 7'", In(60_000)),
        case("charge: a receipt of another kind is no receipt of this")
            .put("SET", "r", &["f"])
            .run(two().id("f"), CONFLICT)
            .put("SET", "r", &[""])
            .run(two().id("f"), CONFLICT)
            .holds("r", "''", Never),
        case("charge: something else where the receipt should be")
            .put("HSET", "r", &["f", "1"])
            .run(two().id("f"), WRONG_TYPE)
            .holds("r", "{f='1'}", Never),
        case("charge: a charge that fails leaves no receipt")
            .put("SET", "a", &["abc"])
            .run(charge(&[("a", "5", END)]).id("f"), CORRUPT_A)
            .run(charge(&[("a", "5", END), ("b", "5", END)]).id("f"), CORRUPT_A)
            .holds("a", "'abc'", Never),
    ]
}

fn malformed() -> Vec<Case> {
    let mut cases = Vec::new();
    for amount in NO_AMOUNT {
        cases.push(
            case(format!("charge: {amount:?} is no amount"))
                .run(charge(&[("a", amount, END)]), INVALID_AMOUNT_1)
                .run(charge(&[("a", "5", END), ("b", amount, END)]).at(NOW), INVALID_AMOUNT_2)
                .run(charge(&[("a", amount, END)]).id("f"), INVALID_AMOUNT_1),
        );
    }
    for expiry in NO_EXPIRY {
        cases.push(
            case(format!("charge: {expiry:?} is no expiry"))
                .put("SET", "b", &["0"])
                .run(charge(&[("a", "5", expiry)]), "!COSTGUARD_INVALID expiry 1")
                .run(charge(&[("a", "5", END), ("b", "5", expiry)]).touch(), "!COSTGUARD_INVALID expiry 2")
                .holds("b", "'0'", Never),
        );
    }
    let receipt = |ttl_ms, fingerprint| charge(&[("a", "5", END)]).receipt(ttl_ms, fingerprint);
    let mut it = case("charge: what is no receipt");
    for fingerprint in [" ", "a b", "f "] {
        it = it.run(receipt("60000", fingerprint), INVALID_FINGERPRINT);
    }
    for ttl_ms in NO_TTL {
        it = it.run(receipt(ttl_ms, "f"), INVALID_RECEIPT_TTL);
    }
    cases.push(it);
    // These raise where they are used, before anything is written: a check of its own would cost every call.
    cases.push(
        case("charge: arguments that are missing")
            .run(raw(Op::Charge, &["a"], &[]), "!ERR : attempt to compare string with nil"),
    );
    cases
}

fn corrupt() -> Vec<Case> {
    let mut cases: Vec<_> = CORRUPT
        .into_iter()
        .map(|value| {
            let several = if value.len() > 18 { CORRUPT_B_64 } else { CORRUPT_B };
            case(format!("charge: a counter that holds {value:?}"))
                .put("SET", "b", &[value])
                .run(charge(&[("b", "5", END)]), CORRUPT_B)
                .run(charge(&[("b", "0", END)]).touch(), CORRUPT_B)
                .run(charge(&[("a", "5", END), ("b", "5", END)]), several)
                .holds("b", format!("'{value}'"), Never)
        })
        .collect();
    cases.push(
        case("charge: a counter of another type")
            .put("HSET", "b", &["f", "1"])
            .run(charge(&[("b", "5", END)]), CORRUPT_B)
            .run(charge(&[("a", "5", END), ("b", "5", END), ("c", "5", END)]), CORRUPT_B)
            .holds("b", "{f='1'}", Never),
    );
    cases
}

/// Before, amount, after: where doubles, their printing, and 64 bits end.
pub(crate) const SUMS: [(&str, &str, &str); 16] = [
    ("0", MAX, MAX),
    (MAX, "0", MAX),
    ("9223372036854775806", "1", MAX),
    (MIN, "0", MIN),
    (MIN, MAX, "-1"),
    (MIN, "1", "-9223372036854775807"),
    ("-1", MAX, "9223372036854775806"),
    ("99999999999998", "1", "99999999999999"),
    ("99999999999999", "1", "100000000000000"),
    ("100000000000000", "1", "100000000000001"),
    ("-100000000000001", "1", "-100000000000000"),
    ("-100000000000000", "1", "-99999999999999"),
    ("9007199254740991", "1", "9007199254740992"),
    ("9007199254740992", "1", "9007199254740993"),
    ("-9007199254740993", "9007199254740993", "0"),
    ("4611686018427387904", "4611686018427387903", MAX),
];

/// Before, amount.
pub(crate) const OVERFLOWS: [(&str, &str); 4] =
    [(MAX, "1"), ("9223372036854775806", "2"), ("1", MAX), ("5000000000000000000", "5000000000000000000")];

fn large() -> Vec<Case> {
    let mut cases = Vec::new();
    for (before, amount, after) in SUMS {
        cases.push(
            case(format!("charge: {before} and {amount}"))
                .put("SET", "a", &[before, "PXAT", END])
                .put("SET", "b", &[before, "PXAT", END])
                .run(charge(&[("a", amount, END)]).id("f"), format!("OK {after}"))
                .run(charge(&[("b", amount, END), ("c", "1", END)]), format!("OK {after} 1"))
                .run(charge(&[("a", amount, END)]).id("f"), format!("REPLAY OK {after}"))
                .holds("a", format!("'{after}'"), At(END))
                .holds("b", format!("'{after}'"), At(END))
                .holds("c", "'1'", At(END))
                .holds("r", format!("'f OK {after}'"), In(60_000)),
        );
    }
    for (before, amount) in OVERFLOWS {
        cases.push(
            case(format!("charge: {before} and {amount} overflow"))
                .put("SET", "b", &[before])
                .run(charge(&[("b", amount, END)]), OVERFLOW_B)
                .run(charge(&[("a", "1", END), ("b", amount, END)]).touch(), OVERFLOW_B)
                .holds("b", format!("'{before}'"), Never),
        );
    }
    cases
}

fn many() -> Vec<Case> {
    [10, 32]
        .into_iter()
        .map(|many| {
            let names: Vec<_> = (0..many).map(|at| format!("k{at:02}")).collect();
            let amounts: Vec<_> = (0..many).map(|at| at.to_string()).collect();
            let counters: Vec<_> = names.iter().zip(&amounts).map(|(key, amount)| (&**key, &**amount, END)).collect();
            let reply = format!("OK {}", amounts.join(" "));
            let mut it = case(format!("charge: {many} counters"))
                .run(charge(&counters).id("f"), &*reply)
                .run(charge(&counters).id("f"), format!("REPLAY {reply}"))
                .holds("r", format!("'f {reply}'"), In(60_000));
            for (name, amount) in names.iter().zip(&amounts) {
                it = it.holds(name, format!("'{amount}'"), At(END));
            }
            it
        })
        .collect()
}
