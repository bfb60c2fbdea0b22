//! `peek`: reads counters and changes nothing.

use costguard::script::Op;

use super::call::{peek, raw};
use super::*;

pub(crate) fn cases() -> Vec<Case> {
    [reads(), corrupt()].into_iter().flatten().collect()
}

fn reads() -> Vec<Case> {
    let mut all = case("peek: exactly what is stored").put("SET", "a", &["1"]).put("SET", "c", &["-5", "PXAT", END]);
    all = all
        .run(peek(&["a", "b", "c"]).at(NOW), format!("OK {NOW} 1 0 0 0 -5 0"))
        .run(peek(&["a", "b", "c"]), "OK NOW 1 0 0 0 -5 0");
    for value in ["0", "99999999999999", "100000000000000", "9007199254740993", MAX, MIN, "-9223372036854775807"] {
        all = all.put("SET", "a", &[value]).run(peek(&["a", "b"]).at(NOW), format!("OK {NOW} {value} 0 0 0"));
    }
    let many: Vec<_> = (0..32).map(|at| format!("k{at}")).collect();
    let names: Vec<_> = many.iter().map(String::as_str).collect();
    vec![
        all.holds("a", "'-9223372036854775807'", Never).holds("c", "'-5'", At(END)),
        case("peek: 32 counters of which none is there")
            .run(peek(&names).at(NOW), format!("OK {NOW} {}", vec!["0"; 64].join(" "))),
        case("peek: windows that are over, or still to come")
            .run(peek(&["a"]).window("0", "1000"), "STALE NOW")
            .run(peek(&["a"]).window(NOW, END), "STALE NOW")
            .run(peek(&["a"]).window("0", NOW).at(NOW), format!("STALE {NOW}"))
            .run(peek(&["a"]).window(NOW, END).at(NOW), format!("OK {NOW} 0 0"))
            .run(peek(&["a"]).window(NOW, END).at("3999999999999"), "STALE 3999999999000"),
        case("peek: arguments that are missing")
            .run(raw(Op::Peek, &["a"], &[]), "!ERR : attempt to get length of field '?' (a nil value)"),
    ]
}

fn corrupt() -> Vec<Case> {
    let mut cases: Vec<_> = CORRUPT
        .into_iter()
        .chain(["-9223372036854775809", "9999999999999999999"])
        .map(|value| {
            case(format!("peek: a counter that holds {value:?}"))
                .put("SET", "b", &[value])
                .run(peek(&["a", "b"]), if value.len() > 18 { CORRUPT_B_64 } else { CORRUPT_B })
                .holds("b", format!("'{value}'"), Never)
        })
        .collect();
    cases.push(
        case("peek: a counter of another type")
            .put("HSET", "b", &["f", "1"])
            .run(peek(&["a", "b"]), CORRUPT_B)
            .holds("b", "{f='1'}", Never),
    );
    cases
}
