//! `/api/v1/runs/{id}/...`: what a run has printed, its curves, and what it has kept.

use super::runs::id;
use super::{answer, time};
use crate::domain::account::View;
use crate::domain::error::{Code, Error, Result};
use crate::http::auth::Granted;
use crate::http::error::{Shape, refusal, response};
use crate::http::openapi::parts::OfRun;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::runs::RunLog;
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_RANGE, RANGE};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;
use utoipa::{OpenApi, ToSchema};

/// How a file leaves: a piece at a time.
const PIECE: usize = 64 << 10;

/// How many points a curve has unless asked otherwise, and at the most.
const POINTS: usize = 200;
const MOST_POINTS: usize = 10_000;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/runs/{id}/log", Shape::Problem).get(log));
    routes.add(at("/api/v1/runs/{id}/metrics", Shape::Problem).get(metrics));
    routes.add(at("/api/v1/runs/{id}/curves", Shape::Problem).get(curves));
    routes.add(at("/api/v1/runs/{id}/artifacts", Shape::Problem).get(artifacts));
    routes.add(at("/api/v1/runs/{id}/artifacts/{name}", Shape::Problem).get(artifact));
}

#[derive(OpenApi)]
#[openapi(paths(log, metrics, curves, artifacts, artifact))]
pub(super) struct Docs;

/// The part of a file that is wanted: from where, and how much where that is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// All of it.
    All,
    /// So many bytes from an offset, or all from there.
    From(u64, Option<u64>),
    /// So many bytes of its end.
    Last(u64),
}

impl Part {
    /// What a `Range` header says, unless it is one that may be ignored.
    fn of_range(text: &str) -> Option<Self> {
        let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
        if first.is_empty() {
            return last.parse().ok().map(Self::Last);
        }
        let first: u64 = first.parse().ok()?;
        if last.is_empty() {
            return Some(Self::From(first, None));
        }
        let last: u64 = last.parse().ok()?;
        Some(Self::From(first, Some(last.checked_sub(first)?.saturating_add(1))))
    }

    /// What a request asks for: by parameters or by a header.
    fn of(request: &HttpRequest) -> Result<Self> {
        let given = Parameters::from_query(request.query_string());
        let number = |name: &str| match given.optional(name) {
            None => Ok(None),
            Some(text) => {
                text.parse::<u64>().map(Some).map_err(|_| Error::parameter(format!("{name} must be a number of bytes")))
            }
        };
        Ok(match (number("offset")?, number("limit")?) {
            (None, None) => {
                let range = request.headers().get(RANGE).and_then(|value| value.to_str().ok());
                range.and_then(Self::of_range).unwrap_or(Self::All)
            }
            (offset, limit) => Self::From(offset.unwrap_or(0), limit),
        })
    }

    /// From where to where that is in a file of this length; nothing where it has no such part.
    fn within(self, length: u64) -> Option<(u64, u64)> {
        match self {
            Self::All => Some((0, length)),
            Self::From(start, count) if start < length => {
                Some((start, count.map_or(length, |count| start.saturating_add(count).min(length))))
            }
            Self::Last(count) if count > 0 && length > 0 => Some((length.saturating_sub(count), length)),
            _ => None,
        }
    }
}

/// The head of an answer that is a part of something, and from where to where that is.
fn head(
    content_type: &str,
    part: Part,
    length: u64,
) -> std::result::Result<(HttpResponseBuilder, u64, u64), Box<HttpResponse>> {
    let Some((start, end)) = part.within(length).filter(|(start, end)| part == Part::All || start < end) else {
        let message = format!("there are {length} bytes, and none of them is in the range");
        let mut answer =
            refusal(Shape::Problem, StatusCode::RANGE_NOT_SATISFIABLE, Code::InvalidParameter.as_str(), &message);
        if let Ok(value) = format!("bytes */{length}").parse() {
            answer.headers_mut().insert(CONTENT_RANGE, value);
        }
        return Err(Box::new(answer));
    };
    let mut answer = if part == Part::All { HttpResponse::Ok() } else { HttpResponse::PartialContent() };
    if part != Part::All {
        answer.insert_header((CONTENT_RANGE, format!("bytes {start}-{}/{length}", end - 1)));
    }
    // What a script printed or kept is never to be taken for a page.
    answer.content_type(content_type).insert_header(("x-content-type-options", "nosniff"));
    answer.insert_header((ACCEPT_RANGES, "bytes"));
    Ok((answer, start, end))
}

