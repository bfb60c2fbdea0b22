//! What both layers need: who asks, by which policy, and how the answer looks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;

use super::FromRequest;
use super::fields::{Fields, Style};
use super::problem::Rejection;
use super::wait::Told;
use crate::error::{Error, ErrorKind};
use crate::guard::CostGuard;
use crate::model::{Denial, LimitState, Meter, Policy, Subject};

/// What happens to requests while the store cannot be reached or does not serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenAway {
    /// They are answered with 503 and not served.
    #[default]
    Refuse,
    /// They are served without being counted, and without the fields. Each leaves an error in the log.
    LetThrough,
}

/// How long a client waits for what is held, unless told otherwise.
const HELD_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Who asks and by which policy, for a layer. Cheap to clone.
#[derive(Clone)]
pub struct Gate {
    pub(super) guard: CostGuard,
    pub(super) policy: Policy,
    subject: FromRequest<Subject>,
    style: Style,
    when_away: WhenAway,
    held_retry_after: Duration,
}

impl Gate {
    /// Decides on `guard` by `policy` for the subject that `subject` reads from a request; its rejection is the answer where
    /// there is none. [`subject_from_headers`](super::subject_from_headers) makes such a closure.
    pub fn new(
        guard: CostGuard,
        policy: Policy,
        subject: impl Fn(&Parts) -> Result<Subject, Rejection> + Send + Sync + 'static,
    ) -> Self {
        let (style, when_away) = (Style::default(), WhenAway::default());
        Self { guard, policy, subject: Arc::new(subject), style, when_away, held_retry_after: HELD_RETRY_AFTER }
    }

    /// And the fields `x-ratelimit-limit-requests`, `x-ratelimit-remaining-requests`, `x-ratelimit-reset-requests` and their
    /// siblings for `tokens`, as clients of LLM APIs read them, for the limit on that meter with the least left. A denial that
    /// time does not end says `x-should-retry: false`, which keeps OpenAI's clients from trying again.
    #[must_use]
    pub fn openai_fields(mut self) -> Self {
        self.style.openai = true;
        self
    }

    /// Does not show where limits on this kind of scope stand: what is left for everybody is not every client's to know.
    #[must_use]
    pub fn hide_scope(mut self, kind: &str) -> Self {
        self.style.hidden = self.style.hidden.iter().cloned().chain([kind.to_owned()]).collect();
        self
    }

    /// What happens to requests while the store is away. Default: they are refused.
    #[must_use]
    pub fn when_away(mut self, when_away: WhenAway) -> Self {
        self.when_away = when_away;
        self
    }

    /// The longest that a client is told to wait for a limit that would have room but for what is held, by calls that are open:
    /// they usually end long before their holds expire, which is what the store knows. A limit that refuses by what is used is
    /// waited for as long as that lasts. Default: 5 seconds; less than one counts as one.
    #[must_use]
    pub fn held_retry_after(mut self, most: Duration) -> Self {
        self.held_retry_after = most.max(Duration::from_secs(1));
        self
    }

    pub(super) fn subject(&self, request: &Parts) -> Result<Subject, Rejection> {
        (self.subject)(request)
    }

    /// The fields of a request that was granted at `now_ms` by the store's clock.
    pub(super) fn granted(&self, limits: &[LimitState], now_ms: i64) -> Fields {
        self.style.granted(limits, now_ms)
    }

    /// The answer to a request that asked for `asked` of a meter.
    pub(super) fn denied(&self, denial: &Denial, asked: impl Fn(&Meter) -> i64) -> Rejection {
        let now_ms = self.guard.now_ms();
        let told = Told::new(denial, &self.policy, asked, self.held_retry_after, now_ms);
        let fields = self.style.denied(&told, now_ms);
        Rejection::denied(&told, fields, |state| self.style.shows(state))
    }

    /// The answer when nothing was decided; `Ok` where the request is to be let through.
    pub(super) fn undecided(&self, err: &Error, subject: &Subject) -> Result<(), Rejection> {
        let store = self.guard.store().describe();
        match (err.kind(), self.when_away) {
            (ErrorKind::Unavailable | ErrorKind::Ambiguous | ErrorKind::Clock | ErrorKind::Store, when_away) => {
                tracing::error!(store, error = %err, ?when_away, "the store is away: a request could not be decided");
                if when_away == WhenAway::LetThrough { Ok(()) } else { Err(Rejection::store_away()) }
            }
            (ErrorKind::Invalid, _) if !self.is_usable(subject) => Err(Rejection::bad_request(err)),
            _ => {
                tracing::error!(store, error = %err, "a request could not be decided");
                Err(Rejection::internal())
            }
        }
    }

    /// Whether the subject has what the policy counts against, and ids that are ids.
    fn is_usable(&self, subject: &Subject) -> bool {
        self.policy.limits().iter().all(|limit| subject.scope_of(limit.counter().scope_kind()).is_ok())
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { guard, policy, style, when_away, held_retry_after, .. } = self;
        f.debug_struct("Gate")
            .field("guard", guard)
            .field("policy", policy)
            .field("style", style)
            .field("when_away", when_away)
            .field("held_retry_after", held_retry_after)
            .finish_non_exhaustive()
    }
}
