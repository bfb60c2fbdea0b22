//! `adjust` and `adjustments`: corrections by hand, and the journal of them.

use costguard::script::Op;

use super::call::{adjust, adjustments, raw};
use super::charge::{OVERFLOWS, SUMS};
use super::*;

const NOTE_1: &str = "'1 4000000000000 0 5 why'";
const NO_JOURNAL: &str = "!COSTGUARD_CORRUPT j is not a journal";

pub(crate) fn cases() -> Vec<Case> {
    [corrections(), ttls(), times(), journal(), receipts(), malformed(), corrupt(), large()]
        .into_iter()
        .flatten()
        .collect()
}

fn corrections() -> Vec<Case> {
    vec![
        case("adjust: adds and takes, and notes why")
            .run(adjust("5", END, "100", "why").at(NOW), "OK 0 5")
            .run(adjust("-2", END, "100", "a reason of many  words: 100%").at(NOW), "OK 5 3")
            .run(adjust("0", END, "100", "é {x}").at(NOW), "OK 3 3")
            .run(adjustments("100").at(NOW), format!("OK {} {} {}",
                "1 4000000000000 0 5 why",
                "2 4000000000000 5 3 a reason of many  words: 100%",
                "3 4000000000000 3 3 é {x}"))
            .holds("a", "'3'", At(END))
            .holds("j", format!("{{0={NOTE_1} 1='2 4000000000000 5 3 a reason of many  words: 100%' 2='3 4000000000000 3 3 é {{x}}' n='3'}}"), At(END)),
        case("adjust: sets back to zero")
            .put("SET", "a", &["500", "PXAT", END])
            .run(adjust("", END, "100", "why").at(NOW), "OK 500 0")
            .holds("a", "'0'", At(END))
            .holds("j", "{0='1 4000000000000 500 0 why' n='1'}", At(END)),
        case("adjust: to zero and not below it")
            .put("SET", "a", &["5", "PXAT", END])
            .run(adjust("-6", END, "100", "why").at(NOW), BELOW_ZERO)
            .run(adjust(MIN, END, "100", "why").at(NOW), BELOW_ZERO)
            .run(adjust("-5", END, "100", "why").at(NOW), "OK 5 0")
            .run(adjust("-1", END, "100", "why").at(NOW), BELOW_ZERO)
            .holds("a", "'0'", At(END))
            .holds("j", "{0='1 4000000000000 5 0 why' n='1'}", At(END)),
        case("adjust: brings a counter below zero up, in one step")
            .put("SET", "a", &["-5", "PXAT", END])
            .run(adjust("4", END, "100", "why").at(NOW), BELOW_ZERO)
            .run(adjust("5", END, "100", "why").at(NOW), "OK -5 0")
            .holds("a", "'0'", At(END))
            .holds("j", "{0='1 4000000000000 -5 0 why' n='1'}", At(END)),
        case("adjust: a counter that is not there has nothing to take")
            .run(adjust("-1", END, "100", "why"), BELOW_ZERO),
    ]
}

const BELOW_ZERO: &str = "!COSTGUARD_BELOW_ZERO a would fall below zero";

fn ttls() -> Vec<Case> {
    vec![
        case("adjust: keeps the counter's TTL, and the journal lives as long as its last note asks")
            .put("SET", "a", &["5", "PXAT", "4050000000000"])
            .run(adjust("-5", END, "100", "why").at(NOW), "OK 5 0")
            .run(adjust("5", "4200000000000", "100", "why").at(NOW), "OK 0 5")
            .holds("a", "'5'", At("4050000000000"))
            .holds("j", "{0='1 4000000000000 5 0 why' 1='2 4000000000000 0 5 why' n='2'}", At("4200000000000")),
        case("adjust: heals lost TTLs")
            .put("SET", "a", &["5"])
            .put("HSET", "j", &["n", "0"])
            .run(adjust("", END, "100", "why").at(NOW), "OK 5 0")
            .holds("a", "'0'", At(END))
            .holds("j", "{0='1 4000000000000 5 0 why' n='1'}", At(END)),
        case("adjust: renews a span")
            .put("SET", "a", &["5", "PX", "60000"])
            .run(adjust("1", "+600000", "100", "why").at(NOW), "OK 5 6")
            .holds("a", "'6'", In(600_000))
            .holds("j", "{0='1 4000000000000 5 6 why' n='1'}", In(600_000)),
        case("adjust: a TTL never falls into the past because the injected time is old")
            .run(adjust("5", "1000086400000", "100", "why").at("1000000000000"), "OK 0 5")
            .holds("a", "'5'", In(86_400_000))
            .holds("j", "{0='1 1000000000000 0 5 why' n='1'}", In(86_400_000)),
    ]
}

