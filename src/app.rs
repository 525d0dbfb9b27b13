//! The composition root: the only file that builds everything.

use crate::allocator;
use crate::blob::{BlobStore, LocalBlobs};
use crate::config::Config;
use crate::domain::prediction::Predictor;
use crate::domain::stamp::{Clock, Timestamp};
use crate::executor::Executor;
use crate::executor::guard::{self, Guard};
use crate::executor::local::{self, LocalPool};
use crate::executor::predictor::{self, CommandPredictor};
use crate::executor::run_folder::RunFolders;
use crate::executor::warm::{self, WarmPredictor};
use crate::http::limits::client::ForwardedHeader;
use crate::http::tls::{self, Tls, TlsError};
use crate::http::{self, limits};
use crate::ingest::fetch::{FetchPolicy, Fetcher};
use crate::scheduler::{self, Handle, Scheduled, Scheduler};
use crate::service::{self, Limits, Services};
use crate::store::{Failure, OpenError, Options, Store};
use crate::trainer::backbone::Settings;
use crate::trainer::command::BaseEnvironment;
use crate::trainer::sharing;
use actix_web::web::Data;
use std::fs;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    /// The data folder cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
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
    bound: http::Bound,
    scheduler: Handle,
    scheduled: Scheduled,
    store: Store,
    guard: Arc<Guard>,
    predictor: Arc<dyn Predictor>,
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
        let options = Options { cache_bytes: config.cache_bytes, min_free_bytes: config.min_free_bytes };
        let store = Store::open(&config.data_dir, options)?;
        sweep(&config.data_dir).map_err(system("the data folder cannot be swept"))?;
        let folder_id = folder_id(&config.data_dir).map_err(system("the data folder's id cannot be kept"))?;
        // Each server has a mark of its own: the guard of one that was killed must spare the children of the next.
        let mark = format!("{folder_id}.{:x}-{}", SystemClock.now().0, std::process::id());
        let blobs = LocalBlobs::open(config.data_dir.join("blobs"), config.data_dir.join("tmp"))
            .map_err(system("the blob folder cannot be opened"))?;
        let blobs: Arc<dyn BlobStore> = Arc::new(blobs);
        let guard =
            Guard::start(config.own.clone(), mark.clone()).map_err(system("the guard process cannot be started"))?;
        let guard = Arc::new(guard);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let handle = Handle::default();

        let jobs = Jobs::new(&config, &store, &blobs, &guard, runtime, &handle, &mark);
        let parts = scheduler::Parts {
            store: store.clone(),
            executor: jobs.pool,
            sharing: sharing::of(&config.train, &config.own),
            clock: Arc::clone(&clock),
            concurrency: config.concurrency,
        };
        let services = Services::new(service::Parts {
            store: store.clone(),
            blobs,
            scheduler: handle.clone(),
            predictor: Arc::clone(&jobs.predictor),
            files: Arc::new(jobs.folders),
            fetcher: Fetcher::new(FetchPolicy {
                allow_private_addresses: config.allow_private_addresses,
                max_bytes: config.max_upload_bytes,
                total_timeout: config.fetch_timeout,
                ..FetchPolicy::default()
            }),
            clock,
            grid: config.grid,
            limits: Limits {
                max_upload_bytes: config.max_upload_bytes,
                max_image_pixels: config.max_image_pixels,
                concurrent_uploads: CONCURRENT_UPLOADS,
                concurrency: config.concurrency,
            },
        });
        let bound = http::bind(listener, Data::new(services), http).map_err(system("the server cannot listen"))?;
        let prepare = move || {
            // What a guard that was killed as well left behind would write into folders that are used again.
            let orphans = guard::kill_earlier(&folder_id);
            if orphans > 0 {
                tracing::warn!(orphans, "killed processes that an earlier server left behind");
            }
        };
        let scheduled =
            handle.start(Scheduler::new(parts, None), prepare).map_err(system("the scheduler cannot be started"))?;
        Ok(Self { bound, scheduler: handle, scheduled, store, guard, predictor: jobs.predictor })
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
        let Self { bound, scheduler, scheduled, store, guard, predictor } = self;
        let mut health = store.health();
        let serving = tokio::spawn(bound.server);
        let broken = async {
            let failure = health.wait_for(|failure| matches!(failure, Some(Failure::Broken(_)))).await;
            match failure.map(|failure| failure.clone()) {
                Ok(Some(Failure::Broken(cause))) => cause,
                // The store lives as long as this does, so nothing else can come.
                _ => std::future::pending().await,
            }
        };
        let outcome = tokio::select! {
            () = stop => Ok(()),
            cause = broken => Err(ServerError::Disk(cause)),
        };
        tracing::info!("stopping");
        scheduler.stop();
        predictor.stop();
        bound.handle.stop(true).await;
        let served = serving.await.map_err(io::Error::other).and_then(|served| served);
        let settled = tokio::task::spawn_blocking(move || {
            scheduled.join();
            drop(predictor);
            drop(guard);
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
            after_crowd: allocator::give_back,
        },
        tls: files.map(Tls::load).transpose()?,
    })
}

