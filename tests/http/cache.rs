//! Answers out of the cache, on every store.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use costguard::CostGuard;
use costguard::http::{CacheLayer, Cached};
use costguard::service::OnTrouble;
use costguard::store::ManualClock;
use http::header::{
    ACCEPT_LANGUAGE, AGE, AUTHORIZATION, CACHE_CONTROL, HeaderName, HeaderValue, IF_MATCH, IF_UNMODIFIED_SINCE, RANGE,
    VARY,
};
use http::request::Parts;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

use super::support::{Proxy, START_MS, server_url};

type Inner = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// A service that says how often it was asked, and what it answers otherwise.
fn service(answer: impl Fn(usize) -> Response<Body> + Clone + Send + Sync + 'static) -> (Inner, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let inner = service_fn(move |_: Request<Body>| {
        let response = answer(count.fetch_add(1, Ordering::SeqCst) + 1);
        async move {
            // Long enough for others to come meanwhile.
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(response)
        }
    });
    (BoxCloneSyncService::new(inner), asked)
}

/// A guard on each store, under a prefix of its own.
async fn guards() -> Vec<CostGuard> {
    let builder = CostGuard::builder().prefix(&format!("http-cache-{}:", uuid::Uuid::now_v7().simple()));
    vec![builder.clone().embedded().unwrap(), builder.connect(&server_url()).await.unwrap()]
}

fn subject(request: &Parts) -> Result<Option<String>, costguard::http::Rejection> {
    Ok(request.headers.get("x-user").map(|user| user.to_str().unwrap().to_owned()))
}

fn layer(guard: &CostGuard) -> CacheLayer {
    CacheLayer::new(guard.cache("api"), subject).vary([ACCEPT_LANGUAGE])
}

fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

