//! From what was written to what the server works with: bounds, and programs that exist.

use super::mail::Mail;
use super::{ArchivesSection, ConfigError, JobsSection, RawConfig, ServerSection, TrainerSection};
use crate::domain::sweep::Grid;
use crate::trainer::backbone;
use crate::trainer::command::{Command, SearchPath};
use ipnet::IpNet;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The most connections: each takes a file descriptor, and tens of KiB while it works.
const MOST_CONNECTIONS: usize = 100_000;

/// The highest rate of requests that is bounded at all, and the largest burst.
const MOST_REQUESTS: u32 = 1_000_000;

/// Settings that passed their bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where everything is kept; absolute.
    pub data_dir: PathBuf,
    /// The largest image, in bytes.
    pub max_upload_bytes: u64,
    /// The largest image, in pixels.
    pub max_image_pixels: u64,
    /// Connections at once.
    pub max_connections: usize,
    /// Live streams at once.
    pub max_streams: usize,
    /// Names that the server is reached by, besides this machine's own.
    pub hosts: Vec<String>,
    /// Origins whose pages may ask with a token.
    pub cors_origins: Vec<String>,
    /// Connections of one address at once.
    pub connections_per_address: usize,
    /// Requests a second of one credential or address; 0 is any number.
    pub requests_per_second: u32,
    /// Requests that may come at once before that counts.
    pub burst: u32,
    /// Whether clients on this very machine are exempt from these.
    pub exempt_loopback: bool,
    /// Proxies whose word on a client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether they say it in `Forwarded` rather than `X-Forwarded-For`.
    pub standard_forwarded: bool,
    /// Certificate and key, for TLS.
    pub tls: Option<TlsFiles>,
    /// Bytes that stay free on the disk.
    pub min_free_bytes: u64,
    /// What the store keeps in memory, in bytes.
    pub cache_bytes: u64,
    /// Runs at once.
    pub concurrency: usize,
    /// The machine's cores.
    pub cores: usize,
    /// How long a run may take.
    pub timeout: Duration,
    /// How long a run may take to end once told.
    pub stop_grace: Duration,
    /// What a run may take.
    pub allowance: Allowance,
    /// The train command.
    pub train: Command,
    /// The test command.
    pub test: Command,
    /// Names of variables that children are given too.
    pub env: Vec<String>,
    /// How long a prediction may take.
    pub test_timeout: Duration,
    /// The backbone of the built-in trainer, if any.
    pub backbone: Option<backbone::Settings>,
    /// What decoded images may take on the disk, in bytes.
    pub trainer_cache_bytes: u64,
    /// The sweep that a new model gets.
    pub grid: Grid,
    /// Whether urls may resolve to private ranges.
    pub allow_private_addresses: bool,
    /// How long one url may take.
    pub fetch_timeout: Duration,
    /// What zip files of images may hold.
    pub archives: ArchivesSection,
    /// How many days what was deleted can be had back.
    pub trash_days: u64,
    /// E-mail, where a server for it is set.
    pub mail: Option<Mail>,
    /// This binary.
    pub own: PathBuf,
}

/// Where certificate and key lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What a run may take, as far as it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Memory, in bytes.
    pub memory_bytes: Option<u64>,
    /// What to expect before a run has been seen, in bytes.
    pub memory_estimate_bytes: Option<u64>,
    /// Whether runs wait until the machine has memory for them.
    pub wait_for_memory: bool,
    /// Processor time of each process, in seconds.
    pub cpu_seconds: Option<u64>,
    /// The largest file, in bytes.
    pub file_bytes: Option<u64>,
    /// Files that a process may have open.
    pub open_files: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Whether runs get control groups of their own where the server may make some.
    pub control_groups: bool,
}

impl Allowance {
    fn check(jobs: &JobsSection) -> Result<Self, ConfigError> {
        let least = [
            ("memory_bytes", jobs.memory_bytes, 16 << 20, "no program starts in less"),
            ("max_open_files", jobs.max_open_files, 32, "no interpreter starts with fewer"),
            ("max_processes", jobs.max_processes, 4, "a script and the commands that it runs need as many"),
        ];
        for (key, value, least, why) in least {
            if (1..least).contains(&value) {
                let message = format!("jobs.{key} is {value}; it must be 0 or at least {least}: {why}");
                return Err(ConfigError::Value(message));
            }
        }
        let set = |value: u64| (value > 0).then_some(value);
        Ok(Self {
            memory_bytes: set(jobs.memory_bytes),
            memory_estimate_bytes: set(jobs.memory_estimate_bytes),
            wait_for_memory: jobs.wait_for_memory,
            cpu_seconds: set(jobs.cpu_seconds),
            file_bytes: set(jobs.max_file_bytes),
            open_files: set(jobs.max_open_files),
            processes: set(jobs.max_processes),
            control_groups: jobs.control_groups,
        })
    }
}

