//! `CacheLayer`: answers of `GET` requests out of a cache.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{
    AGE, AUTHORIZATION, CONNECTION, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, RANGE, SET_COOKIE, TRANSFER_ENCODING, VARY,
};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use tower_layer::Layer;
use tower_service::Service;

use super::body::ResponseBody;
use super::cache_control::CacheControl;
use super::kept::{Kept, read_whole};
use super::problem::Rejection;
use super::{BoxFuture, FromRequest, take_ready};
use crate::error::{Error, ErrorKind};
use crate::model::encode;
use crate::ops::MOST_TTL;
use crate::service::Cache;

/// Whether an answer came out of the cache: `hit` or `miss`.
const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// How long it is remembered that an answer is none to be stored: meanwhile nobody waits for another's.
const PASS_TTL: Duration = Duration::from_secs(10);

/// The same after the service has failed.
const FAILED_TTL: Duration = Duration::from_secs(1);

/// The largest answer that is read to be stored.
const MOST_BYTES: usize = 1 << 20;

/// The most that it takes as it is written: in JSON up to six bytes for one, and its headers.
const MOST_WRITTEN_BYTES: usize = 8 * MOST_BYTES;

/// What is encoded in the value of a header that is part of a key; what is no ASCII is too.
const NOT_IN_KEY: &AsciiSet = &CONTROLS.add(b'%').add(b':');

/// Requests with one of these are about a part of an answer, or about one that the client knows.
const CONDITIONS: [HeaderName; 5] = [RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];

/// Serves `GET` requests out of a [`Cache`]: the first computes, who comes meanwhile waits, the next ones are hits.
///
/// A key is `{method}:{path and query, sorted by name}:{subject}` in the cache, `anonymous` where there is no subject: of a
/// cache called `api` the stored key is `api:{GET:/v1/models?limit=5:alice}`. Answers carry `X-Cache: hit` or `miss`, and
/// hits their `Age`.
///
/// The path is the one that this service sees: a router that nests another strips its prefix. So give each nested router a cache
/// of another name, or put the layer around all of them. The host is no part of the key: where answers differ by it, say
/// `.vary([HOST])`, or give each host a cache of its own where clients speak HTTP/2, which has no such header.
///
/// Stored are answers of status 200 whose length is known, up to a mebibyte (or a cache's smaller
/// [`most_bytes`](Cache::most_bytes), as they are written), for as long as their `Cache-Control` or `Expires` says
/// (`s-maxage`, then `max-age`, then `Expires`, less their `Age`; RFC 9111) or else for the layer's [`ttl`](Self::ttl). Never
/// stored are those with `Set-Cookie`, with `no-store`, `no-cache` or `private`, and those that [vary](Self::vary) by a header
/// that this layer was not told. A request that says `no-cache` or `no-store`, asks for a range or is conditional, or has an
/// `Authorization` and no subject, goes past the cache.
///
/// ```
/// use std::time::Duration;
///
/// use axum::{Router, routing::get};
/// use costguard::{CostGuard, http::CacheLayer};
///
/// let cache = CostGuard::embedded().cache("api");
/// let layer = CacheLayer::new(cache, |_request| Ok(None)).ttl(Duration::from_secs(60));
/// let app: Router = Router::new().route("/v1/models", get(|| async { "all of them" })).layer(layer);
/// ```
#[derive(Clone)]
pub struct CacheLayer {
    cache: Cache,
    subject: FromRequest<Option<String>>,
    ttl: Duration,
    vary: Vec<HeaderName>,
}

impl CacheLayer {
    /// A layer on this cache; `subject` says whose answer it is, `None` for one that is everybody's.
    #[must_use]
    pub fn new(
        cache: Cache,
        subject: impl Fn(&Parts) -> Result<Option<String>, Rejection> + Send + Sync + 'static,
    ) -> Self {
        // A cache that takes less was told so.
        let most = if cache.most_bytes < MOST_BYTES { cache.most_bytes } else { MOST_WRITTEN_BYTES };
        let cache = cache.most_bytes(most);
        Self { cache, subject: Arc::new(subject), ttl: Duration::from_secs(60), vary: Vec::new() }
    }

