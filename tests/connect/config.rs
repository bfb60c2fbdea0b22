//! One configuration from a URL or the environment.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use costguard::store::redis::{RedisConfig, Tls};
use costguard::{CostGuard, Error, ErrorKind};

use crate::support::server_url;

fn from_vars(vars: &[(&str, &str)]) -> Result<RedisConfig, Error> {
    RedisConfig::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
}

/// What the two configurations say, all of it but secrets.
fn assert_same(left: &RedisConfig, right: &RedisConfig) {
    assert_eq!(format!("{left:?}"), format!("{right:?}"));
}

#[test]
fn a_url_names_servers_sockets_sentinels_and_clusters() {
    for (url, shown) in [
        ("redis://localhost", "redis://localhost:6379/0"),
        ("valkey://localhost:6380/2", "redis://localhost:6380/2"),
        ("rediss://u:p@db.example.com/1", "rediss://db.example.com:6379/1"),
        ("redis://[::1]:7000/0", "redis://[::1]:7000/0"),
        ("unix:/run/redis.sock", "redis+unix:///run/redis.sock?db=0"),
        ("redis+unix:///run/redis.sock?db=3&user=u&pass=p%40", "redis+unix:///run/redis.sock?db=3"),
        ("redis+sentinel://u:p@h1,h2:26380/mymaster", "redis+sentinel://h1:26379,h2:26380/mymaster/0"),
        ("rediss+sentinel://h1/mymaster/4", "rediss+sentinel://h1:26379/mymaster/4"),
        ("redis+cluster://h1:7000,h2", "redis+cluster://h1:7000,h2:6379"),
        ("rediss+cluster://:p@h1", "rediss+cluster://h1:6379"),
    ] {
        assert_eq!(RedisConfig::from_url(url).unwrap().to_string(), shown, "{url}");
    }
}

#[test]
fn a_url_takes_settings_after_the_question_mark() {
    let url = "rediss://h?max_connections=7&socket_timeout=0.5&call_timeout=2&key_prefix=app%3A&lazy_connect=true\
               &tls_ca=/ca.pem&tls_cert=/c.pem&tls_key=/k.pem&reconnect_base=0.1&reconnect_max=3&breaker_failures=7";
    let built = RedisConfig::server("h", 6379)
        .tls(Tls::new().ca("/ca.pem").client_certificate("/c.pem", "/k.pem"))
        .max_connections(7)
        .socket_timeout(Duration::from_millis(500))
        .call_timeout(Duration::from_secs(2))
        .reconnect(Duration::from_millis(100), Duration::from_secs(3))
        .breaker_failures(7)
        .key_prefix("app:")
        .lazy(true);
    assert_same(&RedisConfig::from_url(url).unwrap(), &built);
}

#[test]
fn the_environment_says_the_same_as_a_url() {
    let by_host = [
        ("REDIS_HOST", "db.example.com"),
        ("REDIS_PORT", "6380"),
        ("REDIS_USERNAME", "app"),
        ("REDIS_PASSWORD", "p@ss/w:rd"),
        ("REDIS_DB", "2"),
        ("REDIS_TLS", "true"),
        ("REDIS_MAX_CONNECTIONS", "9"),
        ("REDIS_SOCKET_TIMEOUT", "1.5"),
        ("REDIS_KEY_PREFIX", "app:"),
        ("REDIS_URL", ""),
    ];
    let url = "rediss://app:p%40ss%2Fw%3Ard@db.example.com:6380/2?max_connections=9&socket_timeout=1.5&key_prefix=app:";
    assert_same(&from_vars(&by_host).unwrap(), &RedisConfig::from_url(url).unwrap());

    let password_apart = [("REDIS_URL", "redis://app@h/1"), ("REDIS_PASSWORD", "secret"), ("REDIS_HOST", "h")];
    let together = [("REDIS_URL", "redis://app:secret@h/1")];
    assert_same(&from_vars(&password_apart).unwrap(), &from_vars(&together).unwrap());
}

#[test]
fn costguards_own_url_replaces_the_shared_server_and_its_password() {
    let vars = [("COSTGUARD_URL", "redis://own"), ("REDIS_URL", "redis://shared"), ("REDIS_PASSWORD", "secret")];
    assert_same(&from_vars(&vars).unwrap(), &RedisConfig::server("own", 6379));
    let vars = [("COSTGUARD_URL", "redis://own"), ("REDIS_HOST", "shared"), ("REDIS_PASSWORD", "secret")];
    assert_same(&from_vars(&vars).unwrap(), &RedisConfig::server("own", 6379));
}

