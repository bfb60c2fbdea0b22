//! The table once more, on servers in containers: the images that users run.

use std::io::Write;
use std::process::{Command, Stdio};

use super::support::{Server, server};

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

#[test]
fn every_case_holds_in_containers() {
    if !docker(&["info"]) {
        return say("NOT RUN on any image: no Docker daemon answers here");
    }
    for image in images() {
        let server = Server::start_image(&image, &[]);
        let all = Command::new(std::env::current_exe().unwrap())
            .args(["--skip", "containers::"])
            .env("COSTGUARD_TEST_REDIS_URL", server.url())
            .env_remove("COSTGUARD_TEST_SERVERS")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&all.stdout);
        assert!(all.status.success(), "on {image}:\n{told}\n{}", String::from_utf8_lossy(&all.stderr));
        let passed = told.lines().find(|line| line.starts_with("test result: ok. ")).unwrap_or_default();
        assert!(!passed.is_empty() && !passed.contains(" 0 passed"), "on {image}:\n{told}");
        say(&format!("{image}: {passed}"));
    }
}
