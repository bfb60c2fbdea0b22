//! What becomes of a hold: `settle`, `release`, `extend`, `grow`, and `hold`, which reads it.

use super::call::{Call, extend, grow, hold, raw, release, settle, settle_as};
use super::reserve::{OPEN, bucket, others};
use super::*;

pub(crate) fn cases() -> Vec<Case> {
    [settles(), settles_large(), releases(), ended(), extends(), grows(), corrupt(), evicted(), malformed()]
        .into_iter()
        .flatten()
        .collect()
}

const UNKNOWN: &str = "!COSTGUARD_UNKNOWN_HOLD there is no hold h: it was never made, or ended too long ago";
const EXPIRED: &str = "!COSTGUARD_EXPIRED this hold has expired; reserve anew";
const EXTENDED_WITHIN: &str = "EXTENDED open 0 4000000000 0 560000 4000000600000 f -";
/// Until when a record is known that was made at [`NOW`].
const KNOWN: Ttl = About("4000000700000");
const LOST: &str = "!COSTGUARD_EXPIRED this hold was lost with an evicted key; reserve anew";

/// The hold `h` on `a` for 5, as `reserve` leaves it.
fn open(name: &str) -> Case {
    held(case(name), "a", "a:held", "a:holds", "5")
}

fn held(case: Case, counter: &'static str, held: &'static str, holds: &'static str, amount: &str) -> Case {
    others(case.put("SET", counter, &["0", "PXAT", END]), held, holds, amount).put(
        "SET",
        "h",
        &[OPEN, "PXAT", "4000000700000"],
    )
}

/// The same after it.
fn is_open(case: Case) -> Case {
    case.holds("a", "'0'", At(END)).holds("a:held", "'5'", At(END)).holds("a:holds", bucket("5"), At(END)).holds(
        "h",
        format!("'{OPEN}'"),
        At("4000000700000"),
    )
}

fn settled(reply: &str, word: &str) -> String {
    format!("'settled {word} {reply} | {OPEN}'")
}

fn empty() -> String {
    format!("{{next='{BUCKET}'}}")
}

