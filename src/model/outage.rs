//! What a guard does while its store is away.

use super::policy::Fraction;

/// What becomes of requests that the store does not take: it cannot be reached, does not answer in time, or says that it
/// cannot serve now ([`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable)).
///
/// What is granted without the store is kept in a bounded queue and delivered when it is back: in order, under the id of the
/// request, into the windows in which it was granted. So it counts once, also where the store had taken the request and only
/// its answer was lost. Where the outage policy is another than `Deny`, requests without an id get one, whose receipt the
/// store keeps like any other. What is to be refunded has to be delivered before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outage {
    /// The request fails with the error. What must hold, holds: nothing is spent that nobody counted.
    #[default]
    Deny,
    /// It is granted, whatever the limits. For what must go on, and may cost what it costs.
    Allow,
    /// It is decided in this process against this share of each limit, rounded down: bursts and overdrafts too. N processes
    /// can pass a limit by N times the share at most, in all outages of one window together. A limit of which the share comes
    /// to nothing refuses everything. Overrides and blocks are not known then.
    ///
    /// A process that starts anew has spent nothing of its share but what the queue's file says was not delivered.
    Local(Fraction),
}

/// Who decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Decided {
    /// The store.
    #[default]
    ByStore,
    /// This process alone, while the store was away: see [`Outage`]. Where limits stand is what this process granted
    /// without the store, beside the share that it may grant.
    WithoutStore,
}
