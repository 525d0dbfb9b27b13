//! `trainyard serve`: the server, until it is told to stop.

use super::Outcome;
use crate::app::{self, Server};
use crate::config::{Config, Flags, LogFormat, RawConfig, Surroundings};
use crate::http::request_id;
use crate::{allocator, telemetry};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use tokio::signal::unix::{SignalKind, signal};

/// The flags; each wins over its `TRAINYARD_*` variable and over the settings file.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The settings file; config.toml in the repository has every setting
    #[arg(long, env = "TRAINYARD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "TRAINYARD_LISTEN", value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Where everything is kept [default: data]
    #[arg(long, env = "TRAINYARD_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// How lines of the log are written [default: text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// Runs the server.
pub fn run(arguments: ServeArgs) -> Outcome {
    let flags = Flags {
        config: arguments.config,
        listen: arguments.listen,
        data_dir: arguments.data_dir,
        log_format: arguments.log_format,
    };
    let surroundings = Surroundings::here(flags.config.as_deref());
    let raw = RawConfig::load(&flags, |name| std::env::var(name).ok())?;
    telemetry::start_server(raw.log.format == LogFormat::Json, "info", request_id);
    allocator::keep_small();
    let config = raw.check(surroundings)?;
    runtime(&config)?.block_on(serve(config))
}

/// What lines of a request's log are marked with.
fn request_id() -> Option<String> {
    request_id::current().map(|id| id.to_string())
}

/// A runtime whose blocking threads the jobs run on.
pub(super) fn runtime(config: &Config) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(app::blocking_threads(config))
        .thread_stack_size(512 << 10)
        .thread_name("trainyard")
        .enable_all()
        .build()
}

async fn serve(config: Config) -> Outcome {
    // Signals are caught before the address is printed, so whoever waits for that line can stop the server.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let server = Server::start(config, &tokio::runtime::Handle::current())?;
    announce(&server)?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    server.run(stop).await?;
    Ok(())
}

fn announce(server: &Server) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on {}", server.url())?;
    out.flush()
}
