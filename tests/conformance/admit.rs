//! `admit`: adds amounts if every limit allows it, to all counters or to none.

use costguard::script::Op;

use super::call::{admit, raw};
use super::charge::{OVERFLOWS, SUMS};
use super::*;

pub(crate) fn cases() -> Vec<Case> {
    [decisions(), ttls(), times(), receipts(), malformed(), corrupt(), large(), many()].into_iter().flatten().collect()
}

fn decisions() -> Vec<Case> {
    vec![
        case("admit: up to the limit and not past it")
            .run(admit(&[("a", "5", END, "10")]).at(NOW), "GRANTED 0")
            .run(admit(&[("a", "6", END, "10")]).at(NOW), "DENIED 4000000000000 1 5")
            .run(admit(&[("a", "5", END, "10")]).at(NOW), "GRANTED 5")
            .run(admit(&[("a", "1", END, "10")]).at(NOW), "DENIED 4000000000000 1 10")
            .run(admit(&[("a", "0", END, "10")]).at(NOW), "GRANTED 10")
            .holds("a", "'10'", At(END)),
        case("admit: a denial makes no counter, by the store's clock")
            .run(admit(&[("a", "11", END, "10"), ("b", "1", "+600000", "10")]), "DENIED NOW 1 0 0"),
        case("admit: all limits that refuse are named, and none takes anything")
            .put("SET", "a", &["10", "PXAT", END])
            .put("SET", "c", &["20", "PXAT", END])
            .run(
                admit(&[("a", "1", END, "10"), ("b", "1", END, "10"), ("c", "1", END, "10"), ("d", "1", END, "")])
                    .at(NOW)
                    .touch(),
                "DENIED 4000000000000 1,3 10 0 20 0",
            )
            .holds("a", "'10'", At(END))
            .holds("c", "'20'", At(END)),
        case("admit: a counter without a limit only counts")
            .put("SET", "a", &["1000000", "PXAT", END])
            .run(admit(&[("a", "5", END, ""), ("b", "5", END, "5")]), "GRANTED 1000000 0")
            .run(admit(&[("a", "5", END, ""), ("b", "1", END, "5")]).at(NOW), "DENIED 4000000000000 2 1000005 5")
            .holds("a", "'1000005'", At(END))
            .holds("b", "'5'", At(END)),
        case("admit: a limit of nothing")
            .run(admit(&[("a", "1", END, "0")]).at(NOW), "DENIED 4000000000000 1 0")
            .run(admit(&[("a", "0", END, "0")]).at(NOW), "GRANTED 0")
            .holds("a", "'0'", At(END)),
        case("admit: a counter that passed its limit refuses even nothing")
            .put("SET", "a", &["11", "PXAT", END])
            .run(admit(&[("a", "0", END, "10")]).at(NOW), "DENIED 4000000000000 1 11")
            .holds("a", "'11'", At(END)),
        case("admit: a counter below zero has more room")
            .put("SET", "a", &["-5", "PXAT", END])
            .run(admit(&[("a", "16", END, "10")]).at(NOW), "DENIED 4000000000000 1 -5")
            .run(admit(&[("a", "15", END, "10")]).at(NOW), "GRANTED -5")
            .holds("a", "'10'", At(END)),
        case("admit: amounts differ from counter to counter")
            .run(admit(&[("a", "1", END, "10"), ("b", "20", END, "20"), ("c", "1", END, "10")]), "GRANTED 0 0 0")
            .holds("a", "'1'", At(END))
            .holds("b", "'20'", At(END))
            .holds("c", "'1'", At(END)),
    ]
}

fn ttls() -> Vec<Case> {
    vec![
        case("admit: a span is renewed by a write that looks, and by no other, nor by a denial")
            .put("SET", "a", &["5", "PX", "60000"])
            .put("SET", "b", &["5", "PX", "60000"])
            .put("SET", "c", &["10", "PX", "60000"])
            .run(admit(&[("a", "5", "+600000", "10")]).touch(), "GRANTED 5")
            .run(admit(&[("b", "5", "+600000", "10")]), "GRANTED 5")
            .run(admit(&[("c", "5", "+600000", "10")]).touch(), "DENIED NOW 1 10")
            .run(admit(&[("d", "5", "+600000", "10")]), "GRANTED 0")
            .holds("a", "'10'", In(600_000))
            .holds("b", "'10'", In(60_000))
            .holds("c", "'10'", In(60_000))
            .holds("d", "'5'", In(600_000)),
        case("admit: a lost TTL is healed by a write that looks, and by no other")
            .put("SET", "a", &["5"])
            .put("SET", "b", &["5", "PXAT", "4050000000000"])
            .put("SET", "c", &["5"])
            .run(admit(&[("a", "1", END, "10"), ("b", "1", END, "10")]).touch(), "GRANTED 5 5")
            .run(admit(&[("c", "1", END, "10")]), "GRANTED 5")
            .holds("a", "'6'", At(END))
            .holds("b", "'6'", At("4050000000000"))
            .holds("c", "'6'", Never),
        case("admit: a TTL never falls into the past because the injected time is old")
            .put("SET", "b", &["5"])
            .run(
                admit(&[
                    ("a", "1", "1000086400000", "9"),
                    ("b", "1", "1000086400000", "9"),
                    ("c", "1", "+600000", "9"),
                ])
                .at("1000000000000")
                .touch(),
                "GRANTED 0 5 0",
            )
            .holds("a", "'1'", In(86_400_000))
            .holds("b", "'6'", In(86_400_000))
            .holds("c", "'1'", In(600_000)),
    ]
}

