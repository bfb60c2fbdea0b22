//! How long a connection has been silent while calls waited for answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Tells a connection that is silent from one that is slow.
pub(super) struct Silence {
    /// How many answers have come.
    answers: AtomicU64,
    vain: Mutex<Vain>,
}

/// What calls have waited in vain, one after the other or beside each other.
struct Vain {
    /// How many answers had come then.
    answers: u64,
    lasted: Duration,
    until: Instant,
}

impl Silence {
    pub(super) fn new() -> Self {
        let vain = Vain { answers: 0, lasted: Duration::ZERO, until: Instant::now() };
        Self { answers: AtomicU64::new(0), vain: Mutex::new(vain) }
    }

    /// An answer has come.
    pub(super) fn end(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// A call has waited in vain until now, since a time when so many answers had come. Gives for how long calls have waited and
    /// nothing at all has come.
    ///
    /// A call that waits for a moment cannot tell, so what several have waited is added up. The time between them is not: nobody
    /// sees the answers to calls that were given up.
    pub(super) fn in_vain(&self, answers_before: u64, since: Instant, now: Instant) -> Duration {
        let answers = self.answers();
        if answers != answers_before {
            return Duration::ZERO;
        }
        let mut vain = self.vain.lock().unwrap_or_else(PoisonError::into_inner);
        if vain.answers != answers {
            *vain = Vain { answers, lasted: Duration::ZERO, until: since };
        }
        let from = since.max(vain.until);
        vain.lasted += now.saturating_duration_since(from);
        vain.until = now.max(vain.until);
        vain.lasted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_what_calls_waited_without_the_time_between_them_and_ends_with_an_answer() {
        let (silence, begun) = (Silence::new(), Instant::now());
        let s = |seconds| begun + Duration::from_secs(seconds);
        let waited = |answers, since, until| silence.in_vain(answers, s(since), s(until)).as_secs();
        assert_eq!(waited(0, 0, 2), 2);
        assert_eq!(waited(0, 1, 3), 3, "beside each other");
        assert_eq!(waited(0, 2, 3), 3);
        assert_eq!(waited(0, 13, 14), 4, "one after the other");
        silence.end();
        assert_eq!(waited(0, 13, 15), 0, "something came meanwhile");
        assert_eq!(waited(1, 15, 16), 1);
    }
}
