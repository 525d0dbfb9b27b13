//! The command line: one file a subcommand.

mod accounts;
mod api;
mod care;
mod client;
pub mod demo;
mod environment;
mod guard;
mod interrupt;
mod learning;
mod measure;
mod office;
mod predictor;
mod serve;
mod test;
mod thumbnailer;
mod train;

use crate::trainer::classify::ClassifyError;
use clap::{CommandFactory, Parser, Subcommand};
use std::error::Error;
use std::io;
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
    /// See the whole story on real images: 27 experiments, the best one answers
    Demo(demo::DemoArgs),
    /// Check every record and every file, on a stopped server or a running one
    Verify(care::verify::VerifyArgs),
    /// Write everything into one file, on a stopped server or a running one
    Backup(care::backup::BackupArgs),
    /// Make a data folder from a backup
    Restore(care::restore::RestoreArgs),
    /// Train an image classifier, as the server does for each run
    Train(train::TrainArgs),
    /// Ask a trained classifier about an image, as the server does for each prediction
    Test(test::TestArgs),
    /// Send a folder of images, or a zip file of one, to a server
    Upload(client::upload::UploadArgs),
    /// Fetch the images of a model or a dataset as a zip file
    Export(client::archive::ExportArgs),
    /// Have a server run a sweep of experiments
    Sweep(client::sweep::SweepArgs),
    /// Watch a sweep, or all that a model has under way
    Watch(client::watch::WatchArgs),
    /// Show the best result
    Best(client::best::BestArgs),
    /// Ask a server's best model about images
    Predict(client::predict::PredictArgs),
    /// Print what a run printed
    Logs(client::logs::LogsArgs),
    /// List the runs of a model
    Runs(client::control::RunsArgs),
    /// Stop a run, or what is not over of a sweep
    Cancel(client::control::TargetArgs),
    /// Submit a run once more, or what failed of a sweep
    Retry(client::control::TargetArgs),
    /// Make any call of a server's API
    Api(client::api::ApiArgs),
    /// Print completions for a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
    /// Make, list, change and remove accounts
    #[command(subcommand)]
    User(accounts::UserCommand),
    /// Make, list and end the tokens of programs
    #[command(subcommand)]
    Token(accounts::TokenCommand),
    /// Kill what a server leaves behind; started by the server itself
    #[command(hide = true)]
    Guard(guard::GuardArgs),
    /// Answer predictions on standard input; started by the server itself
    #[command(hide = true)]
    Predictor,
    /// Make small pictures of images on standard input's word; started by the server itself
    #[command(hide = true)]
    Thumbnailer,
    /// Measure the built-in trainer's kernels
    #[command(hide = true)]
    Measure(measure::MeasureArgs),
}

/// Runs the subcommand that was asked for.
pub fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Verify(arguments) => return care::verify::run(arguments),
        Command::Backup(arguments) => care::backup::run(arguments),
        Command::Restore(arguments) => care::restore::run(arguments),
        Command::Train(arguments) => train::run(&arguments).map_err(Into::into),
        Command::Test(arguments) => test::run(&arguments).map_err(Into::into),
        Command::Upload(arguments) => client::upload::run(&arguments),
        Command::Export(arguments) => client::archive::export(&arguments),
        Command::Sweep(arguments) => client::sweep::run(&arguments),
        Command::Watch(arguments) => client::watch::run(&arguments),
        Command::Best(arguments) => client::best::run(&arguments),
        Command::Predict(arguments) => client::predict::run(&arguments),
        Command::Logs(arguments) => client::logs::run(&arguments),
        Command::Runs(arguments) => client::control::runs(&arguments),
        Command::Cancel(arguments) => client::control::cancel(&arguments),
        Command::Retry(arguments) => client::control::retry(&arguments),
        Command::Api(arguments) => client::api::run(&arguments),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "trainyard", &mut io::stdout());
            Ok(())
        }
        Command::User(command) => accounts::user(command),
        Command::Token(command) => accounts::token(command),
        Command::Guard(arguments) => guard::run(&arguments),
        Command::Predictor => predictor::run().map_err(Into::into),
        Command::Thumbnailer => thumbnailer::run().map_err(Into::into),
        Command::Measure(arguments) => measure::run(&arguments).map_err(Into::into),
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

/// Why a subcommand failed, in words for its user.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Training or prediction failed.
    #[error(transparent)]
    Classify(#[from] ClassifyError),
    /// An environment variable has a value that cannot be used.
    #[error("{name} is \"{value}\", but has to be {expected}")]
    Environment {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// Files that are no images.
    #[error("{unreadable} of {of} files are no images that can be read; their lines say why")]
    Unreadable {
        /// How many.
        unreadable: usize,
        /// Of how many.
        of: usize,
    },
    /// Signals cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(io::Error),
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Prints `value` as one line of JSON and flushes it, since whoever reads it may be waiting.
fn print_line(value: &impl serde::Serialize) -> Result<(), CliError> {
    use io::Write;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", line(value)?)?;
    Ok(out.flush()?)
}

/// `value` as a line of JSON, without its end.
fn line(value: &impl serde::Serialize) -> Result<String, CliError> {
    Ok(serde_json::to_string(value).map_err(io::Error::from)?)
}

/// Tells the user something beside the result.
fn note(text: &str) {
    use io::Write;
    // Nobody may be listening, which is no reason to fail.
    let _ = writeln!(io::stderr(), "{text}");
}
