//! The `tarsier` command: hands over to [`tarsier::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    tarsier::cli::main()
}