impl RawConfig {
    /// Checks every bound and finds what is to be run.
    ///
    /// # Errors
    /// [`ConfigError`] naming the setting.
    pub fn check(self, surroundings: Surroundings) -> Result<Config, ConfigError> {
        let Self { server, jobs, trainer, sweep, fetch, archives, trash, mail, limits, log: _ } = self;
        let bad = |message: String| Err(ConfigError::Value(message));
        let listen: SocketAddr = server.listen.replace("localhost:", "127.0.0.1:").parse().map_err(|_| {
            ConfigError::Value(format!("server.listen is {:?}; give an address such as 127.0.0.1:8080", server.listen))
        })?;
        if let Some(host) = server.hosts.iter().find(|host| !is_host(host)) {
            return bad(format!("server.hosts names {host:?}; give names or addresses without a port"));
        }
        if let Some(origin) = server.cors_origins.iter().find(|origin| !is_origin(origin)) {
            return bad(format!(
                "server.cors_origins names {origin:?}; give origins such as https://tools.example.org"
            ));
        }
        let concurrency = jobs.concurrency.unwrap_or(surroundings.cores);
        if !(1..=256).contains(&concurrency) {
            return bad(format!("jobs.concurrency is {concurrency}; it must be from 1 to 256"));
        }
        if jobs.timeout_seconds == 0 || trainer.test_timeout_seconds == 0 || fetch.timeout_seconds == 0 {
            return bad("a time-out of 0 seconds would end everything before it begins".to_owned());
        }
        if server.max_upload_bytes == 0 || server.max_image_pixels == 0 {
            return bad("server.max_upload_bytes and server.max_image_pixels must be above 0".to_owned());
        }
        if !(1..=MOST_CONNECTIONS).contains(&server.max_connections) || limits.connections_per_address == 0 {
            return bad(format!(
                "server.max_connections must be from 1 to {MOST_CONNECTIONS}, and limits.connections_per_address above 0"
            ));
        }
        if !(1..=MOST_CONNECTIONS).contains(&server.max_streams) {
            return bad(format!("server.max_streams must be from 1 to {MOST_CONNECTIONS}"));
        }
        if limits.requests_per_second > MOST_REQUESTS || !(1..=MOST_REQUESTS).contains(&limits.burst) {
            return bad(format!(
                "limits.requests_per_second must be from 0 to {MOST_REQUESTS}, and limits.burst from 1 to {MOST_REQUESTS}"
            ));
        }
        let ArchivesSection { max_bytes, max_entries, max_unpacked_bytes, max_ratio } = archives;
        if [max_bytes, max_entries, max_unpacked_bytes, max_ratio].contains(&0) {
            return bad("a limit of 0 in [archives] would refuse every zip file".to_owned());
        }
        if trash.days > 3650 {
            return bad(format!("trash.days is {}; it must be at most 3650", trash.days));
        }
        let grid = Grid::new(&sweep.learning_rates, &sweep.layers, &sweep.steps)
            .map_err(|error| ConfigError::Value(format!("[sweep]: {}", error.message)))?;
        let data_dir = std::path::absolute(&server.data_dir)
            .map_err(|source| ConfigError::File { path: server.data_dir.clone(), source })?;
        let search = &surroundings.search;
        let trusted_proxies = networks(&server.trusted_proxies)?;
        let standard_forwarded = is_standard(&server.forwarded_header)?;
        let tls = tls(&server, search)?;
        Ok(Config {
            listen,
            data_dir,
            max_upload_bytes: server.max_upload_bytes,
            max_image_pixels: server.max_image_pixels,
            max_connections: server.max_connections,
            // Streams are never closed for newcomers, and must not take all places.
            max_streams: server.max_streams.min(server.max_connections.div_ceil(2)),
            hosts: server.hosts,
            cors_origins: server.cors_origins,
            connections_per_address: limits.connections_per_address,
            requests_per_second: limits.requests_per_second,
            burst: limits.burst,
            exempt_loopback: limits.exempt_loopback,
            trusted_proxies,
            standard_forwarded,
            tls,
            min_free_bytes: server.min_free_bytes,
            cache_bytes: server.cache_bytes,
            concurrency,
            cores: surroundings.cores,
            timeout: Duration::from_secs(jobs.timeout_seconds),
            stop_grace: Duration::from_secs(jobs.stop_grace_seconds),
            allowance: Allowance::check(&jobs)?,
            train: Command::resolve("train", &trainer.train, search)?,
            test: Command::resolve("test", &trainer.test, search)?,
            backbone: backbone(&trainer, search)?,
            env: passed(trainer.env)?,
            test_timeout: Duration::from_secs(trainer.test_timeout_seconds),
            trainer_cache_bytes: trainer.cache_bytes,
            grid,
            allow_private_addresses: fetch.allow_private_addresses,
            fetch_timeout: Duration::from_secs(fetch.timeout_seconds),
            archives,
            trash_days: trash.days,
            mail: Mail::check(&mail, |file| found(file, search))?,
            own: search.own.clone(),
        })
    }
}

