//! What each script takes and gives, declared once. The header of each Lua file says the same; a test compares them.

use serde::Serialize;

/// An atomic operation. Each is one file in `lua/` and has its twin in `src/ops/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
#[non_exhaustive]
pub enum Op {
    /// Adds amounts, whatever the limits.
    Charge,
    /// Adds amounts if every limit allows it.
    Admit,
    /// Takes an amount from one rate if it fits.
    AdmitRate,
    /// Counts with a TTL.
    Count,
    /// Reads counters and what is held beside them.
    Peek,
    /// Corrects one counter by hand, with a reason.
    Adjust,
    /// Reads the corrections of one counter.
    Adjustments,
    /// Sets amounts aside if every limit allows it.
    Reserve,
    /// Ends a hold and charges what it came to.
    Settle,
    /// Ends a hold and charges nothing.
    Release,
    /// Lets a hold end later.
    Extend,
    /// Sets more aside for a hold.
    Grow,
    /// Reads the record of a hold.
    Hold,
    /// Reads the records of holds that are open.
    Holds,
    /// Gives back what was admitted.
    Refund,
    /// Sets or lifts an override or a block.
    Rule,
    /// Reads overrides and blocks.
    Rules,
    /// Adds to one counter of a window.
    WindowAdd,
    /// Reads one counter of a window.
    WindowRead,
    /// Counts one more if a limit and a cap allow it.
    WindowStart,
    /// Stores a text for a TTL.
    Put,
    /// Removes keys.
    Remove,
    /// Stores a session.
    SessionCreate,
    /// Reads a session that is valid.
    SessionGet,
    /// Takes a one-time token.
    TokenConsume,
    /// Reads a text and how long it lives.
    CacheGet,
    /// Gives the right to compute a value.
    CacheLease,
    /// Stores what was computed.
    CacheFinish,
    /// How long a key lives.
    CacheLeft,
    /// Gives a key another TTL.
    CacheExpire,
    /// Reads fields of a hash.
    CacheHget,
    /// Sets fields of a hash.
    CacheHset,
    /// Reads the generation of a tag.
    CacheTag,
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
    /// The replies it can give: a line of words, the first of them a status. `word...` repeats, `[word]` may be left out.
    pub reply: &'static [&'static str],
    /// The codes of its errors: `COSTGUARD_<CODE> text`.
    pub errors: &'static str,
    /// What stands behind `#!lua`: `flags=no-writes` for a script that only reads, `flags=allow-oom` for one that a full
    /// server should still run.
    pub flags: &'static str,
}

impl Op {
    /// Every operation, in the order of their discriminants.
    pub const ALL: [Op; 33] = [
        Op::Charge,
        Op::Admit,
        Op::AdmitRate,
        Op::Count,
        Op::Peek,
        Op::Adjust,
        Op::Adjustments,
        Op::Reserve,
        Op::Settle,
        Op::Release,
        Op::Extend,
        Op::Grow,
        Op::Hold,
        Op::Holds,
        Op::Refund,
        Op::Rule,
        Op::Rules,
        Op::WindowAdd,
        Op::WindowRead,
        Op::WindowStart,
        Op::Put,
        Op::Remove,
        Op::SessionCreate,
        Op::SessionGet,
        Op::TokenConsume,
        Op::CacheGet,
        Op::CacheLease,
        Op::CacheFinish,
        Op::CacheLeft,
        Op::CacheExpire,
        Op::CacheHget,
        Op::CacheHset,
        Op::CacheTag,
    ];

    /// Whether it changes anything.
    #[must_use]
    pub fn writes(self) -> bool {
        self.contract().flags != "flags=no-writes"
    }

    /// Its contract.
    #[must_use]
    pub fn contract(self) -> &'static Contract {
        &CONTRACTS[self as usize]
    }
}

