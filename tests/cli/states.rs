//! Limits are shown as what they are: those that refuse nothing, and those that may be passed.

use costguard::CostGuard;
use serde_json::{Value, json};

use super::{NOON, on_server, policy_of, server_url};

const SHADOW: &str = "scope = 'user'\nmeter = 'cost'\nlimit = '1.00'\nper = 'day'\nmode = 'shadow'";
const OVERDRAFT: &str = "scope = 'user'\nmeter = 'cost'\nlimit = '1.00'\nper = 'day'\noverdraft = '5.00'";

/// What a subcommand prints of a limit of this policy, for people and for programs.
fn told(policy: &str, user: &str, args: &[&str]) -> (String, Value) {
    let whose = ["--policy", policy, "--scope", user, NOON[0], NOON[1]];
    let args = [args, &whose].concat();
    (on_server(&args).ok(), on_server(&[&args[..], &["--json"]].concat()).json()["limits"][0].clone())
}

#[test]
fn a_shadow_limit_is_marked_and_so_is_what_it_would_have_refused() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy_of(folder.path(), SHADOW);
    let (text, limit) = told(&policy, "user=shadow", &["charge", "--admit", "--cost", "1.43"]);
    for part in [
        "\n  user:shadow cost per day (shadow)   1.43 ",
        "\n  user:shadow cost per day (shadow) would have refused this request\n",
        "\n  user:shadow cost per day (shadow) is 0.43 over its limit\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert_eq!(
        (&limit["mode"], &limit["shadowed"], &limit["used"]),
        (&json!("shadow"), &json!(true), &json!(2_860_000_000_i64))
    );
    for look in ["peek", "statement"] {
        let (text, limit) = told(&policy, "user=shadow", &[look]);
        assert!(text.contains("user:shadow cost per day (shadow) is 1.86 over its limit"), "{text}");
        assert_eq!((&limit["mode"], &limit["shadowed"]), (&json!("shadow"), &json!(false)));
    }
}

#[test]
fn what_is_left_of_a_limit_counts_the_overdraft_that_it_allows() {
    let folder = tempfile::tempdir().unwrap();
    let policy = policy_of(folder.path(), OVERDRAFT);
    let (text, _) = told(&policy, "user=overdraft", &["charge", "--admit", "--cost", "0.75"]);
    assert!(text.contains("1.00 and 5.00   5.25 "), "{text}");
    for look in ["peek", "statement"] {
        let (text, limit) = told(&policy, "user=overdraft", &[look]);
        let row = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            row.contains(if look == "peek" { "0.00 1.00 and 5.00 4.50" } else { "1.00 and 5.00 1.50 0.00 4.50" }),
            "{text}"
        );
        assert!(text.contains("is 0.50 over its limit, within the overdraft that it allows"), "{text}");
        assert_eq!((&limit["mode"], &limit["allowed_overdraft"]), (&json!("enforce"), &json!(5_000_000_000_i64)));
        assert_eq!((&limit["remaining"], &limit["overdraft"]), (&json!(4_500_000_000_i64), &json!(500_000_000)));
    }
}

#[test]
fn top_calls_full_what_refuses() {
    let folder = tempfile::tempdir().unwrap();
    for (limit, user, expected) in [
        (SHADOW, "top-shadow", (3000, "shadow", "0 limits full, 0 close")),
        (OVERDRAFT, "top-overdraft", (500, "", "0 limits full, 0 close")),
        (&*OVERDRAFT.replace("5.00", "2.00"), "top-full", (1000, "full", "1 limit full, 0 close")),
    ] {
        let limit = limit.replace("'day'", "'total'");
        let policy = policy_of(folder.path(), &limit);
        let (root, scope) = (format!("root-{user}"), format!("user={user}"));
        let charge = ["charge", "--policy", &policy, "--scope", &scope, "--root", &root, "--cost", "3.00"];
        // Under a prefix of its own: the summary counts all there is.
        let on_own = |args: &[&str]| {
            let prefix = format!("{}{user}:", super::prefix());
            super::finish(super::program().args(args).args(["--url", &server_url(), "--prefix", &prefix]))
        };
        on_own(&charge).ok();
        let row = on_own(&["top", "--once", "--json", "--policy", &policy]).json()["counters"][0].clone();
        let state = row["state"].as_str().unwrap_or_default();
        assert_eq!((row["full_permille"].as_i64(), state), (Some(expected.0), expected.1), "{row}");
        assert_eq!(row["mode"], if user == "top-shadow" { "shadow" } else { "enforce" });
        let text = on_own(&["top", "--once", "--policy", &policy]).ok();
        assert!(text.contains(expected.2), "{text}");
        // Without a policy nobody knows a limit, nor that it is not full.
        let text = on_own(&["top", "--once"]).ok();
        assert!(text.contains("1 counter, 0 holds open") && !text.contains("full,"), "{text}");
    }
}

/// 75.20 dollars are 7520 under such a key, and 75200000000 where a policy counts.
#[test]
fn what_a_plain_key_holds_is_shown_as_it_is_stored_unless_a_policy_says_what_it_is() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
        let guard = CostGuard::builder().prefix(super::prefix()).connect(&server_url()).await.unwrap();
        guard.daily().at(NOON[1].parse().unwrap()).increment_cost("cents", 7520).await.unwrap();
    });
    for look in ["peek", "statement"] {
        let look = |more: &[&str]| {
            let args = [look, "--plain", "--scope", "user=cents", NOON[0], NOON[1]];
            on_server(&[&args, more].concat()).ok().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert!(look(&["--per", "day"]).contains("user:cents cost per day"), "{}", look(&["--per", "day"]));
        assert!(look(&["--per", "day"]).contains(" 7520 0 "), "{}", look(&["--per", "day"]));
        let folder = tempfile::tempdir().unwrap();
        let policy = policy_of(folder.path(), OVERDRAFT);
        assert!(look(&["--policy", &policy]).contains(" 0.00000752 "), "{}", look(&["--policy", &policy]));
    }
    let folder = tempfile::tempdir().unwrap();
    let policy = policy_of(folder.path(), OVERDRAFT);
    on_server(&["charge", "--plain", "--scope", "user=top-plain", "--policy", &policy, "--cost", "0.5"]).ok();
    let shown = on_server(&["top", "--once", "--filter", "top-plain"]).ok();
    assert!(shown.contains("500000000"), "{shown}");
}
