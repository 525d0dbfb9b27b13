//! The listening socket and the workers behind it.

use super::error::{Shape, refusal};
use super::{api, experiments_api, health};
use crate::service::Services;
use actix_web::dev::{Server, ServerHandle};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, Resource, Route};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// How the server listens.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Threads that serve.
    pub workers: usize,
    /// Connections at once, over all workers.
    pub max_connections: usize,
}

/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long requests may take to end when the server stops, in seconds.
const SHUTDOWN_SECONDS: u64 = 5;

/// A server that is bound and can be run.
pub struct Bound {
    /// Completes when the server has stopped.
    pub server: Server,
    /// Stops it.
    pub handle: ServerHandle,
    /// Where it listens.
    pub address: SocketAddr,
}

/// Binds the listener's workers; nothing is served before the server is awaited.
///
/// # Errors
/// What the system says.
pub fn bind(listener: TcpListener, services: Data<Services>, settings: Settings) -> std::io::Result<Bound> {
    let address = listener.local_addr()?;
    let server = HttpServer::new(move || {
        App::new()
            .app_data(services.clone())
            .configure(experiments_api::configure)
            .configure(health::configure)
            .configure(api::v1::configure)
            .default_service(web::to(unknown))
    })
    .workers(settings.workers)
    // Handlers block nothing here; files go through the runtime's pool.
    .worker_max_blocking_threads(2)
    .max_connections(settings.max_connections.div_ceil(settings.workers))
    .client_request_timeout(HEAD_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
    .shutdown_timeout(SHUTDOWN_SECONDS)
    .disable_signals()
    .listen(listener)?
    .run();
    Ok(Bound { handle: server.handle(), server, address })
}

/// A path with one method; others are answered in the API's own shape.
pub fn methods(path: &str, allowed: &'static str, route: Route, shape: Shape) -> Resource {
    let refuse = move |request: HttpRequest| async move { wrong_method(&request, allowed, shape) };
    web::resource(path).route(route).default_service(web::to(refuse))
}

/// A path that answers GET and HEAD.
pub fn methods_with_head(path: &str, route: impl Fn() -> Route) -> Resource {
    let refuse = |request: HttpRequest| async move { wrong_method(&request, "GET, HEAD", Shape::Problem) };
    web::resource(path)
        .route(route().method(actix_web::http::Method::GET))
        .route(route().method(actix_web::http::Method::HEAD))
        .default_service(web::to(refuse))
}

fn wrong_method(request: &HttpRequest, allowed: &'static str, shape: Shape) -> HttpResponse {
    let message = format!("{} takes {allowed}, not {}; README.md lists the calls", request.path(), request.method());
    let mut answer = refusal(shape, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

async fn unknown(request: HttpRequest) -> HttpResponse {
    experiments_api::unknown_path(request.path())
}
