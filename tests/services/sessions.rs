//! Sessions and one-time tokens.

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Login {
    role: String,
}

fn login() -> Login {
    Login { role: "admin of \"x y\"\n".to_owned() }
}

#[tokio::test]
async fn a_session_is_found_by_its_token_and_nothing_else() {
    on_every_store(async |store| {
        let (sessions, other) = (store.guard().sessions(), store.another_guard().await.sessions());
        let token = sessions.create("a:b", &login()).await.unwrap();
        let found = other.get::<Login>(token.as_str()).await.unwrap().unwrap();
        assert_eq!((found.user.as_str(), &found.data), ("a:b", &login()));
        assert!(found.left <= HOUR * 24 && found.left > HOUR * 23);

        let bob = sessions.create("bob", &login()).await.unwrap();
        // Bob's name with Alice's secret, and what strangers send.
        let (bobs, _) = bob.as_str().split_once('.').unwrap();
        let (_, secret) = token.as_str().split_once('.').unwrap();
        let mixed = format!("{bobs}.{secret}");
        let long = "x".repeat(100_000);
        for stranger in ["", ".", "a.b", "%%%.x", &token.as_str()[1..], secret, &mixed, &long, "YTpi.x", "a\0b", ".x"] {
            assert_eq!(other.get::<Login>(stranger).await.unwrap(), None, "{stranger:.50}");
            assert_eq!(other.touch(stranger).await.unwrap(), None);
            other.revoke(stranger).await.unwrap();
        }
        assert_eq!(other.get::<i64>(token.as_str()).await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(sessions.create("", &1).await.unwrap_err().kind(), ErrorKind::Invalid);
        assert_eq!(sessions.create("bob", &long).await.unwrap_err().kind(), ErrorKind::Invalid);
    })
    .await;
}

#[tokio::test]
async fn who_reads_the_store_cannot_log_in() {
    on_every_store(async |store| {
        let token = store.guard().sessions().create("alice", &login()).await.unwrap();
        let state = store.guard().tokens(&["oauth", "goo:gle", "state"]).issue("/back").await.unwrap();
        let (_, secret) = token.as_str().split_once('.').unwrap();
        let dump = store.dump().await;
        for stored in &dump {
            let text = format!("{}={}", stored.key, stored.value);
            assert!(!text.contains(secret) && !text.contains(state.as_str()), "{text}");
        }
        let keys: Vec<_> = dump.iter().map(|it| it.key.as_str()).filter(|key| !key.starts_with("epoch")).collect();
        assert!(keys[0].starts_with("oauth:goo%3Agle:state:") && keys[0].len() == 22 + 32, "{keys:?}");
        assert!(keys[1] == "session:alice" && keys[2].starts_with("session:alice:"), "{keys:?}");
        for (key, left) in lives(store).await {
            assert!(left > Duration::from_secs(500) && left <= HOUR * 24 * 30, "{key}");
        }
    })
    .await;
}

#[tokio::test]
async fn sessions_end_one_by_one_or_all_at_once() {
    on_every_store(async |store| {
        let sessions = store.guard().sessions();
        let mut tokens = Vec::new();
        for user in ["alice", "alice", "alice", "bob"] {
            tokens.push(sessions.create(user, &login()).await.unwrap());
        }
        let valid = async || {
            let mut valid = Vec::new();
            for token in &tokens {
                valid.push(sessions.touch(token.as_str()).await.unwrap().is_some());
            }
            valid
        };
        sessions.revoke(tokens[0].as_str()).await.unwrap();
        assert_eq!(valid().await, [false, true, true, true]);
        sessions.revoke_all("alice").await.unwrap();
        assert_eq!(valid().await, [false, false, false, true]);
        // A new login does not bring the old ones back.
        let again = sessions.create("alice", &login()).await.unwrap();
        assert_eq!(valid().await, [false, false, false, true]);
        assert!(sessions.touch(again.as_str()).await.unwrap().is_some());
    })
    .await;
}

/// On the embedded store, whose clock the test owns; what the script does is in the table of every store.
#[tokio::test]
async fn a_sliding_session_lives_while_it_is_used_and_a_fixed_one_does_not() {
    let store = TestStore::embedded("test:");
    let clock = store.clock().unwrap();
    let sliding = store.guard().sessions().ttl(HOUR).at_most(HOUR * 3);
    let fixed = sliding.clone().fixed();
    let (slides, ends) = (sliding.create("alice", &1).await.unwrap(), fixed.create("alice", &2).await.unwrap());
    let pass = |minutes: i64| clock.advance_ms(minutes * 60_000);
    pass(40);
    assert_eq!(sliding.touch(slides.as_str()).await.unwrap(), Some(HOUR));
    assert_eq!(fixed.touch(ends.as_str()).await.unwrap(), Some(HOUR / 3));
    pass(40);
    assert_eq!(sliding.touch(slides.as_str()).await.unwrap(), Some(HOUR));
    assert_eq!(fixed.touch(ends.as_str()).await.unwrap(), None);
    pass(55);
    // 135 minutes after it was made, so 45 before its end.
    assert_eq!(sliding.get::<i64>(slides.as_str()).await.unwrap().unwrap().left, HOUR * 3 / 4);
    pass(46);
    assert_eq!(sliding.touch(slides.as_str()).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_hundred_consumers_one_wins() {
    on_every_store(async |store| {
        let guards = [store.guard(), store.another_guard().await, store.another_guard().await];
        for _ in 0..5 {
            let token = guards[0].tokens(&["oauth", "google", "state"]).issue(&login()).await.unwrap();
            let mut tasks = JoinSet::new();
            for task in 0..100 {
                let (tokens, token) = (guards[task % 3].tokens(&["oauth", "google", "state"]), token.clone());
                tasks.spawn(async move { tokens.consume::<Login>(token.as_str()).await.unwrap() });
            }
            let won: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
            assert_eq!(won, [login()]);
        }
    })
    .await;
}

#[tokio::test]
async fn tokens_of_one_purpose_are_none_of_another() {
    on_every_store(async |store| {
        let guard = store.guard();
        let token = guard.tokens(&["oauth", "google", "state"]).issue(&1).await.unwrap();
        for purpose in [&["oauth", "github", "state"][..], &["oauth:google", "state"], &["oauth"]] {
            assert_eq!(guard.tokens(purpose).consume::<i64>(token.as_str()).await.unwrap(), None, "{purpose:?}");
        }
        for purpose in [&[][..], &[""], &["oauth", ""]] {
            assert_eq!(guard.tokens(purpose).issue(&1).await.unwrap_err().kind(), ErrorKind::Invalid, "{purpose:?}");
        }
        let google = guard.tokens(&["oauth", "google", "state"]);
        assert_eq!(google.consume::<i64>("").await.unwrap(), None);
        assert_eq!(google.consume::<i64>(token.as_str()).await.unwrap(), Some(1));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_whose_answer_is_lost_is_not_lost() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let guard = CostGuard::connect(&proxy.url()).await.unwrap();
    let (tokens, sessions) = (guard.tokens(&["reset"]), guard.sessions());
    for turn in 0..5 {
        let token = tokens.issue(&turn).await.unwrap();
        proxy.fail_next(Fault::LoseReply, b"reset:");
        assert_eq!(tokens.consume::<i32>(token.as_str()).await.unwrap(), Some(turn));
        assert_eq!(tokens.consume::<i32>(token.as_str()).await.unwrap(), None);
        proxy.fail_next(Fault::LoseReply, b"session:");
        let session = sessions.create("alice", &turn).await.unwrap();
        proxy.fail_next(Fault::DropRequest, b"session:");
        assert_eq!(sessions.get::<i32>(session.as_str()).await.unwrap().unwrap().data, turn);
    }
    assert_eq!(proxy.faults_struck(), 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_an_error_and_not_a_login() {
    let server = Server::start();
    let proxy = Proxy::start(&server.url()).await;
    let config = RedisConfig::from_url(&proxy.url()).unwrap().call_timeout(Duration::from_millis(300));
    let guard = CostGuard::builder().connect_with(&config).await.unwrap();
    let token = guard.sessions().create("alice", &1).await.unwrap();
    proxy.cut();
    let err = guard.sessions().get::<i32>(token.as_str()).await.unwrap_err();
    assert!(matches!(err.kind(), ErrorKind::Unavailable | ErrorKind::Ambiguous), "{err}");
    assert!(!err.to_string().contains(token.as_str()), "{err}");
    let err = guard.daily().try_start("alice").await.unwrap_err();
    assert!(matches!(err.kind(), ErrorKind::Unavailable | ErrorKind::Ambiguous), "{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster_sessions_are_tagged_and_tokens_need_not_be() {
    let cluster = Cluster::start();
    let guard = CostGuard::connect(&cluster.url(0)).await.unwrap();
    let err = guard.sessions().create("alice", &1).await.unwrap_err();
    assert!(err.kind() == ErrorKind::Invalid && err.to_string().contains(".tagged()"), "{err}");
    let sessions = guard.sessions().tagged();
    for user in ["alice", "bob", "carol", "dave"] {
        let (one, two) = (sessions.create(user, &1).await.unwrap(), sessions.create(user, &2).await.unwrap());
        sessions.revoke(one.as_str()).await.unwrap();
        assert!(sessions.touch(one.as_str()).await.unwrap().is_none());
        assert!(sessions.touch(two.as_str()).await.unwrap().is_some());
        sessions.revoke_all(user).await.unwrap();
        assert!(sessions.touch(two.as_str()).await.unwrap().is_none());
        let token = guard.tokens(&["reset"]).issue(user).await.unwrap();
        assert_eq!(guard.tokens(&["reset"]).consume::<String>(token.as_str()).await.unwrap().as_deref(), Some(user));
    }
}
