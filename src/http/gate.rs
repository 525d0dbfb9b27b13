//! What every request passes before and after its handler: an id, its rate, the pace of its body, a count, a line of log.
//!
//! One layer does it all, since a request for the best result takes ten microseconds and each layer would cost its share.
//! Knows no routes but by their names.

use super::error::{Shape, refusal};
use super::limits::ClientAddress;
use super::limits::body::Bodies;
use super::limits::connection::Connection;
use super::limits::rate::Rates;
use super::metrics::{Metrics, Requests};
use super::request_id::{CURRENT, Ids, RequestId, X_REQUEST_ID};
use actix_web::HttpResponse;
use actix_web::body::{BodySize, EitherBody, MessageBody};
use actix_web::dev::{Service, ServiceRequest, ServiceResponse, Transform, forward_ready};
use actix_web::http::header::RETRY_AFTER;
use actix_web::http::{ConnectionType, StatusCode};
use bytes::Bytes;
use pin_project_lite::pin_project;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::task::futures::TaskLocalFuture;

/// How much of a path is logged, in characters.
const SHOWN: usize = 200;

/// What all workers share.
#[derive(Clone)]
pub struct Gate {
    /// The rates of clients.
    pub rates: Arc<Rates>,
    /// The places for bodies.
    pub bodies: Arc<Bodies>,
    /// The counts.
    pub metrics: Arc<Metrics>,
}

impl<S, B> Transform<S, ServiceRequest> for Gate
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<Tracked<B>>>;
    type Error = actix_web::Error;
    type Transform = Passage<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, service: S) -> Self::Future {
        let requests = self.metrics.requests();
        ready(Ok(Passage { service, gate: self.clone(), worker: Rc::new(Worker { ids: Ids::default(), requests }) }))
    }
}

/// What one worker has of its own.
struct Worker {
    ids: Ids,
    requests: Requests,
}

/// The gate of one worker.
pub struct Passage<S> {
    service: S,
    gate: Gate,
    worker: Rc<Worker>,
}

/// A connection while a request of it is in hand.
struct Underway(Option<Arc<Connection>>);

impl Drop for Underway {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.end();
        }
    }
}

/// What is known of a request from its beginning to its end.
struct Facts {
    id: RequestId,
    began: Instant,
    client: ClientAddress,
    worker: Rc<Worker>,
    underway: Underway,
}

impl<S, B> Service<ServiceRequest> for Passage<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<EitherBody<Tracked<B>>>;
    type Error = actix_web::Error;
    type Future = Answering<S::Future>;

    forward_ready!(service);

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let id = self.worker.ids.of(request.headers());
        let client = ClientAddress::of(request.request());
        let connection = request.conn_data::<Arc<Connection>>().cloned();
        let has_body = self.gate.bodies.watch(request.parts_mut().1, connection.as_ref());
        if let Some(connection) = &connection {
            connection.begin(has_body);
        }
        let is_owner = connection.as_ref().is_some_and(|connection| connection.is_control());
        let worker = Rc::clone(&self.worker);
        let facts = Some(Facts { id, began: Instant::now(), client, worker, underway: Underway(connection) });
        let checked = if is_owner { Ok(()) } else { self.gate.rates.check(client, request.headers()) };
        match checked {
            Ok(()) => {
                let answer = CURRENT.sync_scope(id, || self.service.call(request));
                Answering { step: Step::Passed { answer: CURRENT.scope(id, answer) }, facts }
            }
            Err(wait) => {
                self.gate.metrics.rate_limited.inc();
                let answer = CURRENT.sync_scope(id, || slow_down(&request, wait));
                Answering { step: Step::Refused { answer: Some(request.into_response(answer)) }, facts }
            }
        }
    }
}

/// The answer to a client that asks too often.
fn slow_down(request: &ServiceRequest, wait: Duration) -> HttpResponse {
    let seconds = wait.as_secs() + 1;
    let message = format!("there are too many requests from here; try again in {seconds} s, or ask less often");
    let shape = Shape::of(request.path());
    let mut answer = refusal(shape, StatusCode::TOO_MANY_REQUESTS, "too_many", &message);
    answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    answer
}

pin_project! {
    /// A request on its way through.
    pub struct Answering<F> {
        #[pin]
        step: Step<F>,
        facts: Option<Facts>,
    }
}

pin_project! {
    #[project = StepNow]
    enum Step<F> {
        Passed { #[pin] answer: TaskLocalFuture<RequestId, F> },
        Refused { answer: Option<ServiceResponse> },
    }
}

impl<F, B> Future for Answering<F>
where
    F: Future<Output = Result<ServiceResponse<B>, actix_web::Error>>,
    B: MessageBody,
{
    type Output = Result<ServiceResponse<EitherBody<Tracked<B>>>, actix_web::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = match this.step.project() {
            StepNow::Passed { answer } => ready!(answer.poll(context)).map(Ok),
            StepNow::Refused { answer } => match answer.take() {
                Some(answer) => Ok(Err(answer)),
                None => return Poll::Pending,
            },
        };
        let Some(facts) = this.facts.take() else { return Poll::Pending };
        Poll::Ready(answer.map(|answer| match answer {
            Ok(mut passed) => {
                facts.finish(&mut passed);
                let Facts { id, underway, .. } = facts;
                passed.map_body(|_, body| EitherBody::left(Tracked { body, id, _underway: underway }))
            }
            Err(mut refused) => {
                facts.finish(&mut refused);
                refused.map_into_right_body()
            }
        }))
    }
}

impl Facts {
    /// Marks, counts and logs an answer.
    fn finish<B>(&self, answer: &mut ServiceResponse<B>) {
        if let Some(value) = self.id.header() {
            answer.headers_mut().insert(X_REQUEST_ID, value);
        }
        // What is left of a body that nobody wanted must not be taken for the next request.
        if self.underway.0.as_ref().is_some_and(|connection| connection.has_unread_body()) {
            answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        let took = self.began.elapsed();
        let (request, status) = (answer.request(), answer.status());
        self.worker.requests.count(request, status, took);
        if status.is_server_error() {
            CURRENT.sync_scope(self.id, || self.log_failure(request.method().as_str(), request.path(), status, took));
        } else {
            CURRENT.sync_scope(self.id, || {
                tracing::debug!(
                    method = request.method().as_str(),
                    path = shown(request.path()),
                    status = status.as_u16(),
                    milliseconds = milliseconds(took),
                    client = %self.client.address,
                    "answered"
                );
            });
        }
    }

    fn log_failure(&self, method: &str, path: &str, status: StatusCode, took: Duration) {
        tracing::warn!(
            method,
            path = shown(path),
            status = status.as_u16(),
            milliseconds = milliseconds(took),
            client = %self.client.address,
            "answered with a failure"
        );
    }
}

fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

/// The beginning of a path; never a query, which may hold secrets.
fn shown(path: &str) -> &str {
    path.char_indices().nth(SHOWN).map_or(path, |(end, _)| &path[..end])
}

pin_project! {
    /// An answer's body: while it is sent, its connection is busy.
    pub struct Tracked<B> {
        #[pin]
        body: B,
        id: RequestId,
        _underway: Underway,
    }
}

impl<B: MessageBody> MessageBody for Tracked<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let body = this.body;
        CURRENT.sync_scope(*this.id, || body.poll_next(context))
    }
}
