//! Who may call what: every route, asked by everybody.

use super::harness::client::{self, Answer};
use super::harness::stream::Stream;
use super::harness::{Form, Server, Yard, images};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

/// Those who ask: nobody, and four accounts.
const ASKING: [&str; 6] = ["nobody", "viewer", "member", "guest", "other", "admin"];

struct Stage {
    yard: Yard,
    server: Server,
    tokens: Vec<Option<String>>,
    run: String,
    sweep: String,
}

impl Stage {
    /// `member` has the model `m`, which is shared with `viewer` to look at and with `guest` to work on.
    fn new() -> Self {
        let yard = Yard::new().one_experiment();
        for (name, role) in
            [("admin", "admin"), ("member", "member"), ("viewer", "viewer"), ("guest", "member"), ("other", "member")]
        {
            yard.add_user(name, role);
        }
        let server = yard.start();
        let tokens: Vec<_> = ASKING.iter().map(|name| (*name != "nobody").then(|| yard.token(name))).collect();
        let mut stage = Self { yard, server, tokens, run: String::new(), sweep: String::new() };
        assert_eq!(stage.ask("member", "GET", "/createModel?model_name=m", None).status, 200);
        assert_eq!(stage.upload("member").status, 200);
        assert_eq!(stage.ask("member", "GET", "/createDataset?model_name=m&dataset_name=d", None).status, 200);
        let swept = stage.ask("member", "GET", "/runDefaultExperiments?model_name=m", None).json();
        stage.run = swept["run_ids"][0].as_str().unwrap().to_owned();
        stage.sweep = swept["sweep_id"].as_str().unwrap().to_owned();
        stage.succeeds(&stage.run);
        for (name, access) in [("viewer", "view"), ("guest", "edit")] {
            let body = format!("{{\"access\":\"{access}\"}}");
            assert_eq!(stage.ask("member", "PUT", &format!("/api/v1/models/m/shares/{name}"), Some(&body)).status, 204);
        }
        stage
    }

    fn token(&self, who: &str) -> Option<&str> {
        let at = ASKING.iter().position(|name| *name == who).unwrap();
        self.tokens[at].as_deref()
    }

    fn send(&self, who: &str, method: &str, target: &str, content_type: &str, body: &[u8]) -> Answer {
        let bearer = self.token(who).map(|token| format!("Bearer {token}"));
        let mut headers = vec![];
        if let Some(bearer) = &bearer {
            headers.push(("Authorization", bearer.as_str()));
        }
        if !content_type.is_empty() {
            headers.push(("Content-Type", content_type));
        }
        client::send(self.server.address, method, target, &headers, body)
    }

    fn ask(&self, who: &str, method: &str, target: &str, body: Option<&str>) -> Answer {
        let kind = if body.is_some() { "application/json" } else { "" };
        self.send(who, method, target, kind, body.unwrap_or_default().as_bytes())
    }

    fn upload(&self, who: &str) -> Answer {
        let form = Form::new().field("model_name", "m").file("file", "cat/1.png", &images::png(1));
        self.send(who, "POST", "/uploadTrainingImage", &client::form_type(), &form.body())
    }

    /// An experiment of `member`'s that is in the trash.
    fn deleted(&self, who: &str, method: &str) -> String {
        let name = format!("gone-{who}-{method}-{}", self.count());
        let point = "learning_rate=1&num_layers=1&num_steps=1";
        let made =
            self.ask("member", "GET", &format!("/createExperiment?model_name=m&experiment_name={name}&{point}"), None);
        assert_eq!(made.status, 200, "{}", made.text());
        let gone = self.ask("member", "DELETE", &format!("/api/v1/models/m/experiments/{name}"), None);
        gone.json()["id"].as_str().unwrap().to_owned()
    }

    fn succeeds(&self, run: &str) {
        super::harness::wait_until("the run's end", || {
            self.ask("member", "GET", &format!("/api/v1/runs/{run}"), None).json()["state"] == "succeeded"
        });
    }

    /// A sweep of `member`'s that nobody else needs, and its only run; both are over.
    fn another(&self) -> (String, String) {
        let swept = self.ask("member", "GET", "/runDefaultExperiments?model_name=m", None).json();
        let run = swept["run_ids"][0].as_str().unwrap().to_owned();
        self.succeeds(&run);
        (swept["sweep_id"].as_str().unwrap().to_owned(), run)
    }

    fn count(&self) -> u64 {
        self.ask("member", "GET", "/api/v1/trash?limit=200", None).json()["data"].as_array().unwrap().len() as u64
    }

