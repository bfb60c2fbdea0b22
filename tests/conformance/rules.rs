//! Overrides and blocks: setting and lifting them, and what decisions make of them.

use super::call::{admit, peek, reserve, rule, rules};
use super::reserve::{OPEN, bucket};
use super::*;

const NAME: &str = "user:a cost day";
const LATER: &str = "4000000600000";
/// How long it is to [`END`], and that a rule is there while it holds.
const UNTIL_END: Ttl = In(100_000_000_001);

pub(crate) fn cases() -> Vec<Case> {
    [setting(), malformed(), decisions()].into_iter().flatten().collect()
}

fn setting() -> Vec<Case> {
    vec![
        case("rule, rules: set, changed, listed by name, lifted")
            .run(rules().at(NOW), format!("OK {NOW} "))
            .run(rule(NAME, "20", END).at(NOW), "OK")
            .run(rule("block user:b", "", LATER).at(NOW), "OK")
            .run(rule(NAME, "30", END).at(NOW), "OK")
            .run(rules().at(NOW), format!("OK {NOW} {LATER} - block user:b {END} 30 {NAME}"))
            .run(rules().at(LATER), format!("OK {LATER} {END} 30 {NAME}"))
            .run(rule("block user:b", "", "").at(NOW), "OK")
            .holds("rules", format!("{{{NAME}='30 {END}'}}"), UNTIL_END)
            .holds("ruled", "'1'", UNTIL_END),
        case("rule: for a span, by the clock of the script")
            .run(rule("block user:b", "", "+600000").at(NOW), "OK")
            .run(rules().at(NOW), format!("OK {NOW} {LATER} - block user:b"))
            .run(rule("block user:b", "", "+60001").at(NOW), "OK")
            .run(rules().at(NOW), format!("OK {NOW} 4000000060001 - block user:b"))
            .run(rule("block user:b", "", "+999999999999999").at(NOW), "OK")
            .run(rules().at(NOW), format!("OK {NOW} 100000000000000 - block user:b"))
            .run(rule("block user:b", "", "").at(NOW), "OK"),
        case("rule: the last one takes everything with it")
            .run(rule(NAME, "20", END).at(NOW), "OK")
            .run(rule("user:b cost day", "", "").at(NOW), "OK")
            .run(rule(NAME, "", "").at(NOW), "OK"),
        case("rule: what has ended goes with the next change")
            .run(rule("block user:b", "", LATER).at(NOW), "OK")
            .run(rule(NAME, "0", END).at("4000000600001"), "OK")
            .holds("rules", format!("{{{NAME}='0 {END}'}}"), In(99_999_400_000))
            .holds("ruled", "'1'", In(99_999_400_000)),
    ]
}

fn malformed() -> Vec<Case> {
    let when = "!COSTGUARD_INVALID a rule ends at a time that is to come";
    let mut it = case("rule: what is none")
        .run(rule("block", "", END).at(NOW), "!COSTGUARD_INVALID the name of a rule has two words at least");
    for until_ms in [NOW, "-1", "1e15", "1000000000000000", "soon", "+", "+0", "+-1", "+1e3", "+1000000000000000"] {
        it = it.run(rule(NAME, "20", until_ms).at(NOW), when);
    }
    for limit in ["-1", "1.5", "ten", "10000000000000000000"] {
        it = it.run(rule(NAME, limit, END).at(NOW), "!COSTGUARD_INVALID limit");
    }
    vec![
        it,
        case("rule, rules: something else where the rules should be")
            .put("SET", "rules", &["1"])
            .run(rule(NAME, "20", END).at(NOW), WRONG_TYPE)
            .run(rules().at(NOW), WRONG_TYPE)
            .holds("rules", "'1'", Never),
    ]
}

