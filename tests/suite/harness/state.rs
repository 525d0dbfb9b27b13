//! What must not change when a request is refused: files and what the API shows.

use super::server::Server;
use super::wait::wait_until;
use super::yard::{Yard, tree};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What there is at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    files: BTreeMap<PathBuf, u64>,
    shown: Vec<String>,
}

impl State {
    /// Of a server with the models `m` and perhaps others.
    pub fn of(yard: &Yard, server: &Server) -> Self {
        let files = ["blobs", "runs", "views"].iter().flat_map(|folder| tree(&yard.data(folder))).collect();
        let calls: [(&str, &[(&str, &str)]); 4] = [
            ("/allAccuracies", &[("model_name", "m")]),
            ("/bestAccuracy", &[("model_name", "m")]),
            ("/api/v1/runs", &[("model", "m"), ("limit", "200")]),
            ("/api/v1/queue", &[]),
        ];
        let shown = calls.iter().map(|(path, query)| server.get(path, query).text_without_id()).collect();
        Self { files, shown }
    }

    /// Fails where anything is different now, or an upload was left behind.
    #[track_caller]
    pub fn still(&self, yard: &Yard, server: &Server) {
        // A client may know that it is refused a moment before the file is gone.
        wait_until("no unfinished upload", || yard.unfinished().is_empty());
        assert_eq!(Self::of(yard, server), *self);
    }
}

/// A server with the model `m`, the dataset `d` of one image, the experiment `e`, and one result.
pub fn furnished(yard: &Yard) -> Server {
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    server.create_dataset("m", "empty");
    server.create_experiment("m", "e");
    server.upload("m", "d", "a.png", &super::images::png(1));
    server.trained("m", "e", "d");
    server
}

/// Fails where the datasets of a furnished server hold anything else than they did.
#[track_caller]
pub fn images_are_untouched(server: &Server) {
    for dataset in ["d", ""] {
        let run = server.trained("m", "e", dataset);
        assert_eq!(run["dataset_version"], 1, "{run}");
    }
    let message = server
        .get("/train", &[("model_name", "m"), ("experiment_name", "e"), ("dataset_name", "empty")])
        .refused(409, "status");
    assert!(message.contains("no images"), "{message}");
}
