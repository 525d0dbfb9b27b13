//! The listening sockets and the workers behind them.

use super::browser::{self, Control, Known};
use super::routes::{Listed, Routes};
use super::{api, body, experiments_api, health};
use crate::service::Services;
use actix_cors::Cors;
use actix_web::dev::{Extensions, Server, ServerHandle};
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::middleware::{Condition, from_fn};
use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use std::any::Any;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::time::Duration;

/// How the server listens.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Threads that serve.
    pub workers: usize,
    /// Connections at once, over all workers.
    pub max_connections: usize,
    /// Names and pages that are known to be good.
    pub known: Known,
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

/// Where a server listens.
pub struct Listeners {
    /// For everybody.
    pub open: TcpListener,
    /// For whoever owns the data folder; its requests need no credential.
    pub control: Option<UnixListener>,
}

/// Binds the listeners' workers; nothing is served before the server is awaited.
///
/// # Errors
/// What the system says.
pub fn bind(listeners: Listeners, services: Data<Services>, settings: Settings) -> std::io::Result<Bound> {
    let address = listeners.open.local_addr()?;
    let Settings { workers, max_connections, known } = settings;
    let known = Data::new(known);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(services.clone())
            .app_data(known.clone())
            .app_data(body::limit())
            .wrap(Condition::new(!known.origins.is_empty(), cors(&known)))
            .wrap(from_fn(browser::guard))
            .configure(|app| configure(&mut Routes::of(app)))
            .default_service(web::to(unknown))
    })
    .workers(workers)
    // Handlers block nothing here; files go through the runtime's pool.
    .worker_max_blocking_threads(2)
    .max_connections(max_connections.div_ceil(workers))
    .client_request_timeout(HEAD_TIMEOUT)
    .keep_alive(KEEP_ALIVE)
    .shutdown_timeout(SHUTDOWN_SECONDS)
    .disable_signals()
    .on_connect(note_control)
    .listen(listeners.open)?;
    let server = match listeners.control {
        Some(control) => server.listen_uds(control)?,
        None => server,
    };
    let server = server.run();
    Ok(Bound { handle: server.handle(), server, address })
}

/// Marks the control socket's connections.
fn note_control(connection: &dyn Any, extensions: &mut Extensions) {
    if connection.is::<tokio::net::UnixStream>() {
        extensions.insert(Control);
    }
}

/// Other sites' pages that are listed may ask, with a token: cookies never come along.
fn cors(known: &Known) -> Cors {
    let cors = Cors::default().allow_any_method().allowed_headers([AUTHORIZATION, CONTENT_TYPE]).max_age(3600);
    known.origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

fn configure(routes: &mut Routes<'_>) {
    experiments_api::configure(routes);
    health::configure(routes);
    api::v1::configure(routes);
}

/// Every route with what it takes.
pub fn routes() -> Vec<Listed> {
    let mut routes = Routes::default();
    configure(&mut routes);
    routes.listed()
}

async fn unknown(request: HttpRequest) -> HttpResponse {
    experiments_api::unknown_path(request.path())
}
