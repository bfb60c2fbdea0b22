//! What a server can do to its clients: the script cache, and 11. Never silently local.

use super::*;

// The script cache.

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn script_flush_in_mid_run_goes_unnoticed() {
    let server = Server::start();
    let guard = CostGuard::connect(&server.url()).await.unwrap();
    let policy = limited(Meter::COST, 1_000_000);
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (guard, policy) = (guard.clone(), policy.clone());
        tasks.spawn(async move {
            for round in 0..32 {
                if round % 2 == 0 {
                    guard.charge(&policy, &alice(), nanos(1)).await.unwrap();
                } else {
                    assert!(guard.admit(&policy, &alice(), nanos(1)).await.unwrap().is_granted());
                }
            }
        });
    }
    let mut direct = connect(&server).await;
    for _ in 0..50 {
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut direct).await.unwrap();
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut direct).await.unwrap();
    assert_eq!(used(&guard, &policy, &alice()).await, [16 * 32]);
}

// 11. Never silently local.

/// Everything that a program may print of an error.
fn all_texts(err: &Error) -> String {
    let mut texts = format!("{err} {err:?} {err:#?}");
    let mut source = std::error::Error::source(err);
    while let Some(cause) = source {
        texts.push_str(&format!(" {cause} {cause:?}"));
        source = cause.source();
    }
    texts
}

#[tokio::test]
async fn never_silently_local_a_server_that_does_not_answer_is_an_error_without_the_password() {
    // Bound and closed again, so nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("redis://alice:hunter2secret@127.0.0.1:{port}/0");
    let err = CostGuard::connect(&url).await.unwrap_err();
    assert_eq!((err.kind(), err.is_retry_safe()), (ErrorKind::Unavailable, true));
    assert!(!all_texts(&err).contains("hunter2secret"), "{}", all_texts(&err));
    assert!(err.to_string().contains(&format!("127.0.0.1:{port}")), "{err}");

    for url in ["", "nonsense:hunter2secret", "http://x:hunter2secret@h", "redis://x:hunter2secret@:port/"] {
        let err = CostGuard::connect(url).await.unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Invalid, "{url}");
        assert!(!all_texts(&err).contains("hunter2secret"), "{}", all_texts(&err));
    }
    assert_eq!(CostGuard::connect("memory:").await.unwrap().store().describe(), "embedded");
}

#[tokio::test]
async fn never_silently_local_when_the_server_goes_away_later() {
    let server = Server::start_with(&["--requirepass", "hunter2secret"]);
    let url = server.url().replace("://", "://:hunter2secret@");
    let wrong = server.url().replace("://", "://:wrong2secret@");
    let err = CostGuard::connect(&wrong).await.unwrap_err();
    assert!(!all_texts(&err).contains("wrong2secret"), "{}", all_texts(&err));

    let guard = CostGuard::connect(&url).await.unwrap();
    assert!(!guard.store().describe().contains("hunter2secret"));
    assert!(!format!("{guard:?}").contains("hunter2secret"));
    let policy = limited(Meter::COST, 100);
    guard.charge(&policy, &alice(), nanos(1)).await.unwrap();
    drop(server);
    let err = guard.charge(&policy, &alice(), nanos(1)).id("one").await.unwrap_err();
    assert_eq!(err.kind(), ErrorKind::Unavailable);
    assert!(!all_texts(&err).contains("hunter2secret"), "{}", all_texts(&err));
    let err = guard.charge(&policy, &alice(), nanos(1)).await.unwrap_err();
    assert!(matches!(err.kind(), ErrorKind::Unavailable | ErrorKind::Ambiguous), "{err:?}");
}
