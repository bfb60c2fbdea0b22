//! The gateway: reads a call, reserves the most it can cost, has it made, and settles what it did cost.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use costguard::http::{BudgetLayer, CacheLayer, Gate, HealthService, Rejection, SharedHold, subject_from_headers};
use costguard::{Amounts, CostGuard, Estimate, Policy, PriceCatalogue, Usage};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};

use crate::model::{count_tokens, prompt};

/// The most a model may answer when the client does not say.
const DEFAULT_MAX_TOKENS: u64 = 1024;
const MAX_BODY_BYTES: usize = 1 << 20;
const MODELS_TTL: Duration = Duration::from_secs(300);

/// What the gateway stands on.
pub(crate) struct Gateway {
    pub(crate) guard: CostGuard,
    pub(crate) policy: Policy,
    pub(crate) prices: PriceCatalogue,
    /// The model's `/v1/chat/completions`.
    pub(crate) model_url: Uri,
    /// What has been counted.
    pub(crate) metrics: PrometheusHandle,
}

#[derive(Clone)]
struct Shared {
    prices: Arc<PriceCatalogue>,
    model_url: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
}

/// A call as the client asked for it.
#[derive(Clone)]
struct Call {
    model: String,
    prompt_tokens: u64,
    /// The most that all its answers may have together.
    max_tokens: u64,
    /// As it goes to the model.
    request: Value,
}

/// `POST /v1/chat/completions` for the user in the header `x-user`, `GET /v1/models` out of a cache, `GET /health`,
/// `GET /health/redis`, and `GET /metrics` for Prometheus.
pub(crate) fn router(gateway: Gateway) -> Router {
    let Gateway { guard, policy, prices, model_url, metrics } = gateway;
    let prices = Arc::new(prices);
    let client = Client::builder(TokioExecutor::new()).build_http();
    let health = HealthService::new(guard.clone());
    // The list is the same for everybody, and changes seldom.
    let models = CacheLayer::new(guard.cache("api"), |_| Ok(None)).ttl(MODELS_TTL);
    let shared = Shared { prices: prices.clone(), model_url, client };

    // A real gateway reads the user from a key or a token that it checks.
    let gate = Gate::new(guard, policy, subject_from_headers("gateway", [("user", "x-user")]));
    let budget = BudgetLayer::new(gate.openai_fields().hide_scope("global"), move |request| {
        let Some(call) = request.extensions.get::<Call>() else { return Err(Rejection::bad_request("no call")) };
        Ok(Estimate::priced(&prices, &call.model, &Usage::new(call.prompt_tokens, 0), call.max_tokens)?)
    });
    Router::new()
        .route("/v1/chat/completions", post(complete))
        .layer(budget)
        .layer(middleware::from_fn(read_call))
        .merge(Router::new().route("/v1/models", get(list_models)).layer(models))
        .with_state(shared)
        .route_service("/health/redis", health.store())
        .route_service("/health", health)
        .route("/metrics", get(async move || metrics.render()))
}

async fn list_models(State(shared): State<Shared>) -> Response {
    let url = shared.model_url.to_string().replace("/chat/completions", "/models");
    let Ok(request) = axum::http::Request::get(url).body(Full::default()) else { return bad_gateway() };
    match shared.client.request(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(_) => bad_gateway(),
    }
}

/// Reads the body before the budget is asked, for the estimate depends on it.
async fn read_call(request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, MAX_BODY_BYTES).await else {
        return respond(Rejection::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the most is {MAX_BODY_BYTES} bytes")));
    };
    match Call::read(&bytes) {
        Ok(call) => {
            parts.extensions.insert(call);
            next.run(Request::from_parts(parts, Body::empty())).await
        }
        Err(rejection) => respond(rejection),
    }
}

