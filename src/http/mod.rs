//! Tower layers that stand in front of a service: axum, or anything else that speaks [`tower_service::Service`].
//!
//! [`RateLimitLayer`] admits each request by a policy. [`BudgetLayer`] is for calls whose cost is known only when they
//! end: it reserves an estimate, gives the handler a [`SharedHold`] to note what is spent, and settles when the body of the
//! response ends, also a streaming one, and also when the client goes away in the middle. Both take a [`Gate`], which says
//! who asks and by which policy.
//!
//! ```
//! use axum::{Extension, Router, routing::post};
//! use costguard::http::{BudgetLayer, Gate, SharedHold, subject_from_headers};
//! use costguard::{Amounts, CostGuard, Estimate, Limit, Money, Policy, Window};
//!
//! async fn answer(Extension(hold): Extension<SharedHold>) -> &'static str {
//!     hold.observe(Amounts::cost(Money::from_nanos(1_500_000))); // what the call has cost so far
//!     "42"
//! }
//!
//! let policy = Policy::new([Limit::cost("user", "1.00".parse()?, Window::day())])?;
//! let gate = Gate::new(CostGuard::embedded(), policy, subject_from_headers("acme", [("user", "x-user")]));
//! let budget = BudgetLayer::new(gate, |_request| Ok(Estimate::money("0.01")?));
//! let app: Router = Router::new().route("/answer", post(answer)).layer(budget);
//! # let request = http::Request::post("/answer").header("x-user", "alice").body(axum::body::Body::empty())?;
//! # let response = tokio::runtime::Builder::new_current_thread().enable_all().build()?
//! #     .block_on(async { tower::ServiceExt::oneshot(app, request).await })?;
//! # assert_eq!(response.status(), 200);
//! # assert!(response.headers()["ratelimit"].to_str()?.starts_with(r#""user-cost-day";r=990000;t="#));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a client sees
//! Every answer that was decided, granted or denied, carries the fields of draft-ietf-httpapi-ratelimit-headers-11 (May
//! 2026), one item a limit:
//!
//! ```text
//! RateLimit-Policy: "user-cost-day";q=1000000;qu="micro-usd";w=86400, "user-requests-minute";q=60;w=60
//! RateLimit: "user-cost-day";r=990000;t=43200, "user-requests-minute";r=59;t=12
//! ```
//!
//! An item is named after the limit's scope kind, meter and window. `q` is the limit and `r` what is left of it, neither used
//! nor held; `w` is the length of the window and `t` how long it lasts, in seconds, both left out for a total. Of a rate `t` is
//! the time until all of it is there again, and where nothing is left (`r=0`, of a rate with a burst) until there is one. The
//! unit `qu` is `requests` unless it is given: money counts in millionths of a dollar, rounded down, because these integers have
//! at most 15 digits; other meters in their own. The draft registers no units for them. A limit that only counts has no item.
//!
//! [`Gate::openai_fields`] adds the fields that clients of LLM APIs read.
//!
//! | answer | when | body |
//! |---|---|---|
//! | 429 | a limit refuses; `Retry-After` unless it always will | the limit, the `burst` of a rate, `used`, `held` and when it resets |
//! | 400, 401, any other | the subject or the estimate could not be read: the closure says | its detail |
//! | 503 | the store is away, unless [`WhenAway::LetThrough`]; `Retry-After` of some seconds | no more than that |
//! | 500 | a stored value is corrupt, or layer and policy do not fit; the log says which | no more than that |
//!
//! The bodies are problems by RFC 9457, `application/problem+json`. That of a 429 is of the draft's type `quota-exceeded`. Where
//! a limit would have room but for what calls hold that are open, `Retry-After` is [short](Gate::held_retry_after).
//!
//! [`CacheLayer`] serves answers out of a cache. [`HealthService`] answers the probes of the platform.

mod body;
mod budget;
mod cache;
mod cache_control;
mod fields;
mod gate;
mod health;
mod hold;
mod kept;
mod problem;
mod rate_limit;
mod subject;
mod wait;

pub use body::ResponseBody;
pub use budget::{Budget, BudgetLayer, Unobserved};
pub use cache::{CacheLayer, Cached};
pub use gate::{Gate, WhenAway};
pub use health::HealthService;
pub use hold::SharedHold;
pub use problem::Rejection;
pub use rate_limit::{RateLimit, RateLimitLayer};
pub use subject::subject_from_headers;

use std::pin::Pin;
use std::sync::Arc;

use http::request::Parts;

/// What a layer reads from a request.
type FromRequest<T> = Arc<dyn Fn(&Parts) -> Result<T, Rejection> + Send + Sync>;

/// The future of a layer's service.
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The service that was polled ready, which is the one to call; a clone of it stays in its place.
fn take_ready<S: Clone>(service: &mut S) -> S {
    let next = service.clone();
    std::mem::replace(service, next)
}
