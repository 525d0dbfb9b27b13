//! Requests by route, method and class of status, and how long they took.
//!
//! Each worker remembers the counters that it needed before, so that counting is a look-up and a few additions.

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

/// The methods that are told apart.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];

/// The classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The route of a path that no route has.
const NO_ROUTE: &str = "none";

fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0])
}

/// Labels and their values.
type Labels<const N: usize> = [(&'static str, String); N];

/// The counters of all workers.
#[derive(Debug, Clone)]
pub struct Families {
    counts: Family<Labels<3>, Counter>,
    seconds: Family<Labels<1>, Histogram, fn() -> Histogram>,
}

impl Default for Families {
    fn default() -> Self {
        Self { counts: Family::default(), seconds: Family::new_with_constructor(seconds as fn() -> Histogram) }
    }
}

impl Families {
    /// Makes them part of what is shown.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests by route, method and class of status";
        registry.register("trainyard_http_requests", help, self.counts.clone());
        let help = "Time from a request's head to the head of its answer";
        registry.register("trainyard_http_request_duration_seconds", help, self.seconds.clone());
    }
}

/// The counters of one route.
struct Route {
    seconds: Histogram,
    counts: [[OnceCell<Counter>; CLASSES.len()]; METHODS.len()],
}

/// What one worker counts.
pub struct Requests {
    families: Families,
    routes: RefCell<HashMap<String, Route>>,
}

impl Requests {
    pub(super) fn new(families: Families) -> Self {
        Self { families, routes: RefCell::default() }
    }

    /// Counts a request that was answered.
    pub fn count(&self, request: &HttpRequest, status: StatusCode, took: Duration) {
        match request.match_name() {
            Some(template) => self.add(template, request.method().as_str(), status, took),
            // Routes without a name are known by their pattern, which takes longer to find.
            None => {
                let template = request.match_pattern();
                self.add(template.as_deref().unwrap_or(NO_ROUTE), request.method().as_str(), status, took);
            }
        }
    }

    fn add(&self, template: &str, method: &str, status: StatusCode, took: Duration) {
        let mut routes = self.routes.borrow_mut();
        if !routes.contains_key(template) {
            let seconds = self.families.seconds.get_or_create_owned(&[("route", template.to_owned())]);
            routes.insert(template.to_owned(), Route { seconds, counts: Default::default() });
        }
        let Some(route) = routes.get(template) else { return };
        let method = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        let count = route.counts[method][class].get_or_init(|| {
            let labels = [("route", template), ("method", METHODS[method]), ("status", CLASSES[class])];
            self.families.counts.get_or_create_owned(&labels.map(|(name, value)| (name, value.to_owned())))
        });
        count.inc();
        route.seconds.observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::text::encode;

    #[test]
    fn workers_add_up_and_labels_are_bounded() {
        let mut registry = Registry::default();
        let families = Families::default();
        families.register(&mut registry);
        let workers = [Requests::new(families.clone()), Requests::new(families)];
        for worker in &workers {
            for method in ["GET", "BREW", "FROB"] {
                worker.add("/x/{id}", method, StatusCode::NOT_FOUND, Duration::from_millis(2));
            }
        }
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for line in [
            r#"trainyard_http_requests_total{route="/x/{id}",method="GET",status="4xx"} 2"#,
            r#"trainyard_http_requests_total{route="/x/{id}",method="other",status="4xx"} 4"#,
            r#"trainyard_http_request_duration_seconds_count{route="/x/{id}"} 6"#,
            r#"trainyard_http_request_duration_seconds_bucket{le="0.001",route="/x/{id}"} 0"#,
            r#"trainyard_http_request_duration_seconds_bucket{le="+Inf",route="/x/{id}"} 6"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
