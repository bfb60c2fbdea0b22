//! The `costguard` program.

/// A charge on the embedded engine allocates some thirty times; the system's allocator takes an eighth of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run().unwrap_or_else(|error| failed(&error, ExitCode::FAILURE))
}

/// Tells the error that the program ends with.
fn failed(error: &anyhow::Error, code: ExitCode) -> ExitCode {
    // Not `eprintln!`, which panics where standard error is closed, and then the exit code is another.
    let _ = writeln!(std::io::stderr().lock(), "error: {}", told(error));
    code
}

/// The error and its causes, up to the first of the library's own or of its client's: those tell their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let last = error.chain().position(|cause| cause.is::<costguard::Error>() || cause.is::<redis::RedisError>());
    let causes = error.chain().take(last.map_or(usize::MAX, |last| last + 1));
    let told = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    cli::without_controls(&told, &['\n', '\t']).into_owned()
}
