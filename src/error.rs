//! The one error type of the crate.

use std::fmt;
use std::sync::Arc;

/// A result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in a form to branch on.
///
/// A refused request is not an error: it is [`Decision::Denied`](crate::Decision::Denied).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller passed something that can never work: a bad id, a malformed policy, a scope that is missing.
    Invalid,
    /// A model without a price in the catalogue.
    UnknownModel,
    /// The operation id was used before for a different request.
    Conflict,
    /// There is no such hold: it was never made, or it ended so long ago that it was forgotten. Nothing was changed.
    UnknownHold,
    /// The hold has ended in another way: settling what was released, releasing what was settled, growing or extending
    /// what has expired. Nothing was changed.
    HoldEnded,
    /// The result would not fit the 64-bit integer range. Nothing was changed.
    Overflow,
    /// A stored value is not what the crate writes: wrong type, or not an integer. Nothing was changed.
    Corrupt,
    /// The store's clock and the windows of the request could not be brought together.
    Clock,
    /// The store could not be reached, refused to serve, or did not answer a request with an id: the same request with the same
    /// id may be sent again. Without an id nothing was changed, or what may have been reserved is released in the background.
    Unavailable,
    /// The connection broke after the request may have reached the store: it may or may not have happened.
    Ambiguous,
    /// The store answered with something the crate does not understand, or refused the script.
    Store,
    /// A file could not be read or written.
    Io,
}

impl ErrorKind {
    /// Its name in logs and metrics: `unknown_hold`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::UnknownModel => "unknown_model",
            Self::Conflict => "conflict",
            Self::UnknownHold => "unknown_hold",
            Self::HoldEnded => "hold_ended",
            Self::Overflow => "overflow",
            Self::Corrupt => "corrupt",
            Self::Clock => "clock",
            Self::Unavailable => "unavailable",
            Self::Ambiguous => "ambiguous",
            Self::Store => "store",
            Self::Io => "io",
        }
    }
}

/// An error that is cheap to clone and says what to do.
#[derive(Clone, thiserror::Error)]
#[error(transparent)]
pub struct Error {
    inner: Arc<Inner>,
}

#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    /// Whether the request may have been applied: its id tells when it is sent again.
    may_have_happened: bool,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { inner: Arc::new(Inner { kind, message: message.into(), source: None, may_have_happened: false }) }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        let (message, source): (_, Option<Box<dyn std::error::Error + Send + Sync>>) =
            (message.into(), Some(Box::new(source)));
        Self { inner: Arc::new(Inner { kind, message, source, may_have_happened: false }) }
    }

    /// No answer to a request with an id.
    pub(crate) fn unanswered(
        message: impl Into<String>,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        let (kind, message) = (ErrorKind::Unavailable, message.into());
        Self { inner: Arc::new(Inner { kind, message, source: Some(Box::new(source)), may_have_happened: true }) }
    }

    /// The same of a request whose id the crate made: the caller cannot send that again.
    pub(crate) fn of_unknown_id(self) -> Self {
        if !self.may_have_happened() {
            return self;
        }
        let mut reason: &dyn std::error::Error = &*self.inner;
        while let Some(source) = reason.source() {
            reason = source;
        }
        let told = format!(
            "the store does not answer: {reason}; the request may or may not have been applied, so look before you repeat \
             it, and give requests an id to have them repeated safely"
        );
        Self::with_source(ErrorKind::Ambiguous, told, self)
    }

    pub(crate) fn may_have_happened(&self) -> bool {
        self.inner.may_have_happened
    }

    /// The kind, to branch on.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Whether sending the same request again cannot do harm and may succeed.
    ///
    /// True when the store was not reached, or did not answer a request with an id: with the same id it happens once. For
    /// [`ErrorKind::Ambiguous`] it is false: the first attempt may have landed. Give operations an id and the crate retries such
    /// a failure itself, once applied.
    #[must_use]
    pub fn is_retry_safe(&self) -> bool {
        matches!(self.inner.kind, ErrorKind::Unavailable | ErrorKind::Clock)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error").field("kind", &self.inner.kind).field("message", &self.inner.message).finish()
    }
}