static CONTRACTS: [Contract; Op::ALL.len()] = [
    Contract {
        name: "charge",
        purpose: "adds amounts to counters and takes them from rates, whatever their limits.",
        keys: "counter..., state..., [receipt]",
        args: "latest_start_s, earliest_end_s, (amount, expiry)..., (amount, limit, span_us, how)..., [now_ms, touch, receipt_ttl_ms, fingerprint, -]",
        reply: &["OK [now_s us (state)...] used...", "STALE now_s", "REPLAY reply"],
        errors: "CONFLICT CORRUPT INVALID OVERFLOW",
        flags: "",
    },
    Contract {
        name: "admit",
        purpose: "adds amounts to counters and takes them from rates if every limit allows it, from all of them or from none.",
        keys: "counter..., held..., state..., ruled, [receipt], holds..., [rules]",
        args: "counters, [latest_start_s, earliest_end_s, expiries], (amount, limit)..., (amount, limit, span_us, how)..., [now_ms, touch, receipt_ttl_ms, fingerprint, asked]",
        reply: &[
            "GRANTED now_s us part shadowed (state)... used... [held...] [rulings]",
            "DENIED now_s us refusing (state)... used... [held... frees_ms...] [rulings]",
            "STALE now_s",
            "RULED now_s",
            "REPLAY reply",
        ],
        errors: "CONFLICT CORRUPT INVALID OVERFLOW",
        flags: "",
    },
    Contract {
        name: "admit_rate",
        purpose: "takes an amount from one rate if it fits: admit for a policy of one GCRA rate and nothing else.",
        keys: "state, ruled",
        args: "amount, limit, span_us, burst",
        reply: &["GRANTED now_s us part shadowed state", "DENIED now_s us refusing state", "RULED now_s"],
        errors: "CORRUPT INVALID",
        flags: "",
    },
    Contract {
        name: "count",
        purpose: "adds to a counter that lives for a TTL from its first hit on, or from its last.",
        keys: "counter, [receipt]",
        args: "amount, ttl_ms, extend, [receipt_ttl_ms, fingerprint]",
        reply: &["OK count left_ms", "REPLAY reply"],
        errors: "CONFLICT CORRUPT INVALID OVERFLOW",
        flags: "",
    },
    Contract {
        name: "peek",
        purpose: "reads counters, what is held beside them, and rates, and changes nothing.",
        keys: "counter..., state..., ruled, holds..., [rules]",
        args: "counters, latest_start_s, earliest_end_s, (amount, limit, span_us, how)..., [now_ms, asked]",
        reply: &[
            "OK now_s us (state)... (used buckets (bucket_ms held)...)... [rulings]",
            "STALE now_s",
            "RULED now_s",
        ],
        errors: "CORRUPT",
        flags: "flags=no-writes",
    },
    Contract {
        name: "adjust",
        purpose: "corrects one counter by hand and notes the reason beside it.",
        keys: "counter, journal, [receipt]",
        args: "latest_start_ms, earliest_end_ms, delta, expiry, journal_size, reason, now_ms, [receipt_ttl_ms, fingerprint]",
        reply: &["OK before after", "STALE now_s", "REPLAY reply"],
        errors: "BELOW_ZERO CONFLICT CORRUPT INVALID OVERFLOW",
        flags: "",
    },
    Contract {
        name: "adjustments",
        purpose: "reads the corrections made to one counter, oldest first.",
        keys: "journal",
        args: "latest_start_ms, earliest_end_ms, journal_size, [now_ms]",
        reply: &["OK note...", "STALE now_s"],
        errors: "CORRUPT",
        flags: "flags=no-writes",
    },
    Contract {
        name: "reserve",
        purpose: "sets amounts aside beside counters until their hold ends, and takes them from rates, if every limit allows it.",
        keys: "counter..., held..., state..., ruled, hold, holds..., [rules]",
        args: "counters, latest_start_s, earliest_end_s, expiries, ttl_ms, bucket, record_ttl_ms, tail, (amount, limit)..., (amount, limit, span_us, how)..., [now_ms, touch, asked]",
        reply: &[
            "GRANTED now_s us bucket_ms part shadowed (state)... used... [held...] [rulings]",
            "DENIED now_s us refusing (state)... used... [held... frees_ms...] [rulings]",
            "HELD record",
            "STALE now_s",
            "RULED now_s",
        ],
        errors: "CONFLICT CORRUPT INVALID OVERFLOW",
        flags: "",
    },
    Contract {
        name: "settle",
        purpose: "ends a hold and charges what it really came to, in full, in the windows in which it was reserved.",
        keys: "counter..., held..., hold, holds..., [state...]",
        args: "counters, record, bucket_ms, expires_ms, receipt_ttl_ms, as, now_ms, held..., amount..., [reserved_us, (change, limit, span_us, how)...]",
        reply: &["SETTLED late used...", "REPLAY reply", "CHANGED record"],
        errors: "CONFLICT CORRUPT INVALID OVERFLOW RELEASED UNKNOWN_HOLD",
        flags: "flags=allow-oom",
    },
    Contract {
        name: "release",
        purpose: "ends a hold, charges nothing, and gives back what was taken from rates.",
        keys: "held..., hold, holds..., [state...]",
        args: "counters, record, bucket_ms, receipt_ttl_ms, held..., [now_ms, reserved_us, (change, limit, span_us, how)...]",
        reply: &["RELEASED", "REPLAY reply", "CHANGED record"],
        errors: "CORRUPT INVALID OVERFLOW SETTLED UNKNOWN_HOLD",
        flags: "flags=allow-oom",
    },
    Contract {
        name: "extend",
        purpose: "lets a hold that is still open end later.",
        keys: "hold, holds..., held...",
        args: "record, ttl_ms, width_ms, record_ttl_ms, now_ms, held...",
        reply: &["EXTENDED record", "CHANGED record"],
        errors: "CORRUPT EXPIRED INVALID RELEASED SETTLED UNKNOWN_HOLD",
        flags: "",
    },
    Contract {
        name: "grow",
        purpose: "sets more aside for a hold that is still open, if every limit allows it.",
        keys: "counter..., held..., state..., hold, holds...",
        args: "counters, record, record_ttl_ms, expiries, (amount, limit)..., (amount, limit, span_us, how)..., now_ms, nonce, tail",
        reply: &[
            "GRANTED record",
            "DENIED now_s us refusing (state)... used... [held... frees_ms...]",
            "CHANGED record",
        ],
        errors: "CORRUPT EXPIRED INVALID OVERFLOW RELEASED SETTLED UNKNOWN_HOLD",
        flags: "",
    },
    Contract {
        name: "hold",
        purpose: "reads the record of a hold.",
        keys: "hold",
        args: "(none)",
        reply: &["HELD record"],
        errors: "UNKNOWN_HOLD",
        flags: "flags=no-writes",
    },
    Contract {
        name: "holds",
        purpose: "reads, of some holds, those that are open and still count.",
        keys: "hold...",
        args: "[now_ms]",
        reply: &["OPEN now_ms (place record)..."],
        errors: "(none)",
        flags: "flags=no-writes",
    },
    Contract {
        name: "refund",
        purpose: "gives back what was charged to counters, not below zero, and what was taken from rates.",
        keys: "counter..., [state...], [receipt]",
        args: "counters, latest_start_s, earliest_end_s, amount..., (change, limit, span_us, how)..., now_ms, taken_us, receipt_ttl_ms, fingerprint",
        reply: &["OK used...", "STALE now_s", "REPLAY reply"],
        errors: "CONFLICT CORRUPT INVALID",
        flags: "flags=allow-oom",
    },
    Contract {
        name: "rule",
        purpose: "overrides a limit, or blocks a scope, until a time; or lifts that.",
        keys: "rules, ruled",
        args: "name, limit, until_ms, now_ms",
        reply: &["OK"],
        errors: "INVALID",
        flags: "",
    },
    Contract {
        name: "rules",
        purpose: "reads the overrides and blocks under a root.",
        keys: "rules",
        args: "now_ms",
        reply: &["OK now_ms (rule)..."],
        errors: "(none)",
        flags: "flags=no-writes",
    },
    Contract {
        name: "window_add",
        purpose: "adds to one counter of a window and sets its TTL with the first amount.",
        keys: "counter",
        args: "latest_start_s, earliest_end_s, amount, ttl_ms, now_ms",
        reply: &["OK now_s us used", "STALE now_s"],
        errors: "CORRUPT INVALID OVERFLOW",
        flags: "",
    },
    Contract {
        name: "window_read",
        purpose: "reads one counter of a window and changes nothing.",
        keys: "counter",
        args: "latest_start_s, earliest_end_s, now_ms",
        reply: &["OK now_s us used", "STALE now_s"],
        errors: "CORRUPT",
        flags: "flags=no-writes",
    },
    Contract {
        name: "window_start",
        purpose: "counts one more on a counter of a window if that keeps to its limit and another counter is below its cap.",
        keys: "counter, [spent]",
        args: "latest_start_s, earliest_end_s, limit, ttl_ms, now_ms, [cap]",
        reply: &["GRANTED now_s us used [spent]", "DENIED now_s us used [spent]", "STALE now_s"],
        errors: "CORRUPT INVALID",
        flags: "",
    },
    Contract {
        name: "put",
        purpose: "stores a text for a TTL and ends what was being computed for it.",
        keys: "value, [lock]",
        args: "text, ttl_ms",
        reply: &["OK"],
        errors: "INVALID",
        flags: "",
    },
    Contract {
        name: "remove",
        purpose: "removes keys.",
        keys: "key...",
        args: "(none)",
        reply: &["OK removed"],
        errors: "(none)",
        flags: "flags=allow-oom",
    },
    Contract {
        name: "session_create",
        purpose: "stores a session under the generation of its user's sessions.",
        keys: "session, generation",
        args: "record, ttl_ms, most_ms, fresh",
        reply: &["OK"],
        errors: "CORRUPT INVALID",
        flags: "",
    },
    Contract {
        name: "session_get",
        purpose: "reads a session that is valid and lets it live longer.",
        keys: "session, generation",
        args: "ttl_ms",
        reply: &["FOUND left_ms record", "NONE"],
        errors: "CORRUPT INVALID",
        flags: "",
    },
    Contract {
        name: "token_consume",
        purpose: "takes a one-time token: the first claim wins, every other one finds nothing.",
        keys: "token",
        args: "claim, kept_ms",
        reply: &["TAKEN record", "NONE"],
        errors: "INVALID",
        flags: "",
    },
    Contract {
        name: "cache_get",
        purpose: "reads a text and how long it still lives.",
        keys: "value",
        args: "(none)",
        reply: &["HIT left_ms text", "MISS"],
        errors: "(none)",
        flags: "flags=no-writes",
    },
    Contract {
        name: "cache_lease",
        purpose: "gives the right to compute a value to one who asks, unless the value is there.",
        keys: "value, lock",
        args: "token, lock_ttl_ms, force",
        reply: &["HIT left_ms text", "LEASED", "BUSY left_ms"],
        errors: "INVALID",
        flags: "",
    },
    Contract {
        name: "cache_finish",
        purpose: "stores what was computed under a lock that is still held, and gives the lock back.",
        keys: "value, lock",
        args: "token, text, ttl_ms",
        reply: &["OK", "FENCED"],
        errors: "INVALID",
        flags: "",
    },
    Contract {
        name: "cache_left",
        purpose: "how long a key of any type still lives.",
        keys: "key",
        args: "(none)",
        reply: &["OK left_ms"],
        errors: "(none)",
        flags: "flags=no-writes",
    },
    Contract {
        name: "cache_expire",
        purpose: "gives a key of any type another TTL from now on.",
        keys: "key",
        args: "ttl_ms",
        reply: &["OK found"],
        errors: "INVALID",
        flags: "",
    },
    Contract {
        name: "cache_hget",
        purpose: "reads one field of a hash, or all.",
        keys: "hash",
        args: "[field]",
        reply: &["HASH bytes... text", "MISS"],
        errors: "(none)",
        flags: "flags=no-writes",
    },
    Contract {
        name: "cache_hset",
        purpose: "sets fields of a hash and gives all of it a TTL from now on.",
        keys: "hash",
        args: "ttl_ms, fields_most, (field, value)...",
        reply: &["OK added"],
        errors: "INVALID",
        flags: "",
    },
    Contract {
        name: "cache_tag",
        purpose: "reads the generation of a tag, or begins one, and lets it live at least for a TTL.",
        keys: "tag",
        args: "fresh, ttl_ms",
        reply: &["OK generation"],
        errors: "CORRUPT INVALID",
        flags: "",
    },
];