#[test]
fn costguards_own_url_takes_a_password_that_is_nobody_elses() {
    let secret = ("REDIS_PASSWORD", "s/1");
    for (url, more, same) in [
        ("redis://own", &[][..], "redis://:s%2F1@own"),
        ("redis://own", &[("REDIS_USERNAME", "app")], "redis://app:s%2F1@own"),
        ("redis://app@own", &[("REDIS_USERNAME", "app")], "redis://app:s%2F1@own"),
        ("redis://app@own", &[("REDIS_USERNAME", "other")], "redis://app@own"),
        ("redis://app:mine@own", &[], "redis://app:mine@own"),
        ("redis://own/1", &[("REDIS_HOST", "own")], "redis://:s%2F1@own/1"),
        ("redis://own/1", &[("REDIS_URL", "redis://own:6379/2")], "redis://:s%2F1@own/1"),
        ("redis+cluster://a,b", &[], "redis+cluster://:s%2F1@a,b"),
    ] {
        let vars = [&[("COSTGUARD_URL", url), secret], more].concat();
        assert_same(&from_vars(&vars).unwrap(), &RedisConfig::from_url(same).unwrap());
    }
}

#[test]
fn a_first_pause_above_the_longest_names_both_variables() {
    let err = from_vars(&[("REDIS_URL", "redis://h"), ("COSTGUARD_RECONNECT_BASE", "50")]).unwrap_err().to_string();
    assert!(
        err.contains("COSTGUARD_RECONNECT_BASE") && err.contains("(50s), is above COSTGUARD_RECONNECT_MAX (30s)"),
        "{err}"
    );
}

#[tokio::test]
async fn nothing_set_is_an_error_that_says_what_to_set_and_memory_is_asked_for_by_name() {
    let err = from_vars(&[]).unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert!(err.to_string().contains("set REDIS_URL (redis://localhost:6379), or REDIS_HOST"), "{err}");
    let err = from_vars(&[("REDIS_PASSWORD", "secret"), ("REDIS_PORT", "1")]).unwrap_err();
    assert!(err.to_string().contains("set REDIS_URL"), "{err}");
    let err = from_vars(&[("REDIS_URL", "memory:"), ("REDIS_HOST", "h")]).unwrap_err();
    assert!(err.to_string().contains("unset one of them"), "{err}");
}

#[test]
fn url_and_variables_that_contradict_are_an_error() {
    for (url, name, value, message) in [
        ("redis://a", "REDIS_HOST", "b", "REDIS_HOST contradicts REDIS_URL"),
        ("redis://a", "REDIS_PORT", "6380", "REDIS_PORT contradicts REDIS_URL"),
        ("redis://a:p1@a", "REDIS_PASSWORD", "p2", "REDIS_PASSWORD contradicts REDIS_URL"),
        ("redis://u1:p@a", "REDIS_USERNAME", "u2", "REDIS_USERNAME contradicts REDIS_URL"),
        ("redis://a/1", "REDIS_DB", "2", "REDIS_DB contradicts REDIS_URL"),
        ("redis://a", "REDIS_TLS", "true", "REDIS_TLS contradicts REDIS_URL"),
        ("rediss://a", "REDIS_TLS", "no", "REDIS_TLS contradicts REDIS_URL"),
        ("redis+cluster://a,b", "REDIS_HOST", "a", "REDIS_HOST contradicts REDIS_URL"),
        ("redis://a?max_connections=5", "REDIS_MAX_CONNECTIONS", "6", "set one of them"),
    ] {
        let err = from_vars(&[("REDIS_URL", url), (name, value)]).unwrap_err();
        assert!(err.to_string().contains(message), "{url} {name}={value}: {err}");
    }
    from_vars(&[("REDIS_URL", "redis://a:1/2"), ("REDIS_HOST", "a"), ("REDIS_PORT", "1"), ("REDIS_DB", "2")]).unwrap();
}

#[test]
fn what_cannot_be_read_is_named_with_its_variable_and_value() {
    for (name, value, message) in [
        ("REDIS_PORT", "70000", "REDIS_PORT is \"70000\": give a number from 1 to 65535"),
        ("REDIS_PORT", "tcp://10.0.0.1:6379", "enableServiceLinks"),
        ("REDIS_DB", "-1", "REDIS_DB is \"-1\""),
        ("REDIS_TLS", "maybe", "REDIS_TLS is \"maybe\": give true or false"),
        ("REDIS_MAX_CONNECTIONS", "0", "REDIS_MAX_CONNECTIONS is \"0\": give a whole number from 1 to 10000"),
        ("REDIS_MAX_CONNECTIONS", "many", "REDIS_MAX_CONNECTIONS is \"many\""),
        ("REDIS_SOCKET_TIMEOUT", "0", "REDIS_SOCKET_TIMEOUT is \"0\": give seconds"),
        ("REDIS_SOCKET_TIMEOUT", "NaN", "REDIS_SOCKET_TIMEOUT is \"NaN\""),
        ("COSTGUARD_CALL_TIMEOUT", "5s", "COSTGUARD_CALL_TIMEOUT is \"5s\""),
        ("COSTGUARD_TLS_CA", "/ca.pem", "COSTGUARD_TLS_CA is set, but the connection is not encrypted"),
        ("REDIS_HOST", "redis://u:secret@h", "REDIS_HOST holds more than a host"),
        ("REDIS_HOST", "h:6379", "REDIS_HOST holds more than a host"),
    ] {
        let err = from_vars(&[(name, value), ("REDIS_HOST", "h")]).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid);
        assert!(err.to_string().contains(message), "{name}={value}: {err}");
    }
    for (url, message) in [
        ("redis://h?timeout=5", "the URL has the setting \"timeout\", which there is not: max_connections"),
        ("redis://h?max_connections=x", "the URL, max_connections is \"x\""),
        ("redis://h1,h2", "use redis+sentinel:// or redis+cluster://"),
        ("redis://h/one", "the number of the database"),
        ("redis+sentinel://h", "comes the primary's name"),
        ("redis+cluster://h/1", "a cluster has database 0 only"),
        ("rediss://h?tls_cert=/c.pem", "belong together"),
        ("rediss+unix:///run/redis.sock", "write redis://"),
        ("rediss://h#insecure", "percent-encoded"),
    ] {
        let err = RedisConfig::from_url(url).unwrap_err();
        assert!(err.to_string().contains(message), "{url}: {err}");
    }
}

