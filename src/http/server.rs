//! The listening socket and the workers behind it.
//!
//! actix-web's own server hands sockets to HTTP as they are; this one puts the limits in between, from the same parts.

use super::door::Door;
use super::error::{Shape, refusal};
use super::gate::Gate;
use super::limits::body::Bodies;
use super::limits::rate::Rates;
use super::limits::stream::Guarded;
use super::limits::{self, Connections, Proxies};
use super::metrics::{self, Metrics};
use super::tls::Tls;
use super::{api, experiments_api, health};
use crate::service::Services;
use actix_http::{HttpService, KeepAlive};
use actix_server::{GracefulShutdownSignal, Server, ServerHandle};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse, Resource, Route};
use rustix::process::{Resource as Limited, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// How the server listens.
pub struct Settings {
    /// Threads that serve.
    pub workers: usize,
    /// What strangers can take of it.
    pub limits: limits::Settings,
    /// Key and certificate, where it speaks TLS.
    pub tls: Option<Arc<Tls>>,
}

/// How long the first head of a connection may take; later ones have the deadline of `limits::connection`.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may go on sending a body that was refused, so that it reads why.
const LINGER: Duration = Duration::from_secs(1);

/// How long requests may take to end when the server stops, in seconds.
const SHUTDOWN_SECONDS: u64 = 5;

/// Connections that wait for the server to take them.
const BACKLOG: i32 = 1024;

/// How much of an answer may wait unsent in the kernel, for each connection: one that reads slowly costs no more.
const UNSENT: u32 = 128 << 10;

/// File descriptors that are kept for records, images, logs and children.
const OTHER_DESCRIPTORS: usize = 256;

/// Connections beyond the bound that are being told to go.
const TURNED: usize = 256;

/// A server that is bound and can be run.
pub struct Bound {
    /// Completes when the server has stopped.
    pub server: Server,
    /// Stops it.
    pub handle: ServerHandle,
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub secure: bool,
}

/// Binds the listener's workers; nothing is served before the server is awaited. Has to be called on a runtime.
///
/// # Errors
/// What the system says.
pub fn bind(listener: TcpListener, services: Data<Services>, settings: Settings) -> io::Result<Bound> {
    let Settings { workers, limits, tls } = settings;
    let address = listener.local_addr()?;
    tune(&listener)?;
    make_descriptors(limits.connections);
    let proxies = Proxies::new(limits.trusted_proxies.clone(), limits.forwarded_header);
    let connections = Arc::new(Connections::new(&limits, proxies.clone()));
    tokio::spawn(Arc::clone(&connections).watch());
    let metrics = Metrics::new(&services, &connections, tls.as_ref()).map_err(io::Error::other)?;
    let metrics = Data::new(metrics);
    let proxies = Data::new(proxies);
    let gate = Gate {
        rates: Arc::new(Rates::new(&limits)),
        bodies: Arc::new(Bodies::new({
            let services = services.clone();
            move || services.uploads_wait()
        })),
        proxies: Arc::clone(&proxies),
        metrics: Arc::clone(&metrics),
    };
    let secure = tls.is_some();
    let door = Door { connections, tls };
    let most = (limits.connections + TURNED).div_ceil(workers);
    let builder = Server::build()
        .workers(workers)
        // Handlers block nothing here; files go through the runtime's pool.
        .worker_max_blocking_threads(2)
        .max_concurrent_connections(most)
        .shutdown_timeout(SHUTDOWN_SECONDS)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let server = builder.listen("http", listener, move || {
        let app = App::new()
            .app_data(services.clone())
            .app_data(metrics.clone())
            .app_data(proxies.clone())
            .wrap(gate.clone())
            .configure(experiments_api::configure)
            .configure(health::configure)
            .configure(metrics::configure)
            .configure(api::v1::configure)
            .default_service(web::to(unknown));
        connection_service(app, door.clone(), stopping.clone(), address)
    })?;
    let server = server.run();
    Ok(Bound { handle: server.handle(), server, address, secure })
}

/// What is done with a socket: it is let in, and HTTP/1.1 is spoken on it.
fn connection_service<S, B>(
    app: impl IntoServiceFactory<S, actix_http::Request>,
    door: Door,
    stopping: GracefulShutdownSignal,
    address: SocketAddr,
) -> impl ServiceFactory<tokio::net::TcpStream, Config = (), Response = (), Error = (), InitError = ()>
where
    S: ServiceFactory<
            actix_http::Request,
            Config = AppConfig,
            Response = ServiceResponse<B>,
            Error = actix_web::Error,
            InitError = (),
        > + 'static,
    S::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let app = app.into_factory().map_err(|error| error.error_response());
    // The settings that actix-web's own server would give the application; nothing here asks for them.
    let app = map_config(app, |()| AppConfig::default());
    let http = HttpService::build()
        .graceful_shutdown_signal(move || {
            let stopping = stopping.clone();
            async move { stopping.notified().await }
        })
        // Connections that wait are ended by `limits::connections`, which needs no timer for each.
        .keep_alive(KeepAlive::Os)
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(LINGER)
        .local_addr(address)
        .on_connect_ext(|socket: &Guarded, extensions| {
            extensions.insert(Arc::clone(socket.connection()));
        })
        .h1(app)
        .map_err(drop);
    fn_service(move |socket| {
        let door = door.clone();
        async move { door.enter(socket).await.map_err(drop) }
    })
    .and_then(http)
}

/// Lets the process have a file descriptor for each connection beside those for everything else.
fn make_descriptors(connections: usize) {
    let wanted = (connections + TURNED + OTHER_DESCRIPTORS) as u64;
    let Rlimit { current, maximum } = getrlimit(Limited::Nofile);
    if current.is_none_or(|current| current >= wanted) {
        return;
    }
    let possible = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = setrlimit(Limited::Nofile, Rlimit { current: Some(possible), maximum });
    if raised.is_err() || possible < wanted {
        tracing::warn!(
            wanted,
            possible,
            "there may be too few file descriptors for so many connections; see ulimit -n"
        );
    }
}

/// Options of the listening socket, which the accepted ones inherit.
fn tune(listener: &TcpListener) -> io::Result<()> {
    let socket = SockRef::from(listener);
    socket.listen(BACKLOG)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(UNSENT)
}

/// A path with one method; others are answered in the API's own shape.
pub fn methods(path: &str, allowed: &'static str, route: Route, shape: Shape) -> Resource {
    let refuse = move |request: HttpRequest| async move { wrong_method(&request, allowed, shape) };
    // The name is what metrics know the route by.
    web::resource(path).name(path).route(route).default_service(web::to(refuse))
}

/// A path that answers GET and HEAD.
pub fn methods_with_head(path: &str, route: impl Fn() -> Route) -> Resource {
    let refuse = |request: HttpRequest| async move { wrong_method(&request, "GET, HEAD", Shape::Problem) };
    web::resource(path)
        .name(path)
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
