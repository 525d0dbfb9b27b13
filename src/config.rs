//! Settings: what was written (file, environment, flags) and, checked, what the server works with.
//!
//! Flags win over `TRAINYARD_*` variables, those over the file, the file over the defaults. Knows nothing of what the
//! settings are for beyond their bounds.

use crate::domain::sweep::Grid;
use crate::trainer::backbone::{self, BackboneError};
use crate::trainer::command::{Command, CommandError, SearchPath};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
    /// Listening where other machines reach it, though there are no accounts yet.
    pub allow_remote: bool,
    /// Bytes that stay free on the disk.
    pub min_free_bytes: u64,
    /// What the store keeps in memory, in bytes.
    pub cache_bytes: u64,
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

/// `[fetch]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchSection {
    /// Whether urls may resolve to private ranges.
    pub allow_private_addresses: bool,
    /// How long one url may take.
    pub timeout_seconds: u64,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".to_owned(),
            data_dir: PathBuf::from("data"),
            max_upload_bytes: 32 << 20,
            max_image_pixels: 100_000_000,
            max_connections: 512,
            allow_remote: false,
            min_free_bytes: 64 << 20,
            cache_bytes: 4 << 20,
        }
    }
}

impl Default for JobsSection {
    fn default() -> Self {
        Self { concurrency: None, timeout_seconds: 3600, stop_grace_seconds: 10 }
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

impl Default for FetchSection {
    fn default() -> Self {
        Self { allow_private_addresses: false, timeout_seconds: 60 }
    }
}

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--allow-remote`
    pub allow_remote: bool,
}

/// Settings that cannot be used, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the settings file {path} cannot be read: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no settings file.
    #[error("the settings file {path}: {message}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A variable does not fit.
    #[error("the environment variable {name}={value}: {message}")]
    Variable {
        /// Its name.
        name: String,
        /// What it holds.
        value: String,
        /// What is wrong.
        message: String,
    },
    /// A value is out of bounds.
    #[error("{0}")]
    Value(String),
    /// A command does not exist.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The backbone cannot be used.
    #[error("trainer.backbone: {0}")]
    Backbone(#[from] BackboneError),
    /// Anyone could reach a server without accounts.
    #[error(
        "{0} can be reached from other machines, and this release has no accounts: anyone could use the server and run \
         training on it; listen on 127.0.0.1 behind a proxy that asks for a password, or say --allow-remote"
    )]
    Remote(SocketAddr),
}

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
    /// This binary.
    pub own: PathBuf,
}

impl RawConfig {
    /// Reads the file, the environment and the flags.
    ///
    /// # Errors
    /// [`ConfigError`] naming the file or variable and what is wrong with it.
    pub fn load(flags: &Flags, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut config = match &flags.config {
            Some(path) => Self::from_file(path)?,
            None => Self::default(),
        };
        config = config.with_variables(variable)?;
        if let Some(listen) = &flags.listen {
            config.server.listen.clone_from(listen);
        }
        if let Some(folder) = &flags.data_dir {
            config.server.data_dir.clone_from(folder);
        }
        config.server.allow_remote |= flags.allow_remote;
        Ok(config)
    }

    fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| ConfigError::Syntax { path: path.to_owned(), message: error.to_string() })
    }

    /// Lays `TRAINYARD_<SECTION>_<KEY>` over the settings.
    fn with_variables(self, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut config = self;
        for (section, key, is_text) in keys() {
            let name = format!("TRAINYARD_{section}_{key}").to_uppercase();
            let Some(value) = variable(&name) else { continue };
            let failed = |message: String| ConfigError::Variable { name: name.clone(), value: value.clone(), message };
            let parsed = if is_text {
                toml::Value::String(value.clone())
            } else {
                let table: toml::Table = toml::from_str(&format!("value = {value}")).map_err(|_| {
                    failed("write it as in the settings file, such as 2, true or [\"a\", \"b\"]".to_owned())
                })?;
                table.get("value").cloned().unwrap_or(toml::Value::Boolean(false))
            };
            let mut table = toml::Table::try_from(&config).map_err(|error| failed(error.to_string()))?;
            if let Some(toml::Value::Table(section)) = table.get_mut(&section) {
                section.insert(key, parsed);
            }
            config = table.try_into().map_err(|error: toml::de::Error| failed(error.message().to_owned()))?;
        }
        Ok(config)
    }

    /// Checks every bound and finds what is to be run.
    ///
    /// # Errors
    /// [`ConfigError`] naming the setting.
    pub fn check(self, surroundings: Surroundings) -> Result<Config, ConfigError> {
        let Self { server, jobs, trainer, sweep, fetch } = self;
        let bad = |message: String| Err(ConfigError::Value(message));
        let listen: SocketAddr = server.listen.replace("localhost:", "127.0.0.1:").parse().map_err(|_| {
            ConfigError::Value(format!("server.listen is {:?}; give an address such as 127.0.0.1:8080", server.listen))
        })?;
        if !listen.ip().is_loopback() && !server.allow_remote {
            return Err(ConfigError::Remote(listen));
        }
        let concurrency = jobs.concurrency.unwrap_or(surroundings.cores);
        if !(1..=256).contains(&concurrency) {
            return bad(format!("jobs.concurrency is {concurrency}; it must be from 1 to 256"));
        }
        if jobs.timeout_seconds == 0 || trainer.test_timeout_seconds == 0 || fetch.timeout_seconds == 0 {
            return bad("a time-out of 0 seconds would end everything before it begins".to_owned());
        }
        if server.max_upload_bytes == 0 || server.max_image_pixels == 0 || server.max_connections == 0 {
            return bad("server.max_upload_bytes, max_image_pixels and max_connections must be above 0".to_owned());
        }
        let grid = Grid::new(&sweep.learning_rates, &sweep.layers, &sweep.steps)
            .map_err(|error| ConfigError::Value(format!("[sweep]: {}", error.message)))?;
        let data_dir = std::path::absolute(&server.data_dir)
            .map_err(|source| ConfigError::File { path: server.data_dir.clone(), source })?;
        let search = &surroundings.search;
        Ok(Config {
            listen,
            data_dir,
            max_upload_bytes: server.max_upload_bytes,
            max_image_pixels: server.max_image_pixels,
            max_connections: server.max_connections,
            min_free_bytes: server.min_free_bytes,
            cache_bytes: server.cache_bytes,
            concurrency,
            cores: surroundings.cores,
            timeout: Duration::from_secs(jobs.timeout_seconds),
            stop_grace: Duration::from_secs(jobs.stop_grace_seconds),
            train: Command::resolve("train", &trainer.train, search)?,
            test: Command::resolve("test", &trainer.test, search)?,
            backbone: backbone(&trainer, search)?,
            env: trainer.env,
            test_timeout: Duration::from_secs(trainer.test_timeout_seconds),
            trainer_cache_bytes: trainer.cache_bytes,
            grid,
            allow_private_addresses: fetch.allow_private_addresses,
            fetch_timeout: Duration::from_secs(fetch.timeout_seconds),
            own: search.own.clone(),
        })
    }
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
    let candidates = search.folders.iter().map(|folder| folder.join(file));
    let found = candidates.clone().find(|path| path.exists()).or_else(|| candidates.clone().next());
    let settings = backbone::Settings {
        file: found.unwrap_or_else(|| file.clone()),
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

/// Every setting: section, key, and whether its value is a text.
fn keys() -> Vec<(String, String, bool)> {
    let mut all = RawConfig::default();
    all.jobs.concurrency = Some(1);
    all.trainer.backbone = Some(PathBuf::new());
    all.trainer.backbone_size = Some(1);
    (all.trainer.backbone_mean, all.trainer.backbone_std) = (Some(Vec::new()), Some(Vec::new()));
    let table = toml::Table::try_from(&all).unwrap_or_default();
    let mut keys = Vec::new();
    for (section, values) in table {
        if let toml::Value::Table(values) = values {
            keys.extend(values.into_iter().map(|(key, value)| (section.clone(), key, value.is_str())));
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn load(text: &str, variables: &[(&str, &str)]) -> Result<RawConfig, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let variables: HashMap<_, _> = variables.iter().copied().collect();
        let flags = Flags { config: Some(path), ..Flags::default() };
        RawConfig::load(&flags, |name| variables.get(name).map(|value| (*value).to_owned()))
    }

    #[test]
    fn flags_win_over_variables_and_those_over_the_file() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\n[jobs]\nconcurrency = 3\n";
        assert_eq!(load(file, &[]).unwrap().server.listen, "127.0.0.1:1");
        let variables = [
            ("TRAINYARD_SERVER_LISTEN", "127.0.0.1:2"),
            ("TRAINYARD_TRAINER_TRAIN", "[\"python3\", \"train.py\"]"),
            ("TRAINYARD_JOBS_CONCURRENCY", "5"),
        ];
        let config = load(file, &variables).unwrap();
        assert_eq!(config.server.listen, "127.0.0.1:2");
        assert_eq!(config.jobs.concurrency, Some(5));
        assert_eq!(config.trainer.train, ["python3", "train.py"]);
        let flags = Flags { listen: Some("127.0.0.1:3".into()), ..Flags::default() };
        let config = RawConfig::load(&flags, |_| Some("1".into()).filter(|_| false)).unwrap();
        assert_eq!(config.server.listen, "127.0.0.1:3");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |text: &str, variables: &[(&str, &str)]| load(text, variables).unwrap_err().to_string();
        assert!(message("[server]\nlistn = \"x\"\n", &[]).contains("listn"));
        assert!(message("[sever]\n", &[]).contains("sever"));
        assert!(message("", &[("TRAINYARD_JOBS_CONCURRENCY", "many")]).contains("TRAINYARD_JOBS_CONCURRENCY"));
        assert!(message("[jobs]\nconcurrency = \"two\"\n", &[]).contains("concurrency"));
    }

    #[test]
    fn bounds_are_kept() {
        let check = |change: fn(&mut RawConfig)| {
            let mut config = RawConfig::default();
            change(&mut config);
            config.check(Surroundings::here(None)).map(|config| config.concurrency)
        };
        assert!(check(|_| ()).is_ok());
        assert!(matches!(check(|c| c.server.listen = "0.0.0.0:1".into()), Err(ConfigError::Remote(_))));
        assert!(
            check(|c| {
                c.server.listen = "0.0.0.0:1".into();
                c.server.allow_remote = true;
            })
            .is_ok()
        );
        assert!(check(|c| c.server.listen = "nonsense".into()).is_err());
        assert!(check(|c| c.jobs.concurrency = Some(0)).is_err());
        assert!(check(|c| c.sweep.layers = vec![]).is_err());
        assert!(matches!(check(|c| c.trainer.train = vec!["no-such-thing".into()]), Err(ConfigError::Command(_))));
    }
}
