//! The composition root: the only file that builds everything.

use crate::allocator;
use crate::blob::{BlobStore, LocalBlobs};
use crate::care;
use crate::config::{Config, Mail};
use crate::control;
use crate::domain::prediction::Predictor;
use crate::domain::progress::Progress;
use crate::domain::stamp::{Clock, Timestamp};
use crate::executor::Executor;
use crate::executor::admission::{Admission, Available};
use crate::executor::custody::cgroup::{self, Groups};
use crate::executor::custody::machine::Machine;
use crate::executor::custody::{self, Ceiling, Custody, Limits};
use crate::executor::guard::{self, Guard};
use crate::executor::local::{self, LocalPool};
use crate::executor::predictor::{self, CommandPredictor};
use crate::executor::run_folder::RunFolders;
use crate::executor::sieve::Secrets;
use crate::executor::warm::{self, WarmPredictor};
use crate::http::limits::client::ForwardedHeader;
use crate::http::tls::{self, Tls, TlsError};
use crate::http::{self, limits};
use crate::ingest::fetch::{FetchPolicy, Fetcher};
use crate::outbox::Outbox;
use crate::outbox::mail::{self, Mailer};
use crate::scheduler::{self, Handle, Scheduled, Scheduler};
use crate::service::accounts::Accounts;
use crate::service::live::{Live, News};
use crate::service::{self, Services};
use crate::store::{Failure, OpenError, Options, Store};
use crate::supervisor;
use crate::trainer::backbone::Settings;
use crate::trainer::command::BaseEnvironment;
use crate::trainer::sharing;
use actix_web::web::Data;
use std::fs;
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
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
        sweep(&config.data_dir).map_err(system("the data folder cannot be swept"))?;
        let folder_id = folder_id(&config.data_dir).map_err(system("the data folder's id cannot be kept"))?;
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
        let (predictor, data, custody) = (jobs.predictor, config.data_dir, children.custody);
        Ok(Self { outbox, bound, live, services, scheduler: handle, scheduled, store, custody, predictor, data })
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
        let Self { outbox, bound, live, services, scheduler, scheduled, store, custody, predictor, data } = self;
        let mut health = store.health();
        let serving = tokio::spawn(bound.server);
        let telling = tokio::spawn(outbox.run());
        let tending = tokio::spawn({
            let services = services.clone();
            async move { services.keep_trash().await }
        });
        let tidying = tokio::spawn(tidy());
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
        let drained = tokio::task::spawn_blocking(move || scheduled.join()).await;
        // Those who follow live streams have seen the last of it; they come again.
        services.live().stop();
        let told = tokio::task::spawn_blocking(move || live.join()).await;
        bound.handle.stop(true).await;
        let served = serving.await.map_err(io::Error::other).and_then(|served| served);
        let served = served.and(drained.map_err(io::Error::other)).and(told.map(drop).map_err(io::Error::other));
        // What it was about to tell is told after the next start.
        telling.abort();
        tending.abort();
        tidying.abort();
        let _ = (telling.await, tending.await, tidying.await);
        let settled = tokio::task::spawn_blocking(move || {
            // While the folder is still locked: the next server makes a socket of its own.
            if let Err(error) = control::remove(&data) {
                tracing::warn!(%error, "the control socket is left behind");
            }
            drop(predictor);
            drop(services);
            drop(custody);
            store.close();
        });
        let settled = settled.await.map_err(io::Error::other);
        outcome?;
        served.and(settled).map_err(system("the server did not stop cleanly"))
    }
}

/// How often freed memory is given back.
const TIDY: Duration = Duration::from_secs(30);

/// Gives back what lies freed between what is in use. A server under load for an hour holds 61 MiB with it, 105 without.
/// Has no end.
async fn tidy() {
    loop {
        tokio::time::sleep(TIDY).await;
        // Somebody who panics there has said so.
        let _ = tokio::task::spawn_blocking(allocator::give_back).await;
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
        known: http::browser::Known { hosts: config.hosts.clone(), origins: config.cors_origins.clone() },
        pages: crate::ui::pages(),
    })
}

