//! The composition root: the only place that builds everything.

mod folder;
mod jobs;

use crate::blob::{BlobStore, LocalBlobs, Thumbs};
use crate::care;
use crate::config::{Config, Mail};
use crate::control;
use crate::domain::prediction::Predictor;
use crate::domain::stamp::{Clock, Timestamp};
use crate::domain::thumbnail::Thumbnailer;
use crate::executor::custody::cgroup;
use crate::executor::custody::{self, Custody};
use crate::executor::{guard, thumbnailer};
use crate::http::limits::client::ForwardedHeader;
use crate::http::tls::{self, Tls, TlsError};
use crate::http::{self, limits};
use crate::ingest::fetch::{FetchPolicy, Fetcher};
use crate::ingest::zip;
use crate::outbox::Outbox;
use crate::outbox::mail::{self, Mailer};
use crate::scheduler::{self, Handle, Scheduled, Scheduler};
use crate::service::accounts::Accounts;
use crate::service::live::{Live, News};
use crate::service::{self, Services};
use crate::store::{Failure, OpenError, Options, Store};
use crate::supervisor;
use crate::trainer::sharing;
use actix_web::web::Data;
use jobs::{Children, Jobs};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;

/// Uploads that are written at once.
const CONCURRENT_UPLOADS: usize = 8;

/// Threads that serve; two suit the machines that this is made for.
const HTTP_WORKERS: usize = 2;

