//! `/metrics`: that it parses, which names and types it has, and that it counts.

use crate::harness::{Server, Yard, wait_until};
use std::collections::{BTreeMap, BTreeSet};

/// A scrape: types by name, values by name and labels.
struct Scrape {
    types: BTreeMap<String, String>,
    values: BTreeMap<String, f64>,
}

/// Reads the text format, and fails where it is not kept.
fn parse(text: &str) -> Scrape {
    let body = text.strip_suffix("# EOF\n").expect("an end");
    let mut scrape = Scrape { types: BTreeMap::new(), values: BTreeMap::new() };
    let mut helped = BTreeSet::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram", "info"].contains(&kind), "{line}");
            assert!(scrape.types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let name = series.split('{').next().unwrap();
            let (family, kind) = family(&scrape.types, name).unwrap_or_else(|| panic!("no type: {line}"));
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
            assert!(helped.contains(family), "{line}");
            labels(&series[name.len()..]);
            let value: f64 = value.parse().unwrap_or_else(|_| panic!("{line}"));
            assert!(value.is_finite() && (kind == "gauge" || value >= 0.0), "{line}");
            assert!(scrape.values.insert(series.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    scrape
}

/// The family that a sample belongs to, and its type.
fn family<'a>(types: &'a BTreeMap<String, String>, sample: &str) -> Option<(&'a str, &'a str)> {
    types.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).find(|(name, kind)| {
        let Some(suffix) = sample.strip_prefix(name) else { return false };
        match *kind {
            "counter" => suffix == "_total",
            "info" => suffix == "_info",
            "histogram" => ["_sum", "_count", "_bucket"].contains(&suffix),
            _ => suffix.is_empty(),
        }
    })
}

/// `{a="b",c="d"}` or nothing.
fn labels(text: &str) {
    if text.is_empty() {
        return;
    }
    let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or_else(|| panic!("{text}"));
    let mut rest = inner;
    while !rest.is_empty() {
        let (name, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{text}"));
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{text}");
        let end = value.find('"').unwrap_or_else(|| panic!("{text}"));
        assert!(!value[..end].contains('\\'), "an escape is more than this reads: {text}");
        rest = value[end + 1..].strip_prefix(',').unwrap_or(&value[end + 1..]);
    }
}

fn scrape(server: &Server) -> Scrape {
    let answer = server.get("/metrics", &[]);
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    parse(&answer.text())
}

impl Scrape {
    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        *self.values.get(series).unwrap_or_else(|| panic!("{series} is not among {:#?}", self.values))
    }
}

const TYPES: &[&str] = &[
    "process_open_fds gauge",
    "process_resident_memory_bytes gauge",
    "trainyard_build info",
    "trainyard_cpu_seconds gauge",
    "trainyard_disk_free_bytes gauge",
    "trainyard_disk_kept_free_bytes gauge",
    "trainyard_http_connections gauge",
    "trainyard_http_connections_accepted counter",
    "trainyard_http_connections_ended counter",
    "trainyard_http_rate_limited counter",
    "trainyard_http_request_duration_seconds histogram",
    "trainyard_http_requests counter",
    "trainyard_queue_runs gauge",
    "trainyard_queue_slots gauge",
    "trainyard_ready gauge",
    "trainyard_run_duration_seconds histogram",
    "trainyard_runs counter",
    "trainyard_store_bytes gauge",
    "trainyard_uptime_seconds gauge",
];

#[test]
fn names_and_types_are_what_dashboards_are_made_for() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    // Families are shown once they have something to show.
    server.model_with_image("m");
    server.trained("m", "default_1", "");
    scrape(&server);
    let scrape = scrape(&server);
    // Not every kernel tells whom a process started.
    let everywhere = scrape.types.iter().filter(|(name, _)| *name != "trainyard_children_resident_memory_bytes");
    let types: Vec<String> = everywhere.map(|(name, kind)| format!("{name} {kind}")).collect();
    assert_eq!(types, TYPES);
    assert_eq!(scrape.value(&format!("trainyard_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    assert_eq!(scrape.value("trainyard_ready"), 1.0);
    assert!(scrape.value("process_resident_memory_bytes") > 1e6);
    assert!(scrape.value("process_open_fds") > 5.0);
    assert!(scrape.value("trainyard_disk_free_bytes") > scrape.value("trainyard_disk_kept_free_bytes"));
    assert!(scrape.value("trainyard_store_bytes") > 0.0 && scrape.value("trainyard_cpu_seconds") > 0.0);
}

#[test]
fn requests_are_counted_by_route_and_what_clients_invent_makes_no_series() {
    let yard = Yard::new();
    let server = yard.start();
    let series = |method: &str, route: &str, status: &str| {
        format!("trainyard_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}")
    };
    let before = scrape(&server).values.len();
    for number in 0..20 {
        server.get(&format!("/api/v1/runs/run_{number}"), &[]);
        server.get(&format!("/invented/{number}"), &[]);
        let method = format!("M{number}");
        crate::harness::client::request(server.address, &method, "/healthz", "", &[]);
    }
    let after = scrape(&server);
    assert_eq!(after.value(&series("GET", "/api/v1/runs/{id}", "4xx")), 20.0);
    assert_eq!(after.value(&series("GET", "none", "4xx")), 20.0);
    assert_eq!(after.value(&series("other", "/healthz", "4xx")), 20.0);
    let durations = "trainyard_http_request_duration_seconds";
    assert_eq!(after.value(&format!("{durations}_count{{route=\"/api/v1/runs/{{id}}\"}}")), 20.0);
    assert_eq!(after.value(&format!("{durations}_bucket{{le=\"+Inf\",route=\"none\"}}")), 20.0);
    // Three routes, each with a count and a histogram; and /metrics itself.
    assert!(after.values.len() - before < 80, "{} new series", after.values.len() - before);
    assert!(after.value("trainyard_http_connections_accepted_total") >= 60.0);
    assert_eq!(after.value("trainyard_http_connections{state=\"busy\"}"), 1.0);
}

#[test]
fn runs_are_counted_by_their_outcome() {
    let yard = Yard::new().one_experiment().train("[ \"$6\" = 7 ] && exit 1; echo accuracy=0.5");
    let server = yard.start();
    server.model_with_image("m");
    server.create_experiment("m", "fails");
    server.trained("m", "default_1", "");
    server.train("m", "fails", "");
    server.idle();
    let runs = |scrape: &Scrape, outcome: &str| scrape.value(&format!("trainyard_runs_total{{outcome=\"{outcome}\"}}"));
    wait_until("both runs", || {
        let scrape = scrape(&server);
        (runs(&scrape, "succeeded"), runs(&scrape, "failed"), runs(&scrape, "cancelled")) == (1.0, 1.0, 0.0)
    });
    // Asking again does not count them again.
    let again = scrape(&server);
    assert_eq!(runs(&again, "succeeded"), 1.0);
    assert_eq!(again.value("trainyard_run_duration_seconds_count{outcome=\"failed\"}"), 1.0);
    assert_eq!(again.value("trainyard_queue_runs{state=\"queued\"}"), 0.0);
    assert_eq!(again.value("trainyard_queue_slots"), 2.0);
}
