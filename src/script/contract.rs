//! What each script takes and gives, declared once. The header of each Lua file says the same; a test compares them.

/// An atomic operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Op {
    /// Adds amounts, whatever the limits.
    Charge,
    /// Counts with a TTL.
    Count,
    /// Adds amounts if every limit allows it.
    Admit,
    /// Reads counters.
    Peek,
    /// Corrects one counter by hand, with a reason.
    Adjust,
    /// Reads the corrections of one counter.
    Adjustments,
}

/// What one script takes and gives.
#[derive(Debug, PartialEq, Eq)]
pub struct Contract {
    /// The script's name, also its file's.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub purpose: &'static str,
    /// `KEYS`, in order; a trailing `...` repeats.
    pub keys: &'static [&'static str],
    /// `ARGV`, in order.
    pub args: &'static [&'static str],
    /// The replies it can give.
    pub reply: &'static [&'static str],
    /// Whether it writes.
    pub writes: bool,
}