/// Why the server did not start or went down.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be had.
    #[error("{address} cannot be listened on: {source}; is another server there? --listen takes another address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Other machines reach it, and nobody is asked who they are.
    #[error(
        "{address} can be reached from other machines, and there are no accounts yet: anyone could use the server. Make \
         one with `trainyard user add NAME --role admin --data-dir {data}`, or listen on 127.0.0.1",
        data = data.display()
    )]
    Open {
        /// The address.
        address: SocketAddr,
        /// The data folder.
        data: PathBuf,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The records cannot be read.
    #[error(transparent)]
    Records(#[from] crate::domain::error::Error),
    /// Something the server needs cannot be made.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The disk failed; the process ends rather than lose what it acknowledges.
    #[error("the disk failed, so the server stops: {0}")]
    Disk(String),
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn system(what: &'static str) -> impl Fn(io::Error) -> ServerError {
    move |source| ServerError::System { what, source }
}

/// The wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// A server that listens and, once awaited, serves.
pub struct Server {
    outbox: Outbox,
    bound: http::Bound,
    live: std::thread::JoinHandle<()>,
    services: Data<Services>,
    scheduler: Handle,
    scheduled: Scheduled,
    store: Store,
    custody: Arc<Custody>,
    predictor: Arc<dyn Predictor>,
    thumbnailer: Arc<dyn Thumbnailer>,
    data: PathBuf,
}

impl Server {
    /// Opens the data folder, takes up what waits in it, and listens. Jobs run on the blocking threads of `runtime`.
    ///
    /// # Errors
    /// [`ServerError`] saying what to do.
    pub fn start(config: Config, runtime: &tokio::runtime::Handle) -> Result<Self, ServerError> {
        let http = http_settings(&config)?;
        let listener = TcpListener::bind(config.listen)
            .map_err(|source| ServerError::Listen { address: config.listen, source })?;
        let options =
            Options { cache_bytes: config.cache_bytes, min_free_bytes: config.min_free_bytes, ..Options::default() };
        control::make_private(&config.data_dir).map_err(system("the data folder cannot be made"))?;
        let store = Store::open(&config.data_dir, options)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let accounts = Arc::new(Accounts::new(store.clone(), Arc::clone(&clock))?);
        if accounts.is_open() && !config.listen.ip().is_loopback() {
            return Err(ServerError::Open { address: config.listen, data: config.data_dir });
        }
        folder::sweep(&config.data_dir).map_err(system("the data folder cannot be swept"))?;
        let folder_id = folder::id(&config.data_dir).map_err(system("the data folder's id cannot be kept"))?;
        // Each server has a mark of its own: the guard of one that was killed must spare the children of the next.
        let mark = format!("{folder_id}.{:x}-{}", SystemClock.now().0, std::process::id());
        let blobs = LocalBlobs::open(config.data_dir.join(care::BLOBS), config.data_dir.join(care::TMP))
            .map_err(system("the blob folder cannot be opened"))?;
        let blobs: Arc<dyn BlobStore> = Arc::new(blobs);
        custody::seclude();
        let children = Children::new(&config, &mark)?;
        let handle = Handle::default();

        let news = Arc::new(News::default());
        let jobs = Jobs::new(&config, &store, &blobs, &children, runtime, &mark, (&handle, news.clone()));
        let parts = scheduler::Parts {
            store: store.clone(),
            executor: jobs.pool,
            sharing: sharing::of(&config.train, &config.own),
            clock: Arc::clone(&clock),
            concurrency: config.concurrency,
        };
        let fetcher = Arc::new(Fetcher::new(FetchPolicy {
            allow_private_addresses: config.allow_private_addresses,
            max_bytes: config.max_upload_bytes,
            total_timeout: config.fetch_timeout,
            ..FetchPolicy::default()
        }));
        let webhooks_changed = Arc::new(Notify::new());
        let mailer = config.mail.as_ref().map(|mail| mailer(mail, base(&config, &listener)));
        let outbox =
            Outbox::new(store.clone(), Arc::clone(&fetcher), mailer, Arc::clone(&clock), Arc::clone(&webhooks_changed));
        let services = Services::new(service::Parts {
            folder: config.data_dir.clone(),
            store: store.clone(),
            accounts,
            blobs,
            thumbs: Arc::new(Thumbs::at(config.data_dir.join(care::THUMBS), config.data_dir.join(care::TMP))),
            thumbnailer: Arc::clone(&jobs.thumbnailer),
            scheduler: handle.clone(),
            predictor: Arc::clone(&jobs.predictor),
            files: Arc::new(jobs.folders),
            fetcher: Arc::clone(&fetcher),
            webhooks_changed: Arc::clone(&webhooks_changed),
            clock: Arc::clone(&clock),
            grid: config.grid,
            limits: service::Limits {
                max_upload_bytes: config.max_upload_bytes,
                max_image_pixels: config.max_image_pixels,
                concurrent_uploads: CONCURRENT_UPLOADS,
                concurrency: config.concurrency,
                timeout_seconds: config.timeout.as_secs(),
                trash_ms: config.trash_days * DAY_MS,
                max_streams: config.max_streams,
                archives: service::archives::Limits {
                    bytes: config.archives.max_bytes,
                    zip: zip::Limits {
                        entries: config.archives.max_entries,
                        unpacked: config.archives.max_unpacked_bytes,
                        entry: config.max_upload_bytes,
                        ratio: config.archives.max_ratio,
                    },
                },
            },
            news,
            children_resident: custody::children_resident,
            samples: Arc::new(crate::cli::demo::DemoSamples),
        });
        let control = match control::listen(&config.data_dir) {
            Ok(control) => Some(control),
            Err(error) => {
                tracing::warn!(%error, "no control socket: `trainyard user` and the like need the server stopped");
                None
            }
        };
        let listeners = http::Listeners { open: listener, control };
        let services = Data::new(services);
        let bound = http::bind(listeners, services.clone(), http).map_err(system("the server cannot listen"))?;
        let prepare = move || {
            // What a guard that was killed as well left behind would write into folders that are used again.
            cgroup::remove_earlier(&folder_id, &mark);
            let orphans = guard::kill_earlier(&folder_id);
            if orphans > 0 {
                tracing::warn!(orphans, "killed processes that an earlier server left behind");
            }
        };
        let scheduled =
            handle.start(Scheduler::new(parts, None), prepare).map_err(system("the scheduler cannot be started"))?;
        let live = Live::start(services.clone().into_inner(), runtime.clone())
            .map_err(system("live streams cannot be started"))?;
        let (predictor, thumbnailer) = (jobs.predictor, jobs.thumbnailer);
        let (data, custody, scheduler) = (config.data_dir, children.custody, handle);
        Ok(Self { outbox, bound, live, services, scheduler, scheduled, store, custody, predictor, thumbnailer, data })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.bound.address
    }

    /// The same as a url.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.bound.secure { "https" } else { "http" }, self.bound.address)
    }

    /// Serves until `stop` completes, then ends what runs and settles it.
    ///
    /// # Errors
    /// [`ServerError::Disk`] where the disk failed.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Self { outbox, bound, live, services, scheduler, scheduled, store, custody, predictor, thumbnailer, data } =
            self;
        let mut health = store.health();
        let serving = tokio::spawn(bound.server);
        let telling = tokio::spawn(outbox.run());
        let tending = tokio::spawn({
            let services = services.clone();
            async move { services.keep_trash().await }
        });
        let broken = async {
            let failure = health.wait_for(|failure| matches!(failure, Some(Failure::Broken(_)))).await;
            match failure.map(|failure| failure.clone()) {
                Ok(Some(Failure::Broken(cause))) => cause,
                // The store lives as long as this does, so nothing else can come.
                _ => std::future::pending().await,
            }
        };
        // A write that changes nothing goes through the scheduler's and everybody's writer and comes back.
        let probe = || async { drop(store.settle(|_| Ok(())).await) };
        supervisor::ready();
        let outcome = tokio::select! {
            () = stop => Ok(()),
            cause = broken => Err(ServerError::Disk(cause)),
            () = supervisor::watch(probe) => Ok(()),
        };
        tracing::info!("stopping");
        supervisor::stopping();
        // Readiness goes first; what runs is told and has its grace, and meanwhile everything can be read.
        services.stop();
        scheduler.stop();
        predictor.stop();
        let helping = Arc::clone(&thumbnailer);
        // Children that are ended are waited for.
        let helped = tokio::task::spawn_blocking(move || helping.stop()).await;
        let drained = tokio::task::spawn_blocking(move || scheduled.join()).await;
        // Those who follow live streams have seen the last of it; they come again.
        services.live().stop();
        let told = tokio::task::spawn_blocking(move || live.join()).await;
        bound.handle.stop(true).await;
        let served = serving.await.map_err(io::Error::other).and_then(|served| served);
        let served = served
            .and(helped.map_err(io::Error::other))
            .and(drained.map_err(io::Error::other))
            .and(told.map(drop).map_err(io::Error::other));
        // What it was about to tell is told after the next start.
        telling.abort();
        tending.abort();
        let _ = (telling.await, tending.await);
        let settled = tokio::task::spawn_blocking(move || {
            // While the folder is still locked: the next server makes a socket of its own.
            if let Err(error) = control::remove(&data) {
                tracing::warn!(%error, "the control socket is left behind");
            }
            drop((predictor, thumbnailer));
            drop(services);
            drop(custody);
            store.close();
        });
        let settled = settled.await.map_err(io::Error::other);
        outcome?;
        served.and(settled).map_err(system("the server did not stop cleanly"))
    }
}

