//! What probes are told.

use costguard::CostGuard;
use costguard::http::HealthService;
use http::Request;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::guard;
use super::support::{Proxy, Server};

/// The status, and the body as JSON.
async fn probe(service: &HealthService, method: &str) -> (u16, Value) {
    let request = Request::builder().method(method).uri("/health").body(()).unwrap();
    let response = service.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status() == 405, response.headers().contains_key("allow"));
    let body = response.body();
    (response.status().as_u16(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[tokio::test]
async fn health_is_that_of_the_store_and_of_what_else_the_process_needs() {
    let (tell, told) = tokio::sync::watch::channel(Ok(()));
    let checks = move || {
        let now = told.borrow().clone();
        async move { now }
    };
    let health = HealthService::new(guard()).check("model", checks);
    let well = json!({"status": "connected",
        "checks": {"redis": {"status": "connected"}, "model": {"status": "connected"}}});
    assert_eq!(probe(&health, "GET").await, (200, well));
    tell.send(Err("it does not answer".to_owned())).unwrap();
    let (status, body) = probe(&health, "GET").await;
    assert_eq!((status, &body["status"]), (503, &json!("disconnected")));
    assert_eq!(body["checks"]["model"]["reasons"], json!(["it does not answer"]));
    assert_eq!(body["checks"]["redis"]["status"], "connected");
    let (status, body) = probe(&health.store(), "GET").await;
    assert_eq!((status, &body["status"], &body["kind"]), (200, &json!("connected"), &json!("embedded")));
    assert_eq!(probe(&health, "HEAD").await, (503, Value::Null));
    assert_eq!(probe(&health, "POST").await, (405, Value::Null));
}

#[tokio::test]
async fn health_of_a_server_never_shows_its_password_and_asks_it_once_for_many_probes() {
    let server = Server::start_with(&["--requirepass", "s3cret"]);
    let proxy = Proxy::start(&server.url().replace("redis://", "redis://:s3cret@")).await;
    let guard = CostGuard::connect(&proxy.url()).await.unwrap();
    let health = HealthService::new(guard);
    let (status, body) = probe(&health.store(), "GET").await;
    assert_eq!((status, body.to_string().contains("s3cret")), (200, false), "{body}");
    let asked = proxy.requests_seen();
    for _ in 0..50 {
        assert_eq!(probe(&health, "GET").await.0, 200);
    }
    // A second may have gone by: then it was asked again, once.
    assert!(proxy.requests_seen() - asked <= 10, "{} requests", proxy.requests_seen() - asked);
}