    /// A call that would do what the route is for, so that what keeps it from doing so is the asker.
    fn call(&self, who: &str, method: &str, path: &str) -> Answer {
        let id = match path {
            "/api/v1/trash/{id}" | "/api/v1/trash/{id}/restore" => self.deleted(who, method),
            _ if path.starts_with("/api/v1/tokens") => self.own_token(who),
            _ if path.starts_with("/api/v1/webhooks") => "whk_0000000000000".to_owned(),
            _ if path.starts_with("/api/v1/sweeps") => self.sweep.clone(),
            _ => self.run.clone(),
        };
        let path = path.replace("{id}", &id).replace("{model}", "m").replace("{experiment}", "default_1");
        let path = path.replace("{dataset}", "d").replace("{version}", "0").replace("{other}", "0");
        let body = |body: &str| self.ask(who, method, &path, Some(body));
        let query = |query: &str| self.ask(who, method, &format!("{path}?{query}"), None);
        match (method, path.as_str()) {
            (_, "/createModel") => query(&format!("model_name=of-{who}")),
            (_, "/createDataset") => query(&format!("model_name=m&dataset_name=of-{who}")),
            (_, "/createExperiment") => {
                query(&format!("model_name=m&experiment_name=of-{who}&learning_rate=1&num_layers=1&num_steps=1"))
            }
            (_, "/uploadTrainingImage") => self.upload(who),
            (_, "/uploadTrainingImages") => query("model_name=m&image_urls=http://127.0.0.1:1/a.png"),
            (_, "/train") => query("model_name=m&experiment_name=default_1"),
            (_, "/test") => {
                let form = Form::new().field("model_name", "m").file("file", "1.png", &images::png(1));
                self.send(who, method, &path, &client::form_type(), &form.body())
            }
            (_, "/runDefaultExperiments" | "/allAccuracies" | "/bestAccuracy") => query("model_name=m"),
            ("GET", "/api/v1/runs" | "/api/v1/sweeps") => query("model=m"),
            ("POST", "/api/v1/runs") => body("{\"model\":\"m\",\"experiment\":\"default_1\"}"),
            ("POST", "/api/v1/sweeps") => body("{\"model\":\"m\"}"),
            (_, path) if path.ends_with("/predictions") => {
                let form = Form::new().file("file", "1.png", &images::png(1));
                self.send(who, method, path, &client::form_type(), &form.body())
            }
            (_, path) if path.ends_with("/artifacts/{name}") => {
                self.ask(who, method, &path.replace("{name}", "kept"), None)
            }
            ("GET", "/api/v1/events") => {
                let bearer = self.token(who).map(|token| format!("Authorization: Bearer {token}\r\n"));
                let stream = Stream::open(self.server.address, "model=m", &bearer.unwrap_or_default());
                Answer { status: stream.status, head: stream.head, body: Vec::new() }
            }
            ("PATCH", _) if path.starts_with("/api/v1/runs/") => body("{\"priority\":1}"),
            ("DELETE", _) if path.starts_with("/api/v1/runs/") || path.starts_with("/api/v1/sweeps/") => {
                query("dry_run=true")
            }
            ("DELETE", _) if path.starts_with("/api/v1/models/m") && !path.contains("/shares/") => {
                self.ask(who, method, &format!("{path}?name=1.png&label=cat&dry_run=true"), None)
            }
            ("POST", "/api/v1/models") => body(&format!("{{\"name\":\"by-{who}\"}}")),
            ("PATCH", "/api/v1/models/m") => body("{\"description\":\"numbers\"}"),
            ("POST", "/api/v1/models/m/experiments") => {
                body(&format!("{{\"name\":\"by-{who}\",\"learning_rate\":0.5,\"layers\":1,\"steps\":1}}"))
            }
            ("PATCH", "/api/v1/models/m/experiments/default_1") => body("{\"name\":\"default_1\"}"),
            ("POST", "/api/v1/models/m/datasets") => body(&format!("{{\"name\":\"by-{who}\"}}")),
            ("PATCH", "/api/v1/models/m/datasets/d") => body("{\"name\":\"d\"}"),
            ("POST", path) if path.ends_with("/archive") => {
                let zip = super::harness::archive(&[("cat/1.png", &images::png(1))]);
                self.send(who, method, path, &client::form_type(), &Form::new().file("file", "a.zip", &zip).body())
            }
            ("POST", path) if path.ends_with("/images") => {
                let form = Form::new().file("file", "cat/1.png", &images::png(1));
                self.send(who, method, path, &client::form_type(), &form.body())
            }
            ("PATCH", path) if path.ends_with("/images") => {
                body("{\"changes\":[{\"label\":\"cat\",\"name\":\"1.png\",\"new_label\":\"cat\"}]}")
            }
            ("GET", path) if path.ends_with("/images/content") || path.ends_with("/images/thumbnail") => {
                query("name=1.png&label=cat")
            }
            ("POST", "/api/v1/accounts") => body(&format!("{{\"name\":\"by-{who}\",\"role\":\"viewer\"}}")),
            ("PATCH", "/api/v1/accounts/{account}") => {
                self.ask(who, method, "/api/v1/accounts/viewer", Some("{\"role\":\"viewer\"}"))
            }
            ("DELETE", "/api/v1/accounts/{account}") => {
                self.ask(who, method, &format!("/api/v1/accounts/by-{who}"), None)
            }
            (_, "/api/v1/accounts/{account}") => self.ask(who, method, "/api/v1/accounts/viewer", None),
            ("POST", "/api/v1/webhooks") => body("{\"url\":\"https://example.invalid/\"}"),
            ("POST", "/api/v1/tokens") => body("{\"label\":\"another\"}"),
            ("POST", "/api/v1/session") => {
                body(&format!("{{\"name\":\"{who}\",\"password\":\"{}\"}}", super::harness::yard::PASSWORD))
            }
            ("PUT", "/api/v1/session/password") => {
                let password = super::harness::yard::PASSWORD;
                body(&format!("{{\"old\":\"{password}\",\"new\":\"{password}\"}}"))
            }
            ("PUT", "/api/v1/models/m/shares/{account}") => {
                self.ask(who, method, "/api/v1/models/m/shares/viewer", Some("{\"access\":\"view\"}"))
            }
            ("DELETE", "/api/v1/models/m/shares/{account}") => {
                self.ask("admin", "PUT", "/api/v1/models/m/shares/admin", Some("{\"access\":\"view\"}"));
                self.ask(who, method, "/api/v1/models/m/shares/admin", None)
            }
            _ => self.ask(who, method, &path, None),
        }
    }