fn times() -> Vec<Case> {
    let one = || adjust("5", END, "100", "why");
    vec![
        case("adjust: windows that are over, or still to come")
            .run(one().window("0", "1000"), "STALE NOW")
            .run(one().window(NOW, END).id("f"), "STALE NOW")
            .run(one().window("0", NOW).at(NOW), format!("STALE {NOW}"))
            .run(one().window(NOW, END).at("3999999999999"), "STALE 3999999999000")
            .run(adjustments("100").window("0", "1000"), "STALE NOW")
            .run(adjustments("100").window(NOW, END), "STALE NOW")
            .run(adjustments("100").window("0", NOW).at(NOW), format!("STALE {NOW}"))
            .run(adjustments("100").window(NOW, END).at(NOW), "OK"),
        case("adjust: a time so late that Lua prints it shortened")
            .run(adjust("5", "253402300800000", "100", "why").at("253402300799999"), "OK 0 5")
            .run(adjustments("100"), "OK 1 253402300799999 0 5 why")
            .holds("a", "'5'", At("253402300800000"))
            .holds("j", "{0='1 253402300799999 0 5 why' n='1'}", At("253402300800000")),
    ]
}

fn journal() -> Vec<Case> {
    let mut wrapped = case("adjust: an older note makes room for a newer");
    for number in 0..7 {
        let reason = ["r1", "r2", "r3", "r4", "r5", "r6", "r7"][number];
        wrapped = wrapped.run(adjust("1", END, "3", reason).at(NOW), format!("OK {number} {}", number + 1));
        if number == 2 {
            wrapped = wrapped
                .run(adjustments("3"), "OK 1 4000000000000 0 1 r1 2 4000000000000 1 2 r2 3 4000000000000 2 3 r3");
        }
    }
    let last = "5 4000000000000 4 5 r5 6 4000000000000 5 6 r6 7 4000000000000 6 7 r7";
    vec![
        wrapped.run(adjustments("3"), format!("OK {last}")).holds("a", "'7'", At(END)).holds(
            "j",
            "{0='7 4000000000000 6 7 r7' 1='5 4000000000000 4 5 r5' 2='6 4000000000000 5 6 r6' n='7'}",
            At(END),
        ),
        case("adjust: a journal of one note")
            .run(adjust("1", END, "1", "r1").at(NOW), "OK 0 1")
            .run(adjust("1", END, "1", "r2").at(NOW), "OK 1 2")
            .run(adjustments("1"), "OK 2 4000000000000 1 2 r2")
            .holds("a", "'2'", At(END))
            .holds("j", "{0='2 4000000000000 1 2 r2' n='2'}", At(END)),
        case("adjustments: none yet").run(adjustments("100"), "OK"),
    ]
}

fn receipts() -> Vec<Case> {
    let one = |fingerprint| adjust("5", END, "100", "why").at(NOW).id(fingerprint);
    vec![
        case("adjust: an id happens once, is noted once, and replays its answer")
            .run(one("f"), "OK 0 5")
            .run(one("f"), "REPLAY OK 0 5")
            .run(one("f").window("0", "1000"), "REPLAY OK 0 5")
            .run(one("g"), CONFLICT)
            .holds("a", "'5'", At(END))
            .holds("j", format!("{{0={NOTE_1} n='1'}}"), At(END))
            .holds("r", "'f OK 0 5'", In(60_000)),
        case("adjust: something else where the receipt should be")
            .put("HSET", "r", &["f", "1"])
            .run(one("f"), WRONG_TYPE)
            .holds("r", "{f='1'}", Never),
        case("adjust: one that fails leaves no receipt").run(adjust("-5", END, "100", "why").id("f"), BELOW_ZERO),
    ]
}