#[test]
fn no_error_and_no_debug_output_shows_a_password() {
    const PIECES: [&str; 6] = ["hunter2", "s3cret", "HUNTER2", "S3CRET", "hunter%32", "s3%63ret"];
    let clean = |text: String| assert!(PIECES.iter().all(|piece| !text.contains(piece)), "{text}");
    for url in [
        "redis://u:hunter2/s3cret@h:1",
        "redis://u:hunter2?s3cret@h",
        "redis://u:hunter2#s3cret@h",
        "redis://u:hunter2@s3cret@h:port",
        "redis://:hunter2",
        "redis://u:hunter2",
        "redis://u:hunter%zz@h",
        "hunter2",
        "hunter2://s3cret",
        "redis+sentinel://u:hunter2@h/",
        "redis+unix:///p?user=u&pass=hunter2&what=x",
        "redis://u:hunter2@h:99999/s3cret",
    ] {
        for err in [RedisConfig::from_url(url).unwrap_err(), from_vars(&[("REDIS_URL", url)]).unwrap_err()] {
            assert_eq!(err.kind(), ErrorKind::Invalid);
            clean(format!("{err} {err:?}"));
        }
    }
    let encoded = RedisConfig::from_url("redis+sentinel://u:hunter%32s3%63ret@h/m").unwrap();
    let config = encoded.sentinel_credentials(Some("hunter2"), "s3cret");
    clean(format!("{config} {config:?} {config:#?}"));
    let vars = [("REDIS_HOST", "h"), ("REDIS_PASSWORD", "hunter2"), ("REDIS_PORT", "x")];
    clean(format!("{:?}", from_vars(&vars).unwrap_err()));
}

#[test]
fn the_example_holds_every_variable_that_is_read_and_no_other() {
    let read = RefCell::new(BTreeSet::new());
    let _ = RedisConfig::from_vars(|name| {
        read.borrow_mut().insert(name.to_owned());
        None
    });
    let example = include_str!("../../.env.example");
    let lines = example.lines().map(|line| line.trim_start_matches("# "));
    let names = lines.filter_map(|line| line.split_once('=')).map(|(name, _)| name.to_owned());
    let is_name = |name: &String| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    assert_eq!(names.filter(is_name).collect::<BTreeSet<_>>(), read.into_inner());
}

#[test]
fn the_development_block_of_the_example_is_a_configuration() {
    let set = include_str!("../../.env.example").lines().filter(|line| !line.starts_with('#'));
    let vars: Vec<_> = set.filter_map(|line| line.split_once('=')).collect();
    assert_eq!(from_vars(&vars).unwrap().to_string(), "redis://localhost:6379/0");
}

#[tokio::test]
async fn a_prefix_comes_from_the_configuration_or_from_code_and_never_from_both() {
    let config = RedisConfig::from_url(&server_url()).unwrap().key_prefix("connect-config:");
    CostGuard::builder().connect_with(&config).await.unwrap();
    CostGuard::builder().prefix("connect-config:").connect_with(&config).await.unwrap();
    let err = CostGuard::builder().prefix("other:").connect_with(&config).await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert!(err.to_string().contains("REDIS_KEY_PREFIX"), "{err}");
}

#[test]
fn connect_from_env_goes_where_the_environment_says_and_nowhere_else() {
    let url = server_url();
    assert_eq!(store_in(&[("REDIS_URL", &url)]), url);
    assert_eq!(store_in(&[("COSTGUARD_URL", "memory:"), ("REDIS_URL", &url)]), "embedded");
    assert!(store_in(&[]).contains("nothing says where Redis is"));
}

/// The store that a process with these variables connects to, or its error.
fn store_in(vars: &[(&str, &str)]) -> String {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--exact", "config::prints_the_store_of_its_environment", "--ignored", "--nocapture"]);
    for name in ["COSTGUARD_URL", "REDIS_URL", "REDIS_HOST", "REDIS_KEY_PREFIX"] {
        program.env_remove(name);
    }
    let output = program.envs(vars.iter().copied()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().find_map(|line| Some(line.split_once("the store is ")?.1.to_owned())).unwrap()
}

#[tokio::test]
#[ignore = "the test above runs it in a process of its own"]
async fn prints_the_store_of_its_environment() {
    let store = CostGuard::connect_from_env().await.map(|guard| guard.store().describe());
    println!("\nthe store is {}", store.unwrap_or_else(|err| err.to_string()));
}