    /// How long an answer is kept that does not say so itself. Default: a minute.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Keeps an answer for each value of these request headers, and says so in `Vary`.
    #[must_use]
    pub fn vary(mut self, headers: impl IntoIterator<Item = HeaderName>) -> Self {
        self.vary = headers.into_iter().collect();
        self
    }

    /// The key of a request; `None` when it goes past the cache.
    fn key(&self, request: &Parts) -> Result<Option<String>, Rejection> {
        let past = CacheControl::read(&request.headers).goes_past
            || CONDITIONS.iter().any(|name| request.headers.contains_key(name));
        if request.method != Method::GET || past {
            return Ok(None);
        }
        let subject = match (self.subject)(request)? {
            None if request.headers.contains_key(AUTHORIZATION) => return Ok(None),
            None => "anonymous".to_owned(),
            // A user of that name is somebody.
            Some(subject) if subject == "anonymous" => "%61nonymous".to_owned(),
            Some(subject) => encode("subject", &subject).map_err(|err| Rejection::bad_request(err.to_string()))?,
        };
        let mut key = format!("{}:{}:{subject}", request.method, path_and_sorted_query(request));
        for name in &self.vary {
            let values = request.headers.get_all(name).iter();
            let values: Vec<_> = values.map(|it| percent_encode(it.as_bytes(), NOT_IN_KEY).to_string()).collect();
            key.extend([":", name.as_str(), "=", &values.join(",")]);
        }
        Ok(Some(key))
    }

    /// How long an answer is kept; `None` when it is not.
    fn ttl_of<B: Body>(&self, response: &Response<B>) -> Option<Duration> {
        let headers = response.headers();
        let most = response.body().size_hint().upper().and_then(|most| usize::try_from(most).ok());
        let is_short = most.is_some_and(|most| most <= MOST_BYTES);
        if response.status() != StatusCode::OK || !is_short || headers.contains_key(SET_COOKIE) {
            return None;
        }
        let is_told = |name: &str| self.vary.iter().any(|told| name.trim().eq_ignore_ascii_case(told.as_str()));
        let varies = |value: &HeaderValue| value.to_str().is_ok_and(|names| names.split(',').all(is_told));
        if !headers.get_all(VARY).iter().all(varies) {
            return None;
        }
        let control = CacheControl::read(headers);
        if control.goes_past {
            return None;
        }
        let ttl = control.left(headers, SystemTime::now()).unwrap_or(self.ttl);
        (!ttl.is_zero()).then(|| ttl.min(MOST_TTL))
    }

    /// The answer out of the cache, or the service's.
    async fn answer<S, Q, B>(
        &self,
        key: &str,
        request: Request<Q>,
        mut inner: S,
    ) -> Result<Response<ResponseBody<B>>, S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>>,
        B: Body<Data = Bytes>,
    {
        let (mut request, mut fresh) = (Some(request), None);
        let compute = async || {
            let Some(request) = request.take() else { return Ok(None) };
            let response = inner.call(request).await.map_err(Failed::Service)?;
            let (response, kept) = match self.ttl_of(&response) {
                Some(ttl) => {
                    let (response, kept) = read_whole(response, ttl).await;
                    (response.map(ResponseBody::whole), kept)
                }
                None => (response.map(ResponseBody::passing), None),
            };
            // What broke off is one too.
            let is_failure = response.status().is_server_error();
            fresh = Some(response);
            if is_failure { Err(Failed::Answered) } else { Ok(kept) }
        };
        let ttl_of = |kept: &Option<Kept>| Some(kept.as_ref().map_or(PASS_TTL, Kept::ttl));
        // What an answer says of its time is known when it is there.
        let found = self.cache.get_or(key, MOST_TTL, ttl_of, Some(&None), compute).await;
        match (found, fresh, request) {
            // What is kept serves where a refresh before its end failed.
            (Ok(Some(kept)), fresh, _) if fresh.as_ref().is_none_or(|fresh| fresh.status().is_server_error()) => {
                let mut response = kept.into_response().map(ResponseBody::whole);
                self.mark(response.headers_mut(), "hit");
                Ok(response)
            }
            (found, Some(mut fresh), _) => {
                if matches!(found, Err(Failed::Answered)) {
                    // Counted by the cache when it fails.
                    let _ = self.cache.set_for(key, &None::<Kept>, FAILED_TTL).await;
                }
                self.mark(fresh.headers_mut(), "miss");
                Ok(fresh)
            }
            (Err(Failed::Service(err)), ..) => Err(err),
            (Err(Failed::Store(err)), None, Some(request)) if err.kind() == ErrorKind::Invalid => {
                tracing::debug!(error = %err, "a request has no key in the cache");
                Ok(inner.call(request).await?.map(ResponseBody::passing))
            }
            (Err(Failed::Store(err)), ..) => {
                tracing::error!(error = %err, "the cache cannot answer, and was told to fail then");
                let away = matches!(err.kind(), ErrorKind::Unavailable | ErrorKind::Ambiguous);
                let rejection = if away { Rejection::store_away() } else { Rejection::internal() };
                Ok(rejection.into_response().map(ResponseBody::whole))
            }
            // It is known that it is not kept.
            (_, None, Some(request)) => {
                let mut response = inner.call(request).await?.map(ResponseBody::passing);
                self.mark(response.headers_mut(), "miss");
                Ok(response)
            }
            (_, None, None) => Ok(Rejection::internal().into_response().map(ResponseBody::whole)),
        }
    }

