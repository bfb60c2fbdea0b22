//! Answers that are not the service's: problems by RFC 9457.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::fields::{Fields, policy_name};
use super::wait::Told;
use crate::error::{Error, ErrorKind};
use crate::model::{LimitState, Meter, advice, whole_seconds};

/// The problem type of draft-ietf-httpapi-ratelimit-headers-11, section 5.1, and its title.
const QUOTA_EXCEEDED: (&str, &str) = (
    "https://iana.org/assignments/http-problem-types#quota-exceeded",
    "Request cannot be satisfied as assigned quota has been exceeded",
);

/// How long clients wait for a store that is away: a restart or a failover takes some seconds, and the guard looks for the store
/// all the time, so the next request is served as soon as it is back.
const STORE_AWAY_RETRY_AFTER_S: u64 = 5;

/// An answer in place of the service's: a status, and a body of type `application/problem+json` (RFC 9457).
#[derive(Clone)]
pub struct Rejection {
    // Boxed, for it travels in results.
    answer: Box<Answer>,
}

#[derive(Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    problem: Problem,
    fields: Fields,
}

#[derive(Clone, Serialize)]
struct Problem {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(flatten)]
    members: Map<String, Value>,
}

impl Rejection {
    /// An answer with this status. The detail is for the client to read.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl fmt::Display) -> Self {
        let title = status.canonical_reason().unwrap_or_default();
        let problem = Problem {
            r#type: "about:blank",
            title,
            status: status.as_u16(),
            detail: detail.to_string(),
            members: Map::new(),
        };
        let (headers, fields) = (HeaderMap::new(), Fields::default());
        Self { answer: Box::new(Answer { status, headers, problem, fields }) }
    }

    /// 400: the request is malformed.
    #[must_use]
    pub fn bad_request(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401: the request does not say who sends it. Asks for a bearer token; [`header`](Self::header) asks for another scheme.
    #[must_use]
    pub fn unauthorized(detail: impl fmt::Display) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail).header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// And a header, in place of one of that name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.answer.headers.insert(name, value);
        self
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.answer.status
    }

    /// What the client is told.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.answer.problem.detail
    }

    /// 503: the store is away. What is wrong with it is not the client's to know.
    pub(super) fn store_away() -> Self {
        let detail = "the limits of this request cannot be checked now, so it was not served; try again later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).header(RETRY_AFTER, STORE_AWAY_RETRY_AFTER_S.into())
    }

    /// 500: what went wrong is in the log.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the limits of this request could not be checked")
    }

    /// 429. Limits of scopes that are not `shown` are not named.
    pub(super) fn denied(told: &Told<'_>, fields: Fields, shown: impl Fn(&LimitState) -> bool) -> Self {
        let Told { denial, limit, retry_after, .. } = *told;
        let wait_s = retry_after.map(whole_seconds);
        let what = if shown(limit) { limit.to_string() } else { "a limit is reached".to_owned() };
        let mut rejection = Self::new(StatusCode::TOO_MANY_REQUESTS, format!("{what}; {}", advice(retry_after)));
        let answer = &mut *rejection.answer;
        answer.fields = fields;
        (answer.problem.r#type, answer.problem.title) = QUOTA_EXCEEDED;
        let refusing = denial.refused_by.iter().filter_map(|place| denial.limits.get(*place));
        let violated: Vec<_> = refusing.filter(|state| shown(state)).map(policy_name).collect();
        answer.problem.members.insert("violated-policies".to_owned(), violated.into());
        if shown(limit) {
            answer.problem.members.insert("limit".to_owned(), describe(limit));
        }
        if let Some(wait_s) = wait_s {
            answer.problem.members.insert("retry_after_s".to_owned(), json!(wait_s));
            answer.headers.insert(RETRY_AFTER, wait_s.into());
        }
        rejection
    }

    /// The whole answer, for handlers that reject a request themselves.
    #[must_use]
    pub fn into_response(self) -> Response<Bytes> {
        let Answer { status, headers, problem, fields } = *self.answer;
        // Strings and integers always become JSON.
        let mut response = Response::new(serde_json::to_vec(&problem).unwrap_or_default().into());
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response.headers_mut().extend(headers);
        fields.write(response.headers_mut());
        response
    }
}

/// Where a limit stands that refused: money as decimal text in dollars, other meters as integers.
fn describe(state: &LimitState) -> Value {
    let amount = |amount: i64| match state.meter == Meter::COST {
        true => Value::from(state.meter.format_amount(amount)),
        false => Value::from(amount),
    };
    let mut limit = json!({
        "policy": policy_name(state),
        "scope": state.scope.as_str(),
        "meter": state.meter.as_str(),
        "per": state.window.to_string(),
        "limit": state.limit.map(amount),
        "used": amount(state.used),
        "held": amount(state.held),
        "resets_at": state.resets_at().map(|time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)),
    });
    if let (Some(burst), Value::Object(members)) = (state.own_burst(), &mut limit) {
        members.insert("burst".to_owned(), amount(burst));
    }
    limit
}

impl From<Error> for Rejection {
    /// 400 with the error's text for what a client can get wrong (`Invalid`, `UnknownModel`, `Overflow`), 500 without it for
    /// the rest, which is logged.
    fn from(err: Error) -> Self {
        match err.kind() {
            ErrorKind::Invalid | ErrorKind::UnknownModel | ErrorKind::Overflow => Self::bad_request(err),
            _ => {
                tracing::error!(error = %err, "a request is answered with 500");
                Self::internal()
            }
        }
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("status", &self.status())
            .field("detail", &self.detail())
            .finish_non_exhaustive()
    }
}
