//! `reserve`: sets amounts aside if every limit allows it, beside all counters or none; and `admit` and `peek` beside that.

use super::call::{admit, peek, reserve, reserve_with};
use super::*;

pub(crate) fn cases() -> Vec<Case> {
    [decisions(), lazily(), many(), ids(), rest(), named(), malformed(), corrupt(), large(), beside()]
        .into_iter()
        .flatten()
        .collect()
}

/// The record of a hold made by [`reserve`] at [`NOW`] under the fingerprint `f`.
pub(crate) const OPEN: &str = "open 0 4000000000 0 550000 4000000600000 f -";

/// The reply to that, with what was used and held before.
pub(crate) fn granted(before: &str) -> String {
    format!("GRANTED {NOW} {BUCKET} - {before}")
}

/// A hash with one bucket that is open.
pub(crate) fn bucket(amount: &str) -> String {
    format!("{{{BUCKET}='{amount}' next='{BUCKET}'}}")
}

/// Before a case: what others hold beside a counter, in the same bucket.
pub(crate) fn others(case: Case, held: &'static str, holds: &'static str, amount: &str) -> Case {
    case.put("SET", held, &[amount, "PXAT", END]).put("HSET", holds, &[BUCKET, amount, "next", BUCKET]).put(
        "PEXPIREAT",
        holds,
        &[END],
    )
}

