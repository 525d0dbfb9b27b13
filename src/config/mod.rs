//! Settings: what was written (file, environment, flags) and, checked, what the server works with.
//!
//! Flags win over `TRAINYARD_*` variables, those over the file, the file over the defaults. Knows nothing of what the
//! settings are for beyond their bounds.

mod check;
mod mail;
mod sections;

pub use check::{Allowance, Config, Surroundings, TlsFiles};
pub use mail::Mail;
pub use sections::{
    ArchivesSection, FetchSection, JobsSection, LimitsSection, LogFormat, LogSection, MailSection, RawConfig,
    ServerSection, SweepSection, TrainerSection,
};

use crate::trainer::backbone::BackboneError;
use crate::trainer::command::CommandError;
use std::path::{Path, PathBuf};

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--log-format`
    pub log_format: Option<LogFormat>,
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
        config.log.format = flags.log_format.unwrap_or(config.log.format);
        Ok(config)
    }

    fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| ConfigError::Syntax { path: path.to_owned(), message: shown(&error) })
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
}

/// What is wrong with the file, and where. A line with a secret is not shown.
fn shown(error: &toml::de::Error) -> String {
    let whole = error.to_string();
    if whole.contains("smtp_url") || whole.contains("smtp://") || whole.contains("smtps://") {
        let place = whole.lines().next().filter(|line| line.contains("line")).unwrap_or_default();
        let message = Some(error.message()).filter(|message| !message.contains("://")).unwrap_or("it does not fit");
        return format!("{place}: {message} (the line is not shown, since it may hold a password)");
    }
    whole
}

/// The names of all sections, as they stand in variables.
fn sections_by_name() -> impl Iterator<Item = String> {
    toml::Table::try_from(RawConfig::default()).unwrap_or_default().into_iter().map(|(name, _)| name.to_uppercase())
}

/// Every setting: section, key, and whether its value is a text.
fn keys() -> Vec<(String, String, bool)> {
    let mut all = RawConfig::default();
    (all.server.tls_cert, all.server.tls_key) = (Some(PathBuf::new()), Some(PathBuf::new()));
    all.jobs.concurrency = Some(1);
    (all.mail.smtp_url, all.mail.from) = (Some(String::new().into()), Some(String::new()));
    all.mail.ca = Some(PathBuf::new());
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
    fn the_repositorys_file_has_every_setting_with_its_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
        assert_eq!(RawConfig::from_file(&path).unwrap(), RawConfig::default());
        let text = std::fs::read_to_string(path).unwrap();
        for (section, key, _) in keys() {
            let set = |line: &str| line.trim_start_matches("# ").starts_with(&format!("{key} = "));
            assert!(text.contains(&format!("[{section}]")) && text.lines().any(set), "{section}.{key}");
        }
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
        for line in [
            "smtp_url = \"smtps://u:hunter2@h",
            "smtp_url = [\"smtps://u:hunter2@h\"]",
            "smtp_ul = \"smtps://u:hunter2@h\"",
            "to = \"smtps://u:hunter2@h\"",
        ] {
            let message = message(&format!("[mail]\n{line}\n"), &[]);
            assert!(message.contains("line 2") && !message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn bounds_are_kept() {
        let check = |change: fn(&mut RawConfig)| {
            let mut config = RawConfig::default();
            change(&mut config);
            config.check(Surroundings::here(None)).map(|config| config.concurrency)
        };
        assert!(check(|_| ()).is_ok());
        assert!(check(|c| c.server.listen = "0.0.0.0:1".into()).is_ok());
        assert!(check(|c| c.server.cors_origins = vec!["https://tools.example.org".into()]).is_ok());
        assert!(check(|c| c.server.cors_origins = vec!["https://tools.example.org/".into()]).is_err());
        assert!(check(|c| c.server.hosts = vec!["yard.example.org:8080".into()]).is_err());
        assert!(check(|c| c.server.listen = "nonsense".into()).is_err());
        assert!(check(|c| c.jobs.concurrency = Some(0)).is_err());
        assert!(check(|c| c.jobs.memory_bytes = 1).is_err());
        assert!(check(|c| c.jobs.max_open_files = 3).is_err());
        assert!(check(|c| c.jobs.max_processes = 1).is_err());
        assert!(check(|c| (c.jobs.max_file_bytes, c.jobs.max_open_files) = (0, 0)).is_ok());
        assert!(check(|c| c.trainer.env = vec!["TRAINYARD_SERVER_LISTEN".into()]).is_err());
        assert!(check(|c| c.trainer.env = vec!["trainyard_jobs_password".into()]).is_err());
        assert!(check(|c| c.trainer.env = vec!["TRAINYARD_ISA".into(), "HF_TOKEN".into()]).is_ok());
        assert!(check(|c| c.sweep.layers = vec![]).is_err());
        assert!(check(|c| c.server.tls_cert = Some("cert.pem".into())).is_err());
        assert!(check(|c| c.server.tls_key = Some("key.pem".into())).is_err());
        assert!(check(|c| c.server.trusted_proxies = vec!["10.0.0.0/33".into()]).is_err());
        assert!(check(|c| c.server.trusted_proxies = vec!["10.0.0.1".into(), "fd00::/8".into()]).is_ok());
        assert!(check(|c| c.server.forwarded_header = "X-Real-IP".into()).is_err());
        assert!(check(|c| c.limits.burst = 0).is_err());
        assert!(check(|c| c.limits.requests_per_second = 0).is_ok());
        assert!(check(|c| c.limits.requests_per_second = u32::MAX).is_err());
        assert!(check(|c| c.server.max_connections = usize::MAX).is_err());
        assert!(check(|c| c.limits.connections_per_address = 0).is_err());
        assert!(matches!(check(|c| c.trainer.train = vec!["no-such-thing".into()]), Err(ConfigError::Command(_))));
    }
}