    /// The same for a page: what changes something comes from a form.
    fn page(&self, who: &str, method: &str, path: &str) -> Answer {
        let id = match path {
            _ if path.starts_with("/settings/trash") => self.deleted(who, path.rsplit('/').next().unwrap()),
            _ if path.starts_with("/settings/tokens") => self.own_token(who),
            _ if path.starts_with("/settings/webhooks") => "whk_0000000000000".to_owned(),
            "/sweeps/{id}/delete" => self.another().0,
            "/runs/{id}/delete" => self.another().1,
            _ if path.starts_with("/sweeps") => self.sweep.clone(),
            _ => self.run.clone(),
        };
        let dataset = if path.ends_with("/image") { "_all" } else { "d" };
        let path = path.replace("{id}", &id).replace("{model}", "m").replace("{dataset}", dataset);
        let path = path.replace("{account}", &format!("of-page-{who}")).replace("{file:.+}", "none");
        let form = |body: &str| self.send(who, method, &path, "application/x-www-form-urlencoded", body.as_bytes());
        let image = || {
            let form = Form::new().file("file", "cat/1.png", &images::png(1)).body();
            self.send(who, method, &path, &client::form_type(), &form)
        };
        let password = form_urlencoded::byte_serialize(super::harness::yard::PASSWORD.as_bytes()).collect::<String>();
        match (method, path.as_str()) {
            ("GET", "/compare") => self.ask(who, method, &format!("/compare?runs={}", self.run), None),
            ("GET", "/models/m/datasets/_all/image") => {
                self.ask(who, method, &format!("{path}?label=cat&name=1.png"), None)
            }
            ("GET", _) => self.ask(who, method, &path, None),
            (_, "/models") => form(&format!("name=page-{who}")),
            (_, "/models/m/grid") => form("learning_rates=1&layers=1&steps=1,2"),
            (_, "/models/m/experiment") => form(&format!("name=page-{who}&learning_rate=1&layers=1&steps=1")),
            (_, "/models/m/predict" | "/models/m/datasets/d/upload") => image(),
            (_, "/models/m/delete") => form("name=another"),
            (_, "/models/m/datasets") => form(&format!("name=page-{who}")),
            (_, "/models/m/datasets/d/archive") => {
                let zip = super::harness::archive(&[("cat/1.png", &images::png(1))]);
                let form = Form::new().file("file", "a.zip", &zip).body();
                self.send(who, method, &path, &client::form_type(), &form)
            }
            (_, "/models/m/datasets/d/relabel") => form("image=cat/1.png&new_label=cat"),
            (_, "/models/m/datasets/d/fetch") => form("urls=http://127.0.0.1:1/a.png"),
            (_, "/models/m/datasets/d/remove") => form("label=cat&name=none.png"),
            (_, "/settings/password") => form(&format!("old={password}&new={password}")),
            (_, "/settings/tokens") => form("label=another"),
            (_, "/settings/accounts") => form(&format!("name=of-page-{who}&role=viewer")),
            (_, "/settings/webhooks") => form("url=https://example.invalid/"),
            (_, "/sign-in") => form(&format!("name={who}&password={password}")),
            _ => form(""),
        }
    }