    fn mark(&self, headers: &mut HeaderMap, how: &'static str) {
        headers.insert(X_CACHE, HeaderValue::from_static(how));
        for name in &self.vary {
            if !names(headers, &VARY, name) {
                headers.append(VARY, HeaderValue::from_name(name.clone()));
            }
        }
    }
}

/// Why there is nothing out of the cache.
enum Failed<E> {
    Service(E),
    /// The service answered that it failed.
    Answered,
    Store(Error),
}

impl<E> From<Error> for Failed<E> {
    fn from(err: Error) -> Self {
        Self::Store(err)
    }
}

/// Pairs of the query in order of their names: `?b=1&a=2` is `?a=2&b=1`. Of one name the order may matter, and stays.
fn path_and_sorted_query(request: &Parts) -> String {
    let mut pairs: Vec<_> = request.uri.query().unwrap_or_default().split('&').filter(|it| !it.is_empty()).collect();
    pairs.sort_by_key(|pair| pair.split_once('=').map_or(*pair, |(name, _)| name));
    match pairs.is_empty() {
        true => request.uri.path().to_owned(),
        false => format!("{}?{}", request.uri.path(), pairs.join("&")),
    }
}

/// Whether a header that lists names has this one among them.
fn names(headers: &HeaderMap, list: &HeaderName, name: &HeaderName) -> bool {
    let mut lines = headers.get_all(list).iter().filter_map(|line| line.to_str().ok());
    lines.any(|line| line.split(',').any(|it| it.trim().eq_ignore_ascii_case(name.as_str())))
}

/// Whether a header is part of an answer that is kept: those of one connection are not (RFC 9110, section 7.6.1), nor those that
/// are made anew.
pub(super) fn is_kept(headers: &HeaderMap, name: &HeaderName) -> bool {
    ![CONNECTION, TRANSFER_ENCODING, AGE, X_CACHE].contains(name)
        && !names(headers, &CONNECTION, name)
        && !name.as_str().starts_with("proxy-")
        && !["keep-alive", "te", "trailer", "upgrade"].contains(&name.as_str())
}

impl<S> Layer<S> for CacheLayer {
    type Service = Cached<S>;

    fn layer(&self, inner: S) -> Cached<S> {
        Cached { inner, layer: Arc::new(self.clone()) }
    }
}

impl fmt::Debug for CacheLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer").field("ttl", &self.ttl).field("vary", &self.vary).finish_non_exhaustive()
    }
}

/// A service behind a [`CacheLayer`].
#[derive(Clone, Debug)]
pub struct Cached<S> {
    inner: S,
    layer: Arc<CacheLayer>,
}

impl<S, Q, B> Service<Request<Q>> for Cached<S>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    Q: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
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
            let key = layer.key(&parts);
            let request = Request::from_parts(parts, body);
            match key {
                Ok(Some(key)) => layer.answer(&key, request, inner).await,
                Ok(None) => Ok(inner.call(request).await?.map(ResponseBody::passing)),
                Err(rejection) => Ok(rejection.into_response().map(ResponseBody::whole)),
            }
        })
    }
}