fn settles() -> Vec<Case> {
    // A hold that ends half a second after EXPIRES.
    let within = |now_ms: &'static str| -> Call {
        let args = ["c", OPEN, BUCKET, "4000000550500", RECEIPT_TTL, "7", now_ms, "5", "7"];
        raw(Op::Settle, &["a", "a:held", "h", "a:holds"], &args)
    };
    let mut cases = Vec::new();
    for (amount, name) in [("3", "below"), ("5", "at"), ("8", "above"), ("0", "with nothing")] {
        let reply = format!("SETTLED 0 {amount}");
        cases.push(
            open(&format!("settle: {name} what was held"))
                .run(settle(OPEN, &[("a", "5", amount)]).at(NOW), reply.as_str())
                .run(settle(OPEN, &[("a", "5", amount)]).at(NOW), format!("REPLAY {reply}"))
                .run(settle(OPEN, &[("a", "5", "99")]).at(NOW), SETTLED_OTHERWISE)
                .run(release(OPEN, RECEIPT_TTL, &[("a", "5")]), WAS_SETTLED)
                .run(extend(OPEN, TTL, WIDTH, &[("a", "5")]).at(NOW), WAS_SETTLED)
                .run(grow(OPEN, "-", &[("a", "5", "10")]).at(NOW), WAS_SETTLED)
                .run(hold(), format!("HELD {}", settled(&reply, amount).trim_matches('\'')))
                .holds("a", format!("'{amount}'"), At(END))
                .holds("a:held", "'0'", At(END))
                .holds("a:holds", empty(), At(END))
                .holds("h", settled(&reply, amount), In(60_000)),
        );
    }
    for (now_ms, reply) in [("4000000550499", "SETTLED 0 7"), ("4000000550500", "SETTLED 1 7")] {
        cases.push(
            open(&format!("settle: in the second of its end it goes by the millisecond, at {now_ms}"))
                .run(within(now_ms), reply)
                .holds("a", "'7'", At(END))
                .holds("a:held", "'0'", At(END))
                .holds("a:holds", empty(), At(END))
                .holds("h", settled(reply, "7"), In(60_000)),
        );
    }
    cases.extend([
        open("settle: at its end it is late, in full, and what is still held goes")
            .run(settle(OPEN, &[("a", "5", "7")]).at(EXPIRES), "SETTLED 1 7")
            .holds("a", "'7'", At(END))
            .holds("a:held", "'0'", At(END))
            .holds("a:holds", empty(), At(END))
            .holds("h", settled("SETTLED 1 7", "7"), In(60_000)),
        open("settle: what was discounted is not taken again")
            .put("HDEL", "a:holds", &[BUCKET])
            .put("SET", "a:held", &["2", "PXAT", END])
            .run(settle(OPEN, &[("a", "5", "7")]).at("4000000599999"), "SETTLED 1 7")
            .holds("a", "'7'", At(END))
            .holds("a:held", "'2'", At(END))
            .holds("a:holds", empty(), At(END))
            .holds("h", settled("SETTLED 1 7", "7"), In(60_000)),
        held(open("settle: into several counters, beside other holds"), "b", "b:held", "b:holds", "9")
            .run(settle(OPEN, &[("a", "5", "4"), ("b", "1", "0")]).at(NOW), "SETTLED 0 4 0")
            .holds("a", "'4'", At(END))
            .holds("b", "'0'", At(END))
            .holds("a:held", "'0'", At(END))
            .holds("b:held", "'8'", At(END))
            .holds("a:holds", empty(), At(END))
            .holds("b:holds", bucket("8"), At(END))
            .holds("h", settled("SETTLED 0 4 0", "4,0"), In(60_000)),
        held(case("settle: a hold of nothing"), "a", "a:held", "a:holds", "0")
            .run(settle(OPEN, &[("a", "0", "7")]).at(NOW), "SETTLED 0 7")
            .holds("a", "'7'", At(END))
            .holds("a:holds", empty(), At(END))
            .holds("h", settled("SETTLED 0 7", "7"), In(60_000)),
        case("settle, release, extend, grow, hold: nothing is there")
            .run(settle(OPEN, &[("a", "5", "5")]).at(NOW), UNKNOWN)
            .run(release(OPEN, RECEIPT_TTL, &[("a", "5")]), UNKNOWN)
            .run(extend(OPEN, TTL, WIDTH, &[("a", "5")]).at(NOW), UNKNOWN)
            .run(grow(OPEN, "-", &[("a", "5", "10")]).at(NOW), UNKNOWN)
            .run(hold(), UNKNOWN),
    ]);
    cases
}

fn settles_large() -> Vec<Case> {
    let mut cases = Vec::new();
    for (used, amount, sum) in [
        ("0", "100000000000000", "100000000000000"),
        ("99999999999999", "1", "100000000000000"),
        ("9007199254740992", "1", "9007199254740993"),
        ("0", MAX, MAX),
        ("9223372036854775000", "807", MAX),
    ] {
        let reply = format!("SETTLED 0 {sum}");
        cases.push(
            held(case(format!("settle: {amount} onto {used}")), "a", "a:held", "a:holds", amount)
                .put("SET", "a", &[used, "PXAT", END])
                .run(settle(OPEN, &[("a", amount, amount)]).at(NOW), reply.as_str())
                .run(settle(OPEN, &[("a", amount, amount)]).at(NOW), format!("REPLAY {reply}"))
                .holds("a", format!("'{sum}'"), At(END))
                .holds("a:held", "'0'", At(END))
                .holds("a:holds", empty(), At(END))
                .holds("h", settled(&reply, amount), In(60_000)),
        );
    }
    cases.push(is_open(
        open("settle: an overflow leaves all as it was")
            .put("SET", "b", &[MAX, "PXAT", END])
            .run(settle(OPEN, &[("a", "5", "5"), ("c", "5", "5"), ("b", "5", "1")]).at(NOW), OVERFLOW_B)
            .holds("b", format!("'{MAX}'"), At(END)),
    ));
    cases
}

