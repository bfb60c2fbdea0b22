//! The table once more: on servers in containers, the images that users run, and as users who may do little.

use std::io::Write;
use std::process::{Command, Stdio};

use costguard::script::acl_rule;

use super::support::{Server, server, stores};

const LOCAL_IMAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/local-redis-image");

/// Not captured by the test harness: what was not done has to be seen also where all tests pass.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "\n=== conformance in containers: {what}");
}

fn docker(args: &[&str]) -> bool {
    Command::new("docker").args(args).stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

/// The image made of this machine's own server.
fn local_image() -> String {
    let output = Command::new(LOCAL_IMAGE).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The images to run on. Those that nobody asked for by name may be missing, and then a local one takes their place.
fn images() -> Vec<String> {
    let wanted = server::images();
    let mut images = Vec::new();
    for image in wanted {
        if image == "local" {
            images.push(local_image());
        } else if docker(&["image", "inspect", &image]) || docker(&["pull", "--quiet", &image]) {
            images.push(image);
        } else {
            assert!(
                server::images_are_default(),
                "COSTGUARD_TEST_IMAGES names {image}, which is not here and cannot be pulled"
            );
            say(&format!("NOT RUN on {image}: it is not here and cannot be pulled"));
        }
    }
    if images.is_empty() {
        images.push(local_image());
    }
    images
}

/// Runs the table in a process of its own, and gives what the harness said of it, or all of it when it failed.
fn run(url: &str, user: &str) -> Result<String, String> {
    let all = Command::new(std::env::current_exe().unwrap())
        .args(["--skip", "elsewhere::"])
        .env("COSTGUARD_TEST_REDIS_URL", url)
        .env(stores::USER, user)
        .env_remove("COSTGUARD_TEST_SERVERS")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&all.stdout);
    match told.lines().find(|line| line.starts_with("test result: ok. ")) {
        Some(passed) if all.status.success() && !passed.contains(" 0 passed") => Ok(passed.to_owned()),
        _ => Err(format!("{told}\n{}", String::from_utf8_lossy(&all.stderr))),
    }
}

#[test]
fn every_case_holds_in_containers() {
    if !docker(&["info"]) {
        return say("NOT RUN on any image: no Docker daemon answers here");
    }
    for image in images() {
        let server = Server::start_image(&image, &[]);
        let passed = run(&server.url(), "").unwrap_or_else(|told| panic!("on {image}:\n{told}"));
        say(&format!("{image}: {passed}"));
    }
}

/// What at least one of ElastiCache, Azure and Memorystore forbids: see docs/platforms/.
const FORBIDDEN: &str = "acl bgrewriteaof bgsave client cluster command config debug failover lastsave migrate module monitor \
                         object psync replicaof save script shutdown slaveof sync";

#[test]
fn every_case_holds_with_few_rights() {
    let server = Server::start();
    let mut connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
    let mut allow = |name: &str, rule: &str| {
        let mut command = redis::cmd("ACL");
        command.arg("SETUSER").arg(name).arg("on").arg(">secret").arg(rule.split(' ').collect::<Vec<_>>());
        command.exec(&mut connection).unwrap();
    };
    // Every key of these tests begins so.
    let least = acl_rule("test-*");
    let managed: String = FORBIDDEN.split_whitespace().map(|command| format!(" -{command}")).collect();
    for (name, rule) in [("least", least), ("managed", format!("~* +@all{managed}"))] {
        allow(name, &rule);
        let user = format!("{name}:secret");
        run(&server.url(), &user).unwrap_or_else(|told| panic!("as {name}:\n{told}"));
        // Or the table would not have run as this user.
        allow(name, "-evalsha");
        assert!(run(&server.url(), &user).is_err(), "{name} needs no EVALSHA");
    }
}
