//! What each script takes and gives, declared once. The header of each Lua file says the same; a test compares them.

use serde::Serialize;

/// An atomic operation. Each is one file in `lua/` and one in `src/ops/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
#[non_exhaustive]
pub enum Op {
    /// Adds amounts, whatever the limits.
    Charge,
    /// Adds amounts if every limit allows it.
    Admit,
    /// Counts with a TTL.
    Count,
    /// Reads counters.
    Peek,
    /// Corrects one counter by hand, with a reason.
    Adjust,
    /// Reads the corrections of one counter.
    Adjustments,
}

/// What one script takes and gives, in the words of its file's header.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Contract {
    /// The script's name, also its file's.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub purpose: &'static str,
    /// `KEYS`, in order. `name...` repeats, `[name]` may be left out.
    pub keys: &'static str,
    /// `ARGV`, in order. `(a, b)...` repeats.
    pub args: &'static str,
    /// The replies it can give: flat arrays that begin with a status word. An integer is a number, or text from 1e14 on.
    pub reply: &'static [&'static str],
    /// The codes of its errors: `COSTGUARD_<CODE> text`.
    pub errors: &'static str,
    /// Whether it writes.
    pub writes: bool,
}

impl Op {
    /// Every operation, in the order of their discriminants.
    pub const ALL: [Op; 6] = [Op::Charge, Op::Admit, Op::Count, Op::Peek, Op::Adjust, Op::Adjustments];

    /// Its contract.
    #[must_use]
    pub fn contract(self) -> &'static Contract {
        &CONTRACTS[self as usize]
    }
}

static CONTRACTS: [Contract; Op::ALL.len()] = [
    Contract {
        name: "charge",
        purpose: "adds amounts to counters, whatever their limits.",
        keys: "counter..., [receipt]",
        args: "latest_start_ms, earliest_end_ms, (amount, expiry)..., [now_ms, touch, receipt_ttl_ms, fingerprint]",
        reply: &["OK used...", "STALE now_ms", "REPLAY reply"],
        errors: "CONFLICT CORRUPT INVALID OVERFLOW",
        writes: true,
    },
    Contract {
        name: "admit",
        purpose: "adds amounts to counters if every limit allows it, to all of them or to none.",
        keys: "counter..., [receipt]",
        args: "latest_start_ms, earliest_end_ms, (amount, expiry, limit)..., [now_ms, touch, receipt_ttl_ms, fingerprint]",
        reply: &["GRANTED used...", "DENIED now_ms refusing used...", "STALE now_ms", "REPLAY reply"],
        errors: "CONFLICT CORRUPT INVALID OVERFLOW",
        writes: true,
    },
    Contract {
        name: "count",
        purpose: "adds to a counter that lives for a TTL from its first hit on, or from its last.",
        keys: "counter, [receipt]",
        args: "amount, ttl_ms, extend, [receipt_ttl_ms, fingerprint]",
        reply: &["OK count left_ms", "REPLAY reply"],
        errors: "CONFLICT CORRUPT INVALID OVERFLOW",
        writes: true,
    },
    Contract {
        name: "peek",
        purpose: "reads counters and changes nothing.",
        keys: "counter...",
        args: "latest_start_ms, earliest_end_ms, [now_ms]",
        reply: &["OK now_ms used...", "STALE now_ms"],
        errors: "CORRUPT",
        writes: false,
    },
    Contract {
        name: "adjust",
        purpose: "corrects one counter by hand and notes the reason beside it.",
        keys: "counter, journal, [receipt]",
        args: "latest_start_ms, earliest_end_ms, delta, expiry, journal_size, reason, now_ms, [receipt_ttl_ms, fingerprint]",
        reply: &["OK before after", "STALE now_ms", "REPLAY reply"],
        errors: "BELOW_ZERO CONFLICT CORRUPT INVALID OVERFLOW",
        writes: true,
    },
    Contract {
        name: "adjustments",
        purpose: "reads the corrections made to one counter, oldest first.",
        keys: "journal",
        args: "latest_start_ms, earliest_end_ms, journal_size, [now_ms]",
        reply: &["OK note...", "STALE now_ms"],
        errors: "CORRUPT",
        writes: false,
    },
];
