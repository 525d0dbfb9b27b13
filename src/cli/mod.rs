//! The command line: one file a subcommand.

mod guard;
mod serve;

use clap::{Parser, Subcommand};
use std::error::Error;
use std::process::ExitCode;

/// Images in, a sweep of experiments run, the best one answers.
#[derive(Debug, Parser)]
#[command(name = "trainyard", version, about, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server
    Serve(serve::ServeArgs),
    /// Kill what a server leaves behind; started by the server itself
    #[command(hide = true)]
    Guard(guard::GuardArgs),
}

/// Runs the subcommand that was asked for.
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Guard(arguments) => guard::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a subcommand answers.
type Outcome = Result<(), Box<dyn Error>>;