fn with(mut request: Request<Body>, name: HeaderName, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

/// What `X-Cache` says, empty where it is not there, and the body.
async fn ask(service: &Cached<Inner>, request: Request<Body>) -> (String, String) {
    let response = service.clone().oneshot(request).await.unwrap();
    let how = response.headers().get("x-cache").map_or("", |value| value.to_str().unwrap()).to_owned();
    assert_eq!(how == "hit", response.headers().contains_key(AGE), "a hit has an age");
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (how, String::from_utf8(body.to_vec()).unwrap())
}

/// An answer with these headers, which says how often the service was asked.
fn with_headers(
    headers: &'static [(&'static str, &'static str)],
) -> impl Fn(usize) -> Response<Body> + Clone + Send + Sync + 'static {
    move |n| {
        let mut response = Response::new(Body::from(n.to_string()));
        for (name, value) in headers {
            response.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        response
    }
}

fn told(how: &str, body: &str) -> (String, String) {
    (how.to_owned(), body.to_owned())
}

#[tokio::test]
async fn the_first_computes_concurrent_ones_wait_and_the_next_is_a_hit() {
    for guard in guards().await {
        let (inner, asked) = service(|n| Response::new(Body::from(format!("answer {n}"))));
        let service = layer(&guard).layer(inner);
        let mut tasks = JoinSet::new();
        for _ in 0..50 {
            let service = service.clone();
            tasks.spawn(async move { ask(&service, get("/v1/models?b=1&a=2")).await });
        }
        let answers = tasks.join_all().await;
        assert!(answers.iter().all(|(_, body)| body == "answer 1"), "{answers:?}");
        assert_eq!(answers.iter().filter(|(how, _)| how == "miss").count(), 1, "{answers:?}");
        // The query's order says nothing.
        assert_eq!(ask(&service, get("/v1/models?a=2&b=1")).await, told("hit", "answer 1"));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
        assert!(guard.cache("api").exists("GET:/v1/models?a=2&b=1:anonymous").await.is_ok());
    }
}

#[tokio::test]
async fn users_queries_and_told_headers_have_answers_of_their_own() {
    for guard in guards().await {
        let (inner, _) = service(|n| Response::new(Body::from(n.to_string())));
        let service = layer(&guard).layer(inner);
        let user = HeaderName::from_static("x-user");
        let requests = || {
            [
                get("/a"),
                get("/a?x=1"),
                get("/a?x=2&x=10"),
                get("/a?x=10&x=2"),
                get("/a:b"),
                with(get("/a"), user.clone(), "alice"),
                with(get("/a"), user.clone(), "anonymous"),
                with(get("/a"), user.clone(), "b:alice"),
                with(get("/a"), ACCEPT_LANGUAGE, "de"),
            ]
        };
        for (place, request) in requests().into_iter().enumerate() {
            assert_eq!(ask(&service, request).await, told("miss", &(place + 1).to_string()));
        }
        for (place, request) in requests().into_iter().enumerate() {
            assert_eq!(ask(&service, request).await, told("hit", &(place + 1).to_string()));
        }
        let response = service.clone().oneshot(get("/a")).await.unwrap();
        assert_eq!(response.headers()[VARY], "accept-language");
    }
}

#[tokio::test]
async fn what_must_not_be_stored_is_not_and_nobody_waits_for_it_twice() {
    const ANSWERS: &[&[(&str, &str)]] = &[
        &[("set-cookie", "a=b")],
        &[("cache-control", "no-store")],
        &[("cache-control", "private, max-age=60")],
        &[("cache-control", "max-age=0")],
        // Whatever the case, and whatever stands beside it.
        &[("cache-control", "No-Store")],
        &[("cache-control", "no-store, max-age=-1")],
        &[("cache-control", "PRIVATE, max-age=3600.5")],
        &[("cache-control", "no-cache=\"set-cookie\"")],
        &[("cache-control", "Max-Age=soon")],
        &[("cache-control", "max-age=60"), ("age", "60")],
        // Over, as they say themselves, or nobody knows when.
        &[("expires", "Thu, 01 Jan 1970 00:00:00 GMT")],
        &[("expires", "0"), ("cache-control", "public")],
        &[("vary", "*")],
        &[("vary", "accept-language, cookie")],
    ];
    for guard in guards().await {
        for (place, headers) in ANSWERS.iter().enumerate() {
            let (inner, asked) = service(with_headers(headers));
            let service = layer(&guard).layer(inner);
            for n in 1..=3 {
                let response = service.clone().oneshot(get(&format!("/{place}"))).await.unwrap();
                assert_eq!(response.headers()["x-cache"], "miss", "{headers:?}");
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body, n.to_string(), "{headers:?}");
            }
            assert_eq!(asked.load(Ordering::SeqCst), 3);
        }
        for status in [404, 500] {
            let (inner, _) = service(move |n| {
                let mut response = Response::new(Body::from(n.to_string()));
                *response.status_mut() = status.try_into().unwrap();
                response
            });
            let service = layer(&guard).layer(inner);
            for n in 1..=3 {
                assert_eq!(ask(&service, get(&format!("/{status}"))).await, told("miss", &n.to_string()));
            }
        }
        // A body of unknown length is a stream: it goes through as it comes.
        let (inner, _) = service(|n| {
            let stream = http_body_util::channel::Channel::<axum::body::Bytes>::new(1);
            let (mut sender, body) = stream;
            tokio::spawn(async move { sender.send_data(n.to_string().into()).await });
            Response::new(Body::new(body))
        });
        let service = layer(&guard).layer(inner);
        for n in 1..=2 {
            assert_eq!(ask(&service, get("/stream")).await, told("miss", &n.to_string()));
        }
    }
}