fn times() -> Vec<Case> {
    let one = || admit(&[("a", "5", END, "10")]);
    vec![
        case("admit: windows that are over, or still to come, by the store's clock")
            .run(one().window("0", "1000"), "STALE NOW")
            .run(one().window(NOW, END).id("f"), "STALE NOW"),
        case("admit: windows begin at their start and end before their end")
            .run(one().window("4000000000000", "4000000060000").at("3999999999999"), "STALE 3999999999000")
            .run(one().window("4000000000000", "4000000060000").at("4000000060000"), "STALE 4000000060000")
            .run(one().window("4000000000000", "4000000060000").at("4000000000000"), "GRANTED 0")
            .run(one().window("4000000000000", "4000000060000").at("4000000059999"), "GRANTED 5")
            .holds("a", "'10'", At(END)),
    ]
}

fn receipts() -> Vec<Case> {
    let two = || admit(&[("a", "5", END, "10"), ("b", "7", END, "10")]);
    vec![
        case("admit: an id happens once and replays its answer, whatever has come since")
            .run(two().id("f"), "GRANTED 0 0")
            .put("SET", "a", &["1000", "PXAT", END])
            .run(two().id("f"), "REPLAY GRANTED 0 0")
            .run(two().id("f").window("0", "1000"), "REPLAY GRANTED 0 0")
            .run(two().id("g"), CONFLICT)
            .run(two().id("g").window("0", "1000"), CONFLICT)
            .holds("a", "'1000'", At(END))
            .holds("b", "'7'", At(END))
            .holds("r", "'f GRANTED 0 0'", In(60_000)),
        case("admit: a denial leaves no receipt, so the same id may try again")
            .put("SET", "a", &["6", "PXAT", END])
            .run(two().id("f").at(NOW), "DENIED 4000000000000 1 6 0")
            .put("SET", "a", &["5", "PXAT", END])
            .run(two().id("f").at(NOW), "GRANTED 5 0")
            .run(two().id("f").at(NOW), "REPLAY GRANTED 5 0")
            .holds("a", "'10'", At(END))
            .holds("b", "'7'", At(END))
            .holds("r", "'f GRANTED 5 0'", In(60_000)),
        case("admit: something else where the receipt should be")
            .put("HSET", "r", &["f", "1"])
            .run(two().id("f"), "!COSTGUARD_CORRUPT r does not hold a receipt")
            .holds("r", "{f='1'}", Never),
        case("admit: one that fails leaves no receipt")
            .put("SET", "b", &["abc"])
            .run(two().id("f"), CORRUPT_B)
            .holds("b", "'abc'", Never),
    ]
}

fn malformed() -> Vec<Case> {
    let mut cases = Vec::new();
    for amount in NO_AMOUNT {
        cases.push(
            case(format!("admit: {amount:?} is no amount"))
                .run(admit(&[("a", amount, END, "10")]), INVALID_AMOUNT_1)
                .run(admit(&[("a", "5", END, "10"), ("b", amount, END, "10")]).at(NOW), INVALID_AMOUNT_2)
                .run(admit(&[("a", amount, END, "")]).id("f"), INVALID_AMOUNT_1),
        );
    }
    for expiry in NO_EXPIRY {
        let second = "!COSTGUARD_INVALID expiry 2";
        cases.push(
            case(format!("admit: {expiry:?} is no expiry"))
                .put("SET", "b", &["0"])
                .put("SET", "c", &["7"])
                .run(admit(&[("a", "5", expiry, "10")]), "!COSTGUARD_INVALID expiry 1")
                .run(admit(&[("a", "5", END, "10"), ("b", "5", expiry, "10")]), second)
                .run(admit(&[("a", "5", END, "10"), ("c", "1", expiry, "10")]).touch(), second)
                .holds("b", "'0'", Never)
                .holds("c", "'7'", Never),
        );
    }
    let receipt = |ttl_ms, fingerprint| admit(&[("a", "5", END, "10")]).receipt(ttl_ms, fingerprint);
    let mut it = case("admit: what is no receipt");
    for fingerprint in [" ", "a b", "f "] {
        it = it.run(receipt("60000", fingerprint), INVALID_FINGERPRINT);
    }
    for ttl_ms in NO_TTL {
        it = it.run(receipt(ttl_ms, "f"), INVALID_RECEIPT_TTL);
    }
    cases.push(it);
    cases.push(
        case("admit: arguments that are missing or no numbers raise before anything is written")
            .run(
                raw(Op::Admit, &["a", "a:held", "a:holds"], &[]),
                "!ERR : attempt to get length of field '?' (a nil value)",
            )
            .run(
                admit(&[("a", "5", END, "10"), ("b", "5", END, "ten")]),
                "!ERR : attempt to perform arithmetic on local 'limit' (a string value)",
            ),
    );
    cases
}