impl Call {
    fn read(bytes: &[u8]) -> Result<Self, Rejection> {
        let mut request: Value = serde_json::from_slice(bytes)
            .map_err(|err| Rejection::bad_request(format!("the body is no JSON: {err}")))?;
        let model = request["model"].as_str().ok_or_else(|| Rejection::bad_request("`model` is missing"))?.to_owned();
        let asked = ["max_completion_tokens", "max_tokens"].into_iter().find_map(|field| request[field].as_u64());
        if asked.is_none() {
            request["max_tokens"] = DEFAULT_MAX_TOKENS.into();
        }
        let choices = request["n"].as_u64().unwrap_or(1);
        let max_tokens = asked.unwrap_or(DEFAULT_MAX_TOKENS).saturating_mul(choices);
        let prompt_tokens = count_tokens(&prompt(&request));
        if request["stream"] == true {
            // Or its last chunk would not say what is billed.
            request["stream_options"] = json!({"include_usage": true});
        }
        Ok(Self { model, prompt_tokens, max_tokens, request })
    }
}

async fn complete(
    State(shared): State<Shared>,
    Extension(call): Extension<Call>,
    Extension(hold): Extension<SharedHold>,
) -> Response {
    let body = Full::from(call.request.to_string());
    let request = axum::http::Request::post(shared.model_url).header(CONTENT_TYPE, "application/json").body(body);
    let Ok(request) = request else { return bad_gateway() };
    let Ok(answer) = shared.client.request(request).await else { return bad_gateway() };
    let (mut parts, body) = answer.into_parts();
    // The model's own limits and framing are not the client's.
    parts.headers = parts.headers.remove(CONTENT_TYPE).into_iter().map(|kind| (CONTENT_TYPE, kind)).collect();
    if !parts.status.is_success() {
        // Nothing was observed, so the hold is released.
        return Response::from_parts(parts, Body::new(body));
    }

    let usage = Usage::new(call.prompt_tokens, 0);
    let mut tally = Tally { hold, prices: shared.prices, model: call.model, usage, line: Vec::new() };
    tally.observe();
    if call.request["stream"] == true {
        let body = body.map_frame(move |frame| {
            frame.data_ref().into_iter().for_each(|bytes| tally.read_events(bytes));
            frame
        });
        return Response::from_parts(parts, Body::new(body));
    }
    let Ok(body) = body.collect().await else { return bad_gateway() };
    let bytes = body.to_bytes();
    tally.read(&bytes);
    Response::from_parts(parts, bytes.into())
}

/// What a call has cost so far.
struct Tally {
    hold: SharedHold,
    prices: Arc<PriceCatalogue>,
    model: String,
    usage: Usage,
    /// The beginning of a line whose end has not come yet.
    line: Vec<u8>,
}

impl Tally {
    /// Reads server-sent events, which may be cut anywhere.
    fn read_events(&mut self, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                line.strip_prefix(b"data: ").into_iter().for_each(|data| self.read(data));
            }
        }
    }

    /// Reads a completion or a chunk of one. Each but the last has words; the last has the usage that is billed.
    fn read(&mut self, json: &[u8]) {
        let Ok(json) = serde_json::from_slice::<Value>(json) else { return };
        if json["usage"].is_object() {
            match Usage::from_json(&json) {
                Ok(usage) => self.usage = usage,
                Err(err) => tracing::error!(error = %err, "the usage cannot be read; charging what was counted"),
            }
        } else {
            self.usage.output += json["choices"][0]["delta"]["content"].as_str().map_or(0, count_tokens);
        }
        self.observe();
    }

    fn observe(&self) {
        match self.prices.cost(&self.model, &self.usage) {
            Ok(cost) => self.hold.observe(Amounts::cost(cost).tokens(self.usage.total_tokens())),
            Err(err) => tracing::error!(error = %err, "the usage has no price; charging what was observed before"),
        }
    }
}

fn bad_gateway() -> Response {
    respond(Rejection::new(StatusCode::BAD_GATEWAY, "the model does not answer"))
}

fn respond(rejection: Rejection) -> Response {
    rejection.into_response().map(Body::from)
}