#[tokio::test]
async fn the_answers_own_time_is_honoured_and_requests_may_go_past() {
    for guard in guards().await {
        let (inner, asked) = service(with_headers(&[("cache-control", "public, max-age=60, s-maxage=7200")]));
        let cache = guard.cache("api");
        let service = CacheLayer::new(cache.clone(), subject).layer(inner);
        assert_eq!(ask(&service, get("/a")).await, told("miss", "1"));
        let left = cache.ttl("GET:/a:anonymous").await.unwrap().unwrap();
        assert!((Duration::from_secs(7000)..=Duration::from_secs(7200)).contains(&left), "{left:?}");
        let past = [
            with(get("/a"), CACHE_CONTROL, "no-cache"),
            with(get("/a"), CACHE_CONTROL, "No-Cache, max-age=-1"),
            with(get("/a"), RANGE, "bytes=0-1"),
            with(get("/a"), IF_MATCH, "\"x\""),
            with(get("/a"), IF_UNMODIFIED_SINCE, "Sat, 01 Jan 2000 00:00:00 GMT"),
            with(get("/a"), AUTHORIZATION, "Bearer x"),
            Request::post("/a").body(Body::empty()).unwrap(),
        ];
        for (place, request) in past.into_iter().enumerate() {
            assert_eq!(ask(&service, request).await, told("", &(place + 2).to_string()));
        }
        assert_eq!(ask(&service, get("/a")).await, told("hit", "1"));
        // A key that is too long is none: the request is served all the same.
        assert_eq!(ask(&service, get(&format!("/{}", "x".repeat(4000)))).await.1, "9");
        assert_eq!(asked.load(Ordering::SeqCst), 9);
    }
}

#[tokio::test]
async fn an_answer_that_was_kept_before_lives_for_the_rest_and_headers_of_its_connection_end_there() {
    const HEADERS: &[(&str, &str)] = &[
        ("cache-control", "max-age=60"),
        ("age", "50"),
        ("connection", "keep-alive, X-Hop"),
        ("x-hop", "1"),
        ("x-end", "1"),
    ];
    for guard in guards().await {
        let (inner, _) = service(with_headers(HEADERS));
        let cache = guard.cache("api");
        let service = CacheLayer::new(cache.clone(), subject).layer(inner);
        service.clone().oneshot(get("/a")).await.unwrap();
        let left = cache.ttl("GET:/a:anonymous").await.unwrap().unwrap();
        assert!(left <= Duration::from_secs(10), "{left:?}");
        let headers = service.oneshot(get("/a")).await.unwrap().headers().clone();
        assert_eq!(headers["x-cache"], "hit");
        assert!((50..60).contains(&headers[AGE].to_str().unwrap().parse().unwrap()), "{headers:?}");
        assert!(headers.contains_key("x-end") && !headers.contains_key("x-hop"), "{headers:?}");
    }
}

#[tokio::test]
async fn headers_that_are_no_text_have_answers_of_their_own() {
    for guard in guards().await {
        let (inner, _) = service(|n| Response::new(Body::from(n.to_string())));
        let service = layer(&guard).layer(inner);
        let request = |value: &[u8]| {
            let mut request = get("/a");
            request.headers_mut().insert(ACCEPT_LANGUAGE, HeaderValue::from_bytes(value).unwrap());
            request
        };
        for (value, answer) in
            [(b"caf\xe9", told("miss", "1")), (b"caf\xe8", told("miss", "2")), (b"caf\xe9", told("hit", "1"))]
        {
            assert_eq!(ask(&service, request(value)).await, answer);
        }
    }
}

#[tokio::test]
async fn what_is_up_to_a_mebibyte_is_stored_and_what_the_cache_does_not_take_keeps_nobody() {
    for guard in guards().await {
        let cache = guard.cache("api");
        // Longer as it is written: in base64, and escaped in JSON.
        for byte in [0xff_u8, 0x01] {
            let (inner, _) = service(move |_| Response::new(Body::from(vec![byte; 1 << 20])));
            let service = CacheLayer::new(cache.clone(), subject).layer(inner);
            for how in ["miss", "hit"] {
                let response = service.clone().oneshot(get(&format!("/{byte}"))).await.unwrap();
                assert_eq!(response.headers()["x-cache"], how);
                let body = response.into_body().collect().await.unwrap().to_bytes();
                assert!(body.len() == 1 << 20 && body.iter().all(|it| *it == byte));
            }
        }
        let small = guard.cache("api").most_bytes(200);
        let (inner, _) = service(|n| Response::new(Body::from(n.to_string().repeat(150))));
        let strict = CacheLayer::new(small.clone(), subject).layer(inner);
        for n in ["1", "2"] {
            assert_eq!(ask(&strict, get("/small")).await, told("miss", &n.repeat(150)));
        }
        let stats = small.stats();
        assert_eq!((stats.too_large, stats.computes), (1, 1), "the second asked for nothing but the note");
        assert!(small.ttl("GET:/small:anonymous").await.unwrap().unwrap() <= Duration::from_secs(10));
    }
}

