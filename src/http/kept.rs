//! An answer as it is kept in a cache.

use std::pin::pin;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::{Bytes, BytesMut};
use http::header::{AGE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body;
use serde::{Deserialize, Serialize};

use super::cache::is_kept;
use super::cache_control::age;
use super::problem::Rejection;

/// An answer of status 200.
#[derive(Serialize, Deserialize)]
pub(super) struct Kept {
    /// When it was made, by its `Age` and the clock of the process that computed it, in milliseconds since the epoch.
    at_ms: i64,
    ttl_ms: u64,
    headers: Vec<(String, String)>,
    body: KeptBody,
}

/// Text as it is, so that people can read it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KeptBody {
    Text(String),
    Base64(String),
}

impl Kept {
    pub(super) fn ttl(&self) -> Duration {
        Duration::from_millis(self.ttl_ms)
    }

    pub(super) fn into_response(self) -> Response<Bytes> {
        let body = match self.body {
            KeptBody::Text(text) => text.into(),
            KeptBody::Base64(text) => BASE64_STANDARD.decode(text).unwrap_or_default().into(),
        };
        let mut response = Response::new(body);
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
                response.headers_mut().append(name, value);
            }
        }
        let age_s = (chrono::Utc::now().timestamp_millis() - self.at_ms).max(0) / 1000;
        response.headers_mut().insert(AGE, age_s.into());
        response
    }
}

/// Reads a body whose length is known, and makes of it what is kept. A body that breaks off is answered with 502, and not kept.
pub(super) async fn read_whole<B>(response: Response<B>, ttl: Duration) -> (Response<Bytes>, Option<Kept>)
where
    B: Body<Data = Bytes>,
{
    let (parts, body) = response.into_parts();
    let (mut body, mut bytes) = (pin!(body), BytesMut::new());
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        match frame {
            Ok(frame) => frame.data_ref().into_iter().for_each(|data| bytes.extend_from_slice(data)),
            Err(_) => {
                let broken = Rejection::new(StatusCode::BAD_GATEWAY, "the answer broke off");
                return (broken.into_response(), None);
            }
        }
    }
    let bytes = bytes.freeze();
    let text_of =
        |(name, value): (&HeaderName, &HeaderValue)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()));
    let headers: Option<Vec<_>> =
        parts.headers.iter().filter(|(name, _)| is_kept(&parts.headers, name)).map(text_of).collect();
    let body = match std::str::from_utf8(&bytes) {
        Ok(text) => KeptBody::Text(text.to_owned()),
        Err(_) => KeptBody::Base64(BASE64_STANDARD.encode(&bytes)),
    };
    let age_ms = i64::try_from(age(&parts.headers).as_millis()).unwrap_or(i64::MAX);
    let at_ms = chrono::Utc::now().timestamp_millis().saturating_sub(age_ms);
    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let kept = headers.map(|headers| Kept { at_ms, ttl_ms, headers, body });
    (Response::from_parts(parts, bytes), kept)
}
