//! The `costguard` program.

/// A charge on the embedded engine allocates some thirty times; the system's allocator takes an eighth of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(code) => code,
        Err(error) => {
            // Not `eprintln!`, which panics where standard error is closed, and then the exit code is another.
            let _ = writeln!(std::io::stderr().lock(), "error: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, up to the first of the library's own: those tell their cause themselves.
fn told(error: &anyhow::Error) -> String {
    let last = error.chain().position(|cause| cause.is::<costguard::Error>());
    let causes = error.chain().take(last.map_or(usize::MAX, |last| last + 1));
    let told = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    cli::without_controls(&told, &['\n', '\t']).into_owned()
}