fn releases() -> Vec<Case> {
    let it = || release(OPEN, RECEIPT_TTL, &[("a", "5")]);
    let record = format!("'released release RELEASED | {OPEN}'");
    vec![
        open("release: gives all back, once")
            .run(it(), "RELEASED")
            .run(it(), "REPLAY RELEASED")
            .run(settle(OPEN, &[("a", "5", "5")]).at(NOW), WAS_RELEASED)
            .run(extend(OPEN, TTL, WIDTH, &[("a", "5")]).at(NOW), WAS_RELEASED)
            .run(grow(OPEN, "-", &[("a", "5", "10")]).at(NOW), WAS_RELEASED)
            .holds("a", "'0'", At(END))
            .holds("a:held", "'0'", At(END))
            .holds("a:holds", empty(), At(END))
            .holds("h", record.clone(), In(60_000)),
        is_open(
            open("release: a bucket that has no room for less")
                .put("HSET", "b:holds", &[BUCKET, MIN])
                .run(
                    release(OPEN, RECEIPT_TTL, &[("a", "5"), ("b", "5")]),
                    "!COSTGUARD_OVERFLOW b:holds would leave the 64-bit range",
                )
                .holds("b:holds", format!("{{{BUCKET}='{MIN}'}}"), Never),
        ),
        held(case("release: a hold of nothing"), "a", "a:held", "a:holds", "0")
            .run(release(OPEN, RECEIPT_TTL, &[("a", "0")]), "RELEASED")
            .holds("a", "'0'", At(END))
            .holds("a:holds", empty(), At(END))
            .holds("h", record, In(60_000)),
    ]
}