/// What holds for all children.
struct Children {
    custody: Arc<Custody>,
    limits: Limits,
    admission: Arc<Admission>,
}

/// What stays for the server where nobody says what a run may hold.
const SERVER_MEMORY: u64 = 64 << 20;

/// What a run may hold where the system does not say what it has.
const UNKNOWN_MEMORY: u64 = 1 << 40;

/// What the first run is expected to hold: a script may be PyTorch, the built-in trainer is small.
const FIRST_SCRIPT: u64 = 1 << 30;
const FIRST_BUILT_IN: u64 = 128 << 20;

impl Children {
    fn new(config: &Config, mark: &str) -> Result<Self, ServerError> {
        let machine = Machine::here();
        let limits = limits(config, machine.total().unwrap_or(UNKNOWN_MEMORY));
        let groups = config.allowance.control_groups.then(|| Groups::open(mark, limits.memory.bytes, limits.processes));
        let groups = groups.unwrap_or_else(|| Err("jobs.control_groups is off".to_owned()));
        match &groups {
            Ok(groups) => tracing::info!(
                below = %groups.folder().display(), memory = groups.has_memory, processes = groups.has_pids,
                "runs get control groups; the kernel limits what is true here, the rest is watched"
            ),
            Err(why) => tracing::info!(%why, "runs get no control groups; what they hold is watched"),
        }
        let groups = groups.ok();
        let folder = groups.as_ref().map(|groups| groups.folder().to_owned());
        let guard = Guard::start(config.own.clone(), mark.to_owned(), folder)
            .map_err(system("the guard process cannot be started"))?;
        let mut custody = Custody::new(Arc::new(guard), groups);
        custody.adopt_orphans().map_err(system("the server cannot look after orphans"))?;
        let is_built_in = config.train.is_subcommand(&config.own, "train");
        let guess = if is_built_in { FIRST_BUILT_IN } else { FIRST_SCRIPT };
        let first = config.allowance.memory_estimate_bytes.unwrap_or(guess);
        let available: Available = match config.allowance.wait_for_memory {
            true => Box::new(move || machine.available()),
            false => Box::new(|| None),
        };
        let admission = Arc::new(Admission::new(available, first, limits.memory.bytes));
        Ok(Self { custody: Arc::new(custody), limits, admission })
    }
}

/// What a child may take on a machine with so much memory.
fn limits(config: &Config, memory: u64) -> Limits {
    let set = &config.allowance;
    Limits {
        memory: match set.memory_bytes {
            Some(bytes) => Ceiling { bytes, is_set: true },
            None => Ceiling { bytes: memory.saturating_sub(SERVER_MEMORY).max(SERVER_MEMORY), is_set: false },
        },
        // The time-out says enough where nobody sets this one.
        cpu_seconds: set.cpu_seconds,
        file_bytes: set.file_bytes,
        open_files: set.open_files,
        processes: set.processes.unwrap_or((memory >> 20).clamp(256, 4096)),
    }
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
        children: &Children,
        runtime: &tokio::runtime::Handle,
        mark: &str,
        (handle, progress): (&Handle, Arc<dyn Progress>),
    ) -> Self {
        let folders = RunFolders::new(config.data_dir.join(care::RUNS), config.data_dir.join(care::LOGS));
        let threads = config.cores / config.concurrency;
        let mut environment = BaseEnvironment::new(|name| std::env::var_os(name), &config.env, threads, mark)
            .with("TRAINYARD_CACHE_DIR", config.data_dir.join(care::CACHE))
            .with("TRAINYARD_CACHE_BYTES", config.trainer_cache_bytes.to_string());
        for (name, value) in config.backbone.iter().flat_map(Settings::variables) {
            environment = environment.with(name, value);
        }
        let mail = config.mail.iter().flat_map(|mail| mail.secrets.0.iter().cloned());
        let secrets = Secrets::new(&environment.secrets().iter().cloned().chain(mail).collect::<Vec<_>>());
        let reports = handle.clone();
        let pool = LocalPool::new(
            local::Settings {
                train: config.train.clone(),
                environment: environment.clone(),
                timeout: config.timeout,
                grace: config.stop_grace,
                limits: children.limits,
                secrets: secrets.clone(),
                admission: Arc::clone(&children.admission),
                folders: folders.clone(),
                views: config.data_dir.join(care::VIEWS),
                progress,
            },
            Arc::new(store.clone()),
            Arc::clone(blobs),
            Arc::clone(&children.custody),
            runtime.clone(),
            Arc::new(move |events| reports.report(events)),
        );
        let predictor = predictor(config, environment, secrets, &folders, children, runtime);
        Self { pool: Arc::new(pool), predictor, folders }
    }
}