/// What carries jobs and predictions out.
struct Jobs {
    pool: Arc<dyn Executor>,
    predictor: Arc<dyn Predictor>,
    folders: RunFolders,
}

impl Jobs {
    fn new(
        config: &Config,
        store: &Store,
        blobs: &Arc<dyn BlobStore>,
        guard: &Arc<Guard>,
        runtime: &tokio::runtime::Handle,
        handle: &Handle,
        mark: &str,
    ) -> Self {
        let folders = RunFolders::new(config.data_dir.join("runs"), config.data_dir.join("logs"));
        let threads = config.cores / config.concurrency;
        let mut environment = BaseEnvironment::new(|name| std::env::var_os(name), &config.env, threads, mark)
            .with("TRAINYARD_CACHE_DIR", config.data_dir.join("cache"))
            .with("TRAINYARD_CACHE_BYTES", config.trainer_cache_bytes.to_string());
        for (name, value) in config.backbone.iter().flat_map(Settings::variables) {
            environment = environment.with(name, value);
        }
        let reports = handle.clone();
        let pool = LocalPool::new(
            local::Settings {
                train: config.train.clone(),
                environment: environment.clone(),
                timeout: config.timeout,
                grace: config.stop_grace,
                folders: folders.clone(),
                views: config.data_dir.join("views"),
            },
            Arc::new(store.clone()),
            Arc::clone(blobs),
            Arc::clone(guard),
            runtime.clone(),
            Arc::new(move |events| reports.report(events)),
        );
        let predictor = predictor(config, environment, &folders, guard, runtime);
        Self { pool: Arc::new(pool), predictor, folders }
    }
}

/// Who answers predictions: warm children for the built-in trainer, a process a question for anybody's script.
fn predictor(
    config: &Config,
    environment: BaseEnvironment,
    folders: &RunFolders,
    guard: &Arc<Guard>,
    runtime: &tokio::runtime::Handle,
) -> Arc<dyn Predictor> {
    let (guard, runtime) = (Arc::clone(guard), runtime.clone());
    let (timeout, folders, concurrency) = (config.test_timeout, folders.clone(), config.concurrency);
    if config.test.is_subcommand(&config.own, "test") {
        let own = config.own.clone();
        let settings = warm::Settings { own, environment, timeout, folders, concurrency };
        return Arc::new(WarmPredictor::new(settings, guard, runtime));
    }
    let test = config.test.clone();
    let settings = predictor::Settings { test, environment, timeout, folders, concurrency };
    Arc::new(CommandPredictor::new(settings, guard, runtime))
}

/// Threads that may block, for a runtime that jobs run on.
pub fn blocking_threads(config: &Config) -> usize {
    // Each run and each prediction holds one; the rest is for the server's own files.
    2 * config.concurrency + 8
}

/// Clears what the last process left unfinished: uploads, and dataset folders, which are made anew when needed. The
/// folders are moved aside at once and deleted at leisure.
fn sweep(data: &Path) -> io::Result<()> {
    let swept = data.join("swept");
    fs::create_dir_all(&swept)?;
    for (number, name) in ["tmp", "views"].iter().enumerate() {
        let folder = data.join(name);
        let stamp = SystemClock.now().0;
        match fs::rename(&folder, swept.join(format!("{stamp}-{number}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => fs::create_dir_all(&folder)?,
        }
    }
    fs::create_dir_all(data.join("runs"))?;
    fs::create_dir_all(data.join("logs"))?;
    std::thread::Builder::new().name("sweeper".to_owned()).spawn(move || {
        if let Err(error) = fs::remove_dir_all(&swept) {
            tracing::warn!(%error, "what an earlier server left unfinished could not all be removed");
        }
    })?;
    Ok(())
}

/// What the marks of this data folder's children begin with, kept so that a later server knows an earlier one's.
fn folder_id(data: &Path) -> io::Result<String> {
    let file = data.join("id");
    match fs::read_to_string(&file) {
        Ok(id) if !id.trim().is_empty() => return Ok(id.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let seed = format!("{} {} {}", data.display(), SystemClock.now().0, std::process::id());
    let id = blake3::hash(seed.as_bytes()).to_hex()[..16].to_owned();
    fs::write(&file, format!("{id}\n"))?;
    Ok(id)
}
