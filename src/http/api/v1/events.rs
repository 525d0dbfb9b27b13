//! `/api/v1/events`: what happens, as server-sent events, for as long as the client listens.
//!
//! Knows how events are written out; who is told what is the service's matter.

use super::queue;
use super::runs::{self, RunBody};
use super::sweeps::{self, SweepBody};
use crate::domain::account::View;
use crate::domain::error::{Error, Result};
use crate::http::auth::{Came, Granted};
use crate::http::error::{Shape, response};
use crate::http::limits::connection::Connection;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::live::{Change, Filter, Follower, Item, Place, Told};
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::Data;
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use bytes::Bytes;
use futures::Stream;
use futures::stream::poll_fn;
use serde::Serialize;
use serde_json::json;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use utoipa::OpenApi;

/// How often something is said on a stream, so that both ends know that the other one is there.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The longest time that a client can ask for; a stream ends after an hour anyway.
const MOST_SECONDS: u64 = 3600;

/// After how many milliseconds a client that was cut off comes again.
const RETRY_MS: u32 = 1000;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/events", Shape::Problem).get(follow));
}

#[derive(OpenApi)]
#[openapi(paths(follow))]
pub(super) struct Docs;

fn filter(given: &Parameters) -> Result<Filter> {
    let offset = |name: &str| match given.optional(name) {
        None => Ok(0),
        Some(text) => text.parse().map_err(|_| Error::parameter(format!("{name} must be a number of bytes"))),
    };
    let log = match given.optional("log") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Error::parameter("log must be true or false")),
    };
    let filter = Filter {
        model: given.optional_reference("model")?,
        sweep: given.optional("sweep").map(sweeps::id).transpose()?,
        run: given.optional("run").map(runs::id).transpose()?,
        log,
        known: (offset("points_offset")?, offset("log_offset")?),
    };
    if filter.log && filter.run.is_none() {
        return Err(Error::parameter("log=true needs run=; a log belongs to one run"));
    }
    Ok(filter)
}

/// Where the client was: its header, which browsers send by themselves, or a parameter.
fn after(request: &HttpRequest, given: &Parameters) -> Result<Option<Place>> {
    let header = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    let text = header.filter(|text| !text.is_empty()).or_else(|| given.optional("last_event_id"));
    text.map(str::parse).transpose()
}

/// Reads `seconds`.
fn lasts(given: &Parameters) -> Result<Option<Duration>> {
    let Some(text) = given.optional("seconds") else { return Ok(None) };
    match text.parse() {
        Ok(seconds) if (1..=MOST_SECONDS).contains(&seconds) => Ok(Some(Duration::from_secs(seconds))),
        _ => Err(Error::parameter(format!("seconds must be a whole number from 1 to {MOST_SECONDS}"))),
    }
}

/// What happens, as server-sent events
///
/// `queue`, `sweep` and `run` say where something stands now, `point` and `log` what a run has printed. `reset` says that what
/// lies between is not kept any more, `bye` that the stream ends; a client comes again with the last id.
#[utoipa::path(get, path = "/api/v1/events", operation_id = "follow_events", tag = "queue",
    params(("model" = Option<String>, Query, description = "Of this model only, by its name or id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"),
        ("sweep" = Option<String>, Query, description = "Of this sweep only", pattern = "^(swp_[0-9a-f][0-9a-hjkmnp-tv-z]{12})?$"),
        ("run" = Option<String>, Query, description = "Of this run only, with all of its points", pattern = "^(run_[0-9a-f][0-9a-hjkmnp-tv-z]{12})?$"),
        ("log" = Option<bool>, Query, description = "The run's log as well"),
        ("points_offset" = Option<u64>, Query, description = "How many bytes of the run's metrics are known already"),
        ("log_offset" = Option<u64>, Query, description = "How many bytes of the run's log are known already"),
        ("seconds" = Option<u32>, Query, minimum = 1, maximum = 3600, description = "After how long it ends, for programs that look now and then"),
        ("last_event_id" = Option<String>, Query, description = "The id of the last event that was received"),
        ("Last-Event-ID" = Option<String>, Header, description = "The same, as browsers send it")),
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 404), (status = 503)))]
async fn follow(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let token = request.extensions().get::<Came>().map(|came| came.0);
    let outcome = async {
        let (filter, after, lasts) = (filter(&given)?, after(&request, &given)?, lasts(&given)?);
        Ok((services.into_inner().follow(permit, token, filter, after).await?, lasts))
    };
    match outcome.await {
        Ok((follower, lasts)) => HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header(("x-content-type-options", "nosniff"))
            // Proxies are not to collect it.
            .insert_header(("x-accel-buffering", "no"))
            .streaming(while_there(request.conn_data().cloned(), stream(follower, lasts))),
        Err(error) => response(Shape::Problem, &error),
    }
}