fn decisions() -> Vec<Case> {
    let asked = format!("5 {NAME}\nblock user:a\nblock global");
    let asking = |amount: &str| admit(&[("a", amount, END, "15")]).asks(&asked).at(NOW);
    let ruled = |name: &str| case(name).run(rule(NAME, "20", END).at(NOW), "OK");
    let kept =
        |it: Case| it.holds("rules", format!("{{{NAME}='20 {END}'}}"), UNTIL_END).holds("ruled", "'1'", UNTIL_END);
    vec![
        kept(
            ruled("admit, reserve, peek: who asked no rules is told that there are some, before anything else")
                .run(admit(&[("a", "1", END, "15")]).at(NOW), "RULED 4000000000")
                .run(admit(&[]).state("s", "1", "60", "60000000", "").at(NOW), "RULED 4000000000")
                .run(reserve(&[("a", "1", END, "15")], "f").at(NOW), "RULED 4000000000")
                .run(peek(&["a"]).at(NOW), "RULED 4000000000"),
        ),
        kept(
            ruled("admit: an override takes the limit's place, its overdraft beside it")
                .run(asking("26"), format!("DENIED {NOW} 1 0 | 1 20 {END}"))
                .run(asking("25"), format!("GRANTED 0 | 1 20 {END}"))
                .holds("a", "'25'", At(END)),
        ),
        kept(
            ruled("admit: an override of a rate, in shadow mode as it was, and a limit that is fixed")
                .run(
                    admit(&[("a", "1", END, "15")])
                        .state("s", "21", "+5", "60000000", "")
                        .asks(&format!("0 -\n0 {NAME}\nblock user:a"))
                        .at(NOW),
                    format!("GRANTED 4000000000 0 - 2 0 0 | 2 20 {END}"),
                )
                .holds("a", "'1'", At(END)),
        ),
        case("admit: an override that has ended")
            .put("HSET", "rules", &[NAME, "20 3999999999999"])
            .put("SET", "ruled", &["1"])
            .run(asking("16"), format!("DENIED {NOW} 1 0"))
            .run(asking("15"), "GRANTED 0")
            .holds("a", "'15'", At(END))
            .holds("rules", format!("{{{NAME}='20 3999999999999'}}"), Never)
            .holds("ruled", "'1'", Never),
        kept(
            ruled("admit, reserve: a block refuses everything, nothing too, beside the limits that do")
                .run(rule("block user:a", "", LATER).at(NOW), "OK")
                .run(asking("0"), format!("DENIED {NOW} 0 0 | 1 20 {END} ! user:a {LATER}"))
                .run(asking("26"), format!("DENIED {NOW} 0,1 0 | 1 20 {END} ! user:a {LATER}"))
                .run(
                    reserve(&[("a", "1", END, "15")], "f").asks(&asked).at(NOW),
                    format!("DENIED {NOW} 0 0 | 1 20 {END} ! user:a {LATER}"),
                )
                .run(peek(&["a"]).asks(&asked).at(NOW), format!("OK {NOW} 0 0 | 1 20 {END} ! user:a {LATER}"))
                .run(rule("block user:a", "", "").at(NOW), "OK"),
        ),
        kept(
            ruled("reserve: by an override")
                .run(
                    reserve(&[("a", "25", END, "15")], "f").asks(&asked).at(NOW),
                    format!("GRANTED {NOW} {BUCKET} - 0 | 1 20 {END}"),
                )
                .holds("a", "'0'", At(END))
                .holds("a:held", "'25'", At(END))
                .holds("a:holds", bucket("25"), At(END))
                .holds("h", format!("'{OPEN}'"), In(700_000)),
        ),
        kept(
            ruled("admit: a receipt has the override in it")
                .run(asking("25").id("f"), format!("GRANTED 0 | 1 20 {END}"))
                .run(rule(NAME, "30", END).at(NOW), "OK")
                .run(asking("25").id("f"), format!("REPLAY GRANTED 0 | 1 20 {END}"))
                .run(rule(NAME, "20", END).at(NOW), "OK")
                .holds("a", "'25'", At(END))
                .holds("r", format!("'f GRANTED 0 | 1 20 {END}'"), In(60_000)),
        ),
    ]
}
