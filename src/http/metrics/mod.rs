//! `/metrics`: what the server does and how it is, in the text format of Prometheus (OpenMetrics 1.0).
//!
//! Requests are counted as they go by; everything else is looked up when somebody asks. The labels are templates of
//! routes, methods, classes of statuses and a few fixed words, so their number is bounded whatever clients send.

mod process;
mod requests;

pub use requests::Requests;

use super::auth::Granted;
use super::error::{Shape, response};
use super::limits::Connections;
use super::routes::{Routes, at};
use super::tls::Tls;
use crate::domain::account::{Permit, View};
use crate::domain::error::{Error, Result};
use crate::service::Services;
use crate::service::figures::Figures;
use actix_web::HttpResponse;
use actix_web::web::Data;
use process::Process;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use utoipa::OpenApi;

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// One label and its value, one of a few.
type Label = [(&'static str, &'static str); 1];

/// A gauge that may be a fraction.
type Fraction = Gauge<f64, AtomicU64>;

/// Adds `/metrics`.
pub fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/metrics", Shape::Problem).get(get));
}

#[derive(OpenApi)]
#[openapi(paths(get))]
pub(super) struct Docs;

/// What the server does and how it is, for Prometheus
#[utoipa::path(get, path = "/metrics", operation_id = "get_metrics", tag = "health",
    responses((status = 200, description = "OpenMetrics 1.0", content_type = "application/openmetrics-text", body = String)))]
async fn get(Granted(permit): Granted<View>, services: Data<Services>, metrics: Data<Metrics>) -> HttpResponse {
    let text = tokio::task::spawn_blocking(move || metrics.text(permit, &services));
    match text.await.map_err(Error::internal).and_then(|text| text) {
        Ok(text) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(text),
        Err(error) => response(Shape::Problem, &error),
    }
}

/// Everything that is counted and measured.
pub struct Metrics {
    registry: Registry,
    requests: requests::Families,
    /// Requests that were refused for their rate.
    pub rate_limited: Counter,
    runs: Family<Label, Counter>,
    run_seconds: Family<Label, Histogram, fn() -> Histogram>,
    gauges: Gauges,
    tls: Option<Arc<Tls>>,
    started: Instant,
    /// The newest event that is counted; locked for as long as somebody asks.
    seen: Mutex<u64>,
}

/// What is looked up when somebody asks.
#[derive(Default)]
struct Gauges {
    queue: Family<Label, Gauge>,
    slots: Gauge,
    ready: Gauge,
    store: Gauge,
    disk_free: Gauge,
    disk_kept_free: Gauge,
    children_resident: Family<[(&'static str, &'static str); 0], Gauge>,
    uptime: Fraction,
    resident: Gauge,
    cpu: Fraction,
    descriptors: Gauge,
    certificate_end: Gauge,
}

