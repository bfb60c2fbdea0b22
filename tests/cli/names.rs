//! Names are printed as options take them, whatever they hold.

use serde_json::{Value, json};

use super::{on_server, policy_of, run};

const ROOT: &str = "acme: {x}";
const SCOPE: &str = "user:google:123 100%";

/// Charges for the user, under the root and with a meter that all stand encoded in keys.
fn charge() {
    let charge = ["charge", "--per", "total", "--scope", SCOPE, "--root", ROOT, "--amount", "my pages=5"];
    on_server(&charge).ok();
}

#[test]
fn what_is_printed_can_be_given_back() {
    charge();
    let look = on_server(&["top", "--once", "--json", "--rows", "10000", "--filter", SCOPE]).json();
    let row = look["counters"].as_array().unwrap().iter().find(|row| row["meter"] == "my pages").unwrap().clone();
    let text = |name: &str| row[name].as_str().unwrap().to_owned();
    let (root, scope, meter) = (text("root"), text("scope"), text("meter"));
    assert_eq!((&*root, &*scope, row["used"].as_i64()), (ROOT, SCOPE, Some(5)));

    let on_root = |args: &[&str]| on_server(&[args, &["--root", &root, "--json"]].concat()).json();
    let peeked = on_root(&["peek", "--per", "total", "--scope", &scope, "--meter", &meter]);
    let limit = &peeked["limits"][0];
    assert_eq!((&limit["scope"], &limit["meter"], &limit["used"]), (&json!(SCOPE), &json!("my pages"), &json!(5)));

    assert_eq!(on_root(&["block", &scope, "--for", "1h"])["rules"][0]["scope"], SCOPE);
    let admit = ["charge", "--admit", "--per", "total", "--scope", &scope, "--root", &root, "--cost", "1"];
    let denied = on_server(&admit);
    assert!(
        denied.code == 3 && denied.out.starts_with(&format!("denied by the block of {SCOPE} on ")),
        "{}",
        denied.out
    );
    let shown = on_root(&["limit", "show"])["rules"][0]["scope"].as_str().unwrap().to_owned();
    let blocks = on_server(&["top", "--once", "--json"]).json()["blocks"].as_array().unwrap().clone();
    assert!(blocks.iter().any(|block| block["root"] == ROOT && block["scope"] == SCOPE), "{blocks:?}");
    assert_eq!(on_root(&["unblock", &shown])["outcome"], "unblocked");
    assert_eq!(on_server(&admit).code, 0);
}

#[test]
fn a_plain_key_has_no_root() {
    let charge = ["charge", "--per", "total", "--scope", "user=plain:1", "--plain", "--amount", "pages=7"];
    on_server(&charge).ok();
    let look = on_server(&["top", "--once", "--json", "--filter", "plain:1"]).json();
    let row = look["counters"].as_array().unwrap().iter().find(|row| row["meter"] == "pages").unwrap();
    assert_eq!((&row["root"], &row["scope"]), (&Value::Null, &json!("plain:1")));
}

#[test]
fn a_replay_names_scopes_as_its_log_does() {
    let folder = tempfile::tempdir().unwrap();
    let (log, policy) = (
        folder.path().join("log.csv"),
        policy_of(folder.path(), "scope = 'user'\nmeter = 'cost'\nlimit = '1'\nper = 'day'"),
    );
    std::fs::write(&log, "time,user,cost\n2024-01-01,google:1 2,2\n").unwrap();
    let args = ["replay", log.to_str().unwrap(), "--policy", &policy];
    let report = run(&[&args[..], &["--json"]].concat()).json();
    let limit = &report["limits"][0];
    let names = [&report["scopes"][0]["name"], &limit["used_by"], &limit["longest_stretch"]["scope"]];
    assert_eq!(names, ["user:google:1 2"; 3].map(|name| json!(name)).each_ref());
    let text = run(&args).ok();
    assert!(text.contains("1 call of user:google:1 2") && !text.contains("%3A"), "{text}");
}

#[test]
fn names_do_not_steer_a_terminal() {
    let tricky = "a\u{1b}[31m\n\u{9b}b";
    let told = "a\\u{1b}[31m\\n\\u{9b}b";
    let text = on_server(&["peek", "--per", "day", "--scope", &format!("user={tricky}")]).ok();
    assert!(text.lines().next().unwrap().ends_with(&format!("root {told}")), "{text}");
    assert!(text.contains(&format!("user:{told} cost per day ")), "{text}");
    let json = on_server(&["peek", "--per", "day", "--scope", &format!("user={tricky}"), "--json"]);
    assert!(json.json()["root"] == tricky && !json.out.contains(['\u{1b}', '\u{9b}']), "{}", json.out);
    let blocked = on_server(&["block", &format!("user:{tricky}"), "--for", "1h", "--root", tricky]).ok();
    assert!(blocked.contains(&format!("user:{told}   blocked ")), "{blocked}");
    let top = on_server(&["top", "--once"]).ok();
    assert!(top.contains(&format!("user:{told} under {told} is blocked")) && !top.contains('\u{1b}'), "{top}");
    let unknown = on_server(&["hold", "show", tricky, "--root", tricky]);
    assert!(!unknown.err.contains('\u{1b}'), "{}", unknown.err);
}