/// How the server listens, with certificate and key where there are some.
fn http_settings(config: &Config) -> Result<http::Settings, TlsError> {
    let files = config.tls.as_ref().map(|files| tls::Files { cert: files.cert.clone(), key: files.key.clone() });
    let header = if config.standard_forwarded { ForwardedHeader::Forwarded } else { ForwardedHeader::XForwardedFor };
    Ok(http::Settings {
        workers: HTTP_WORKERS,
        limits: limits::Settings {
            connections: config.max_connections,
            connections_per_address: config.connections_per_address,
            requests_per_second: config.requests_per_second,
            burst: config.burst,
            exempt_loopback: config.exempt_loopback,
            trusted_proxies: config.trusted_proxies.clone(),
            forwarded_header: header,
        },
        tls: files.map(Tls::load).transpose()?,
        known: http::browser::Known { hosts: config.hosts.clone(), origins: config.cors_origins.clone() },
        pages: crate::ui::pages(),
    })
}

/// Who sends mail.
fn mailer(mail: &Mail, base: String) -> Mailer {
    let Mail { host, port, security, credentials, authorities, from, to, topics, secrets: _ } = mail.clone();
    let server = mail::Server { host, port, security, credentials, authorities };
    Mailer::new(mail::Settings { server, from, to, topics, base })
}

/// Where mail says that this server is reached: on this machine, or by the first of its names if others reach it.
fn base(config: &Config, listener: &TcpListener) -> String {
    let address = listener.local_addr().unwrap_or(config.listen);
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    match config.hosts.first().filter(|_| !address.ip().is_loopback()) {
        Some(host) if host.contains(':') => format!("{scheme}://[{host}]:{}", address.port()),
        Some(host) => format!("{scheme}://{host}:{}", address.port()),
        None => format!("{scheme}://{address}"),
    }
}

/// Threads that may block, for a runtime that jobs run on.
pub fn blocking_threads(config: &Config) -> usize {
    // Each run and each prediction holds one, and so does a thumbnailer; the rest is for the server's own files.
    2 * config.concurrency + thumbnailer::CHILDREN + 8
}