/// What a run has printed so far
#[utoipa::path(get, path = "/api/v1/runs/{id}/log", operation_id = "get_run_log", tag = "runs",
    params(OfRun, ("offset" = Option<u64>, Query, description = "From which byte on"),
        ("limit" = Option<u64>, Query, description = "How many bytes at the most"),
        ("Range" = Option<String>, Header, description = "The same, as HTTP has it")),
    responses((status = 200, content_type = "text/plain", body = String), (status = 206, content_type = "text/plain", body = String),
        (status = 404), (status = 416)))]
async fn log(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    path: Path<String>,
    request: HttpRequest,
) -> HttpResponse {
    const PLAIN: &str = "text/plain; charset=utf-8";
    let found = id(&path).and_then(|id| Ok((Part::of(&request)?, services.run_log(permit, id)?)));
    match found {
        Ok((part, RunLog::File(path))) => send(PLAIN, path, part).await,
        Ok((part, RunLog::Text(text))) => match head(PLAIN, part, text.len() as u64) {
            Ok((mut answer, start, end)) => {
                let at = |offset: u64| usize::try_from(offset).unwrap_or(text.len()).min(text.len());
                answer.body(text[at(start)..at(end)].to_vec())
            }
            Err(refused) => *refused,
        },
        Err(error) => response(Shape::Problem, &error),
    }
}

/// The points of a run's curves so far
#[utoipa::path(get, path = "/api/v1/runs/{id}/metrics", operation_id = "get_run_metrics", tag = "runs",
    params(OfRun),
    responses((status = 200, description = "A JSON object a line", content_type = "application/jsonl", body = String), (status = 404)))]
async fn metrics(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    match id(&path).and_then(|id| services.run_points(permit, id)) {
        Ok(path) => send("application/jsonl", path, Part::All).await,
        Err(error) => response(Shape::Problem, &error),
    }
}

/// Opens a file of a run; one that printed nothing has none.
pub(super) fn open(path: PathBuf) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends what a file holds now, or a part of it.
async fn send(content_type: &'static str, path: PathBuf, part: Part) -> HttpResponse {
    let opened = tokio::task::spawn_blocking(move || {
        let file = open(path)?;
        let length = file.as_ref().map(File::metadata).transpose()?.map_or(0, |file| file.len());
        io::Result::Ok((file, length))
    });
    match opened.await.map_err(io::Error::other).and_then(|opened| opened) {
        Ok((file, length)) => match head(content_type, part, length) {
            Ok((mut answer, start, end)) => match file {
                Some(file) => answer.no_chunking(end - start).streaming(pieces(file, start, end - start)),
                None => answer.finish(),
            },
            Err(refused) => *refused,
        },
        Err(error) => response(Shape::Problem, &Error::internal(error)),
    }
}

/// So many bytes of a file, which may be growing.
pub(super) fn pieces(file: File, start: u64, length: u64) -> impl futures::Stream<Item = io::Result<Bytes>> {
    futures::stream::try_unfold((file, start, length), |(mut file, at, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
            file.seek(SeekFrom::Start(at))?;
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            io::Result::Ok((file, piece))
        });
        let (file, piece) = read.await.map_err(io::Error::other)??;
        if piece.is_empty() {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let read = piece.len() as u64;
        Ok(Some((Bytes::from(piece), (file, at + read, left - read))))
    })
}

/// A curve, down-sampled
#[derive(Serialize, ToSchema)]
#[schema(as = Curve)]
struct CurveBody {
    metric: String,
    /// How many points there are in all
    count: u64,
    /// Step and value
    #[schema(value_type = Vec<Vec<f64>>)]
    points: Vec<(f64, f64)>,
}

/// The curves of a run
#[derive(Serialize, ToSchema)]
#[schema(as = Curves)]
struct CurvesBody {
    curves: Vec<CurveBody>,
    /// Where a stream of events goes on with the points, as `points_offset`
    points_offset: u64,
}

