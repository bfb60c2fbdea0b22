//! Which line a byte of a log is on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::Read;
use std::rc::Rc;

/// Passes bytes through and remembers where their lines end.
///
/// The csv crate's own line numbers are one too low after a `\r\n` and before a blank line, and a person looks for the
/// row where an error says it is.
pub(super) struct LineCounter<R> {
    bytes: R,
    passed: u64,
    lines: Lines,
}

/// The line ends of what was read ahead, shared with the [`LineCounter`] that finds them.
#[derive(Clone, Default)]
pub(super) struct Lines {
    state: Rc<RefCell<LineEnds>>,
}

#[derive(Default)]
struct LineEnds {
    ahead: VecDeque<u64>,
    behind: u64,
}

impl<R> LineCounter<R> {
    pub(super) fn new(bytes: R) -> (Self, Lines) {
        let lines = Lines::default();
        (Self { bytes, passed: 0, lines: lines.clone() }, lines)
    }
}

impl<R: Read> Read for LineCounter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.bytes.read(buffer)?;
        let mut ends = self.lines.state.borrow_mut();
        for byte in buffer.iter().take(length) {
            if *byte == b'\n' {
                ends.ahead.push_back(self.passed);
            }
            self.passed += 1;
        }
        Ok(length)
    }
}

impl Lines {
    /// The line that the byte at `offset` is on, counted from 1. Offsets must not go back.
    pub(super) fn at(&self, offset: u64) -> u64 {
        let mut ends = self.state.borrow_mut();
        while ends.ahead.front().is_some_and(|&end| end < offset) {
            ends.ahead.pop_front();
            ends.behind += 1;
        }
        ends.behind + 1
    }
}
