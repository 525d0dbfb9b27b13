//! The trainer contract's command line and environment: four flags behind the configured command, never a shell.
//!
//! Knows what a script is told; not how a process is started.

use crate::domain::experiment::HyperParameters;
use crate::domain::ids::RunId;
use crate::domain::job::RunNames;
use crate::domain::run::RunSpec;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A configured command whose program and scripts have been found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// An absolute path.
    pub program: PathBuf,
    /// What stands before the four flags.
    pub arguments: Vec<OsString>,
}

/// A configured command that cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Nothing to run.
    #[error("trainer.{setting} is empty; give a command such as [\"python3\", \"train.py\"]")]
    Empty {
        /// `train` or `test`
        setting: &'static str,
    },
    /// No such program.
    #[error("trainer.{setting}: there is no program `{program}`; looked {looked}")]
    NoProgram {
        /// `train` or `test`
        setting: &'static str,
        /// As configured.
        program: String,
        /// Where it was looked for.
        looked: String,
    },
    /// No such script.
    #[error("trainer.{setting}: there is no file `{script}`; looked in {looked}")]
    NoScript {
        /// `train` or `test`
        setting: &'static str,
        /// As configured.
        script: String,
        /// Where it was looked for.
        looked: String,
    },
}

/// Where programs and scripts are looked for.
#[derive(Debug, Clone)]
pub struct SearchPath {
    /// Folders for relative paths: the settings file's first, then the current one.
    pub folders: Vec<PathBuf>,
    /// The value of `PATH`.
    pub path: OsString,
    /// What `trainyard` as a program means: this very binary.
    pub own: PathBuf,
}

/// The word that stands for this binary.
const OWN_NAME: &str = "trainyard";

/// Files with these endings are scripts: one that is missing is an error at start-up.
const SCRIPT_ENDINGS: &[&str] = &["py", "sh", "r", "R", "jl", "js", "mjs", "rb", "pl", "lua"];

impl Command {
    /// Finds the program and the scripts of a configured command.
    ///
    /// # Errors
    /// [`CommandError`] naming the setting and what was not found.
    pub fn resolve(setting: &'static str, words: &[String], search: &SearchPath) -> Result<Self, CommandError> {
        let Some((program, arguments)) = words.split_first().filter(|(program, _)| !program.is_empty()) else {
            return Err(CommandError::Empty { setting });
        };
        // Our own subcommands are no scripts, even where a file of that name lies beside the settings.
        let is_own = program == OWN_NAME;
        let program = find_program(setting, program, search)?;
        let find = |word: &String| if is_own { Ok(word.into()) } else { find_script(setting, word, search) };
        let arguments = arguments.iter().map(find).collect::<Result<_, _>>()?;
        Ok(Self { program, arguments })
    }

    /// Whether this is the binary `own` with one argument, its subcommand, and no other.
    pub fn is_subcommand(&self, own: &Path, subcommand: &str) -> bool {
        let same =
            |a: &Path, b: &Path| a == b || a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b));
        self.arguments == [subcommand] && same(&self.program, own)
    }

    /// The whole list of arguments for one run.
    pub fn arguments_for(&self, parameters: &HyperParameters, target: &Target) -> Vec<OsString> {
        self.arguments_for_job(parameters, &[parameters.steps], target)
    }

    /// The whole list of arguments for runs that differ in nothing but their `steps`: `--k 1000,2000,4000`.
    pub fn arguments_for_job(&self, parameters: &HyperParameters, steps: &[u64], target: &Target) -> Vec<OsString> {
        let mut words = self.arguments.clone();
        let (flag, path) = match target {
            Target::Images(folder) => ("--images", folder.as_os_str()),
            Target::Image(file) => ("--image", file.as_os_str()),
        };
        words.extend(["--i".into(), parameters.learning_rate.to_string().into()]);
        words.extend(["--j".into(), parameters.layers.to_string().into()]);
        let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
        words.extend(["--k".into(), steps.join(",").into()]);
        words.extend([OsString::from(flag), path.to_owned()]);
        words
    }
}

/// What a command works on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A dataset version's folder.
    Images(PathBuf),
    /// One image.
    Image(PathBuf),
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn find_program(setting: &'static str, program: &str, search: &SearchPath) -> Result<PathBuf, CommandError> {
    if program == OWN_NAME {
        return Ok(search.own.clone());
    }
    let candidates: Vec<PathBuf> = if program.contains('/') {
        search.folders.iter().map(|folder| folder.join(program)).collect()
    } else {
        std::env::split_paths(&search.path).map(|folder| folder.join(program)).collect()
    };
    let found = candidates.iter().find(|path| is_executable(path));
    found.cloned().and_then(|path| std::path::absolute(path).ok()).ok_or_else(|| {
        let looked = if program.contains('/') {
            format!("at {}", list(&candidates))
        } else {
            format!("on the PATH ({})", search.path.to_string_lossy())
        };
        CommandError::NoProgram { setting, program: program.to_owned(), looked }
    })
}