/// Who answers predictions: warm children for the built-in trainer, a process a question for anybody's script.
fn predictor(
    config: &Config,
    environment: BaseEnvironment,
    secrets: Secrets,
    folders: &RunFolders,
    children: &Children,
    runtime: &tokio::runtime::Handle,
) -> Arc<dyn Predictor> {
    let (custody, limits, runtime) = (Arc::clone(&children.custody), children.limits, runtime.clone());
    let (timeout, folders, concurrency) = (config.test_timeout, folders.clone(), config.concurrency);
    if config.test.is_subcommand(&config.own, "test") {
        let own = config.own.clone();
        let settings = warm::Settings { own, environment, timeout, folders, concurrency, limits };
        return Arc::new(WarmPredictor::new(settings, custody, runtime));
    }
    let test = config.test.clone();
    let settings = predictor::Settings { test, environment, timeout, folders, concurrency, limits, secrets };
    Arc::new(CommandPredictor::new(settings, custody, runtime))
}

/// Who sends mail.
fn mailer(mail: &Mail, base: String) -> Mailer {
    let Mail { host, port, security, credentials, from, to, topics, secrets: _ } = mail.clone();
    let server = mail::Server { host, port, security, credentials };
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
    // Each run and each prediction holds one; the rest is for the server's own files.
    2 * config.concurrency + 8
}

/// Clears what the last process left unfinished: uploads, and dataset folders, which are made anew when needed. The
/// folders are moved aside at once and deleted at leisure; on a full disk, which has no room for another folder, they are
/// emptied where they are.
fn sweep(data: &Path) -> io::Result<()> {
    let swept = data.join(care::SWEPT);
    for (number, name) in [care::TMP, care::VIEWS].iter().enumerate() {
        let folder = data.join(name);
        if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_none()) {
            continue;
        }
        let stamp = SystemClock.now().0;
        let moved = fs::create_dir_all(&swept)
            .and_then(|()| fs::rename(&folder, swept.join(format!("{stamp}-{number}"))))
            .and_then(|()| fs::create_dir(&folder));
        match moved {
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(&folder)?,
            Err(error) if error.kind() == io::ErrorKind::StorageFull => clear(&folder)?,
            moved => moved?,
        }
    }
    fs::create_dir_all(data.join(care::RUNS))?;
    fs::create_dir_all(data.join(care::LOGS))?;
    std::thread::Builder::new().name("sweeper".to_owned()).spawn(move || {
        if let Err(error) = fs::remove_dir_all(&swept)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "what an earlier server left unfinished could not all be removed");
        }
    })?;
    Ok(())
}

/// Empties a folder, which may have to be made.
fn clear(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    Ok(())
}

/// What the marks of this data folder's children begin with, kept so that a later server knows an earlier one's. A copy
/// of the folder lies elsewhere, so its server leaves the children of the original alone.
fn folder_id(data: &Path) -> io::Result<String> {
    let file = data.join("id");
    let place = fs::metadata(data)?;
    let at = |id: &str| format!("{id}-{:x}-{:x}", place.dev(), place.ino());
    match fs::read_to_string(&file) {
        Ok(id) if !id.trim().is_empty() => return Ok(at(id.trim())),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let seed = format!("{} {} {}", data.display(), SystemClock.now().0, std::process::id());
    let id = blake3::hash(seed.as_bytes()).to_hex()[..16].to_owned();
    fs::write(&file, format!("{id}\n"))?;
    Ok(at(&id))
}
