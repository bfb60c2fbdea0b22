//! The test support itself: a fault test proves nothing if the fault does not strike.

// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use support::proxy::{frame_len, is_script_call, split_url};
use support::{Fault, Proxy, Server, server_url};

const ADD: &str = "return redis.call('INCRBY', KEYS[1], ARGV[1])";

async fn connect(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn add(connection: &mut MultiplexedConnection, key: &str) -> redis::RedisResult<i64> {
    let sha1 = sha1_smol::Sha1::from(ADD).digest().to_string();
    match redis::cmd("EVALSHA").arg(sha1).arg(1).arg(key).arg(1).query_async(connection).await {
        Err(error) if error.code() == Some("NOSCRIPT") => {
            redis::cmd("EVAL").arg(ADD).arg(1).arg(key).arg(1).query_async(connection).await
        }
        answer => answer,
    }
}

#[tokio::test]
async fn the_shared_server_answers_and_stays_the_same() {
    let mut first = connect(&server_url()).await;
    let mut second = connect(&server_url()).await;
    let _: () = first.set_ex("harness:shared", 7, 60).await.unwrap();
    assert_eq!(second.get::<_, i64>("harness:shared").await.unwrap(), 7);
}

#[tokio::test]
async fn a_private_server_takes_options_and_ends_with_its_value() {
    let server = Server::start_with(&["--maxmemory", "12345678"]);
    let url = server.url();
    let found: (String, String) =
        redis::cmd("CONFIG").arg("GET").arg("maxmemory").query_async(&mut connect(&url).await).await.unwrap();
    assert_eq!(found.1, "12345678");
    drop(server);
    assert!(redis::Client::open(url).unwrap().get_connection().is_err());
}

#[test]
fn a_server_ends_with_a_test_process_that_drops_nothing() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "starts_a_server_and_hangs", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.map(Result::unwrap).find_map(|line| Some(line.split_once("server at ")?.1.to_owned())).unwrap();
    let client = redis::Client::open(url).unwrap();
    client.get_connection().unwrap();

    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while client.get_connection().is_ok() {
        assert!(Instant::now() < deadline, "the server outlived the process that started it");
        std::thread::yield_now();
    }
}

#[test]
#[ignore = "the test above runs it in a process of its own"]
fn starts_a_server_and_hangs() {
    let server = Server::start();
    println!("\nserver at {}", server.url());
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[tokio::test]
async fn a_dropped_request_never_reaches_the_server() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let mut direct = connect(&server.url()).await;
    let mut through = connect(&proxy.url()).await;
    assert_eq!(add(&mut through, "n").await.unwrap(), 1);

    proxy.drop_next_request();
    assert!(add(&mut through, "n").await.is_err());
    assert_eq!(direct.get::<_, i64>("n").await.unwrap(), 1);
    assert_eq!(proxy.faults_struck(), 1);
    assert_eq!(add(&mut connect(&proxy.url()).await, "n").await.unwrap(), 2);
}

#[tokio::test]
async fn a_lost_reply_comes_after_the_commit() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let mut direct = connect(&server.url()).await;
    let mut through = connect(&proxy.url()).await;

    // The server does not know the script yet: the first EVALSHA does not run, and the fault waits for the one that does.
    proxy.lose_next_reply();
    assert!(add(&mut through, "n").await.is_err());
    assert_eq!(direct.get::<_, i64>("n").await.unwrap(), 1);
    assert_eq!(proxy.faults_struck(), 1);
    assert_eq!(proxy.script_calls_seen(), 2);
    assert!(proxy.requests_seen() > 2);
}

#[tokio::test]
async fn in_a_pipeline_the_fault_strikes_the_named_request_only() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let mut direct = connect(&server.url()).await;
    let mut through = connect(&proxy.url()).await;

    proxy.fail_next(Fault::DropRequest, b"second");
    let sent: redis::RedisResult<()> =
        redis::pipe().incr("first", 1).incr("second", 1).incr("third", 1).query_async(&mut through).await;
    assert!(sent.is_err());
    // The proxy gave up the connection after forwarding the first command: the server may still be reading it.
    let deadline = Instant::now() + Duration::from_secs(20);
    while direct.get::<_, Option<i64>>("first").await.unwrap() != Some(1) {
        assert!(Instant::now() < deadline, "the command before the fault never arrived");
    }
    assert_eq!(direct.get::<_, Option<i64>>("second").await.unwrap(), None);
    assert_eq!(direct.get::<_, Option<i64>>("third").await.unwrap(), None);
}

#[tokio::test]
async fn a_stall_holds_everything_back_until_it_is_resumed() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let mut direct = connect(&server.url()).await;
    let mut through = connect(&proxy.url()).await;

    proxy.stall();
    let mut waiting = through.clone();
    let sent = tokio::spawn(async move { waiting.incr::<_, _, i64>("n", 1).await });
    assert_eq!(direct.get::<_, Option<i64>>("n").await.unwrap(), None);
    assert!(!sent.is_finished());
    proxy.resume();
    // The client may have given up waiting by itself; what counts is that the connection still works.
    let _ = sent.await.unwrap();
    assert_eq!(through.incr::<_, _, i64>("n", 1).await.unwrap(), 2);
}

#[test]
fn a_frame_ends_where_its_last_nested_value_ends() {
    let frame = b"*3\r\n$2\r\na\r\r\n*2\r\n:1\r\n$-1\r\n%1\r\n+k\r\n,1.5\r\n";
    for cut in 0..frame.len() {
        assert_eq!(frame_len(&frame[..cut]).unwrap(), None, "cut at {cut}");
    }
    let two = [&frame[..], b"+OK\r\n"].concat();
    assert_eq!(frame_len(&two).unwrap(), Some(frame.len()));
    assert!(frame_len(b"GET a\r\n").is_err());
}

#[test]
fn script_calls_are_told_by_their_command_not_by_their_arguments() {
    assert!(is_script_call(b"*3\r\n$7\r\nevalsha\r\n$1\r\nx\r\n$1\r\n0\r\n"));
    assert!(!is_script_call(b"*2\r\n$3\r\nGET\r\n$7\r\nEVALSHA\r\n"));
}

#[test]
fn the_proxy_keeps_what_stands_around_host_and_port() {
    assert_eq!(split_url("redis://u:p@h:1/2"), ("redis://u:p@", "h:1", "/2"));
    assert_eq!(split_url("redis://h:1"), ("redis://", "h:1", ""));
}