fn networks(texts: &[String]) -> Result<Vec<IpNet>, ConfigError> {
    let network = |text: &String| {
        let one = text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        one.or_else(|_| text.parse::<IpNet>()).map_err(|_| {
            ConfigError::Value(format!(
                "server.trusted_proxies has {text:?}; give addresses and networks such as \"10.0.0.5\" or \"10.0.0.0/8\""
            ))
        })
    };
    texts.iter().map(network).collect()
}

/// Whether the header is that of RFC 7239.
fn is_standard(header: &str) -> Result<bool, ConfigError> {
    match header.to_ascii_lowercase().as_str() {
        "x-forwarded-for" => Ok(false),
        "forwarded" => Ok(true),
        _ => Err(ConfigError::Value(format!(
            "server.forwarded_header is {header:?}; it must be \"X-Forwarded-For\" or \"Forwarded\", whichever your proxies \
             write themselves"
        ))),
    }
}

/// Finds certificate and key, whose relative paths are looked for where scripts are.
fn tls(server: &ServerSection, search: &SearchPath) -> Result<Option<TlsFiles>, ConfigError> {
    match (&server.tls_cert, &server.tls_key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert: found(cert, search), key: found(key, search) })),
        (None, None) => Ok(None),
        (cert, _) => {
            let (set, missing) = if cert.is_some() { ("tls_cert", "tls_key") } else { ("tls_key", "tls_cert") };
            let message = format!("server.{set} is set, but server.{missing} is not; TLS needs both");
            Err(ConfigError::Value(message))
        }
    }
}

/// The first file of this name where scripts are looked for, or where it would be.
fn found(file: &Path, search: &SearchPath) -> PathBuf {
    let mut candidates = search.folders.iter().map(|folder| folder.join(file));
    let first = candidates.clone().next();
    candidates.find(|path| path.exists()).or(first).unwrap_or_else(|| file.to_owned())
}

fn is_host(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || url::Host::parse(text).is_ok_and(|host| host.to_string() == text.to_lowercase())
}

fn is_origin(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == text)
}

/// The variables that scripts are given too; none of the server's settings, which may be secrets.
fn passed(names: Vec<String>) -> Result<Vec<String>, ConfigError> {
    for name in &names {
        let is_setting = super::sections_by_name().any(|section| {
            name.to_uppercase().strip_prefix("TRAINYARD_").is_some_and(|rest| rest.starts_with(&format!("{section}_")))
        });
        if is_setting {
            return Err(ConfigError::Value(format!(
                "trainer.env lists {name}, a setting of the server's; scripts are not given those, under no name of theirs"
            )));
        }
    }
    Ok(names)
}

/// Finds and tries the backbone, whose relative path is looked for where scripts are.
fn backbone(trainer: &TrainerSection, search: &SearchPath) -> Result<Option<backbone::Settings>, ConfigError> {
    let Some(file) = trainer.backbone.as_ref().filter(|file| !file.as_os_str().is_empty()) else {
        let others = [trainer.backbone_mean.is_some(), trainer.backbone_std.is_some(), trainer.backbone_size.is_some()];
        if others.contains(&true) {
            return Err(ConfigError::Value("trainer.backbone_... is set, but trainer.backbone is not".to_owned()));
        }
        return Ok(None);
    };
    let settings = backbone::Settings {
        file: found(file, search),
        size: trainer.backbone_size,
        mean: trainer.backbone_mean.clone(),
        std: trainer.backbone_std.clone(),
    };
    backbone::check(&settings)?;
    Ok(Some(settings))
}

/// What the settings are checked against.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The machine's cores.
    pub cores: usize,
    /// Where programs and scripts are looked for.
    pub search: SearchPath,
}

impl Surroundings {
    /// This process's.
    pub fn here(config_file: Option<&Path>) -> Self {
        let beside = config_file
            .and_then(|file| std::path::absolute(file).ok())
            .and_then(|file| file.parent().map(Path::to_owned));
        let here = std::env::current_dir().ok();
        let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            search: SearchPath { folders: beside.into_iter().chain(here).collect(), path, own: own_binary() },
        }
    }
}

/// This binary, in a way that survives its replacement by a newer one where `/proc` is there.
fn own_binary() -> PathBuf {
    let link = PathBuf::from("/proc/self/exe");
    if link.exists() {
        return link;
    }
    std::env::current_exe()
        .ok()
        .or_else(|| std::path::absolute(std::env::args_os().next()?).ok())
        .unwrap_or_else(|| PathBuf::from("trainyard"))
}
