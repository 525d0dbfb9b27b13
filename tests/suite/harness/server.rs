//! A running server: started, asked, stopped, killed.

use super::client::{self, Answer, Form, form_type, target};
use super::process::{Ended, trainyard};
use super::wait::{DEADLINE, wait_for, wait_within};
use super::yard::Yard;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File};
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The process. It goes when this does, with everything it started.
pub struct Server {
    child: Child,
    stdout: ChildStdout,
    log: PathBuf,
    pub address: SocketAddr,
}

impl Server {
    /// Starts one in the yard and waits until it listens.
    pub fn start(yard: &Yard, flags: &[&str]) -> Result<Self, Ended> {
        let log = yard.path("server.log");
        let from = fs::metadata(&log).map_or(0, |log| log.len());
        let mut command = trainyard();
        command.arg("serve").arg("--config").arg(yard.settings_file()).arg("--data-dir").arg(yard.path("data"));
        if !flags.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(flags);
        command.envs(yard.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(File::options().create(true).append(true).open(&log).unwrap()).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        match first_line(&mut stdout) {
            Some(line) => {
                let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
                let address = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://")).unwrap();
                Ok(Self { child, stdout, log, address: address.parse().unwrap() })
            }
            None => {
                let status = wait_for("the end of a server that does not listen", || child.try_wait().unwrap());
                let all = fs::read(&log).unwrap();
                let stderr = String::from_utf8_lossy(&all[usize::try_from(from).unwrap()..]).into_owned();
                Err(Ended { status, stderr })
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the server and its predecessors logged.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = kill_process(pid, signal);
    }

    /// Asks it to stop, as a process manager does; it has to end well.
    #[track_caller]
    pub fn stop(self) {
        self.stop_within(DEADLINE);
    }

    #[track_caller]
    pub fn stop_within(mut self, limit: Duration) {
        self.signal(Signal::TERM);
        let status = wait_within(limit, "the server's end after SIGTERM", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{status}");
    }

    /// Kills it.
    pub fn kill9(mut self) {
        self.kill();
    }

    fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Whether it is gone.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until it is gone by itself, or because somebody killed it.
    pub fn status(&mut self) -> ExitStatus {
        wait_for("the server's end", || self.child.try_wait().unwrap())
    }

    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        client::request(self.address, "GET", &target(path, query), "", &[])
    }

    /// A GET of a server that may be gone at any moment.
    pub fn attempt(&self, path: &str) -> Option<Answer> {
        client::attempt(self.address, path)
    }

    pub fn post(&self, path: &str, form: &Form) -> Answer {
        client::request(self.address, "POST", path, &form_type(), &form.body())
    }

    #[track_caller]
    pub fn create_model(&self, model: &str) {
        self.get("/createModel", &[("model_name", model)]).ok();
    }

    #[track_caller]
    pub fn create_dataset(&self, model: &str, dataset: &str) {
        self.get("/createDataset", &[("model_name", model), ("dataset_name", dataset)]).ok();
    }

    #[track_caller]
    pub fn create_experiment(&self, model: &str, experiment: &str) {
        let rest = [("learning_rate", "0.5"), ("num_layers", "3"), ("num_steps", "7")];
        let names = [("model_name", model), ("experiment_name", experiment)];
        self.get("/createExperiment", &[&names[..], &rest].concat()).ok();
    }

    /// Uploads; a dataset of `""` is none.
    #[track_caller]
    pub fn upload(&self, model: &str, dataset: &str, file_name: &str, image: &[u8]) {
        let mut form = Form::new().field("model_name", model);
        if !dataset.is_empty() {
            form = form.field("dataset_name", dataset);
        }
        self.post("/uploadTrainingImage", &form.file("file", file_name, image)).ok();
    }

    /// A model with one image.
    #[track_caller]
    pub fn model_with_image(&self, model: &str) {
        self.create_model(model);
        self.upload(model, "", "a.png", &super::images::png(1));
    }

    /// Submits a run; a dataset of `""` is none. Returns its id.
    #[track_caller]
    pub fn train(&self, model: &str, experiment: &str, dataset: &str) -> String {
        let mut query = vec![("model_name", model), ("experiment_name", experiment)];
        if !dataset.is_empty() {
            query.push(("dataset_name", dataset));
        }
        self.get("/train", &query).ok()["run_id"].as_str().unwrap().to_owned()
    }

    /// Submits the default experiments. Returns the ids of their runs.
    #[track_caller]
    pub fn sweep(&self, model: &str) -> Vec<String> {
        let answer = self.get("/runDefaultExperiments", &[("model_name", model)]).ok();
        answer["run_ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    #[track_caller]
    pub fn run(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/runs/{id}"), &[]).ok()
    }

    pub fn state(&self, id: &str) -> String {
        self.run(id)["state"].as_str().unwrap().to_owned()
    }

    pub fn run_log(&self, id: &str) -> String {
        self.get(&format!("/api/v1/runs/{id}/log"), &[]).text()
    }

    pub fn cancel(&self, id: &str) -> Answer {
        client::request(self.address, "POST", &format!("/api/v1/runs/{id}/cancel"), "", &[])
    }

    /// (queued, running)
    pub fn queue(&self) -> (u64, u64) {
        let queue = self.get("/api/v1/queue", &[]).ok();
        (queue["queued"].as_u64().unwrap(), queue["running"].as_u64().unwrap())
    }

    /// Waits until nothing waits or runs.
    #[track_caller]
    pub fn idle(&self) {
        wait_for("an empty queue", || (self.queue() == (0, 0)).then_some(()));
    }

    /// Trains, waits, and returns the run, which has to have succeeded.
    #[track_caller]
    pub fn trained(&self, model: &str, experiment: &str, dataset: &str) -> Value {
        let id = self.train(model, experiment, dataset);
        self.idle();
        let run = self.run(&id);
        assert_eq!(run["state"], "succeeded", "{run}");
        run
    }

    /// (experiment, [(accuracy, dataset)]) as `/allAccuracies` has them.
    pub fn accuracies(&self, model: &str) -> Vec<(String, Vec<(String, String)>)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let answer = self.get("/allAccuracies", &[("model_name", model)]).ok();
        let experiments = answer["body"]["AllExperiments"].as_array().unwrap();
        let of = |experiment: &Value| {
            let results = experiment["accuracies"].as_array().unwrap();
            results.iter().map(|result| (text(&result["accuracy"]), text(&result["datasetName"]))).collect()
        };
        experiments.iter().map(|experiment| (text(&experiment["experimentName"]), of(experiment))).collect()
    }

    /// (experiment, accuracy, dataset) as `/bestAccuracy` has them; an experiment of `""` is none.
    #[track_caller]
    pub fn best(&self, model: &str, experiment: &str) -> (String, String, String) {
        let mut query = vec![("model_name", model)];
        if !experiment.is_empty() {
            query.push(("experiment_name", experiment));
        }
        let body = &self.get("/bestAccuracy", &query).ok()["body"];
        let text = |key: &str| body[key].as_str().unwrap().to_owned();
        (text("bestExperiment"), text("bestaccuracy"), text("bestDataset"))
    }
}

/// Reads up to the end of the first line; `None` where there is none.
fn first_line(stdout: &mut ChildStdout) -> Option<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while readable(stdout, DEADLINE) && stdout.read(&mut byte).unwrap() == 1 {
        line.push(byte[0]);
        if byte[0] == b'\n' {
            return Some(String::from_utf8(line).unwrap());
        }
    }
    None
}

fn readable(stdout: &ChildStdout, limit: Duration) -> bool {
    let limit = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap(), tv_nsec: limit.subsec_nanos().into() };
    poll(&mut [PollFd::new(stdout, PollFlags::IN)], Some(&limit)).is_ok_and(|ready| ready > 0)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        // Its guard has the other end of the pipe and lives until it has killed the rest.
        let until = Instant::now() + Duration::from_secs(5);
        let mut byte = [0];
        while Instant::now() < until
            && readable(&self.stdout, until.saturating_duration_since(Instant::now()))
            && matches!(self.stdout.read(&mut byte), Ok(1))
        {}
        if std::thread::panicking() {
            eprintln!("--- the server's log:\n{}", self.log());
        }
    }
}
