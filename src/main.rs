//! The `certd` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    certd::cli::main()
}
