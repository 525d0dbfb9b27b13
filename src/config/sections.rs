//! The sections of the settings file, each with its defaults. What a value may be is checked in `check`.

use crate::domain::mail::MailTopic;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Settings as they are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct RawConfig {
    /// The listening socket and the data folder.
    pub server: ServerSection,
    /// The pool that runs jobs.
    pub jobs: JobsSection,
    /// What is run.
    pub trainer: TrainerSection,
    /// The sweep that a new model gets.
    pub sweep: SweepSection,
    /// Fetching images by url.
    pub fetch: FetchSection,
    /// Zip files of images.
    pub archives: ArchivesSection,
    /// What was deleted.
    pub trash: TrashSection,
    /// E-mail when sweeps and runs end.
    pub mail: MailSection,
    /// What clients can take of the server.
    pub limits: LimitsSection,
    /// The log.
    pub log: LogSection,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSection {
    /// Address and port; port 0 takes a free one.
    pub listen: String,
    /// Where everything is kept.
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
    /// Bytes that stay free on the disk.
    pub min_free_bytes: u64,
    /// What the store keeps in memory, in bytes.
    pub cache_bytes: u64,
    /// The certificate, for TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// Addresses and networks of proxies whose word on a client's address is taken.
    pub trusted_proxies: Vec<String>,
    /// The header that carries it.
    pub forwarded_header: String,
}

/// `[jobs]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobsSection {
    /// Runs at once; the machine's cores unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<usize>,
    /// How long a run may take.
    pub timeout_seconds: u64,
    /// How long a run may take to end once told.
    pub stop_grace_seconds: u64,
    /// What a run may hold in memory, in bytes; 0 is what the machine has.
    pub memory_bytes: u64,
    /// What a run is expected to hold before one has been seen, in bytes; 0 is a guess.
    pub memory_estimate_bytes: u64,
    /// Whether runs wait until the machine has memory for them.
    pub wait_for_memory: bool,
    /// Processor time that each process of a run may use; 0 is any.
    pub cpu_seconds: u64,
    /// The largest file that a run may write, in bytes; 0 is any.
    pub max_file_bytes: u64,
    /// Files that a process of a run may have open; 0 is as many as the server.
    pub max_open_files: u64,
    /// Processes and threads of a run; 0 goes by the machine's memory.
    pub max_processes: u64,
    /// Whether runs get control groups of their own where the server may make some.
    pub control_groups: bool,
}

/// `[trainer]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainerSection {
    /// The train command.
    pub train: Vec<String>,
    /// The test command.
    pub test: Vec<String>,
    /// Names of variables that children are given too.
    pub env: Vec<String>,
    /// How long a prediction may take.
    pub test_timeout_seconds: u64,
    /// The ONNX file that the built-in trainer learns on the features of, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone: Option<PathBuf>,
    /// Pixels a side of its pictures, where the file leaves that open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone_size: Option<u32>,
    /// Mean of each colour from 0 to 1, where the file does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone_mean: Option<Vec<f32>>,
    /// Standard deviation of each colour from 0 to 1, where the file does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backbone_std: Option<Vec<f32>>,
    /// What decoded images may take on the disk, in bytes.
    pub cache_bytes: u64,
}

/// `[sweep]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SweepSection {
    /// `--i`
    pub learning_rates: Vec<f64>,
    /// `--j`
    pub layers: Vec<u32>,
    /// `--k`
    pub steps: Vec<u64>,
}

/// `[trash]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrashSection {
    /// How many days what was deleted can be had back.
    pub days: u64,
}

impl Default for TrashSection {
    fn default() -> Self {
        Self { days: 7 }
    }
}

/// `[fetch]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchSection {
    /// Whether urls may resolve to private ranges.
    pub allow_private_addresses: bool,
    /// How long one url may take.
    pub timeout_seconds: u64,
}

/// `[archives]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ArchivesSection {
    /// The largest zip file, in bytes.
    pub max_bytes: u64,
    /// The most files and folders in one.
    pub max_entries: u64,
    /// What all of them may unpack to, in bytes.
    pub max_unpacked_bytes: u64,
    /// How many times its packed size a file in one may have.
    pub max_ratio: u64,
}

impl Default for ArchivesSection {
    fn default() -> Self {
        Self { max_bytes: 2 << 30, max_entries: 100_000, max_unpacked_bytes: 8 << 30, max_ratio: 100 }
    }
}

/// `[mail]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MailSection {
    /// The server that takes e-mail, with the password there; none is sent without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smtp_url: Option<SecretText>,
    /// Who sends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Certificates of authorities that vouch for that server, besides Mozilla's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Who gets it.
    pub to: Vec<String>,
    /// About what.
    pub topics: Vec<String>,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Requests a second of one credential or address; 0 is any number.
    pub requests_per_second: u32,
    /// Requests that may come at once before that counts.
    pub burst: u32,
    /// Connections of one address at once.
    pub connections_per_address: usize,
    /// Whether clients on this very machine are exempt from these.
    pub exempt_loopback: bool,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSection {
    /// How a line is written.
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self { requests_per_second: 1000, burst: 5000, connections_per_address: 128, exempt_loopback: true }
    }
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            data_dir: PathBuf::from("data"),
            max_upload_bytes: 32 << 20,
            max_image_pixels: 100_000_000,
            max_connections: 512,
            max_streams: 256,
            hosts: Vec::new(),
            cors_origins: Vec::new(),
            min_free_bytes: 64 << 20,
            cache_bytes: 4 << 20,
            tls_cert: None,
            tls_key: None,
            trusted_proxies: Vec::new(),
            forwarded_header: "X-Forwarded-For".to_owned(),
        }
    }
}

impl Default for JobsSection {
    fn default() -> Self {
        Self {
            concurrency: None,
            timeout_seconds: 3600,
            stop_grace_seconds: 10,
            memory_bytes: 0,
            memory_estimate_bytes: 0,
            wait_for_memory: true,
            cpu_seconds: 0,
            max_file_bytes: 64 << 30,
            max_open_files: 4096,
            max_processes: 0,
            control_groups: true,
        }
    }
}

impl Default for TrainerSection {
    fn default() -> Self {
        let own = |word: &str| vec!["trainyard".to_owned(), word.to_owned()];
        Self {
            train: own("train"),
            test: own("test"),
            env: Vec::new(),
            test_timeout_seconds: 60,
            cache_bytes: 2 << 30,
            backbone: None,
            backbone_size: None,
            backbone_mean: None,
            backbone_std: None,
        }
    }
}

impl Default for SweepSection {
    fn default() -> Self {
        Self { learning_rates: vec![0.001, 0.01, 0.1], layers: vec![1, 2, 4], steps: vec![1000, 2000, 4000] }
    }
}

impl Default for MailSection {
    fn default() -> Self {
        let topics = [MailTopic::SweepFinished, MailTopic::RunFailed];
        let topics = topics.map(|topic| topic.as_str().to_owned()).to_vec();
        Self { smtp_url: None, from: None, ca: None, to: Vec::new(), topics }
    }
}

impl Default for FetchSection {
    fn default() -> Self {
        Self { allow_private_addresses: false, timeout_seconds: 60 }
    }
}
