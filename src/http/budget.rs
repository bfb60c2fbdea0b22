//! `BudgetLayer`: reserves before the service is called, and settles when the body of its response ends.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::body::ResponseBody;
use super::fields::Fields;
use super::gate::Gate;
use super::hold::{Ending, SharedHold};
use super::problem::Rejection;
use super::{BoxFuture, FromRequest, take_ready};
use crate::model::{Decision, Estimate, Meter};

/// What a hold is ended with when nothing was observed and the response is no error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unobserved {
    /// It is settled with what is held: a handler that forgets to observe, or a client that leaves before the handler has
    /// answered, is charged the estimate. Nobody spends unseen.
    #[default]
    Settle,
    /// It is released: for services whose handlers always observe what they spend.
    Release,
}

/// Reserves an estimate for each request, calls the service, and settles when the body of its response ends.
///
/// The handler finds a [`SharedHold`] among the request's extensions. What it, or the body of the response, has observed is
/// settled, in full, however the request ends: at the end of the body, when the client goes away in mid-stream, with an error.
/// When nothing was observed, an error (status 400 to 599, or the service's own) releases the hold, and everything else does
/// as [`Unobserved`] says.
#[derive(Clone)]
pub struct BudgetLayer {
    gate: Gate,
    estimate: FromRequest<Estimate>,
    ttl: Option<Duration>,
    unobserved: Unobserved,
}

impl BudgetLayer {
    /// Reserves what `estimate` reads from a request; its rejection is the answer where that fails. Where the estimate depends
    /// on the body, let a layer before this one read it and leave what it found among the request's extensions.
    pub fn new(gate: Gate, estimate: impl Fn(&Parts) -> Result<Estimate, Rejection> + Send + Sync + 'static) -> Self {
        Self { gate, estimate: Arc::new(estimate), ttl: None, unobserved: Unobserved::default() }
    }

    /// How long a hold lives, 1 second to 30 days: longer than the longest response. A response that lasts longer is settled in
    /// full all the same, but its estimate has not been kept from others to the end. Default: 10 minutes.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// What a hold is ended with when nothing was observed and the response is no error. Default: what is held.
    #[must_use]
    pub fn unobserved(mut self, unobserved: Unobserved) -> Self {
        self.unobserved = unobserved;
        self
    }

    /// The fields to answer with, and the hold; none for a request that is let through while the store is away.
    async fn reserve(&self, request: &Parts) -> Result<(Fields, Option<Ending>), Rejection> {
        let gate = &self.gate;
        let (subject, estimate) = (gate.subject(request)?, (self.estimate)(request)?);
        let mut reserve = gate.guard.reserve(&gate.policy, &subject, estimate.clone());
        if let Some(ttl) = self.ttl {
            reserve = reserve.ttl(ttl);
        }
        match reserve.await {
            Ok(Decision::Granted(hold)) => {
                let fields = gate.granted(hold.limits(), hold.reserved_ms());
                Ok((fields, Some(Ending::new(hold, self.unobserved))))
            }
            Ok(Decision::Denied(denial)) => Err(gate.denied(&denial, |meter| least(&estimate, meter))),
            Err(err) => gate.undecided(&err, &subject).map(|()| (Fields::default(), None)),
        }
    }
}

impl<S> Layer<S> for BudgetLayer {
    type Service = Budget<S>;

    fn layer(&self, inner: S) -> Budget<S> {
        Budget { inner, layer: Arc::new(self.clone()) }
    }
}

impl fmt::Debug for BudgetLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gate, ttl, unobserved, .. } = self;
        f.debug_struct("BudgetLayer")
            .field("gate", gate)
            .field("ttl", ttl)
            .field("unobserved", unobserved)
            .finish_non_exhaustive()
    }
}

/// A service behind a [`BudgetLayer`].
#[derive(Clone, Debug)]
pub struct Budget<S> {
    inner: S,
    layer: Arc<BudgetLayer>,
}

impl<S, Q, B> Service<Request<Q>> for Budget<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    Q: Send + 'static,
    B: Body<Data = Bytes> + Send,
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
            let (mut parts, body) = request.into_parts();
            let (fields, mut ending) = match layer.reserve(&parts).await {
                Ok(reserved) => reserved,
                Err(rejection) => return Ok(rejection.into_response().map(ResponseBody::whole)),
            };
            parts.extensions.insert(ending.as_ref().map_or_else(SharedHold::none, Ending::shared));
            let result = inner.call(Request::from_parts(parts, body)).await;
            let failed = result.as_ref().map_or(true, |response| is_error(response));
            ending.iter_mut().filter(|_| failed).for_each(Ending::fail);
            // Nobody polls a body that is empty: its end is here.
            if result.as_ref().map_or(true, |response| response.body().is_end_stream())
                && let Some(ending) = ending.take()
            {
                ending.end().await;
            }
            let mut response = result?;
            fields.write(response.headers_mut());
            Ok(response.map(|body| match ending {
                Some(ending) => ResponseBody::settling(body, ending),
                None => ResponseBody::passing(body),
            }))
        })
    }
}

/// The least that an estimate asks for of a meter: of what there is, one.
fn least(estimate: &Estimate, meter: &Meter) -> i64 {
    let is_part = estimate.part().is_some_and(|(part, _)| part == meter);
    if is_part { 1 } else { estimate.amounts().of(meter).unwrap_or(1) }
}

fn is_error<B>(response: &Response<B>) -> bool {
    response.status().is_client_error() || response.status().is_server_error()
}
