//! Parses the command line, calls the library, says how it went.

use std::process::ExitCode;

fn main() -> ExitCode {
    trainyard::cli::main()
}