/// Makes the relative path of a script absolute, since a run's working directory is its own folder. A word that is
/// neither an existing file nor shaped like a script stays as it is.
fn find_script(setting: &'static str, word: &str, search: &SearchPath) -> Result<OsString, CommandError> {
    if word.starts_with('-') || word.is_empty() {
        return Ok(word.into());
    }
    let candidates: Vec<PathBuf> = search.folders.iter().map(|folder| folder.join(word)).collect();
    if let Some(found) = candidates.iter().find(|path| path.is_file()) {
        return Ok(std::path::absolute(found).map_or_else(|_| found.clone().into(), PathBuf::into));
    }
    let ending = Path::new(word).extension().and_then(OsStr::to_str);
    if ending.is_some_and(|ending| SCRIPT_ENDINGS.contains(&ending)) {
        let looked = list(&search.folders);
        return Err(CommandError::NoScript { setting, script: word.to_owned(), looked });
    }
    Ok(word.into())
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" and ")
}

/// The part of a child's environment that is the same for all.
#[derive(Debug, Clone)]
pub struct BaseEnvironment {
    variables: Vec<(OsString, OsString)>,
    /// Values that a log is not to show.
    secrets: Vec<Vec<u8>>,
}

/// Words in the name of a variable whose value is nobody else's business.
const SECRET_WORDS: &[&str] = &[
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "PRIVATE",
    "APIKEY",
    "API_KEY",
    "ACCESS_KEY",
    "AUTH",
];

/// Whether a variable's name says that its value is a secret.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_WORDS.iter().any(|word| name.contains(word)) || name.ends_with("_KEY") || name.ends_with("_PASS")
}

/// Names that pass from the server's environment to a child's; a seed set there holds for all runs.
const PASSED: &[&str] = &["PATH", "HOME", "LANG", "TRAINYARD_SEED"];

/// A variable by which the guard knows the server's children, whatever group they moved to.
pub const MARK: &str = "TRAINYARD_GUARD";

impl BaseEnvironment {
    /// Takes what passes through from `lookup`, the server's environment; `extra` are the names that the user listed.
    pub fn new(lookup: impl Fn(&str) -> Option<OsString>, extra: &[String], threads: usize, mark: &str) -> Self {
        let mut variables: Vec<(OsString, OsString)> = Vec::new();
        let passed = PASSED.iter().copied().chain(extra.iter().map(String::as_str));
        for name in passed {
            if let Some(value) = lookup(name).filter(|_| variables.iter().all(|(known, _)| known != name)) {
                variables.push((name.into(), value));
            }
        }
        let named_so = extra.iter().filter(|name| is_secret(name));
        let secrets = named_so.filter_map(|name| lookup(name)).map(OsStringExt::into_vec).collect();
        if !variables.iter().any(|(name, _)| name == "OMP_NUM_THREADS") {
            let threads = lookup("OMP_NUM_THREADS").unwrap_or_else(|| threads.max(1).to_string().into());
            variables.push(("OMP_NUM_THREADS".into(), threads));
        }
        variables.push(("PYTHONUNBUFFERED".into(), "1".into()));
        variables.push((MARK.into(), mark.into()));
        Self { variables, secrets }
    }

    /// The values of listed variables whose names say that they are secrets.
    pub fn secrets(&self) -> &[Vec<u8>] {
        &self.secrets
    }