fn malformed() -> Vec<Case> {
    let mut deltas = case("adjust: what is no delta");
    for delta in ["-0", "05", "-05", "1.5", "+5", " 5", "5 ", "abc", "0x10", "1e3", "-"] {
        deltas = deltas.run(adjust(delta, END, "100", "why"), "!COSTGUARD_INVALID delta");
    }
    let mut sizes = case("adjust: what is no size of a journal");
    for size in ["", "0", "-1", "1.5", "abc", "nan", "inf"] {
        sizes = sizes.run(adjust("5", END, size, "why"), "!COSTGUARD_INVALID journal_size");
    }
    let mut expiries = case("adjust: what is no expiry");
    for expiry in NO_EXPIRY {
        expiries = expiries.run(adjust("5", expiry, "100", "why"), "!COSTGUARD_INVALID expiry");
    }
    let mut receipts = case("adjust: what is no receipt");
    for ttl_ms in NO_TTL {
        receipts = receipts.run(adjust("5", END, "100", "why").receipt(ttl_ms, "f"), INVALID_RECEIPT_TTL);
    }
    for fingerprint in ["", " ", "a b"] {
        receipts = receipts.run(adjust("5", END, "100", "why").id(fingerprint), INVALID_FINGERPRINT);
    }
    let numbers = case("adjust: arguments that are no numbers")
        .run(raw(Op::Adjust, &["a", "j"], &["x", ALWAYS.1, "5", END, "100", "why", ""]), NO_START)
        .run(raw(Op::Adjust, &["a", "j"], &["0", "x", "5", END, "100", "why", ""]), NO_END);
    vec![deltas, sizes, expiries, receipts, numbers]
}

fn corrupt() -> Vec<Case> {
    let mut cases: Vec<_> = CORRUPT
        .into_iter()
        .map(|value| {
            let error = if value.len() > 18 {
                CORRUPT_A.replace("an integer", "a 64-bit integer")
            } else {
                CORRUPT_A.to_owned()
            };
            case(format!("adjust: a counter that holds {value:?}"))
                .put("SET", "a", &[value])
                .run(adjust("5", END, "100", "why"), &*error)
                .run(adjust("", END, "100", "why"), &*error)
                .holds("a", format!("'{value}'"), Never)
        })
        .collect();
    cases.push(
        case("adjust: a counter of another type")
            .put("HSET", "a", &["f", "1"])
            .run(adjust("5", END, "100", "why"), CORRUPT_A)
            .run(adjust("", END, "100", "why"), CORRUPT_A)
            .holds("a", "{f='1'}", Never),
    );
    // Beyond 2^53 a number does not change when it is counted on: a loop up to it would not end.
    for number in ["abc", "", "-1", "1.5", "100000000000000000000", "9999999999999999", "1e3"] {
        cases.push(
            case(format!("adjust: a journal that counts {number:?} notes"))
                .put("HSET", "j", &["n", number])
                .run(adjust("5", END, "100", "why"), NO_JOURNAL)
                .run(adjustments("100"), NO_JOURNAL)
                .holds("j", format!("{{n='{number}'}}"), Never),
        );
    }
    cases.push(
        case("adjust: a journal of another type")
            .put("SET", "j", &["5"])
            .run(adjust("5", END, "100", "why"), NO_JOURNAL)
            .run(adjustments("100"), NO_JOURNAL)
            .holds("j", "'5'", Never),
    );
    cases
}

fn large() -> Vec<Case> {
    let mut cases = Vec::new();
    for (before, delta, after) in SUMS.into_iter().filter(|(_, _, after)| !after.starts_with('-')) {
        let mut it = case(format!("adjust: {before} and {delta}"))
            .put("SET", "a", &[before, "PXAT", END])
            .run(adjust(delta, END, "100", "why").at(NOW).id("f"), format!("OK {before} {after}"))
            .run(adjust(delta, END, "100", "why").at(NOW).id("f"), format!("REPLAY OK {before} {after}"))
            .holds("a", format!("'{after}'"), At(END))
            .holds("r", format!("'f OK {before} {after}'"), In(60_000));
        it = it.holds("j", format!("{{0='1 {NOW} {before} {after} why' n='1'}}"), At(END));
        cases.push(it);
        if before.starts_with('-') || delta == "0" {
            continue;
        }
        let back = format!("-{delta}");
        cases.push(
            case(format!("adjust: {after} less {delta}"))
                .put("SET", "a", &[after, "PXAT", END])
                .run(adjust(&back, END, "100", "why").at(NOW), format!("OK {after} {before}"))
                .holds("a", format!("'{before}'"), At(END))
                .holds("j", format!("{{0='1 {NOW} {after} {before} why' n='1'}}"), At(END)),
        );
    }
    for (before, delta) in OVERFLOWS {
        cases.push(
            case(format!("adjust: {before} and {delta} overflow"))
                .put("SET", "a", &[before])
                .run(adjust(delta, END, "100", "why"), "!COSTGUARD_OVERFLOW a would leave the 64-bit range")
                .holds("a", format!("'{before}'"), Never),
        );
    }
    cases
}
