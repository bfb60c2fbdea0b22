//! `HealthService`: whether this process serves, for probes and for people.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tower_service::Service;

use super::BoxFuture;
use crate::guard::CostGuard;
use crate::service::{Health, HealthStatus};

/// How long an answer serves further probes: each look asks the store a few things, and anybody may probe.
const LOOK_AGE: Duration = Duration::from_secs(1);

/// How long a check of one's own may take.
const CHECK_LIMIT: Duration = Duration::from_secs(2);

/// Answers `GET` and `HEAD` of health routes: 200 while the store serves, also [degraded](HealthStatus::Degraded), else 503.
///
/// [`new`](Self::new) is the combined answer of a process, the store's status and those of [checks](Self::check) of one's own
/// by their names; [`store`](Self::store) the whole [`Health`] of the store. The store is asked once a second at most, however
/// many probe.
///
/// ```
/// use axum::Router;
/// use costguard::{CostGuard, http::HealthService};
///
/// let health = HealthService::new(CostGuard::embedded()).check("model", || async { Ok::<(), String>(()) });
/// let app: Router = Router::new().route_service("/health/redis", health.store()).route_service("/health", health);
/// # let request = http::Request::get("/health").body(axum::body::Body::empty())?;
/// # let response = tokio::runtime::Builder::new_current_thread().enable_all().build()?
/// #     .block_on(async { tower::ServiceExt::oneshot(app, request).await })?;
/// # assert_eq!(response.status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct HealthService {
    store: Arc<Looked>,
    checks: Arc<Vec<(String, Check)>>,
    whole: bool,
}

type Check = Arc<dyn Fn() -> BoxFuture<Result<(), String>> + Send + Sync>;

/// A store, and what it looked like when somebody asked last.
struct Looked {
    guard: CostGuard,
    last: Mutex<Option<(Instant, Health)>>,
}

/// The combined answer.
#[derive(Serialize)]
struct Combined {
    status: HealthStatus,
    checks: BTreeMap<String, CheckResult>,
}

#[derive(Serialize)]
struct CheckResult {
    status: HealthStatus,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<String>,
}

impl HealthService {
    /// The combined answer of this process: `{"status": "connected", "checks": {"redis": {"status": "connected"}}}`. The worst of
    /// them is the whole's.
    #[must_use]
    pub fn new(guard: CostGuard) -> Self {
        Self { store: Arc::new(Looked { guard, last: Mutex::new(None) }), checks: Arc::default(), whole: false }
    }

    /// And a check of something else that this process needs, by its name. It fails with a reason, or when it takes longer
    /// than two seconds; the reason is shown to whoever asks.
    #[must_use]
    pub fn check<F>(mut self, name: &str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        Arc::make_mut(&mut self.checks).push((name.to_owned(), check));
        self
    }

    /// The store alone, with all that [`CostGuard::health`] says.
    #[must_use]
    pub fn store(&self) -> Self {
        Self { store: Arc::clone(&self.store), checks: Arc::default(), whole: true }
    }

    async fn answer(self) -> Response<String> {
        let health = self.store.look().await;
        if self.whole {
            return respond(health.status, &health);
        }
        let mut status = health.status;
        let redis = CheckResult { status, reasons: health.reasons };
        let mut checks = BTreeMap::from([("redis".to_owned(), redis)]);
        for (name, check) in self.checks.iter() {
            let checked = timeout(CHECK_LIMIT, check()).await;
            let checked =
                checked.unwrap_or_else(|_| Err(format!("no answer within {} seconds", CHECK_LIMIT.as_secs())));
            let result = match checked {
                Ok(()) => CheckResult { status: HealthStatus::Connected, reasons: Vec::new() },
                Err(reason) => CheckResult { status: HealthStatus::Disconnected, reasons: vec![reason] },
            };
            status = status.max(result.status);
            checks.insert(name.clone(), result);
        }
        respond(status, &Combined { status, checks })
    }
}

impl Looked {
    async fn look(&self) -> Health {
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, health)) if at.elapsed() < LOOK_AGE => health.clone(),
            _ => {
                let health = self.guard.health().await;
                *last = Some((Instant::now(), health.clone()));
                health
            }
        }
    }
}

fn respond(status: HealthStatus, body: &impl Serialize) -> Response<String> {
    let mut response = Response::new(serde_json::to_string(body).unwrap_or_default());
    if status == HealthStatus::Disconnected {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl<Q> Service<Request<Q>> for HealthService {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<String>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (service, method) = (self.clone(), request.method().clone());
        Box::pin(async move {
            if method != Method::GET && method != Method::HEAD {
                let mut response = Response::new(String::new());
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                return Ok(response);
            }
            let mut response = service.answer().await;
            if method == Method::HEAD {
                response.body_mut().clear();
            }
            Ok(response)
        })
    }
}

impl fmt::Debug for HealthService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks: Vec<_> = self.checks.iter().map(|(name, _)| name).collect();
        f.debug_struct("HealthService").field("checks", &checks).field("whole", &self.whole).finish_non_exhaustive()
    }
}
