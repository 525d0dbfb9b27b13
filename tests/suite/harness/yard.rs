//! A folder with everything a server needs: settings, scripts, data. Servers come and go in it.

use super::process::{Ended, trainyard};
use super::server::Server;
use super::wait::{Gate, lines};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

/// The password of accounts that tests make.
pub const PASSWORD: &str = "correct horse";

/// The folder. Scripts know it as `$YARD`.
pub struct Yard {
    folder: TempDir,
    settings: toml::Table,
    pub variables: Vec<(String, String)>,
}

impl Yard {
    /// Two runs at once, a training that prints 0.5 and a prediction that prints 0.9.
    pub fn new() -> Self {
        let yard = Self { folder: tempfile::tempdir().unwrap(), settings: toml::Table::new(), variables: Vec::new() };
        yard.set("jobs", "concurrency", 2)
            .set("jobs", "stop_grace_seconds", 1)
            .train("echo accuracy=0.5")
            .test("echo accuracy=0.9")
    }

    /// A setting of the file.
    #[must_use]
    pub fn set(mut self, section: &str, key: &str, value: impl Into<toml::Value>) -> Self {
        let section = self.settings.entry(section).or_insert_with(|| toml::Table::new().into());
        section.as_table_mut().unwrap().insert(key.to_owned(), value.into());
        self
    }

    /// A variable of the server's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What training is, in sh.
    #[must_use]
    pub fn train(self, script: &str) -> Self {
        self.script("train", script)
    }

    /// What prediction is, in sh.
    #[must_use]
    pub fn test(self, script: &str) -> Self {
        self.script("test", script)
    }

    fn script(self, name: &str, script: &str) -> Self {
        let file = format!("{name}.sh");
        fs::write(self.path(&file), format!("YARD='{}'\n{script}\n", self.folder.path().display())).unwrap();
        self.set("trainer", name, vec!["/bin/sh".to_owned(), file])
    }

    /// The built-in trainer in place of scripts.
    #[must_use]
    pub fn built_in(mut self) -> Self {
        self.settings.remove("trainer");
        self
    }

    /// One experiment a model in place of 27.
    #[must_use]
    pub fn one_experiment(self) -> Self {
        self.experiments(1)
    }

    /// So many experiments a model; they differ in their steps, which are their numbers.
    #[must_use]
    pub fn experiments(self, count: i64) -> Self {
        self.set("sweep", "learning_rates", vec![0.1]).set("sweep", "layers", vec![1]).set(
            "sweep",
            "steps",
            (1..=count).collect::<Vec<i64>>(),
        )
    }

    /// A file in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file or folder of the server's.
    pub fn data(&self, name: &str) -> PathBuf {
        self.path("data").join(name)
    }

    /// Writes a file for scripts.
    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    /// The lines that scripts appended to a file.
    pub fn lines(&self, name: &str) -> Vec<String> {
        lines(&self.path(name))
    }

    /// A gate for scripts, closed.
    pub fn gate(&self, name: &str) -> Gate {
        Gate::new(self.path(name))
    }

    /// The settings file, written.
    pub fn settings_file(&self) -> PathBuf {
        let file = self.path("config.toml");
        fs::write(&file, toml::to_string(&self.settings).unwrap()).unwrap();
        file
    }

    /// Starts a server.
    #[track_caller]
    pub fn start(&self) -> Server {
        Server::start(self, &[]).unwrap_or_else(|ended| panic!("the server did not start: {ended:?}"))
    }

    /// Starts a server that is to refuse.
    #[track_caller]
    pub fn refusal(&self, flags: &[&str]) -> String {
        match Server::start(self, flags) {
            Ok(_) => panic!("the server started"),
            Err(Ended { status, stderr }) => {
                assert_eq!(status.code(), Some(1), "{stderr}");
                stderr
            }
        }
    }

    /// Runs a command of the binary on the yard's data folder; it is given `input`. Returns what it printed.
    #[track_caller]
    pub fn command(&self, words: &[&str], input: &str) -> Result<String, Ended> {
        let mut child = trainyard()
            .args(words)
            .arg("--data-dir")
            .arg(self.path("data"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let printed = String::from_utf8(output.stdout.clone()).unwrap();
        if output.status.success() { Ok(printed) } else { Err(Ended::from(output)) }
    }

    /// Makes an account whose password is [`PASSWORD`].
    #[track_caller]
    pub fn add_user(&self, name: &str, role: &str) {
        let words = ["user", "add", name, "--role", role, "--password-stdin"];
        self.command(&words, &format!("{PASSWORD}\n")).unwrap();
    }

    /// Makes a token.
    #[track_caller]
    pub fn token(&self, user: &str) -> String {
        self.command(&["token", "create", "--user", user], "").unwrap().trim().to_owned()
    }

    /// The images that are stored.
    pub fn blobs(&self) -> BTreeMap<PathBuf, u64> {
        tree(&self.data("blobs"))
    }

    /// Uploads that are under way, or were left behind.
    pub fn unfinished(&self) -> BTreeMap<PathBuf, u64> {
        tree(&self.data("tmp"))
    }
}

/// The files below a folder with their sizes.
pub fn tree(folder: &Path) -> BTreeMap<PathBuf, u64> {
    let mut found = BTreeMap::new();
    let Ok(entries) = fs::read_dir(folder) else { return found };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            found.extend(tree(&entry.path()));
        } else {
            found.insert(entry.path(), entry.metadata().map_or(0, |file| file.len()));
        }
    }
    found
}