fn corrupt() -> Vec<Case> {
    let mut cases: Vec<_> = CORRUPT
        .into_iter()
        .map(|value| {
            let error = if value.len() > 18 { CORRUPT_B_64 } else { CORRUPT_B };
            case(format!("admit: a counter that holds {value:?}"))
                .put("SET", "b", &[value])
                .run(admit(&[("b", "5", END, "10")]), error)
                .run(admit(&[("b", "0", END, "")]).touch(), error)
                .run(admit(&[("a", "5", END, "10"), ("b", "5", END, "10")]), error)
                // A refusal before it does not hide it.
                .run(admit(&[("a", "5", END, "1"), ("b", "5", END, "10")]), error)
                .holds("b", format!("'{value}'"), Never)
        })
        .collect();
    cases.push(
        case("admit: a counter of another type")
            .put("HSET", "b", &["f", "1"])
            .run(admit(&[("b", "5", END, "10")]), CORRUPT_B)
            .run(admit(&[("a", "5", END, "10"), ("b", "5", END, ""), ("c", "5", END, "10")]), CORRUPT_B)
            .holds("b", "{f='1'}", Never),
    );
    cases
}

/// One less.
fn below(integer: &str) -> String {
    (integer.parse::<i128>().unwrap() - 1).to_string()
}

fn large() -> Vec<Case> {
    let mut cases = Vec::new();
    for (before, amount, after) in SUMS {
        let below = below(after);
        let mut it = case(format!("admit: {before} and {amount}")).put("SET", "a", &[before, "PXAT", END]).put(
            "SET",
            "b",
            &[before, "PXAT", END],
        );
        // Limits below zero are none that a policy can have.
        if !below.starts_with('-') {
            let denied = format!("DENIED {NOW} 1 {before} 0");
            it = it.run(admit(&[("a", amount, END, &below), ("c", "1", END, "")]).at(NOW), denied);
        }
        cases.push(
            it.run(admit(&[("a", amount, END, after)]).id("f"), format!("GRANTED {before}"))
                .run(admit(&[("b", amount, END, ""), ("c", "1", END, MAX)]), format!("GRANTED {before} 0"))
                .run(admit(&[("a", amount, END, after)]).id("f"), format!("REPLAY GRANTED {before}"))
                .holds("a", format!("'{after}'"), At(END))
                .holds("b", format!("'{after}'"), At(END))
                .holds("c", "'1'", At(END))
                .holds("r", format!("'f GRANTED {before}'"), In(60_000)),
        );
    }
    for (before, amount) in OVERFLOWS {
        cases.push(
            case(format!("admit: {before} and {amount} overflow, whatever the limit"))
                .put("SET", "b", &[before])
                .run(admit(&[("b", amount, END, MAX)]), OVERFLOW_B)
                .run(admit(&[("b", amount, END, "10")]), OVERFLOW_B)
                .run(admit(&[("a", "1", END, "10"), ("b", amount, END, "")]).touch(), OVERFLOW_B)
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
            let limited = |limit: &'static str| {
                let counters: Vec<_> =
                    names.iter().zip(&amounts).map(|(key, amount)| (&**key, &**amount, END, limit)).collect();
                admit(&counters).at(NOW).id("f")
            };
            let zeros = vec!["0"; many].join(" ");
            let refusing: Vec<_> = (9..=many).map(|place| place.to_string()).collect();
            let mut it = case(format!("admit: {many} counters"))
                .run(limited("7"), format!("DENIED {NOW} {} {zeros}", refusing.join(",")))
                .run(limited("40"), format!("GRANTED {zeros}"))
                .run(limited("40"), format!("REPLAY GRANTED {zeros}"))
                .holds("r", format!("'f GRANTED {zeros}'"), In(60_000));
            for (name, amount) in names.iter().zip(&amounts) {
                it = it.holds(name, format!("'{amount}'"), At(END));
            }
            it
        })
        .collect()
}