    /// The id of the token that was made last.
    fn own_token(&self, who: &str) -> String {
        let tokens = self.ask(who, "GET", "/api/v1/tokens", None).json();
        let last =
            tokens["data"].as_array().and_then(|tokens| tokens.iter().rfind(|token| token["label"] == "another"));
        last.map_or_else(|| "tok_0000000000016".to_owned(), |token| token["id"].as_str().unwrap().to_owned())
    }
}

#[test]
fn every_route_answers_everybody_as_it_is_written_down() {
    let stage = Stage::new();
    let mut table = format!("{:<6} {:<47} {:<10}", "method", "path", "takes");
    for who in ASKING {
        write!(table, " {who:>7}").unwrap();
    }
    table.push('\n');
    let calls = trainyard::http::routes().into_iter().map(|route| (route, false));
    let pages = trainyard::ui::routes().into_iter().map(|route| (route, true));
    for (route, is_page) in calls.chain(pages) {
        write!(table, "{:<6} {:<47} {:<10}", route.method, route.path, route.access).unwrap();
        for who in ASKING {
            let ask = if is_page { Stage::page } else { Stage::call };
            let status = ask(&stage, who, &route.method, route.path).status;
            write!(table, " {status:>7}").unwrap();
        }
        table.push('\n');
    }
    let kept = format!("{}/tests/data/access.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("TRAINYARD_UPDATE").is_some() {
        fs::write(&kept, &table).unwrap();
    }
    assert_eq!(table, fs::read_to_string(kept).unwrap(), "TRAINYARD_UPDATE=1 writes it anew");
    drop(stage.yard);
}

#[test]
fn nothing_is_open_by_omission() {
    let open: BTreeSet<_> = trainyard::http::routes()
        .into_iter()
        .chain(trainyard::ui::routes())
        .filter(|route| route.access == "open")
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    let meant = [
        "GET /api/v1/openapi.json",
        "GET /assets/{file}",
        "GET /healthz",
        "GET /readyz",
        "GET /sign-in",
        "HEAD /healthz",
        "HEAD /readyz",
        "POST /api/v1/session",
        "POST /sign-in",
    ];
    assert_eq!(open, meant.map(str::to_owned).into());
    let table = fs::read_to_string(format!("{}/tests/data/access.txt", env!("CARGO_MANIFEST_DIR"))).unwrap();
    for line in table.lines().skip(1).filter(|line| !line.contains(" open ")) {
        assert_eq!(line.split_whitespace().nth(3), Some("401"), "{line}");
    }
}

#[test]
fn what_one_may_not_see_is_as_if_it_were_not_there() {
    let stage = Stage::new();
    let told = |who: &str, target: &str| {
        let answer = stage.ask(who, "GET", target, None);
        (answer.status, answer.text_without_id().replace("nothing", "m"))
    };
    for call in
        ["/bestAccuracy?model_name=", "/allAccuracies?model_name=", "/train?experiment_name=default_1&model_name="]
    {
        assert_eq!(told("other", &format!("{call}m")), told("other", &format!("{call}nothing")), "{call}");
    }
    let gone = stage.run.replace(&stage.run[stage.run.len() - 3..], "zzz");
    for tail in ["", "/log", "/metrics"] {
        let here = told("other", &format!("/api/v1/runs/{}{tail}", stage.run));
        let there = told("other", &format!("/api/v1/runs/{gone}{tail}"));
        assert_eq!((here.0, here.1.replace(&stage.run, "?")), (there.0, there.1.replace(&gone, "?")), "{tail}");
    }
}
