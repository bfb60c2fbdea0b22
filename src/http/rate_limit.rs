//! `RateLimitLayer`: admits requests before the service sees them.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::body::ResponseBody;
use super::fields::Fields;
use super::gate::Gate;
use super::problem::Rejection;
use super::{BoxFuture, FromRequest, take_ready};
use crate::model::{Amounts, Decision};

/// Admits each request by a policy before the service sees it, with [`CostGuard::admit`](crate::CostGuard::admit): one request
/// unless told otherwise. What was admitted stays counted, whatever becomes of the request.
#[derive(Clone)]
pub struct RateLimitLayer {
    gate: Gate,
    amounts: FromRequest<Amounts>,
}

impl RateLimitLayer {
    /// Admits one request at a time.
    #[must_use]
    pub fn new(gate: Gate) -> Self {
        Self { gate, amounts: Arc::new(|_| Ok(Amounts::new())) }
    }

    /// Admits what `amounts` reads from a request: a policy that counts more than requests needs the amount of each meter.
    #[must_use]
    pub fn amounts(mut self, amounts: impl Fn(&Parts) -> Result<Amounts, Rejection> + Send + Sync + 'static) -> Self {
        self.amounts = Arc::new(amounts);
        self
    }

    async fn admit(&self, request: &Parts) -> Result<Fields, Rejection> {
        let Self { gate, amounts } = self;
        let (subject, amounts) = (gate.subject(request)?, amounts(request)?);
        match gate.guard.admit(&gate.policy, &subject, amounts.clone()).await {
            Ok(Decision::Granted(grant)) => Ok(gate.granted(&grant.limits, gate.guard.now_ms())),
            Ok(Decision::Denied(denial)) => Err(gate.denied(&denial, |meter| amounts.of(meter).unwrap_or(1))),
            Err(err) => gate.undecided(&err, &subject).map(|()| Fields::default()),
        }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimit<S>;

    fn layer(&self, inner: S) -> RateLimit<S> {
        RateLimit { inner, layer: Arc::new(self.clone()) }
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").field("gate", &self.gate).finish_non_exhaustive()
    }
}

/// A service behind a [`RateLimitLayer`].
#[derive(Clone, Debug)]
pub struct RateLimit<S> {
    inner: S,
    layer: Arc<RateLimitLayer>,
}

impl<S, Q, B> Service<Request<Q>> for RateLimit<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    Q: Send + 'static,
    B: Body<Data = Bytes>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let mut inner = take_ready(&mut self.inner);
        let layer = Arc::clone(&self.layer);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let fields = match layer.admit(&parts).await {
                Ok(fields) => fields,
                Err(rejection) => return Ok(rejection.into_response().map(ResponseBody::whole)),
            };
            let mut response = inner.call(Request::from_parts(parts, body)).await?;
            fields.write(response.headers_mut());
            Ok(response.map(ResponseBody::passing))
        })
    }
}