fn run_seconds() -> Histogram {
    Histogram::new([0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0])
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Gauges {
    fn register(&self, registry: &mut Registry, with_tls: bool) {
        let mut gauge = |name: &str, help: &str, gauge: &Gauge| registry.register(name, help, gauge.clone());
        gauge("trainyard_queue_slots", "Jobs that may run at once", &self.slots);
        gauge("trainyard_ready", "1 while new work is accepted", &self.ready);
        gauge("trainyard_store_bytes", "Bytes of records and their log on the disk", &self.store);
        gauge("trainyard_disk_free_bytes", "Bytes that the disk of the data folder has left", &self.disk_free);
        gauge("trainyard_disk_kept_free_bytes", "Free bytes below which nothing new is accepted", &self.disk_kept_free);
        gauge("process_resident_memory_bytes", "Resident memory of the server", &self.resident);
        gauge("process_open_fds", "Open file descriptors of the server", &self.descriptors);
        if with_tls {
            gauge(
                "trainyard_tls_certificate_end_seconds",
                "When the certificate ends, since 1970",
                &self.certificate_end,
            );
        }
        registry.register("trainyard_queue_runs", "Runs that wait or have a slot", self.queue.clone());
        let children = self.children_resident.clone();
        registry.register("trainyard_children_resident_memory_bytes", "Resident memory of all children", children);
        registry.register("trainyard_uptime_seconds", "Time since the start", self.uptime.clone());
        registry.register("trainyard_cpu_seconds", "Processor time of the server", self.cpu.clone());
    }

    fn set(&self, figures: &Figures, process: &Process) {
        self.queue.get_or_create(&[("state", "queued")]).set(signed(figures.queue.queued));
        self.queue.get_or_create(&[("state", "running")]).set(signed(figures.queue.running));
        self.slots.set(signed(figures.queue.concurrency));
        self.ready.set(figures.ready.into());
        if let Some(disk) = figures.disk {
            self.store.set(signed(disk.store));
            self.disk_free.set(signed(disk.free));
            self.disk_kept_free.set(signed(disk.kept_free));
        }
        match figures.children_resident {
            Some(bytes) => drop(self.children_resident.get_or_create(&[]).set(signed(bytes))),
            None => self.children_resident.clear(),
        }
        self.resident.set(signed(process.resident));
        self.cpu.set(process.cpu.as_secs_f64());
        self.descriptors.set(signed(process.descriptors));
    }
}

impl Metrics {
    /// With nothing counted yet.
    ///
    /// # Errors
    /// `internal` where the store cannot be read.
    pub fn new(services: &Services, connections: &Arc<Connections>, tls: Option<&Arc<Tls>>) -> Result<Self> {
        let mut registry = Registry::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("trainyard_build", "What runs here", build);
        let requests = requests::Families::default();
        requests.register(&mut registry);
        let rate_limited = Counter::default();
        let help = "Requests refused for their rate";
        registry.register("trainyard_http_rate_limited", help, rate_limited.clone());
        registry.register_collector(Box::new(ConnectionFigures(Arc::clone(connections))));
        let gauges = Gauges::default();
        gauges.register(&mut registry, tls.is_some());
        let runs = Family::<Label, Counter>::default();
        registry.register("trainyard_runs", "Runs that ended since the start, by outcome", runs.clone());
        let run_seconds = Family::new_with_constructor(run_seconds as fn() -> Histogram);
        registry.register("trainyard_run_duration_seconds", "How long runs took", run_seconds.clone());
        for outcome in ["succeeded", "failed", "cancelled"] {
            drop(runs.get_or_create(&[("outcome", outcome)]));
        }
        let seen = Mutex::new(services.newest_event()?);
        let started = Instant::now();
        let tls = tls.cloned();
        Ok(Self { registry, requests, rate_limited, runs, run_seconds, gauges, tls, started, seen })
    }

    /// The counts of one worker.
    pub fn requests(&self) -> Requests {
        Requests::new(self.requests.clone())
    }

    /// Everything as text. Blocks for as long as the disk takes.
    fn text(&self, permit: Permit<View>, services: &Services) -> Result<String> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = services.figures(permit, *seen)?;
        *seen = figures.seen;
        for ended in &figures.ended {
            self.runs.get_or_create(&[("outcome", ended.outcome)]).inc();
            if let Some(seconds) = ended.seconds {
                self.run_seconds.get_or_create(&[("outcome", ended.outcome)]).observe(seconds);
            }
        }
        self.gauges.set(&figures, &Process::here());
        if let Some(tls) = &self.tls {
            self.gauges.certificate_end.set(signed(tls.not_after().as_secs()));
        }
        self.gauges.uptime.set(self.started.elapsed().as_secs_f64());
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(Error::internal)?;
        Ok(text)
    }
}

/// The connections, counted where they are.
struct ConnectionFigures(Arc<Connections>);

impl std::fmt::Debug for ConnectionFigures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConnectionFigures")
    }
}

impl Collector for ConnectionFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let (all, busy) = self.0.count();
        let name = "trainyard_http_connections";
        let mut gauge = encoder.encode_descriptor(name, "Connections by what they are at", None, MetricType::Gauge)?;
        for (state, count) in [("busy", busy), ("idle", all.saturating_sub(busy))] {
            ConstGauge::new(count as u64).encode(gauge.encode_family(&[("state", state)])?)?;
        }
        let tally = &self.0.tally;
        let name = "trainyard_http_connections_accepted";
        let counter = encoder.encode_descriptor(name, "Connections that were let in", None, MetricType::Counter)?;
        ConstCounter::new(tally.accepted.load(Relaxed)).encode(counter)?;
        let name = "trainyard_http_connections_ended";
        let help = "Connections that the server ended or refused, by reason";
        let mut counter = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (reason, count) in [
            ("full", &tally.refused),
            ("address_full", &tally.refused_address),
            ("made_room", &tally.evicted),
            ("idle", &tally.idle),
            ("slow_sender", &tally.slow_sender),
            ("slow_reader", &tally.slow_reader),
        ] {
            ConstCounter::new(count.load(Relaxed)).encode(counter.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}
