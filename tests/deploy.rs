//! What `deploy/` holds is what its programs take.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Not captured by the test harness: what was not done has to be seen also where all tests pass.
fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "\n=== deploy: {what}");
}

fn deploy() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deploy"))
}

/// What the program gave; `None` where there is no such program.
fn run(program: &str, args: &[&str], in_dir: &Path, variables: &[(&str, &str)]) -> Option<Output> {
    let variables = variables.iter().copied();
    Command::new(program).args(args).current_dir(in_dir).envs(variables).stdin(Stdio::null()).output().ok()
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn terraform_takes_the_module() {
    let module = deploy().join("terraform/elasticache");
    let Some(formatted) = run("terraform", &["fmt", "-check", "-diff"], &module, &[]) else {
        return say("the Terraform module was NOT CHECKED: there is no terraform here");
    };
    assert!(formatted.status.success(), "{}", told(&formatted));
    // Elsewhere than in the module: what it downloads does not belong there.
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(&module).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
    }
    let began = run("terraform", &["init", "-backend=false", "-input=false", "-no-color"], copy.path(), &[]).unwrap();
    if !began.status.success() {
        let why = told(&began);
        assert!(why.contains("could not connect to registry.terraform.io"), "{why}");
        return say("the Terraform module was formatted right, but NOT VALIDATED: no registry has the AWS provider");
    }
    let valid = run("terraform", &["validate", "-no-color"], copy.path(), &[]).unwrap();
    assert!(valid.status.success(), "{}", told(&valid));
}

#[test]
fn what_the_readme_of_the_module_sets_is_a_variable_of_it() {
    let module = deploy().join("terraform/elasticache");
    let read = |name: &str| std::fs::read_to_string(module.join(name)).unwrap();
    let (readme, variables) = (read("README.md"), read("variables.tf"));
    let set = readme.lines().flat_map(|line| line.split('`')).filter_map(|part| part.split_once(" = "));
    let names: Vec<_> = set.map(|(name, _)| name.trim()).filter(|name| *name != "source").collect();
    assert!(names.contains(&"auth_token") && names.contains(&"auth_token_update_strategy"), "{names:?}");
    for name in names {
        assert!(variables.contains(&format!("variable \"{name}\" {{")), "{name} is no variable of the module");
    }
}

#[test]
fn compose_takes_both_profiles_and_insists_on_a_password() {
    let compose: (&str, &[&str]) = match run("docker", &["compose", "version"], deploy(), &[]) {
        Some(output) if output.status.success() => ("docker", &["compose"]),
        _ => ("docker-compose", &[]),
    };
    let config = |profile: &str, password: &str| {
        let args = [compose.1, &["--profile", profile, "config"]].concat();
        run(compose.0, &args, deploy(), &[("REDIS_PASSWORD", password)])
    };
    let Some(without) = config("redis", "") else {
        return say("docker-compose.yml was NOT CHECKED: there is no Compose here");
    };
    assert!(!without.status.success() && told(&without).contains("set REDIS_PASSWORD"), "{}", told(&without));
    for (profile, program) in [("redis", "redis-server"), ("valkey", "valkey-server")] {
        let shown = config(profile, "a b\"c'd").unwrap();
        let text = told(&shown);
        assert!(shown.status.success(), "{text}");
        assert!(text.contains(program) && text.contains("noeviction") && text.contains("127.0.0.1"), "{text}");
    }
}