/// The curves of a run's metrics, down-sampled
///
/// Of each stretch of a curve the first, the lowest, the highest and the last point are kept (M4 aggregation).
#[utoipa::path(get, path = "/api/v1/runs/{id}/curves", operation_id = "get_run_curves", tag = "runs",
    params(OfRun, ("metric" = Option<String>, Query, description = "This metric only"),
        ("points" = Option<u32>, Query, minimum = 4, maximum = 10000, description = "How many points a curve has at the most; 200 unless given")),
    responses((status = 200, body = CurvesBody), (status = 404)))]
async fn curves(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    path: Path<String>,
    request: HttpRequest,
) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = async {
        let most =
            match given.optional("points") {
                None => POINTS,
                Some(text) => text.parse().ok().filter(|most| (4..=MOST_POINTS).contains(most)).ok_or_else(|| {
                    Error::parameter(format!("points must be a whole number from 4 to {MOST_POINTS}"))
                })?,
            };
        let metric = given.optional("metric").map(str::to_owned);
        let found = services.curves(permit, id(&path)?, metric, most).await?;
        let body = |curve: crate::service::curves::Curve| CurveBody {
            metric: curve.metric,
            count: curve.count,
            points: curve.points,
        };
        Ok(CurvesBody { curves: found.curves.into_iter().map(body).collect(), points_offset: found.offset })
    };
    answer(outcome.await)
}

/// A file that a run has kept
#[derive(Serialize, ToSchema)]
#[schema(as = Artifact)]
struct ArtifactBody {
    /// Its path in the run's folder
    name: String,
    size: u64,
    #[schema(format = DateTime)]
    modified_at: String,
}

/// The files that a run has kept
#[derive(Serialize, ToSchema)]
#[schema(as = Artifacts)]
struct ArtifactsBody {
    data: Vec<ArtifactBody>,
}

/// The files that a run has kept
#[utoipa::path(get, path = "/api/v1/runs/{id}/artifacts", operation_id = "list_artifacts", tag = "runs",
    params(OfRun), responses((status = 200, body = ArtifactsBody), (status = 404)))]
async fn artifacts(Granted(permit): Granted<View>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async {
        let found = services.artifacts(permit, id(&path)?).await?;
        let data = found.into_iter().map(|file| ArtifactBody {
            name: file.name,
            size: file.size,
            modified_at: time(file.modified_at),
        });
        Ok(ArtifactsBody { data: data.collect() })
    };
    answer(outcome.await)
}

/// A file that a run has kept
#[utoipa::path(get, path = "/api/v1/runs/{id}/artifacts/{name}", operation_id = "get_artifact", tag = "runs",
    params(OfRun, ("name" = String, Path, description = "The file's name; a `/` in it is sent as %2F"),
        ("Range" = Option<String>, Header, description = "A part of it only")),
    responses((status = 200, content_type = "application/octet-stream", body = String),
        (status = 206, content_type = "application/octet-stream", body = String), (status = 404), (status = 416)))]
async fn artifact(
    Granted(permit): Granted<View>,
    services: Data<Services>,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> HttpResponse {
    let (run, name) = path.into_inner();
    let outcome = async {
        let part = Part::of(&request)?;
        let (file, length) = services.artifact(permit, id(&run)?, name).await?;
        Ok((part, file, length))
    };
    match outcome.await {
        Ok((part, file, length)) => match head("application/octet-stream", part, length) {
            Ok((mut answer, start, end)) => {
                answer.insert_header((CONTENT_DISPOSITION, "attachment"));
                answer.no_chunking(end - start).streaming(pieces(file, start, end - start))
            }
            Err(refused) => *refused,
        },
        Err(error) => response(Shape::Problem, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_what_http_says() {
        let part = |text: &str| Part::of_range(text).and_then(|part| part.within(100));
        assert_eq!(part("bytes=0-9"), Some((0, 10)));
        assert_eq!(part("bytes=90-"), Some((90, 100)));
        assert_eq!(part("bytes=-5"), Some((95, 100)));
        assert_eq!(part("bytes=-500"), Some((0, 100)));
        assert_eq!(part("bytes=50-1000"), Some((50, 100)));
        for none in ["bytes=100-", "bytes=9-0", "bytes=-0", "bytes=a-b", "items=0-9", "bytes=0-1,3-4"] {
            assert_eq!(part(none), None, "{none}");
        }
    }
}