    /// Tells all children one thing more, unless the user set it.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        if self.variables.iter().all(|(known, _)| known != name) {
            self.variables.push((name.into(), value.into()));
        }
        self
    }

    /// The environment of a child that works for many runs.
    pub fn for_helper(&self) -> Vec<(OsString, OsString)> {
        self.variables.clone()
    }

    /// The environment of one run.
    pub fn for_run(&self, run: RunId, names: &RunNames, spec: &RunSpec, folder: &Path) -> Vec<(OsString, OsString)> {
        let mut variables = self.variables.clone();
        let mut set = |name: &str, value: OsString| {
            // What the user lists wins over what we would set, but for the facts of the run.
            if !(name == "TRAINYARD_SEED" && variables.iter().any(|(known, _)| known == name)) {
                variables.push((name.into(), value));
            }
        };
        set("TRAINYARD_RUN_ID", run.to_string().into());
        set("TRAINYARD_MODEL", names.model.clone().into());
        set("TRAINYARD_EXPERIMENT", names.experiment.clone().into());
        set("TRAINYARD_DATASET", names.dataset.clone().into());
        set("TRAINYARD_MODEL_DIR", folder.into());
        set("TRAINYARD_DATASET_VERSION", spec.version.number.0.to_string().into());
        set("TRAINYARD_SEED", spec.seed.to_string().into());
        variables
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::dataset::{DatasetVersion, VersionNumber};
    use crate::domain::ids::{DatasetId, ExperimentId, ModelId};

    fn search(folder: &Path) -> SearchPath {
        SearchPath { folders: vec![folder.to_owned()], path: "/usr/bin:/bin".into(), own: "/own/trainyard".into() }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_four_flags_are_appended_as_separate_arguments() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train.py"), "").unwrap();
        let command = Command::resolve("train", &words(&["sh", "train.py", "--fast"]), &search(folder.path())).unwrap();
        let parameters = HyperParameters::parse("1.0", "2", "3000").unwrap();
        let line = command.arguments_for(&parameters, &Target::Images("/data/x/".into()));
        let line: Vec<_> = line.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let script = folder.path().join("train.py").display().to_string();
        assert_eq!(line, [&script, "--fast", "--i", "1", "--j", "2", "--k", "3000", "--images", "/data/x/"]);
        let line = command.arguments_for_job(&parameters, &[1000, 3000], &Target::Images("/data/x/".into()));
        assert_eq!(line[6..8], ["--k", "1000,3000"]);
    }

    #[test]
    fn what_is_missing_is_named_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let resolve = |line: &[&str]| Command::resolve("train", &words(line), &search(folder.path()));
        assert!(matches!(resolve(&[]), Err(CommandError::Empty { .. })));
        assert!(matches!(resolve(&["no-such-program"]), Err(CommandError::NoProgram { .. })));
        assert!(matches!(resolve(&["./gone"]), Err(CommandError::NoProgram { .. })));
        assert!(matches!(resolve(&["sh", "gone.py"]), Err(CommandError::NoScript { .. })));
        assert_eq!(resolve(&["trainyard", "train"]).unwrap().program, Path::new("/own/trainyard"));
        assert!(resolve(&["sh", "-c", "echo accuracy=0.5"]).is_ok());
        let is_test = |line: &[&str]| resolve(line).unwrap().is_subcommand(Path::new("/own/trainyard"), "test");
        std::fs::write(folder.path().join("test"), "a file of that name").unwrap();
        assert!(is_test(&["trainyard", "test"]));
        for other in [&["trainyard", "train"][..], &["trainyard", "test", "x"], &["trainyard"], &["sh", "test"]] {
            assert!(!is_test(other), "{other:?}");
        }
    }

    #[test]
    fn values_are_secrets_by_their_names() {
        for name in ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "wandb_api_key", "DB_PASSWORD", "SSH_KEY", "MY_PASS"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["CUDA_VISIBLE_DEVICES", "KEYBOARD", "PASSAGE", "LANG", "OMP_NUM_THREADS"] {
            assert!(!is_secret(name), "{name}");
        }
        let lookup = |name: &str| Some(format!("value of {name}").into());
        let base = BaseEnvironment::new(lookup, &words(&["HF_TOKEN", "CUDA_VISIBLE_DEVICES"]), 1, "mark");
        assert_eq!(base.secrets(), [b"value of HF_TOKEN".to_vec()]);
    }

    #[test]
    fn only_what_is_listed_passes() {
        let lookup = |name: &str| match name {
            "PATH" => Some("/bin".into()),
            "SECRET" => Some("x".into()),
            "CUDA_VISIBLE_DEVICES" => Some("0".into()),
            _ => None,
        };
        let base = BaseEnvironment::new(lookup, &words(&["CUDA_VISIBLE_DEVICES"]), 0, "mark");
        let spec = RunSpec {
            model: ModelId(1),
            experiment: ExperimentId(2),
            version: DatasetVersion { dataset: DatasetId(3), number: VersionNumber(4) },
            parameters: HyperParameters::parse("0.1", "2", "3000").unwrap(),
            seed: 7,
            timeout_seconds: None,
        };
        let all = base.for_run(RunId(38), &RunNames::default(), &spec, Path::new("/runs/x"));
        let get =
            |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, value)| value.to_string_lossy().into_owned());
        assert_eq!(get("SECRET"), None);
        assert_eq!(get("CUDA_VISIBLE_DEVICES").as_deref(), Some("0"));
        assert_eq!(get("OMP_NUM_THREADS").as_deref(), Some("1"));
        assert_eq!(get("TRAINYARD_RUN_ID").as_deref(), Some("run_0000000000016"));
        assert_eq!(get("TRAINYARD_SEED").as_deref(), Some("7"));
        assert_eq!(get("TRAINYARD_DATASET_VERSION").as_deref(), Some("4"));
    }
}
