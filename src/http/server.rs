//! The listening sockets and the workers behind them.
//!
//! actix-web's own server hands sockets to HTTP as they are; this one puts the limits in between, from the same parts.

use super::browser::{self, Control, Known};
use super::door::Door;
use super::error::Shape;
use super::gate::Gate;
use super::limits::body::Bodies;
use super::limits::rate::Rates;
use super::limits::stream::Guarded;
use super::limits::{self, Connections, Proxies};
use super::metrics::{self, Metrics};
use super::pages::{self, Pages};
use super::routes::{Listed, Routes};
use super::tls::Tls;
use super::{api, body, experiments_api, health, openapi};
use crate::service::Services;
use actix_cors::Cors;
use actix_http::{HttpService, KeepAlive};
use actix_server::{GracefulShutdownSignal, Server, ServerHandle};
use actix_service::{IntoServiceFactory, ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE};
use actix_web::middleware::{Condition, from_fn};
use actix_web::web::{self, Data};
use actix_web::{App, HttpRequest, HttpResponse};
use rustix::process::{Resource as Limited, Rlimit, getrlimit, setrlimit};
use socket2::SockRef;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;

/// How the server listens.
pub struct Settings {
    /// Threads that serve.
    pub workers: usize,
    /// What strangers can take of it.
    pub limits: limits::Settings,
    /// Key and certificate, where it speaks TLS.
    pub tls: Option<Arc<Tls>>,
    /// Names and pages that are known to be good.
    pub known: Known,
    /// The pages for people.
    pub pages: Pages,
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

/// Where a server listens.
pub struct Listeners {
    /// For everybody.
    pub open: TcpListener,
    /// For whoever owns the data folder; its requests need no credential.
    pub control: Option<UnixListener>,
}

/// Binds the listeners' workers; nothing is served before the server is awaited. Has to be called on a runtime.
///
/// # Errors
/// What the system says.
pub fn bind(listeners: Listeners, services: Data<Services>, settings: Settings) -> io::Result<Bound> {
    let Settings { workers, limits, tls, known, pages } = settings;
    let address = listeners.open.local_addr()?;
    tune(&listeners.open)?;
    make_descriptors(limits.connections);
    let (known, proxies) = (Data::new(known), Proxies::new(limits.trusted_proxies.clone(), limits.forwarded_header));
    let connections = Arc::new(Connections::new(&limits, proxies.clone()));
    tokio::spawn(Arc::clone(&connections).watch());
    let metrics = Metrics::new(&services, &connections, tls.as_ref()).map_err(io::Error::other)?;
    let (metrics, proxies) = (Data::new(metrics), Data::new(proxies));
    let document = Data::new(openapi::Document::new(|| openapi::document(docs(), &routes())));
    let behind = services.clone();
    let gate = Gate {
        rates: Arc::new(Rates::new(&limits)),
        bodies: Arc::new(Bodies::new(move || behind.uploads_wait())),
        metrics: Arc::clone(&metrics),
    };
    let app = move || {
        App::new()
            .app_data(services.clone())
            .app_data(known.clone())
            .app_data(metrics.clone())
            .app_data(proxies.clone())
            .app_data(Data::new(pages))
            .app_data(document.clone())
            .app_data(body::limit())
            .wrap(Condition::new(!known.origins.is_empty(), cors(&known)))
            .wrap(from_fn(browser::guard))
            .wrap(gate.clone())
            .configure(|app| {
                let mut routes = Routes::of(app);
                configure(&mut routes);
                (pages.configure)(&mut routes);
            })
            .default_service(web::to(unknown))
    };
    let builder = Server::build()
        .workers(workers)
        // Handlers block nothing here; files go through the runtime's pool.
        .worker_max_blocking_threads(2)
        .max_concurrent_connections((limits.connections + TURNED).div_ceil(workers))
        .shutdown_timeout(SHUTDOWN_SECONDS)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let secure = tls.is_some();
    let door = Door { connections, tls };
    let (of_all, of_owner) = ((app.clone(), door.clone(), stopping.clone()), (app, door, stopping));
    let mut builder = builder.listen("http", listeners.open, move || {
        let (app, door, stopping) = of_all.clone();
        fn_service(move |socket| door.clone().enter(socket)).and_then(http(app(), stopping, address))
    })?;
    if let Some(control) = listeners.control {
        builder = builder.listen_uds("control", control, move || {
            let (app, door, stopping) = of_owner.clone();
            fn_service(move |socket| door.clone().enter_control(socket)).and_then(http(app(), stopping, address))
        })?;
    }
    let server = builder.run();
    Ok(Bound { handle: server.handle(), server, address, secure })
}

/// HTTP/1.1 on a socket that was let in.
fn http<S, B>(
    app: impl IntoServiceFactory<S, actix_http::Request>,
    stopping: GracefulShutdownSignal,
    address: SocketAddr,
) -> impl ServiceFactory<(Guarded, Option<SocketAddr>), Config = (), Response = (), Error = (), InitError = ()>
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
    HttpService::build()
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
            let connection = socket.connection();
            if connection.is_control() {
                extensions.insert(Control);
            }
            extensions.insert(Arc::clone(connection));
        })
        .h1(app)
        .map_err(drop)
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

/// Other sites' pages that are listed may ask, with a token: cookies never come along.
fn cors(known: &Known) -> Cors {
    let cors = Cors::default().allow_any_method().allowed_headers([AUTHORIZATION, CONTENT_TYPE]).max_age(3600);
    known.origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}

fn configure(routes: &mut Routes<'_>) {
    experiments_api::configure(routes);
    health::configure(routes);
    metrics::configure(routes);
    api::v1::configure(routes);
    openapi::configure(routes);
}

/// What the handlers say of themselves.
fn docs() -> Vec<OpenApi> {
    let mut docs = vec![experiments_api::Docs::openapi(), health::Docs::openapi(), metrics::Docs::openapi()];
    docs.extend(api::v1::docs());
    docs
}

/// Every route with what it takes, but for those of pages.
pub fn routes() -> Vec<Listed> {
    let mut routes = Routes::default();
    configure(&mut routes);
    routes.listed()
}

async fn unknown(request: HttpRequest) -> HttpResponse {
    let is_of_programs = request.path().starts_with("/api/") || !pages::wants_page(request.headers());
    experiments_api::unknown_path(request.path(), if is_of_programs { Shape::of(request.path()) } else { Shape::Page })
}