/// A body that breaks off before its end.
struct Broken;

impl http_body::Body for Broken {
    type Data = axum::body::Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Poll::Ready(Some(Err(std::io::ErrorKind::ConnectionReset.into())))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(8)
    }
}

#[tokio::test]
async fn a_refresh_that_fails_or_breaks_off_leaves_what_is_kept() {
    let failed = || Response::builder().status(500).body(Body::empty()).unwrap();
    for guard in guards().await {
        // Every hit computes anew.
        let cache = guard.cache("api").early_refresh(1e12);
        for (path, breaks_off) in [("/failed", false), ("/broken", true)] {
            let (inner, asked) = service(move |n| match n {
                1 | 4 if breaks_off => Response::new(Body::new(Broken)),
                1 | 4 => failed(),
                _ => Response::new(Body::from(n.to_string())),
            });
            let service = CacheLayer::new(cache.clone(), subject).ttl(Duration::from_secs(300)).layer(inner);
            let status = service.clone().oneshot(get(path)).await.unwrap().status();
            assert_eq!(status.as_u16(), if breaks_off { 502 } else { 500 });
            let key = format!("GET:{path}:anonymous");
            let note = cache.ttl(&key).await.unwrap().unwrap();
            assert!(note <= Duration::from_secs(1), "{note:?}");
            cache.delete(&key).await.unwrap();
            for answer in [told("miss", "2"), told("miss", "3"), told("hit", "3")] {
                assert_eq!(ask(&service, get(path)).await, answer, "{path}");
            }
            assert_eq!(asked.load(Ordering::SeqCst), 4);
            let left = cache.ttl(&key).await.unwrap().unwrap();
            assert!(left > Duration::from_secs(60), "what was kept before: {left:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_lives_as_long_as_it_says_with_tags_too() {
    let clock = Arc::new(ManualClock::new(START_MS));
    let guard = CostGuard::builder().clock(clock.clone()).embedded().unwrap();
    let (inner, _) = service(with_headers(&[("cache-control", "max-age=3600")]));
    let cache = guard.cache("api").tagged(&["models"]).early_refresh(0.0);
    let hour = CacheLayer::new(cache.clone(), subject).ttl(Duration::from_secs(1)).layer(inner);
    assert_eq!(ask(&hour, get("/a")).await, told("miss", "1"));
    clock.advance_ms(3_599_000);
    assert_eq!(ask(&hour, get("/a")).await, told("hit", "1"));
    cache.invalidate_tag("models").await.unwrap();
    assert_eq!(ask(&hour, get("/a")).await, told("miss", "2"));

    // Longer than anything lives.
    let (inner, _) = service(with_headers(&[("cache-control", "max-age=99999999999999999999")]));
    let forever = CacheLayer::new(cache, subject).layer(inner);
    for how in ["miss", "hit"] {
        assert_eq!(ask(&forever, get("/forever")).await, told(how, "1"));
    }
}

#[tokio::test]
async fn without_the_store_requests_are_served_uncached_or_refused_by_choice() {
    let proxy = Proxy::start(&server_url()).await;
    let config = costguard::store::redis::RedisConfig::from_url(&proxy.url()).unwrap();
    let config = config.call_timeout(Duration::from_millis(300)).key_prefix("http-cache-away:");
    let guard = CostGuard::builder().connect_with(&config).await.unwrap();
    proxy.cut();
    let (inner, asked) = service(|n| Response::new(Body::from(n.to_string())));
    let forever = CacheLayer::new(guard.cache("api"), subject).layer(inner.clone());
    for n in 1..=2 {
        assert_eq!(ask(&forever, get("/away")).await, told("miss", &n.to_string()));
    }
    let strict = CacheLayer::new(guard.cache("api").when_away(OnTrouble::Fail), subject).layer(inner);
    let response = strict.oneshot(get("/away")).await.unwrap();
    assert_eq!((response.status().as_u16(), asked.load(Ordering::SeqCst)), (503, 2));
}
