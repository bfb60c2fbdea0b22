//! The gateway of `examples/gateway`, over sockets, on the embedded engine and on a real server.

#![cfg(all(feature = "http", feature = "metrics"))]
// Helpers beside the test functions fail the test like these do.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

#[path = "../examples/gateway/model.rs"]
mod model;
#[path = "../examples/gateway/router.rs"]
mod router;
mod support;

use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, Uri};
use axum::routing::post;
use costguard::{Amounts, CostGuard, Meter, Money, Policy, PriceCatalogue, Subject};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use metrics_exporter_prometheus::PrometheusBuilder;
use model::word_event as word;
use router::Gateway;
use serde_json::{Value, json};
use support::Server;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// The longest that anything may take that is not waited for by the test's own steps.
const LIMIT: Duration = Duration::from_secs(20);

/// A dollar a token in, ten dollars a token out.
const PRICES: &str = r#"{"parrot": {"input_cost_per_token": 1, "output_cost_per_token": 10}}"#;

/// A gateway, and what it stands on.
struct Running {
    guard: CostGuard,
    policy: Policy,
    url: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A guard on each store, under a prefix of its own.
async fn guards() -> Vec<CostGuard> {
    let since_epoch = std::time::UNIX_EPOCH.elapsed().unwrap();
    let builder = CostGuard::builder().prefix(&format!("gateway-{}-{}:", std::process::id(), since_epoch.as_nanos()));
    vec![builder.clone().embedded().unwrap(), builder.connect(&support::server_url()).await.unwrap()]
}

/// What a user may spend, in dollars, and ask; `year` is the window that a test is least likely to see the end of.
fn policy(limit: &str) -> Policy {
    Policy::from_toml(&format!(
        "[[limit]]\nscope = 'user'\nmeter = 'cost'\nlimit = '{limit}'\nper = 'year'\n\
         [[limit]]\nscope = 'user'\nmeter = 'tokens'\nlimit = 1000\nper = 'total'\n\
         [[limit]]\nscope = 'user'\nmeter = 'requests'\nlimit = 100\nper = 'year'\n\
         [[limit]]\nscope = 'global'\nmeter = 'cost'\nlimit = '1000.00'\nper = 'year'\n"
    ))
    .unwrap()
}

async fn serve(app: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

impl Running {
    /// A gateway in front of the example's model.
    async fn start(guard: &CostGuard, limit: &str) -> Self {
        Self::in_front_of(model::router(Duration::ZERO), guard, limit).await
    }

    async fn in_front_of(model: Router, guard: &CostGuard, limit: &str) -> Self {
        Self::with(policy(limit), model, guard).await
    }

    async fn with(policy: Policy, model: Router, guard: &CostGuard) -> Self {
        println!("on {}", guard.store().describe());
        let model_url: Uri = format!("{}/v1/chat/completions", serve(model).await).parse().unwrap();
        let guard = guard.clone();
        let prices = PriceCatalogue::from_json(PRICES).unwrap();
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let gateway = Gateway { guard: guard.clone(), policy: policy.clone(), prices, model_url, metrics };
        let url = serve(router::router(gateway)).await;
        Self { guard, policy, url, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    /// Asks for `words` to be repeated.
    async fn ask(&self, words: &str, max_tokens: u64, stream: bool) -> Response<Body> {
        let body = json!({
            "model": "parrot", "max_tokens": max_tokens, "stream": stream,
            "messages": [{"role": "user", "content": words}],
        });
        let request = Request::post(format!("{}/v1/chat/completions", self.url)).header("x-user", "alice");
        let request = request.body(Full::from(body.to_string())).unwrap();
        tokio::time::timeout(LIMIT, self.client.request(request)).await.unwrap().unwrap().map(Body::new)
    }

    /// Waits until probes say this: what one was told is good for a second.
    async fn until_health_is(&self, status: u16) {
        let becomes = async {
            while self.health().await != status {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(2 * LIMIT, becomes).await.unwrap_or_else(|_| panic!("health is never {status}"));
    }

    async fn health(&self) -> u16 {
        let response = self.client.get(format!("{}/health", self.url).parse().unwrap());
        tokio::time::timeout(LIMIT, response).await.unwrap().unwrap().status().as_u16()
    }

    /// Used and held of the user's cost and tokens: dollars, and tokens.
    async fn stands(&self) -> [(i64, i64); 2] {
        let states = self.guard.peek(&self.policy, &alice()).await.unwrap();
        [0, 1].map(|place| match states[place].meter == Meter::COST {
            true => (states[place].used / 1_000_000_000, states[place].held / 1_000_000_000),
            false => (states[place].used, states[place].held),
        })
    }

    /// The same once nothing is held any more.
    async fn stands_settled(&self) -> [(i64, i64); 2] {
        let settled = async {
            loop {
                let stands = self.stands().await;
                if stands.iter().all(|(_, held)| *held == 0) {
                    return stands;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LIMIT, settled).await.expect("nothing stays held")
    }
}

fn alice() -> Subject {
    Subject::new("gateway").scope("user", "alice")
}

fn header<'a, B>(response: &'a Response<B>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn read(response: Response<Body>) -> Bytes {
    tokio::time::timeout(LIMIT, response.into_body().collect()).await.unwrap().unwrap().to_bytes()
}

async fn read_json(response: Response<Body>) -> Value {
    serde_json::from_slice(&read(response).await).unwrap()
}

#[tokio::test]
async fn a_granted_call_is_answered_with_fields_and_charged_its_usage() {
    for guard in guards().await {
        let gateway = Running::start(&guard, "100.00").await;
        let response = gateway.ask("polly wants a cracker", 6, false).await;
        assert_eq!(response.status(), 200);
        // 4 + 6 * 10 dollars are held while the call runs.
        let fields = header(&response, "ratelimit");
        assert!(fields.starts_with(r#""user-cost-year";r=36000000;t="#), "{fields}");
        assert!(fields.contains(r#", "user-tokens-total";r=990, "user-requests-year";r=99;t="#), "{fields}");
        assert!(!fields.contains("global"), "{fields}");
        let policy = header(&response, "ratelimit-policy");
        assert!(policy.starts_with(r#""user-cost-year";q=100000000;qu="micro-usd";w=31"#), "{policy}");
        assert_eq!(header(&response, "x-ratelimit-limit-requests"), "100");
        assert_eq!(header(&response, "x-ratelimit-remaining-requests"), "99");
        assert!(header(&response, "x-ratelimit-reset-requests").ends_with('s'));
        assert_eq!(header(&response, "x-ratelimit-remaining-tokens"), "990");
        let answer = read_json(response).await;
        assert_eq!(answer["choices"][0]["message"]["content"], "polly wants a cracker");
        assert_eq!(answer["usage"]["total_tokens"], 8);
        assert_eq!(gateway.stands().await, [(44, 0), (8, 0)], "settled before the answer has ended");
    }
}

#[tokio::test]
async fn the_list_of_models_is_asked_for_once_and_then_comes_out_of_the_cache() {
    for guard in guards().await {
        let gateway = Running::start(&guard, "100.00").await;
        for expected in ["miss", "hit", "hit"] {
            let url: Uri = format!("{}/v1/models", gateway.url).parse().unwrap();
            let response = gateway.client.get(url).await.unwrap().map(Body::new);
            assert_eq!((response.status().as_u16(), header(&response, "x-cache")), (200, expected));
            assert_eq!(header(&response, "content-type"), "application/json");
            assert_eq!(read_json(response).await["data"][0]["id"], "parrot");
        }
    }
}

#[tokio::test]
async fn a_denied_call_is_a_429_that_says_why_and_until_when() {
    for guard in guards().await {
        let gateway = Running::start(&guard, "100.00").await;
        let spent = Amounts::cost("90.00".parse::<Money>().unwrap()).tokens(9);
        guard.charge(&gateway.policy, &alice(), spent).await.unwrap();
        let response = gateway.ask("polly", 1, false).await;
        assert_eq!(response.status(), 429);
        assert_eq!(header(&response, "content-type"), "application/problem+json");
        let wait_s = header(&response, "retry-after").to_owned();
        assert!((1..=366 * 86_400).contains(&wait_s.parse::<u64>().unwrap()), "{wait_s}");
        let fields = header(&response, "ratelimit");
        assert!(fields.starts_with(&format!(r#""user-cost-year";r=10000000;t={wait_s}, "#)), "{fields}");
        assert!(header(&response, "ratelimit-policy").starts_with(r#""user-cost-year";q=100000000;"#));
        assert_eq!(header(&response, "x-ratelimit-remaining-tokens"), "991");
        assert_eq!(header(&response, "x-ratelimit-remaining-requests"), "99");
        let problem = read_json(response).await;
        assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
        assert_eq!(problem["violated-policies"], json!(["user-cost-year"]));
        let limit = &problem["limit"];
        assert_eq!(
            [&limit["scope"], &limit["limit"], &limit["used"], &limit["held"]],
            ["user:alice", "100.00", "90.00", "0.00"]
        );
        assert!(limit["resets_at"].as_str().unwrap().ends_with("-01-01T00:00:00Z"), "{limit}");
        assert_eq!(gateway.stands().await, [(90, 0), (9, 0)]);
    }
}

#[tokio::test]
async fn what_cannot_be_a_call_or_a_user_is_told_so_and_costs_nothing() {
    for guard in guards().await {
        let gateway = Running::start(&guard, "100.00").await;
        let url = format!("{}/v1/chat/completions", gateway.url);
        let send = async |user: Option<&str>, body: &str| {
            let request = user.iter().fold(Request::post(&url), |request, user| request.header("x-user", *user));
            let response = gateway.client.request(request.body(Full::from(body.to_owned())).unwrap()).await.unwrap();
            (
                response.status().as_u16(),
                read_json(response.map(Body::new)).await["detail"].as_str().unwrap().to_owned(),
            )
        };
        let call = r#"{"model": "parrot", "messages": [{"role": "user", "content": "polly"}], "max_tokens": 1}"#;
        assert_eq!(send(None, call).await, (401, "the header x-user is missing".to_owned()));
        assert_eq!(send(Some(""), call).await.0, 400);
        assert_eq!(send(Some("alice"), "polly").await.0, 400);
        assert_eq!(send(Some("alice"), "[]").await, (400, "`model` is missing".to_owned()));
        let (status, detail) = send(Some("alice"), &call.replace("parrot", "carrot")).await;
        assert!(status == 400 && detail.contains("parrot"), "{detail}");
        let endless = call.replace("\"max_tokens\": 1", "\"max_tokens\": 99999999999999999");
        assert_eq!(send(Some("alice"), &endless).await.0, 400);
        // The model refuses to repeat nothing; what was reserved for it is released.
        assert_eq!(gateway.ask("", 6, true).await.status(), 400);
        assert_eq!(gateway.stands_settled().await, [(0, 0), (0, 0)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_calls_is_never_over_the_budget() {
    for guard in guards().await {
        let gateway = std::sync::Arc::new(Running::start(&guard, "100.00").await);
        // 2 + 2 * 10 dollars each: four fit.
        let mut calls = JoinSet::new();
        for place in 0..40 {
            let gateway = gateway.clone();
            calls.spawn(async move {
                let response = gateway.ask("pretty polly", 2, place % 2 == 0).await;
                let status = response.status().as_u16();
                read(response).await;
                status
            });
        }
        let mut granted = 0;
        while let Some(status) = calls.join_next().await {
            let status = status.unwrap();
            assert!(matches!(status, 200 | 429), "{status}");
            granted += usize::from(status == 200);
            let [(used, held), _] = gateway.stands().await;
            assert!(used + held <= 100, "{used} used, {held} held");
        }
        assert_eq!(granted, 4);
        assert_eq!(gateway.stands().await, [(88, 0), (16, 0)]);
    }
}

#[tokio::test]
async fn a_stream_is_settled_at_its_end_with_the_usage_that_the_model_bills() {
    for guard in guards().await {
        let gateway = Running::start(&guard, "100.00").await;
        let response = gateway.ask("polly wants a cracker", 6, true).await;
        assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, "text/event-stream"));
        assert!(header(&response, "ratelimit").starts_with(r#""user-cost-year";r=36000000;t="#));
        let events = String::from_utf8(read(response).await.to_vec()).unwrap();
        assert!(events.contains(r#""content":"cracker ""#) && events.ends_with("data: [DONE]\n\n"), "{events}");
        assert_eq!(gateway.stands().await, [(44, 0), (8, 0)], "settled before the stream has ended");
    }
}

/// A model whose stream the test writes, and the streams it was asked for.
fn scripted() -> (Router, mpsc::Receiver<Sender<Bytes, io::Error>>) {
    let (give, given) = mpsc::channel(1);
    let complete = move || async move {
        let (sender, body) = Channel::new(8);
        give.send(sender).await.unwrap();
        Body::new(body)
    };
    (Router::new().route("/v1/chat/completions", post(complete)), given)
}

#[tokio::test]
async fn a_client_that_leaves_in_mid_stream_is_charged_what_was_observed_and_nothing_stays_held() {
    for guard in guards().await {
        let (model, mut streams) = scripted();
        let gateway = Running::in_front_of(model, &guard, "100.00").await;
        let mut response = gateway.ask("polly wants", 8, true).await;
        let mut stream = streams.recv().await.unwrap();
        // An event may come in parts.
        let (polly, wants) = (word("polly "), word("wants "));
        stream.send_data(polly.slice(..20)).await.unwrap();
        stream.send_data(polly.slice(20..)).await.unwrap();
        stream.send_data(wants.clone()).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < polly.len() + wants.len() {
            seen.extend(response.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(gateway.stands().await, [(0, 82), (0, 10)]);
        drop(response);
        // Two tokens in, two out.
        assert_eq!(gateway.stands_settled().await, [(22, 0), (4, 0)]);
        assert_eq!(guard.holds(&alice()).await.unwrap().holds, []);
        let gone = async { while stream.send_data(word("a ")).await.is_ok() {} };
        tokio::time::timeout(LIMIT, gone).await.expect("the model is left, too");
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_charged_what_was_observed() {
    for guard in guards().await {
        let (model, mut streams) = scripted();
        let gateway = Running::in_front_of(model, &guard, "100.00").await;
        let mut response = gateway.ask("polly wants", 8, true).await;
        let mut stream = streams.recv().await.unwrap();
        stream.send_data(word("polly ")).await.unwrap();
        assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), word("polly "));
        stream.abort(io::ErrorKind::ConnectionReset.into());
        assert!(response.frame().await.unwrap().is_err());
        assert_eq!(gateway.stands_settled().await, [(12, 0), (3, 0)]);
    }
}

/// The example's own policy, for a model that costs ten times a dollar: rates by the day, so that none runs dry while a test
/// takes its time.
fn own_policy() -> Policy {
    let toml = include_str!("../examples/gateway.toml").replace("\"minute\"", "\"day\"");
    Policy::from_toml(&toml.replace("\"0.05\"", "\"5000.00\"").replace("\"1.00\"", "\"9000.00\"")).unwrap()
}

/// Where a limit of the example's policy stands, by its meter and scope.
async fn used_and_held(gateway: &Running, meter: &Meter) -> (i64, i64) {
    let states = gateway.guard.peek(&gateway.policy, &alice()).await.unwrap();
    let state = states.iter().find(|state| state.meter == *meter && state.scope.kind() == "user").unwrap();
    (state.used, state.held)
}

async fn violated(response: Response<Body>) -> Value {
    assert_eq!(response.status(), 429);
    read_json(response).await["violated-policies"].take()
}

#[tokio::test]
async fn money_rates_tokens_and_open_calls_are_one_decision_and_a_client_that_leaves_gives_its_place_back() {
    for guard in guards().await {
        let (model, mut streams) = scripted();
        let gateway = Running::with(own_policy(), model, &guard).await;
        let mut first = gateway.ask("polly wants", 100, true).await;
        let mut first_stream = streams.recv().await.unwrap();
        let fields = header(&first, "ratelimit").to_owned();
        let expected = [
            r#""user-cost-day@Europe/Berlin";r=3998000000;t="#,
            r#""user-requests-rate/1d";r=4;t="#,
            r#""user-tokens-rate/1d";r=19898;t="#,
            r#""user-concurrency-open";r=1"#,
        ];
        assert!(expected.iter().all(|part| fields.contains(part)) && !fields.contains("global"), "{fields}");
        let quotas = header(&first, "ratelimit-policy");
        assert!(quotas.contains(r#""user-requests-rate/1d";q=20;w=86400, "#), "{quotas}");
        assert!(quotas.contains(r#""user-concurrency-open";q=2;qu="concurrent-requests""#), "{quotas}");
        assert_eq!(header(&first, "x-ratelimit-remaining-requests"), "4");
        assert_eq!(header(&first, "x-ratelimit-remaining-tokens"), "19898");

        let mut second = gateway.ask("polly wants", 100, true).await;
        let mut second_stream = streams.recv().await.unwrap();
        let third = gateway.ask("polly wants", 100, true).await;
        assert_eq!(header(&third, "x-ratelimit-remaining-requests"), "3", "a refused call takes nothing");
        assert!(header(&third, "retry-after").parse::<u64>().unwrap() > 0);
        assert_eq!(violated(third).await, json!(["user-concurrency-open"]));

        // The first client leaves after a word.
        first_stream.send_data(word("polly ")).await.unwrap();
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), word("polly "));
        drop(first);
        let left = async {
            while used_and_held(&gateway, &Meter::CONCURRENCY).await != (0, 1) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(LIMIT, left).await.expect("its place is free");
        // Two tokens in and one out, beside what the second may use: at most some have leaked out meanwhile.
        let (tokens, _) = used_and_held(&gateway, &Meter::TOKENS).await;
        assert!((65..=105).contains(&tokens), "{tokens}");
        let (cost, held) = used_and_held(&gateway, &Meter::COST).await;
        assert_eq!((cost, held), (12_000_000_000, 1_002_000_000_000));

        // Now there is room; both run to their end, and are settled by what the model bills.
        let mut third = gateway.ask("polly wants", 100, true).await;
        assert_eq!(third.status(), 200);
        let mut third_stream = streams.recv().await.unwrap();
        let billed =
            r#"data: {"choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": 9, "total_tokens": 11}}"#;
        for (stream, response) in [(&mut second_stream, &mut second), (&mut third_stream, &mut third)] {
            stream.send_data(format!("{billed}\n\n").into()).await.unwrap();
            assert!(response.frame().await.unwrap().unwrap().into_data().unwrap().starts_with(b"data: "));
        }
        drop((second_stream, third_stream));
        read(second).await;
        read(third).await;
        assert_eq!(used_and_held(&gateway, &Meter::CONCURRENCY).await, (0, 0));
        assert_eq!(used_and_held(&gateway, &Meter::COST).await, (196_000_000_000, 0));
        let (tokens, _) = used_and_held(&gateway, &Meter::TOKENS).await;
        assert!(tokens <= 25, "{tokens}");

        // Three of five at once are used up: two more, one after the other, and no sixth.
        for _ in 0..2 {
            let response = gateway.ask("polly", 1, true).await;
            assert_eq!(response.status(), 200);
            drop(streams.recv().await.unwrap());
            read(response).await;
        }
        let sixth = gateway.ask("polly", 1, true).await;
        let wait_s: u64 = header(&sixth, "retry-after").parse().unwrap();
        assert!((1..=86_400 / 20).contains(&wait_s), "{wait_s}");
        assert_eq!(violated(sixth).await, json!(["user-requests-rate/1d"]));
        assert_eq!(guard.holds(&alice()).await.unwrap().holds, []);
    }
}

#[tokio::test]
async fn more_tokens_than_ever_fit_are_refused_for_good() {
    for guard in guards().await {
        let gateway = Running::with(own_policy(), model::router(Duration::ZERO), &guard).await;
        let response = gateway.ask("polly", 20_000, false).await;
        assert_eq!((header(&response, "retry-after"), header(&response, "x-should-retry")), ("", "false"));
        let problem = read_json(response).await;
        assert_eq!(problem["limit"]["meter"], "cost", "{problem}");
        assert_eq!(problem["violated-policies"], json!(["user-cost-day@Europe/Berlin", "user-tokens-rate/1d"]));
        assert_eq!(gateway.ask("polly", 100, false).await.status(), 200);
    }
}

#[tokio::test]
async fn without_the_store_nothing_is_served_and_health_says_so() {
    let mut server = Server::start();
    let guard = CostGuard::connect(&server.url()).await.unwrap();
    let gateway = Running::start(&guard, "100.00").await;
    assert_eq!((gateway.health().await, gateway.ask("polly", 1, false).await.status().as_u16()), (200, 200));
    server.kill();
    let response = gateway.ask("polly", 1, false).await;
    assert_eq!(response.status(), 503);
    assert_eq!(read_json(response).await["title"], "Service Unavailable");
    gateway.until_health_is(503).await;
    server.restart();
    gateway.until_health_is(200).await;
}