/// A stream that ends with its client: while nothing is written to it, nobody else would see that it has gone.
fn while_there<S>(client: Option<Arc<Connection>>, pieces: S) -> impl Stream<Item = S::Item>
where
    S: Stream,
{
    let mut pieces = Box::pin(pieces);
    // Whatever is read on the connection wakes whoever polls this.
    poll_fn(move |context| match &client {
        Some(client) if client.has_left() => Poll::Ready(None),
        _ => pieces.as_mut().poll_next(context),
    })
}

/// The pieces of a stream, until the follower is told no more, or it has lasted as long as was asked for.
fn stream(follower: Follower, lasts: Option<Duration>) -> impl Stream<Item = io::Result<Bytes>> {
    let ends = lasts.map(|lasts| Instant::now() + lasts);
    futures::stream::try_unfold((follower, true), move |(mut follower, is_first)| async move {
        if is_first {
            return Ok(Some((Bytes::from(format!("retry: {RETRY_MS}\n\n")), (follower, false))));
        }
        let left = ends.map(|ends| ends.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
        let patience = left.map_or(HEARTBEAT, |left| left.min(HEARTBEAT));
        let piece = match timeout(patience, follower.next()).await {
            Ok(Ok(Some(told))) => piece(&told, follower.place()),
            Ok(Ok(None)) => return Ok(None),
            // The connection is closed over it, and the client comes again.
            Ok(Err(error)) => return Err(io::Error::other(error)),
            // What concerned others has passed as well.
            Err(_) => format!(": still here\nid: {}\n\n", follower.place()),
        };
        Ok(Some((Bytes::from(piece), (follower, false))))
    })
}

/// Events as they are written out. What was printed says where one is behind it; of the rest, which is told together, the
/// last one does.
fn piece(told: &[Told], place: &Place) -> String {
    let mut text = String::with_capacity(512);
    let last = told.iter().rposition(|one| !matches!(one, Told::Bye));
    for (at, one) in told.iter().enumerate() {
        match one {
            Told::Item(item) => text.push_str(item.written.get_or_init(|| written(item))),
            Told::Point(run, lines, at, _) => {
                let fields = lines.get(*at).and_then(|line| line.text.strip_prefix('{')).unwrap_or("}");
                // JSON objects without a line feed; the run goes in front of what the file has.
                let _ = writeln!(text, "event: point\ndata: {{\"run\":\"{run}\",{fields}");
            }
            Told::Log(run, piece, _) => {
                text.push_str(&event(
                    "log",
                    &json!({ "run": run.to_string(), "offset": piece.start, "text": piece.text }),
                ));
            }
            Told::Reset => text.push_str(&event("reset", &json!({}))),
            Told::Bye => text.push_str(&event("bye", &json!({}))),
        }
        let behind = match one {
            Told::Point(.., behind) | Told::Log(.., behind) => Some(behind),
            _ => None,
        };
        let behind = if last == Some(at) { Some(place) } else { behind };
        if let Some(behind) = behind {
            let _ = writeln!(text, "id: {behind}");
        }
        text.push('\n');
    }
    text
}

/// An event without its end.
fn event(name: &str, data: &impl Serialize) -> String {
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n")
}

fn written(item: &Item) -> String {
    match &item.change {
        Change::Queue(status) => event("queue", &queue::body(*status)),
        Change::Sweep(view) => event("sweep", &SweepBody::from((**view).clone())),
        Change::Run(view) => event("run", &RunBody::from((**view).clone())),
        // Those are told piece by piece.
        Change::Points(..) | Change::Log(..) => String::new(),
    }
}
