//! What happens to limits, for whoever listens in this process.

use tokio::sync::broadcast;

use crate::model::LimitState;

/// How many events wait for a slow listener before it loses the oldest.
const BACKLOG: usize = 1024;

/// Something worth telling about a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A request of this process reached a share of the limit that is to be reported: [`LimitState::crossed`].
    Crossed(LimitState),
    /// A limit in shadow mode would have refused a request of this process.
    Shadowed(LimitState),
    /// The store has lost what it held: it was flushed, or came back without its data. Every budget starts from zero.
    DataLost {
        /// When this process noticed, by its own clock, in milliseconds since the epoch.
        noticed_ms: i64,
    },
}

/// The events of one guard.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    sender: broadcast::Sender<Event>,
}

impl Default for Events {
    fn default() -> Self {
        Self { sender: broadcast::Sender::new(BACKLOG) }
    }
}

impl Events {
    pub(crate) fn listen(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// Tells of what is remarkable in the states after a request.
    pub(crate) fn tell(&self, limits: &[LimitState]) {
        if self.sender.receiver_count() == 0 {
            return;
        }
        for state in limits {
            if state.crossed.is_some() {
                self.send(Event::Crossed(state.clone()));
            }
            if state.shadowed {
                self.send(Event::Shadowed(state.clone()));
            }
        }
    }

    pub(crate) fn send(&self, event: Event) {
        // Nobody listening is no error.
        let _ = self.sender.send(event);
    }
}
