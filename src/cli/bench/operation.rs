//! What is measured.

use std::time::Duration;

use anyhow::bail;
use costguard::model::{Counter, Meter, Money, Policy, Subject, Window};
use costguard::{Amounts, Correction, CostGuard, Decision, Hold, Limit, Result};

/// Counters start over every hour, so that a server is rid of them soon.
const WINDOW_S: u32 = 3_600;

/// Holds that nobody ends live so long.
const HOLD_TTL: Duration = Duration::from_secs(60);

/// An operation as it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Charge,
    ChargeWithId,
    Admit,
    Deny,
    Count,
    Peek,
    Adjust,
    Reserve,
    Settle,
    Release,
}

impl Operation {
    pub(super) const ALL: [Self; 10] = [
        Self::Charge,
        Self::ChargeWithId,
        Self::Admit,
        Self::Deny,
        Self::Count,
        Self::Peek,
        Self::Adjust,
        Self::Reserve,
        Self::Settle,
        Self::Release,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::ChargeWithId => "charge with id",
            Self::Admit => "admit, 3 limits",
            Self::Deny => "admit denied, 3 limits",
            Self::Count => "count",
            Self::Peek => "peek, 3 limits",
            Self::Adjust => "adjust",
            Self::Reserve => "reserve, 3 limits",
            Self::Settle => "settle, 3 limits",
            Self::Release => "release, 3 limits",
        }
    }

    /// The policy it runs under.
    pub(super) fn policy(self) -> Result<Policy> {
        let window = Window::every(WINDOW_S)?;
        let most = |scope, meter| Limit::new(Counter::new(scope, meter, window), i64::MAX);
        let user = most("user", Meter::COST);
        match self {
            Self::Charge | Self::ChargeWithId | Self::Count | Self::Adjust => Policy::new([user]),
            Self::Admit | Self::Peek | Self::Reserve | Self::Settle | Self::Release => {
                Policy::new([user, most("user", Meter::TOKENS), most("org", Meter::COST)])
            }
            // The last of the limits refuses: nothing is cut short.
            Self::Deny => {
                let nothing = Limit::new(Counter::new("org", Meter::COST, window), 0);
                Policy::new([user, most("user", Meter::TOKENS), nothing])
            }
        }
    }
}

/// One task's requests: all the same, under a root of its own.
#[derive(Debug)]
pub(super) struct Requests {
    operation: Operation,
    task: u16,
    sent: u64,
    policy: Policy,
    subject: Subject,
    amounts: Amounts,
    /// What the next request ends.
    hold: Option<Hold>,
}

impl Requests {
    pub(super) fn new(operation: Operation, task: u16) -> Result<Self> {
        let root = format!("{operation:?}-{task}");
        Ok(Self {
            operation,
            task,
            sent: 0,
            policy: operation.policy()?,
            subject: Subject::new(&root).scope("org", "acme").scope("user", "alice"),
            amounts: Amounts::cost(Money::from_nanos(1_000)).tokens(1),
            hold: None,
        })
    }

    /// Makes what the next request needs, outside the time that is measured: a hold to end. Gives whether it needs any.
    pub(super) async fn prepare(&mut self, guard: &CostGuard) -> anyhow::Result<bool> {
        let needed = matches!(self.operation, Operation::Settle | Operation::Release);
        if needed {
            self.hold = Some(self.reserve(guard).await?);
        }
        Ok(needed)
    }

    async fn reserve(&self, guard: &CostGuard) -> anyhow::Result<Hold> {
        match guard.reserve(&self.policy, &self.subject, self.amounts.clone()).ttl(HOLD_TTL).await? {
            Decision::Granted(hold) => Ok(hold),
            Decision::Denied(_) => {
                bail!("a reservation was denied, though there is room; does another run use this store?")
            }
        }
    }

    /// Sends one and waits for its answer.
    pub(super) async fn send(&mut self, guard: &CostGuard) -> anyhow::Result<()> {
        self.sent += 1;
        let Self { policy, subject, .. } = self;
        match self.operation {
            Operation::Charge => {
                guard.charge(policy, subject, self.amounts.clone()).await?;
            }
            Operation::ChargeWithId => {
                let id = format!("{}-{}", self.task, self.sent);
                guard.charge(policy, subject, self.amounts.clone()).id(&id).await?;
            }
            Operation::Admit | Operation::Deny => {
                let decision: Decision = guard.admit(policy, subject, self.amounts.clone()).await?;
                debug_assert_eq!(decision.is_granted(), self.operation == Operation::Admit);
            }
            Operation::Count => {
                guard.count(subject, "user", &Meter::REQUESTS, Duration::from_secs(60)).await?;
            }
            Operation::Peek => {
                guard.peek(policy, subject).await?;
            }
            Operation::Adjust => {
                let counter = policy.limits()[0].counter();
                guard.adjust(subject, counter, Correction::Add(1), "a benchmark").await?;
            }
            // Left to expire, as they pile up in a service: what is open must not slow the next.
            Operation::Reserve => self.reserve(guard).await?.forget(),
            Operation::Settle | Operation::Release => {
                let Some(mut hold) = self.hold.take() else { bail!("there is no hold to end") };
                if self.operation == Operation::Settle {
                    hold.settle(self.amounts.clone()).await?;
                } else {
                    hold.release().await?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_operation_runs_as_it_is_called() {
        let guard = CostGuard::embedded();
        for operation in Operation::ALL {
            let mut requests = Requests::new(operation, 0).unwrap();
            for _ in 0..3 {
                requests.prepare(&guard).await.unwrap();
                requests.send(&guard).await.unwrap();
            }
            let used: Vec<_> = guard.peek(&requests.policy, &requests.subject).await.unwrap();
            let held = if operation == Operation::Reserve { vec![3_000, 3, 3_000] } else { vec![0; used.len()] };
            assert_eq!(used.iter().map(|state| state.held).collect::<Vec<_>>(), held, "{operation:?}");
            let used: Vec<_> = used.iter().map(|state| state.used).collect();
            let expected: &[i64] = match operation {
                Operation::Charge | Operation::ChargeWithId => &[3_000],
                Operation::Admit | Operation::Settle => &[3_000, 3, 3_000],
                Operation::Deny | Operation::Peek | Operation::Reserve | Operation::Release => &[0, 0, 0],
                Operation::Count => &[0],
                Operation::Adjust => &[3],
            };
            assert_eq!(used, expected, "{operation:?}");
        }
    }
}