fn decisions() -> Vec<Case> {
    let one = |amount| reserve(&[("a", amount, END, "10")], "f").at(NOW);
    vec![
        case("reserve: all keys come with a TTL, the counter too")
            .run(one("5"), granted("0"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("a:holds", bucket("5"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        others(case("reserve: up to the limit beside what is used and held"), "a:held", "a:holds", "3")
            .put("SET", "a", &["2", "PXAT", END])
            .run(one("6"), format!("DENIED {NOW} 1 2 3 {BUCKET}"))
            .run(one("11"), format!("DENIED {NOW} 1 2 3 -1"))
            .run(one("5"), granted("2 3"))
            .holds("a", "'2'", At(END))
            .holds("a:held", "'8'", At(END))
            .holds("a:holds", bucket("8"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        case("reserve: what is held lives as long as its bucket, be the window over before")
            .put("SET", "a", &["0", "PXAT", END])
            .put("SET", "a:held", &["1", "PX", "300000"])
            .put("HSET", "a:holds", &["4000000700000", "1", "next", "4000000700000"])
            .put("PEXPIRE", "a:holds", &["300000"])
            .run(one("5"), granted("0 1"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'6'", In(750_000))
            .holds("a:holds", format!("{{{BUCKET}='5' 4000000700000='1' next='{BUCKET}'}}"), In(750_000))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        others(case("reserve: a total that was lost is made anew with a TTL"), "a:held", "a:holds", "3")
            .put("SET", "a", &["0", "PXAT", END])
            .put("DEL", "a:held", &[])
            .run(one("5"), granted("0"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("a:holds", bucket("8"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        others(
            case("reserve: a total that would leave 64 bits, beside a counter below zero"),
            "a:held",
            "a:holds",
            MAX,
        )
        .put("SET", "a", &["-100", "PXAT", END])
        .run(reserve(&[("a", "50", END, "")], "f").at(NOW), "!COSTGUARD_OVERFLOW a would leave the 64-bit range")
        .holds("a", "'-100'", At(END))
        .holds("a:held", format!("'{MAX}'"), At(END))
        .holds("a:holds", bucket(MAX), At(END)),
        others(case("reserve: all limits that refuse are named, and none takes anything"), "b:held", "b:holds", "9")
            .put("SET", "c", &["10", "PXAT", END])
            .run(
                reserve(&[("a", "1", END, "10"), ("b", "2", END, "10"), ("c", "1", END, "10")], "f").at(NOW),
                format!("DENIED {NOW} 2,3 0 0 10 0 9 0 -1 {BUCKET} -1"),
            )
            .holds("b:held", "'9'", At(END))
            .holds("b:holds", bucket("9"), At(END))
            .holds("c", "'10'", At(END)),
        case("reserve: by the store's clock, in windows that are over or still to come")
            .run(reserve(&[("a", "1", END, "10")], "f").window("0", "1000").at(NOW), format!("STALE {NOW}"))
            .run(reserve(&[("a", "1", END, "10")], "f").window(NOW, END).at("3999999999999"), "STALE 3999999999000"),
        case("reserve: a lost TTL is healed by a write that looks")
            .put("SET", "a", &["1"])
            .put("SET", "a:held", &["1"])
            .put("HSET", "a:holds", &[BUCKET, "1", "next", BUCKET])
            .run(one("2").touch(), granted("1 1"))
            .holds("a", "'1'", At(END))
            .holds("a:held", "'3'", At(END))
            .holds("a:holds", bucket("3"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        case("reserve: nothing can be held")
            .run(one("0"), granted("0"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'0'", At(END))
            .holds("a:holds", bucket("0"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        case("reserve: a hold that ends sooner comes first")
            .put("HSET", "a:holds", &["4000000700000", "1", "next", "4000000700000"])
            .put("PEXPIREAT", "a:holds", &[END])
            .put("SET", "a:held", &["1", "PXAT", END])
            .run(one("2"), granted("0 1"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'3'", At(END))
            .holds("a:holds", format!("{{{BUCKET}='2' 4000000700000='1' next='{BUCKET}'}}"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
    ]
}

/// Buckets that ended before [`NOW`].
fn lazily() -> Vec<Case> {
    let expired = |name: &str| {
        case(name)
            .put("SET", "a:held", &["9", "PXAT", END])
            .put("HSET", "a:holds", &["3999999000000", "4", "4000000000000", "3", "4000000700000", "2"])
            .put("HSET", "a:holds", &["next", "3999999000000"])
            .put("PEXPIREAT", "a:holds", &[END])
    };
    vec![
        expired("reserve: buckets that have ended are discounted when the limit would bind")
            .run(reserve(&[("a", "8", END, "10")], "f").at(NOW), granted("0 2"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'10'", At(END))
            .holds("a:holds", format!("{{{BUCKET}='8' 4000000700000='2' next='{BUCKET}'}}"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        expired("reserve: and left where it does not")
            .run(reserve(&[("a", "1", END, "10")], "f").at(NOW), granted("0 9"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'10'", At(END))
            .holds(
                "a:holds",
                format!("{{3999999000000='4' 4000000000000='3' {BUCKET}='1' 4000000700000='2' next='3999999000000'}}"),
                At(END),
            )
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        expired("admit: and dropped by a write that looks")
            .run(admit(&[("a", "1", END, "10")]).at(NOW).touch(), "GRANTED 0 2")
            .holds("a", "'1'", At(END))
            .holds("a:held", "'2'", At(END))
            .holds("a:holds", "{4000000700000='2' next='4000000700000'}", At(END)),
        expired("admit: a denial discounts them too, and says when the rest frees")
            .run(admit(&[("a", "9", END, "10")]).at(NOW), format!("DENIED {NOW} 1 0 2 4000000700000"))
            .run(admit(&[("a", "8", END, "10")]).at(NOW), "GRANTED 0 2")
            .holds("a", "'8'", At(END))
            .holds("a:held", "'2'", At(END))
            .holds("a:holds", "{4000000700000='2' next='4000000700000'}", At(END)),
        case("admit: where no bucket has ended, the time of the next one is set right")
            .put("SET", "a:held", &["2", "PXAT", END])
            .put("HSET", "a:holds", &["4000000700000", "2", "next", "3999999000000"])
            .put("PEXPIREAT", "a:holds", &[END])
            .run(admit(&[("a", "9", END, "10")]).at(NOW), format!("DENIED {NOW} 1 0 2 4000000700000"))
            .holds("a:held", "'2'", At(END))
            .holds("a:holds", "{4000000700000='2' next='4000000700000'}", At(END)),
        case("admit: a total lost with an evicted key never falls below nothing")
            .put("SET", "a:held", &["3", "PXAT", END])
            .put("HSET", "a:holds", &["3999999000000", "7", "next", "3999999000000"])
            .put("PEXPIREAT", "a:holds", &[END])
            .run(admit(&[("a", "10", END, "10")]).at(NOW), "GRANTED 0 0")
            .holds("a", "'10'", At(END))
            .holds("a:held", "'0'", At(END))
            .holds("a:holds", "{next='-1'}", At(END)),
        case("admit: a total whose buckets were evicted stays")
            .put("SET", "a:held", &["3", "PXAT", END])
            .run(admit(&[("a", "10", END, "10")]).at(NOW), format!("DENIED {NOW} 1 0 3 -1"))
            .run(admit(&[("a", "7", END, "10")]).at(NOW), "GRANTED 0 3")
            .holds("a", "'7'", At(END))
            .holds("a:held", "'3'", At(END)),
    ]
}

/// More buckets than Lua can unpack at once: holds of many crashed processes, in buckets of 64 ms.
fn many() -> Vec<Case> {
    let mut it =
        case("admit: 9,000 buckets that have ended are discounted").put("SET", "a:held", &["9000", "PXAT", END]);
    for thousand in 0..9 {
        let ends: Vec<_> =
            (0..1000).map(|at| (3_900_000_000_000_i64 + (thousand * 1000 + at) * 64).to_string()).collect();
        let fields: Vec<_> = ends.iter().flat_map(|end| [&**end, "1"]).collect();
        it = it.put("HSET", "a:holds", &fields);
    }
    it = it.put("HSET", "a:holds", &["next", "3900000000000"]).put("PEXPIREAT", "a:holds", &[END]);
    vec![
        it.run(admit(&[("a", "10", END, "10")]).at(NOW), "GRANTED 0 0")
            .holds("a", "'10'", At(END))
            .holds("a:held", "'0'", At(END))
            .holds("a:holds", "{next='-1'}", At(END)),
    ]
}

fn ids() -> Vec<Case> {
    let one = |fingerprint| reserve(&[("a", "5", END, "10")], fingerprint).at(NOW);
    vec![
        case("reserve: an id is one hold, whatever has come since")
            .run(one("f"), granted("0"))
            .run(one("f"), format!("HELD {OPEN}"))
            .run(one("f").window("0", "1000"), format!("HELD {OPEN}"))
            .run(one("g"), HOLD_CONFLICT)
            .holds("a", "'0'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("a:holds", bucket("5"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        case("reserve: a record that says nothing")
            .put("SET", "h", &["abc"])
            .run(one("f"), HOLD_CONFLICT)
            .holds("h", "'abc'", Never),
        case("reserve: a record that only has the fingerprint somewhere")
            .put("SET", "h", &["reopen 0 4000000000 0 550000 4000000600000 f -"])
            .run(one("f"), HOLD_CONFLICT)
            .holds("h", "'reopen 0 4000000000 0 550000 4000000600000 f -'", Never),
        case("reserve: an id is one hold, also when it has ended")
            .put("SET", "h", &["settled 5 SETTLED 0 5 | open 0 4000000000 0 550000 4000000600000 f -"])
            .run(one("f"), "HELD settled 5 SETTLED 0 5 | open 0 4000000000 0 550000 4000000600000 f -")
            .run(one("g"), HOLD_CONFLICT)
            .holds("h", "'settled 5 SETTLED 0 5 | open 0 4000000000 0 550000 4000000600000 f -'", Never),
        case("reserve: a record of another type")
            .put("HSET", "h", &["f", "1"])
            .run(one("f"), "!COSTGUARD_CORRUPT h does not hold a hold")
            .holds("h", "{f='1'}", Never),
    ]
}

fn rest() -> Vec<Case> {
    let tail = |fingerprint| format!("{fingerprint} - a < 10 b < 20 c 3 -");
    let of = |fingerprint| {
        let counters = [("a", "<", END, "10"), ("b", "<", END, "20"), ("c", "3", END, "")];
        reserve_with(&counters, &[TTL, WIDTH, RECORD_TTL, &tail(fingerprint)]).at(NOW)
    };
    let open = format!("open 0 4000000000 0 {TTL} {BUCKET} f - a 7 10 b 7 20 c 3 -");
    vec![
        others(case("reserve: the rest of the tightest limit"), "b:held", "b:holds", "13")
            .put("SET", "a", &["2", "PXAT", END])
            .run(of("f"), format!("GRANTED {NOW} {BUCKET} 7 2 0 0 0 13 0"))
            .run(of("f"), format!("HELD {open}"))
            .holds("a", "'2'", At(END))
            .holds("b", "'0'", At(END))
            .holds("c", "'0'", At(END))
            .holds("a:held", "'7'", At(END))
            .holds("b:held", "'20'", At(END))
            .holds("c:held", "'3'", At(END))
            .holds("a:holds", bucket("7"), At(END))
            .holds("b:holds", bucket("20"), At(END))
            .holds("c:holds", bucket("3"), At(END))
            .holds("h", format!("'{open}'"), In(700_000)),
        case("reserve, admit: what holds that have ended leave is a part of the rest")
            .put("SET", "a:held", &["60", "PXAT", END])
            .put("HSET", "a:holds", &["3999999000000", "60", "next", "3999999000000"])
            .put("PEXPIREAT", "a:holds", &[END])
            .run(admit(&[("a", "<500", END, "100")]).at(NOW), "GRANTED 4000000000 0 100 - 0 0")
            .put("SET", "b:held", &["60", "PXAT", END])
            .put("HSET", "b:holds", &["3999999000000", "60", "next", "3999999000000"])
            .put("PEXPIREAT", "b:holds", &[END])
            .run(reserve(&[("b", "<", END, "100")], "f").at(NOW), format!("GRANTED {NOW} {BUCKET} 100 0 0"))
            .holds("a", "'100'", At(END))
            .holds("a:held", "'0'", At(END))
            .holds("a:holds", "{next='-1'}", At(END))
            .holds("b", "'0'", At(END))
            .holds("b:held", "'100'", At(END))
            .holds("b:holds", bucket("100"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        case("reserve: nothing is left")
            .put("SET", "a", &["10", "PXAT", END])
            .run(reserve(&[("a", "<", END, "10")], "f").at(NOW), format!("DENIED {NOW} 1 10"))
            .run(
                reserve(&[("b", "<", END, "")], "f").at(NOW),
                "!COSTGUARD_INVALID the amount < needs a limit to be a part of",
            )
            .holds("a", "'10'", At(END)),
        case("admit: a counter below zero leaves more than 64 bits")
            .put("SET", "a", &["-5", "PXAT", END])
            .run(admit(&[("a", "<500", END, MAX)]).at(NOW), "GRANTED 4000000000 0 500 - -5")
            .holds("a", "'495'", At(END)),
        case("reserve: a counter below zero leaves more than its limit")
            .put("SET", "a", &["-5", "PXAT", END])
            .run(reserve(&[("a", "<", END, "10")], "f").at(NOW), format!("GRANTED {NOW} {BUCKET} 15 -5"))
            .holds("a", "'-5'", At(END))
            .holds("a:held", "'15'", At(END))
            .holds("a:holds", bucket("15"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        case("reserve: the rest beside what is no bucket")
            .put("HSET", "a:holds", &["x", "1"])
            .run(reserve(&[("a", "<", END, "10")], "f").at(NOW), CORRUPT_A_HOLDS)
            .put("HSET", "b:holds", &[BUCKET, "x"])
            .run(
                reserve(&[("b", "<", END, "10")], "f").at(NOW),
                "!COSTGUARD_CORRUPT b:holds does not hold amounts by time",
            )
            .holds("a:holds", "{x='1'}", Never)
            .holds("b:holds", format!("{{{BUCKET}='x'}}"), Never),
    ]
}

fn named() -> Vec<Case> {
    let named = || reserve_with(&[("a", "5", END, "10")], &[TTL, BUCKET, RECORD_TTL, "f -"]).at(NOW);
    vec![
        case("reserve: into the bucket that is named for this time")
            .run(named().window("3999999950000", "4000000050000"), granted("0"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("a:holds", bucket("5"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        case("reserve: a bucket that is named for another time is named anew")
            .run(named().window("3999999900000", NOW), format!("STALE {NOW}"))
            .run(named().window("4000000001000", "4000000050000"), format!("STALE {NOW}")),
    ]
}

fn malformed() -> Vec<Case> {
    let mut cases = Vec::new();
    for amount in NO_AMOUNT {
        cases.push(
            case(format!("reserve: {amount:?} is no amount"))
                .run(reserve(&[("a", amount, END, "10")], "f"), INVALID_AMOUNT_1)
                .run(reserve(&[("a", "5", END, "10"), ("b", amount, END, "")], "f").at(NOW), INVALID_AMOUNT_2),
        );
    }
    for expiry in NO_EXPIRY {
        cases.push(
            case(format!("reserve: {expiry:?} is no expiry"))
                .run(reserve(&[("a", "5", END, "10"), ("b", "5", expiry, "10")], "f"), "!COSTGUARD_INVALID expiry 2"),
        );
    }
    cases
}

fn corrupt() -> Vec<Case> {
    let two = || reserve(&[("a", "5", END, "10"), ("b", "5", END, "10")], "f").at(NOW);
    let mut cases = Vec::new();
    for value in ["abc", "", "-1", "1.5", "05", "99999999999999999999"] {
        let wide = value.len() > 18;
        let error = if wide { OVERFLOW_B } else { CORRUPT_B_HELD };
        cases.push(
            others(case(format!("reserve, admit: a total held of {value:?}")), "a:held", "a:holds", "1")
                .put("SET", "b:held", &[value])
                .run(two(), error)
                .run(admit(&[("a", "5", END, "10"), ("b", "5", END, "10")]).at(NOW), error)
                .holds("a:held", "'1'", At(END))
                .holds("a:holds", bucket("1"), At(END))
                .holds("b:held", format!("'{value}'"), Never),
        );
    }
    for beside in [false, true] {
        let name = format!("reserve: a total held of another type, something held beside the first: {beside}");
        let mut it = case(name).put("HSET", "b:held", &["f", "1"]);
        if beside {
            it = others(it, "a:held", "a:holds", "1").holds("a:held", "'1'", At(END)).holds(
                "a:holds",
                bucket("1"),
                At(END),
            );
        }
        cases.push(it.run(two(), CORRUPT_B_HELD).holds("b:held", "{f='1'}", Never));
    }
    cases.push(
        others(case("reserve: buckets of another type, all is put back"), "a:held", "a:holds", "1")
            .put("SET", "b:holds", &["5"])
            .run(two(), "!COSTGUARD_CORRUPT b:holds does not hold amounts by time")
            .run(
                reserve(&[("a", "0", END, "10"), ("c", "0", END, "10"), ("b", "5", END, "10")], "f").at(NOW),
                "!COSTGUARD_CORRUPT b:holds does not hold amounts by time",
            )
            .holds("a:held", "'1'", At(END))
            .holds("a:holds", bucket("1"), At(END))
            .holds("b:holds", "'5'", Never),
    );
    cases.push(
        case("reserve, admit: what is no bucket, where it counts")
            .put("SET", "a:held", &["9", "PXAT", END])
            .put("HSET", "a:holds", &["x", "1"])
            .run(reserve(&[("a", "5", END, "10")], "f").at(NOW), CORRUPT_A_HOLDS)
            .run(admit(&[("a", "5", END, "10")]).at(NOW), CORRUPT_A_HOLDS)
            .run(peek(&["a"]).at(NOW), CORRUPT_A_HOLDS)
            .holds("a:held", "'9'", At(END))
            .holds("a:holds", "{x='1'}", Never),
    );
    cases.push(
        case("reserve, admit, peek: a counter of another type, buckets of another type")
            .put("HSET", "b", &["f", "1"])
            .put("SET", "a:holds", &["5"])
            .put("SET", "a:held", &["9"])
            .run(two(), WRONG_TYPE)
            .run(reserve(&[("c", "5", END, "10"), ("b", "5", END, "10")], "f").at(NOW), CORRUPT_B)
            .run(peek(&["a"]).at(NOW), WRONG_TYPE)
            .holds("b", "{f='1'}", Never)
            .holds("a:holds", "'5'", Never)
            .holds("a:held", "'9'", Never),
    );
    cases
}

fn large() -> Vec<Case> {
    let mut cases = Vec::new();
    // used, held, amount, their sum
    for (used, held, amount, sum) in [
        ("0", "1", "100000000000000", "100000000000001"),
        ("99999999999999", "1", "1", "100000000000001"),
        ("1", "9007199254740992", "1", "9007199254740994"),
        ("9007199254740993", "9007199254740993", "1", "18014398509481987"),
        ("0", "9223372036854775806", "1", MAX),
        ("9223372036854775000", "800", "7", MAX),
    ] {
        let below = (sum.parse::<i64>().unwrap() - 1).to_string();
        let after = (held.parse::<i64>().unwrap() + amount.parse::<i64>().unwrap()).to_string();
        cases.push(
            case(format!("reserve: {amount} beside {used} used and {held} held"))
                .put("SET", "a", &[used, "PXAT", END])
                .put("SET", "a:held", &[held, "PXAT", END])
                .put("HSET", "a:holds", &[BUCKET, held, "next", BUCKET])
                .put("PEXPIREAT", "a:holds", &[END])
                .run(
                    reserve(&[("a", amount, END, &below)], "f").at(NOW),
                    format!("DENIED {NOW} 1 {used} {held} {BUCKET}"),
                )
                .run(admit(&[("a", amount, END, &below)]).at(NOW), format!("DENIED {NOW} 1 {used} {held} {BUCKET}"))
                .run(peek(&["a"]).at(NOW), format!("OK {NOW} {used} 1 {BUCKET} {held}"))
                .run(reserve(&[("a", amount, END, sum)], "f").at(NOW), granted(&format!("{used} {held}")))
                .holds("a", format!("'{used}'"), At(END))
                .holds("a:held", format!("'{after}'"), At(END))
                .holds("a:holds", bucket(&after), At(END))
                .holds("h", format!("'{OPEN}'"), In(700_000)),
        );
    }
    cases.push(
        others(case("reserve, admit: what is held takes part in an overflow"), "b:held", "b:holds", "10")
            .put("SET", "b", &["9223372036854775790", "PXAT", END])
            .run(reserve(&[("b", "8", END, "")], "f").at(NOW), OVERFLOW_B)
            .run(admit(&[("a", "1", END, "5"), ("b", "8", END, MAX)]).at(NOW), OVERFLOW_B)
            .run(admit(&[("b", "7", END, MAX)]).at(NOW), "GRANTED 9223372036854775790 10")
            .holds("b", "'9223372036854775797'", At(END))
            .holds("b:held", "'10'", At(END))
            .holds("b:holds", bucket("10"), At(END)),
    );
    cases
}

fn beside() -> Vec<Case> {
    vec![
        others(case("admit: beside holds, with a receipt"), "b:held", "b:holds", "4")
            .run(admit(&[("a", "5", END, "10"), ("b", "6", END, "10")]).at(NOW).id("f"), "GRANTED 0 0 0 4")
            .run(admit(&[("a", "5", END, "10"), ("b", "6", END, "10")]).at(NOW).id("f"), "REPLAY GRANTED 0 0 0 4")
            .run(
                admit(&[("a", "5", END, "10"), ("b", "1", END, "10")]).at(NOW).id("g").receipt("60000", "f"),
                "REPLAY GRANTED 0 0 0 4",
            )
            .holds("a", "'5'", At(END))
            .holds("b", "'6'", At(END))
            .holds("b:held", "'4'", At(END))
            .holds("b:holds", bucket("4"), At(END))
            .holds("r", "'f GRANTED 0 0 0 4'", In(60_000)),
        case("peek: buckets by time, without those that have ended")
            .put("HSET", "a:holds", &["10000000000000", "7", "4000000000001", "2", "4000000000000", "1", "next", "1"])
            .put("PEXPIREAT", "a:holds", &[END])
            .run(peek(&["a", "b"]).at(NOW), format!("OK {NOW} 0 2 4000000000001 2 10000000000000 7 0 0"))
            .holds("a:holds", "{10000000000000='7' 4000000000000='1' 4000000000001='2' next='1'}", At(END)),
    ]
}
