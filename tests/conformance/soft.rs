//! Limits that warn, that only say what they would refuse, and amounts that are what there is.

use super::call::{admit, charge, reserve};
use super::reserve::{bucket, granted};
use super::*;

const SPAN: &str = "60000000";

pub(crate) fn cases() -> Vec<Case> {
    [warnings(), shadow(), parts()].into_iter().flatten().collect()
}

fn warnings() -> Vec<Case> {
    let warned = |amount: &str, warnings: &str| {
        admit(&[("a", amount, END, "100")]).state("a:warned", "1", warnings, END, "warn").at(NOW)
    };
    vec![
        // A denial says what it would have reached, and leaves the mark as it was.
        case("admit: each share is reported once, by the request that reaches it")
            .run(warned("49", "50,80"), "GRANTED - 0")
            .run(warned("1", "50,80"), "GRANTED 50 49")
            .run(warned("29", "50,80"), "GRANTED - 50")
            .run(warned("30", "50,80"), "DENIED 4000000000000 1 80 79")
            .run(warned("2", "50,80"), "GRANTED 80 79")
            .run(warned("19", "50,80"), "GRANTED - 81")
            .holds("a", "'100'", At(END))
            .holds("a:warned", "'-'", At(END)),
        case("admit: of several at once the highest is reported")
            .run(warned("90", "50,80,95"), "GRANTED 80 0")
            .run(warned("0", "50,80,95"), "GRANTED - 90")
            .holds("a", "'90'", At(END))
            .holds("a:warned", "'95'", At(END)),
        case("charge: what it reaches is reported as well")
            .put("SET", "a", &["40", "PXAT", END])
            .run(
                charge(&[("a", "20", END)]).state("a:warned", "1", "50,80", END, "warn").at(NOW),
                "OK 4000000000 0 50 60",
            )
            .holds("a", "'60'", At(END))
            .holds("a:warned", "'80'", At(END)),
        case("reserve: what is held counts, and what was reported stays so when it is given back")
            .run(
                reserve(&[("a", "60", END, "100")], "f").state("a:warned", "1", "50,80", END, "warn").at(NOW),
                granted("50 0"),
            )
            .run(call::release(super::reserve::OPEN, RECEIPT_TTL, &[("a", "60")]), "RELEASED")
            .run(warned("55", "50,80"), "GRANTED - 0 0")
            .holds("a", "'55'", At(END))
            .holds("a:held", "'0'", At(END))
            .holds("a:holds", format!("{{next='{BUCKET}'}}"), At(END))
            .holds("a:warned", "'80'", At(END))
            .holds("h", format!("'released release RELEASED | {}'", super::reserve::OPEN), In(60_000)),
        case("admit: a mark of another type")
            .put("HSET", "a:warned", &["f", "1"])
            .run(warned("1", "50"), "!COSTGUARD_CORRUPT a:warned does not hold what a rate is kept in")
            .holds("a:warned", "{f='1'}", Never),
    ]
}

fn shadow() -> Vec<Case> {
    vec![
        case("admit: a limit in shadow mode takes what it would refuse, and says so")
            .put("SET", "a", &["10", "PXAT", END])
            .run(admit(&[("a", "5", END, "+10"), ("b", "5", END, "10")]).at(NOW), "GRANTED 4000000000 0 - 1 10 0")
            .run(admit(&[("a", "5", END, "+10"), ("b", "6", END, "10")]).at(NOW), "DENIED 4000000000000 2 15 5")
            .run(admit(&[("a", "5", END, "+20")]).at(NOW), "GRANTED 15")
            .holds("a", "'20'", At(END))
            .holds("b", "'5'", At(END)),
        case("admit: a rate in shadow mode is left as it was")
            .run(
                admit(&[]).state("s", "3", "+2", SPAN, "").state("l", "2", "+1", SPAN, "log").at(NOW),
                "GRANTED 4000000000 0 - 1,2 0 0 -1 ",
            )
            .run(admit(&[]).state("s", "2", "+2", SPAN, "").at(NOW), "GRANTED 0 ")
            .run(admit(&[]).state("s", "1", "+2", SPAN, "").at(NOW), "GRANTED 4000000000 0 - 1 4000000060000000 ")
            .holds("s", "'4000000060000000'", KEPT),
        case("reserve: in shadow mode")
            .put("SET", "a", &["10", "PXAT", END])
            .run(reserve(&[("a", "5", END, "+10")], "f").at(NOW), "GRANTED 4000000000 0 4000000600000 - 1 10")
            .holds("a", "'10'", At(END))
            .holds("a:held", "'5'", At(END))
            .holds("a:holds", bucket("5"), At(END))
            .holds("h", format!("'{}'", super::reserve::OPEN), In(700_000)),
    ]
}

fn parts() -> Vec<Case> {
    vec![
        case("admit: up to an amount, what there is")
            .put("SET", "a", &["5", "PXAT", END])
            .run(admit(&[("a", "<3", END, "10")]).at(NOW), "GRANTED 4000000000 0 3 - 5")
            .run(admit(&[("a", "<7", END, "10"), ("b", "1", END, "")]).at(NOW), "GRANTED 4000000000 0 2 - 8 0")
            .run(admit(&[("a", "<7", END, "10"), ("b", "1", END, "")]).at(NOW), "DENIED 4000000000000 1 10 1")
            .holds("a", "'10'", At(END))
            .holds("b", "'1'", At(END)),
        case("admit: the least that any limit leaves, of counters and of rates")
            .put("SET", "a", &["5", "PXAT", END])
            .run(
                admit(&[("a", "<9", END, "12")])
                    .state("s", "<9", "6", SPAN, "")
                    .state("l", "<9", "4", SPAN, "log")
                    .at(NOW),
                "GRANTED 4000000000 0 4 - 0 0 60000000 5",
            )
            .run(
                admit(&[("a", "<9", END, "12")])
                    .state("s", "<9", "6", SPAN, "")
                    .state("w", "<9", "10", SPAN, "sliding")
                    .at(NOW),
                "GRANTED 4000000000 0 2 - 4000000040000000 0 80000000 9",
            )
            .holds("a", "'11'", At(END))
            .holds("s", "'4000000060000000'", KEPT)
            .holds("l", format!("'{}'", "4000000000000000 ".repeat(4)), KEPT)
            .holds("w", "'66666666 0 2'", KEPT),
        case("admit: a limit in shadow mode makes no part smaller")
            .put("SET", "a", &["5", "PXAT", END])
            .run(admit(&[("a", "<9", END, "+6"), ("b", "<9", END, "8")]).at(NOW), "GRANTED 4000000000 0 8 1 5 0")
            .run(admit(&[("c", "<9", END, "+6")]).at(NOW), "GRANTED 4000000000 0 9 1 0")
            .run(
                admit(&[("c", "<", END, "+6")]).at(NOW),
                "!COSTGUARD_INVALID the amount < needs a limit to be a part of",
            )
            .holds("a", "'13'", At(END))
            .holds("b", "'8'", At(END))
            .holds("c", "'9'", At(END)),
        case("charge: is never partial")
            .run(charge(&[("a", "<5", END)]), INVALID_AMOUNT_1)
            .run(charge(&[("a", "5", END)]).state("s", "<5", "6", SPAN, "").at(NOW), INVALID_AMOUNT_2),
    ]
}