/// A record that is not the caller's any more.
fn ended() -> Vec<Case> {
    let now = "open 1 4000000000 0 550000 4000000600000 f - more";
    vec![
        open("settle, release, extend, grow: a hold that was changed elsewhere is told as it is")
            .put("SET", "h", &[now, "PXAT", "4000000700000"])
            .run(settle(OPEN, &[("a", "5", "5")]).at(NOW), format!("CHANGED {now}"))
            .run(release(OPEN, RECEIPT_TTL, &[("a", "5")]), format!("CHANGED {now}"))
            .run(extend(OPEN, TTL, WIDTH, &[("a", "5")]).at(NOW), format!("CHANGED {now}"))
            .run(grow(OPEN, "-", &[("a", "5", "10")]).at(NOW), format!("CHANGED {now}"))
            .run(hold(), format!("HELD {now}"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("a:holds", bucket("5"), At(END))
            .holds("h", format!("'{now}'"), At("4000000700000")),
        case("settle, release, extend, grow: a record that says nothing")
            .put("SET", "h", &["abc"])
            .run(settle(OPEN, &[("a", "5", "5")]).at(NOW), NO_HOLD)
            .run(release(OPEN, RECEIPT_TTL, &[("a", "5")]), NO_HOLD)
            .run(extend(OPEN, TTL, WIDTH, &[("a", "5")]).at(NOW), NO_HOLD)
            .run(grow("abc", "-", &[("a", "5", "10")]).at(NOW), NO_HOLD)
            .holds("h", "'abc'", Never),
        case("settle, release, extend, grow, hold: a record of another type")
            .put("HSET", "h", &["f", "1"])
            .run(settle(OPEN, &[("a", "5", "5")]).at(NOW), WRONG_TYPE)
            .run(release(OPEN, RECEIPT_TTL, &[("a", "5")]), WRONG_TYPE)
            .run(extend(OPEN, TTL, WIDTH, &[("a", "5")]).at(NOW), WRONG_TYPE)
            .run(grow(OPEN, "-", &[("a", "5", "10")]).at(NOW), WRONG_TYPE)
            .run(hold(), WRONG_TYPE)
            .holds("h", "{f='1'}", Never),
    ]
}

fn extends() -> Vec<Case> {
    let it = |ttl_ms: &str, width_ms: &str| extend(OPEN, ttl_ms, width_ms, &[("a", "5")]);
    let later = "open 0 4000000000 0 1000000 4000001000000 f -";
    let same = "open 0 4000000000 0 560000 4000000600000 f -";
    vec![
        open("extend: into a later bucket")
            .run(it("900000", WIDTH).at("4000000100000"), format!("EXTENDED {later}"))
            .run(it("900000", WIDTH).at("4000000100000"), format!("CHANGED {later}"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("a:holds", format!("{{4000001000000='5' next='{BUCKET}'}}"), At(END))
            .holds("h", format!("'{later}'"), KNOWN),
        open("extend: within its bucket")
            .run(it("460000", WIDTH).at("4000000100000"), format!("EXTENDED {same}"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("a:holds", bucket("5"), At(END))
            .holds("h", format!("'{same}'"), KNOWN),
        open("extend: never to end earlier, nor in an earlier bucket")
            .run(it("1000", "100").at("4000000100000"), format!("EXTENDED {OPEN}"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("a:holds", bucket("5"), At(END))
            .holds("h", format!("'{OPEN}'"), KNOWN),
        open("extend: a record that is known for less long than that")
            .put("PEXPIRE", "h", &["300000"])
            .run(it("1000", "100").at("4000000100000"), format!("EXTENDED {OPEN}"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("a:holds", bucket("5"), At(END))
            .holds("h", format!("'{OPEN}'"), In(700_000)),
        is_open(
            open("extend, grow: too late")
                .run(it("900000", WIDTH).at(EXPIRES), EXPIRED)
                .run(grow(OPEN, "-", &[("a", "1", "10")]).at(EXPIRES), EXPIRED),
        ),
        held(case("extend: a hold of nothing"), "a", "a:held", "a:holds", "0")
            .run(extend(OPEN, "900000", WIDTH, &[("a", "0")]).at("4000000100000"), format!("EXTENDED {later}"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'0'", At(END))
            .holds("a:holds", format!("{{4000001000000='0' next='{BUCKET}'}}"), At(END))
            .holds("h", format!("'{later}'"), KNOWN),
        case("extend: a hold of nothing whose bucket came to nothing")
            .put("SET", "h", &[OPEN, "PXAT", "4000000700000"])
            .put("HSET", "a:holds", &["next", BUCKET])
            .put("PEXPIREAT", "a:holds", &[END])
            .run(extend(OPEN, "900000", WIDTH, &[("a", "0")]).at("4000000100000"), format!("EXTENDED {later}"))
            .holds("a:holds", format!("{{4000001000000='0' next='{BUCKET}'}}"), At(END))
            .holds("h", format!("'{later}'"), KNOWN),
        held(case("extend: 64 bits"), "a", "a:held", "a:holds", MAX)
            .run(extend(OPEN, TTL, WIDTH, &[("a", MAX)]).at(NOW), format!("EXTENDED {OPEN}"))
            .run(extend(OPEN, "900000", WIDTH, &[("a", MAX)]).at("4000000100000"), format!("EXTENDED {later}"))
            .holds("a", "'0'", At(END))
            .holds("a:held", format!("'{MAX}'"), At(END))
            .holds("a:holds", format!("{{4000001000000='{MAX}' next='{BUCKET}'}}"), At(END))
            .holds("h", format!("'{later}'"), KNOWN),
    ]
}

/// [`OPEN`] after growing by these requests.
fn grown(requests: &[u8]) -> String {
    let step: Vec<_> = requests.iter().map(|request| format!("{request:032}")).collect();
    OPEN.replacen(" 0 ", &format!(" {} ", step.join(".")), 1)
}

fn grows() -> Vec<Case> {
    let it = |amount: &str| grow(OPEN, "more", &[("a", amount, "10")]).at(NOW);
    let more = format!("open {NONCE}.0 4000000000 0 550000 4000000600000 f more");
    let last_four = grown(&[5, 4, 3]).replacen("open ", &format!("open {NONCE}."), 1);
    vec![
        open("grow: up to the limit")
            .put("SET", "a", &["1", "PXAT", END])
            .run(it("5"), format!("DENIED {NOW} 1 1 5 {BUCKET}"))
            .run(it("10"), format!("DENIED {NOW} 1 1 5 -1"))
            .run(it("4"), format!("GRANTED {more}"))
            .run(it("4"), format!("CHANGED {more}"))
            .holds("a", "'1'", At(END))
            .holds("a:held", "'9'", At(END))
            .holds("a:holds", bucket("9"), At(END))
            .holds("h", format!("'{more}'"), In(700_000)),
        case("grow: a hold whose bucket was lost")
            .put("SET", "h", &[&format!("{OPEN} b 5 10 a 5 10"), "PXAT", "4000000700000"])
            .run(grow(&format!("{OPEN} b 5 10 a 5 10"), "more", &[("a", "2", "10")]).at(NOW), EXPIRED)
            .holds("h", format!("'{OPEN} b 5 10 a 5 10'"), At("4000000700000")),
        held(open("grow: in one of two counters"), "b", "b:held", "b:holds", "10")
            .run(grow(OPEN, "more", &[("a", "5", "10"), ("b", "0", "10")]).at(NOW), format!("GRANTED {more}"))
            .holds("a", "'0'", At(END))
            .holds("b", "'0'", At(END))
            .holds("a:held", "'10'", At(END))
            .holds("b:held", "'10'", At(END))
            .holds("a:holds", bucket("10"), At(END))
            .holds("b:holds", bucket("10"), At(END))
            .holds("h", format!("'{more}'"), In(700_000)),
        open("grow: the record names the last four requests")
            .put("SET", "h", &[&grown(&[5, 4, 3, 2]), "PXAT", "4000000700000"])
            .run(grow(&grown(&[5, 4, 3, 2]), "-", &[("a", "1", "10")]).at(NOW), format!("GRANTED {last_four}"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'6'", At(END))
            .holds("a:holds", bucket("6"), At(END))
            .holds("h", format!("'{last_four}'"), In(700_000)),
        is_open(
            open("grow: beyond 64 bits")
                .run(grow(OPEN, "more", &[("a", MAX, "")]).at(NOW), OVERFLOW_A)
                .run(grow(OPEN, "more", &[("a", "05", "")]).at(NOW), INVALID_AMOUNT_1),
        ),
        held(case("grow: 64 bits"), "a", "a:held", "a:holds", "9007199254740993")
            .run(grow(OPEN, "more", &[("a", "9214364837600034814", MAX)]).at(NOW), format!("GRANTED {more}"))
            .holds("a", "'0'", At(END))
            .holds("a:held", format!("'{MAX}'"), At(END))
            .holds("a:holds", bucket(MAX), At(END))
            .holds("h", format!("'{more}'"), In(700_000)),
    ]
}

/// A second counter, total or hash of buckets that is not ours: the first is put back.
fn corrupt() -> Vec<Case> {
    let two = [("a", "5", "4"), ("b", "5", "4")];
    // The first counter is not there, so that putting back means taking away.
    let gone = [("c", "5", "4"), ("b", "5", "4")];
    let unhold = [("a", "5"), ("b", "5")];
    let holds_b = "!COSTGUARD_CORRUPT b:holds does not hold amounts by time";
    let mut cases = Vec::new();
    for (value, is_hash) in [("abc", false), ("", false), ("05", false), ("99999999999999999999", false), ("1", true)] {
        let put = |case: Case, key: &'static str| {
            if is_hash {
                case.put("HSET", key, &["f", value]).holds(key, format!("{{f='{value}'}}"), Never)
            } else {
                case.put("SET", key, &[value]).holds(key, format!("'{value}'"), Never)
            }
        };
        let beside = |name: &str| others(open(name), "b:held", "b:holds", "5");
        let with = |it: Case| is_open(it).holds("b:holds", bucket("5"), At(END));
        let counter = put(beside(&format!("settle: a counter, {value:?}, hash: {is_hash}")), "b")
            .run(settle(OPEN, &two).at(NOW), CORRUPT_B)
            .run(settle(OPEN, &gone).at(NOW), CORRUPT_B);
        cases.push(with(counter).holds("b:held", "'5'", At(END)));
        let total = put(
            beside(&format!("settle, release, grow: a total held, {value:?}, hash: {is_hash}")).put(
                "DEL",
                "b:held",
                &[],
            ),
            "b:held",
        )
        .run(settle(OPEN, &two).at(NOW), CORRUPT_B_HELD)
        .run(settle(OPEN, &gone).at(NOW), CORRUPT_B_HELD)
        .run(release(OPEN, RECEIPT_TTL, &unhold), CORRUPT_B_HELD)
        .run(
            grow(OPEN, "more", &[("a", "1", ""), ("b", "1", "99")]).at(NOW),
            if value.len() > 18 { OVERFLOW_B } else { CORRUPT_B_HELD },
        );
        cases.push(with(total));
    }
    let buckets = |it: Case, value: &str| {
        is_open(
            it.run(settle(OPEN, &two).at(NOW), holds_b)
                .run(settle(OPEN, &gone).at(NOW), holds_b)
                .run(release(OPEN, RECEIPT_TTL, &unhold), holds_b)
                .holds("b:holds", value, Never),
        )
    };
    let hash = open("settle, release, extend, grow: a bucket that is no amount").put("HSET", "b:holds", &[BUCKET, "x"]);
    cases.push(buckets(
        hash.run(extend(OPEN, "900000", WIDTH, &unhold).at(NOW), holds_b)
            .run(grow(OPEN, "more", &[("a", "1", "99"), ("b", "1", "99")]).at(NOW), holds_b),
        &format!("{{{BUCKET}='x'}}"),
    ));
    let text = open("settle, release, extend, grow: buckets of another type").put("SET", "b:holds", &["7"]);
    cases.push(buckets(
        text.run(extend(OPEN, "900000", WIDTH, &unhold).at(NOW), WRONG_TYPE)
            .run(grow(OPEN, "more", &[("a", "1", "99"), ("b", "1", "99")]).at(NOW), WRONG_TYPE),
        "'7'",
    ));
    cases.push(
        is_open(
            open("settle, release: totals lost before are not made anew by putting back")
                .put("SET", "b:held", &["abc"])
                .put("HSET", "b:holds", &[BUCKET, "5"])
                .put("HSET", "c:holds", &[BUCKET, "5"])
                .put("SET", "d:held", &["3", "PXAT", END])
                .put("HSET", "d:holds", &[BUCKET, "5"])
                .run(
                    settle(OPEN, &[("c", "5", "1"), ("d", "5", "1"), ("a", "5", "1"), ("b", "5", "1")]).at(NOW),
                    CORRUPT_B_HELD,
                )
                .run(release(OPEN, RECEIPT_TTL, &[("c", "5"), ("d", "5"), ("b", "5")]), CORRUPT_B_HELD),
        )
        .holds("b:held", "'abc'", Never)
        .holds("b:holds", format!("{{{BUCKET}='5'}}"), Never)
        .holds("c:holds", format!("{{{BUCKET}='5'}}"), Never)
        .holds("d:held", "'3'", At(END))
        .holds("d:holds", format!("{{{BUCKET}='5'}}"), Never),
    );
    cases
}

fn evicted() -> Vec<Case> {
    let one = [("a", "5", "7")];
    let more = format!("open {NONCE}.0 4000000000 0 550000 4000000600000 f more");
    let later = "open 0 4000000000 0 1000000 4000001000000 f -";
    vec![
        open("settle: a counter that is gone lives as long as what is held beside it")
            .put("DEL", "a", &[])
            .run(settle(OPEN, &one).at(NOW), "SETTLED 0 7")
            .holds("a", "'7'", At(END))
            .holds("a:held", "'0'", At(END))
            .holds("a:holds", empty(), At(END))
            .holds("h", settled("SETTLED 0 7", "7"), In(60_000)),
        open("settle: a total that is gone stays gone")
            .put("DEL", "a:held", &[])
            .run(settle(OPEN, &one).at(NOW), "SETTLED 0 7")
            .holds("a", "'7'", At(END))
            .holds("a:holds", empty(), At(END))
            .holds("h", settled("SETTLED 0 7", "7"), In(60_000)),
        open("settle: buckets that are gone stay gone")
            .put("DEL", "a:holds", &[])
            .run(settle(OPEN, &one).at(NOW), "SETTLED 0 7")
            .holds("a", "'7'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("h", settled("SETTLED 0 7", "7"), In(60_000)),
        open("settle: all are gone")
            .put("DEL", "a", &[])
            .put("DEL", "a:held", &[])
            .put("DEL", "a:holds", &[])
            .run(settle(OPEN, &one).at(NOW), "SETTLED 0 7")
            .holds("a", "'7'", In(60_000))
            .holds("h", settled("SETTLED 0 7", "7"), In(60_000)),
        is_open(
            open("extend, grow: buckets that are gone")
                .put("DEL", "a:holds", &[])
                .run(extend(OPEN, "900000", WIDTH, &[("a", "5")]).at(NOW), EXPIRED)
                .run(grow(OPEN, "more", &[("a", "1", "10")]).at(NOW), EXPIRED)
                .put("HSET", "a:holds", &[BUCKET, "5", "next", BUCKET])
                .put("PEXPIREAT", "a:holds", &[END]),
        ),
        open("extend: a bucket that was lost and made anew by others keeps what is theirs")
            .put("HSET", "a:holds", &[BUCKET, "4"])
            .run(extend(OPEN, "900000", WIDTH, &[("a", "5")]).at(NOW), LOST)
            .holds("a", "'0'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("a:holds", bucket("4"), At(END))
            .holds("h", format!("'{OPEN}'"), At("4000000700000")),
        open("extend: what is held lives as long as its bucket")
            .put("PEXPIRE", "a:held", &["300000"])
            .put("PEXPIRE", "a:holds", &["300000"])
            .run(extend(OPEN, "460000", WIDTH, &[("a", "5")]).at("4000000100000"), EXTENDED_WITHIN)
            .holds("a", "'0'", At(END))
            .holds("a:held", "'5'", In(740_000))
            .holds("a:holds", bucket("5"), In(740_000))
            .holds("h", format!("'{}'", &EXTENDED_WITHIN[9..]), KNOWN),
        held(case("extend: buckets that are made anew have a TTL"), "a", "a:held", "a:holds", "0")
            .put("DEL", "a:holds", &[])
            .run(extend(OPEN, "900000", WIDTH, &[("a", "0")]).at("4000000100000"), format!("EXTENDED {later}"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'0'", At(END))
            .holds("a:holds", "{4000001000000='0'}", In(700_000))
            .holds("h", format!("'{later}'"), KNOWN),
        open("grow: a total that was lost is made anew with a TTL")
            .put("PEXPIRE", "a:holds", &["800000"])
            .put("DEL", "a:held", &[])
            .run(grow(OPEN, "more", &[("a", "2", "10")]).at(NOW), format!("GRANTED {more}"))
            .holds("a", "'0'", At(END))
            .holds("a:held", "'2'", In(800_000))
            .holds("a:holds", bucket("7"), In(800_000))
            .holds("h", format!("'{more}'"), In(700_000)),
    ]
}

fn malformed() -> Vec<Case> {
    let mut it = open("settle, release, extend, grow: what is no argument changes nothing").run(
        raw(Op::Extend, &["h", "a:holds", "a:held"], &[OPEN, TTL, WIDTH, "0", NOW, "5"]),
        "!COSTGUARD_INVALID record_ttl_ms",
    );
    let invalid = "!COSTGUARD_INVALID as or receipt_ttl_ms";
    let as_word = |word: &str, ttl_ms: &str| -> Call { settle_as(OPEN, word, ttl_ms, &[("a", "5", "5")]).at(NOW) };
    for word in ["", "release", "-5", "5 5", ",5", "a"] {
        it = it.run(as_word(word, RECEIPT_TTL), invalid);
    }
    for ttl_ms in ["", "0", "-1", "1.5", "abc", MAX] {
        it = it.run(as_word("5", ttl_ms), invalid);
        it = it.run(release(OPEN, ttl_ms, &[("a", "5")]), "!COSTGUARD_INVALID receipt_ttl_ms");
    }
    for amount in NO_AMOUNT {
        it =
            it.run(settle_as(OPEN, "5", RECEIPT_TTL, &[("a", "5", "5"), ("b", "5", amount)]).at(NOW), INVALID_AMOUNT_2);
    }
    for nonce in ["", "0", "0123456789abcdef0123456789abcde ", "0123456789abcdef0123456789abcdef0"] {
        let args = ["c", OPEN, "700000", "1", "1", "10", NOW, nonce, "-"];
        it = it.run(raw(Op::Grow, &["a", "a:held", "h", "a:holds"], &args), "!COSTGUARD_INVALID nonce");
    }
    vec![is_open(it)]
}
