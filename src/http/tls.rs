//! The server's certificate and key: read at the start, and again when their files change.
//!
//! The files are looked at before a handshake, at most once a second, so nothing runs where nobody calls and a renewed
//! certificate is shown to the very next caller. A pair that is no good, such as one that is being written, changes
//! nothing: the old one stays and the log says why. HTTP/1.1 alone is offered: actix bounds neither the streams nor the
//! resets of an HTTP/2 connection as tightly as the limits here ask for, and the API gains nothing by it.

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};
use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio_rustls::TlsAcceptor;
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// How often the files are looked at, at most.
const RHYTHM: Duration = Duration::from_secs(1);

/// From how long before its end on a certificate is warned about.
const SOON: Duration = Duration::from_secs(7 * 24 * 3600);

/// How often.
const REMIND: Duration = Duration::from_secs(24 * 3600);

/// Where certificate and key lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate with its intermediates, the server's own first (PEM).
    pub cert: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
}

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("server.{setting}: {path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds nothing of the kind.
    #[error("server.{setting}: {path} holds no {what} in PEM form{detail}", path = path.display())]
    Nothing {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What was found instead.
        detail: String,
    },
    /// The certificate is damaged.
    #[error("server.tls_cert: the certificate in {path} is damaged: {detail}", path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The key is of no use here.
    #[error("server.tls_key: the key in {path} cannot be used: {detail}; make one of RSA, ECDSA or Ed25519", path = path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// They do not belong together.
    #[error(
        "the key in {key} (server.tls_key) is not that of the certificate in {cert} (server.tls_cert); the server's own \
         certificate has to come first in that file",
        key = files.key.display(), cert = files.cert.display()
    )]
    Mismatch {
        /// Both.
        files: Files,
    },
    /// The certificate is over.
    #[error("server.tls_cert: the certificate in {path} expired on {at}; renew it", path = path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// When.
        at: String,
    },
    /// The certificate has not begun.
    #[error("server.tls_cert: the certificate in {path} is valid from {at} on; is this machine's clock right?", path = path.display())]
    TooEarly {
        /// The file.
        path: PathBuf,
        /// From when.
        at: String,
    },
    /// The library refuses.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// A certificate with its key, and when it ends.
#[derive(Debug, Clone)]
struct Pair {
    certified: Arc<CertifiedKey>,
    not_after: Duration,
}

/// What files look like from outside: another look means another content.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp([(u64, u64, i64, i64, u64); 2]);

impl Stamp {
    /// `None` where one of them is not there.
    fn of(files: &Files) -> Option<Self> {
        let look = |file: Metadata| (file.dev(), file.ino(), file.mtime(), file.mtime_nsec(), file.size());
        Some(Self([look(std::fs::metadata(&files.cert).ok()?), look(std::fs::metadata(&files.key).ok()?)]))
    }
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn shown(at: Duration) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + at).to_string()
}

impl Pair {
    fn load(files: &Files, now: Duration) -> Result<Self, TlsError> {
        let chain = certificates(&files.cert)?;
        let key = private_key(&files.key)?;
        let damaged = |detail: String| TlsError::Certificate { path: files.cert.clone(), detail };
        let (first, path) = (&chain[0], &files.cert);
        let certificate = Certificate::from_der(first).map_err(|error| damaged(error.to_string()))?;
        let validity = certificate.tbs_certificate().validity();
        let (not_before, not_after) = (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
        if now > not_after {
            return Err(TlsError::Expired { path: path.clone(), at: shown(not_after) });
        }
        if now < not_before {
            return Err(TlsError::TooEarly { path: path.clone(), at: shown(not_before) });
        }
        let unusable = |error: rustls::Error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { files: files.clone() }
            }
            rustls::Error::InvalidCertificate(error) => damaged(error.to_string()),
            error => TlsError::Key { path: files.key.clone(), detail: error.to_string() },
        };
        let certified = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(unusable)?;
        Ok(Self { certified: Arc::new(certified), not_after })
    }
}

fn nothing(setting: &'static str, path: &Path, what: &'static str) -> impl Fn(pem::Error) -> TlsError {
    move |error| match error {
        pem::Error::Io(source) => TlsError::Unreadable { setting, path: path.to_owned(), source },
        pem::Error::NoItemsFound => TlsError::Nothing { setting, path: path.to_owned(), what, detail: String::new() },
        error => TlsError::Nothing { setting, path: path.to_owned(), what, detail: format!(" ({error})") },
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = nothing("tls_cert", path, "certificate");
    let chain: Vec<_> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(&failed)?;
    if chain.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(chain) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let key = PrivateKeyDer::from_pem_file(path).map_err(nothing("tls_key", path, "private key"))?;
    if std::fs::metadata(path).is_ok_and(|file| file.mode() & 0o004 != 0) {
        tracing::warn!(path = %path.display(), "everybody on this machine can read the private key; chmod 600 it");
    }
    Ok(key)
}

/// What handshakes are answered with.
struct Current(RwLock<Pair>);

impl Current {
    fn get(&self) -> Pair {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Current")
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get().certified)
    }
}

/// When something was looked at or said last.
#[derive(Debug)]
struct Looked {
    stamp: Option<Stamp>,
    reminded: Option<Instant>,
}

/// The server's side of TLS.
pub struct Tls {
    files: Files,
    current: Arc<Current>,
    acceptor: TlsAcceptor,
    started: Instant,
    /// When the files are to be looked at again, in milliseconds since the start.
    next_look: AtomicU64,
    looked: Mutex<Looked>,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`TlsError`] naming the setting, the file and what is wrong.
    pub fn load(files: Files) -> Result<Arc<Self>, TlsError> {
        // Looked at before they are read, so that a change in between is seen later.
        let looked = Looked { stamp: Stamp::of(&files), reminded: None };
        let pair = Pair::load(&files, since_epoch())?;
        let current = Arc::new(Current(RwLock::new(pair)));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::<Current>::clone(&current));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = Self {
            files,
            current,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            started: Instant::now(),
            next_look: AtomicU64::new(0),
            looked: Mutex::new(looked),
        };
        tls.remind();
        Ok(Arc::new(tls))
    }

    /// Makes handshakes.
    pub fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// When the certificate ends, since 1970.
    pub fn not_after(&self) -> Duration {
        self.current.get().not_after
    }

    /// Looks whether the files have changed, unless that was done a moment ago.
    pub async fn look(self: &Arc<Self>) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let due = self.next_look.load(Relaxed);
        let next = now.saturating_add(RHYTHM.as_millis() as u64);
        if now < due || self.next_look.compare_exchange(due, next, Relaxed, Relaxed).is_err() {
            return;
        }
        let tls = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || {
            tls.reload();
            tls.remind();
        });
        if let Err(error) = looked.await {
            tracing::error!(%error, "the certificate's files could not be looked at");
        }
    }

    fn reload(&self) {
        // A file that is gone for a moment is on its way.
        let Some(stamp) = Stamp::of(&self.files) else { return };
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.stamp.as_ref() == Some(&stamp) {
                return;
            }
            looked.stamp = Some(stamp);
            looked.reminded = None;
        }
        match Pair::load(&self.files, since_epoch()) {
            Ok(pair) => {
                tracing::info!(until = shown(pair.not_after), "the certificate was renewed");
                *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = pair;
            }
            Err(error) => tracing::warn!(%error, "the changed certificate is not used; the old one stays"),
        }
    }

    /// Warns of a certificate's end, once a day.
    fn remind(&self) {
        let left = self.not_after().saturating_sub(since_epoch());
        if left > SOON {
            return;
        }
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        if looked.reminded.is_some_and(|reminded| reminded.elapsed() < REMIND) {
            return;
        }
        looked.reminded = Some(Instant::now());
        let until = shown(self.not_after());
        if left.is_zero() {
            tracing::error!(until, "the certificate has expired; clients will refuse it");
        } else {
            tracing::warn!(until, "the certificate expires soon");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use std::fs;

    struct Made {
        cert: String,
        key: String,
    }

    fn made(years: (i32, i32)) -> Made {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        Made { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
    }

    fn files(folder: &tempfile::TempDir, cert: &str, key: &str) -> Files {
        let files = Files { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        fs::write(&files.cert, cert).unwrap();
        fs::write(&files.key, key).unwrap();
        files
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (good, other) = (made((2020, 2100)), made((2020, 2100)));
        let load = |cert: &str, key: &str| Tls::load(files(&folder, cert, key)).map(drop).map_err(|e| e.to_string());
        assert_eq!(load(&good.cert, &good.key), Ok(()));
        assert_eq!(load(&format!("{}{}", good.cert, other.cert), &good.key), Ok(()));
        let message = |cert: &str, key: &str| load(cert, key).unwrap_err();
        let says = |message: String, words: &[&str]| {
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        };
        says(message(&good.cert, &other.key), &["tls_key", "tls_cert", "key.pem", "cert.pem"]);
        says(message("", &good.key), &["tls_cert", "cert.pem", "no certificate"]);
        says(message(&good.key, &good.key), &["tls_cert", "no certificate"]);
        says(message(&good.cert, ""), &["tls_key", "key.pem", "no private key"]);
        says(message(&good.cert, "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n"), &["tls_key"]);
        says(
            message(&good.cert, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
            &["tls_key", "RSA"],
        );
        says(message("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &good.key), &["damaged"]);
        let old = made((1990, 2000));
        says(message(&old.cert, &old.key), &["expired", "2000-01-01"]);
        let early = made((2090, 2100));
        says(message(&early.cert, &early.key), &["2090-01-01", "clock"]);
        let gone = Files { cert: folder.path().join("gone.pem"), key: folder.path().join("key.pem") };
        says(Tls::load(gone).map(drop).unwrap_err().to_string(), &["tls_cert", "gone.pem", "cannot be read"]);
    }

    #[test]
    fn a_changed_pair_is_taken_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (made((2020, 2100)), made((2020, 2101)));
        let tls = Tls::load(files(&folder, &first.cert, &first.key)).unwrap();
        let shown = |tls: &Tls| tls.current.get().certified.cert[0].clone();
        let (of_first, until) = (shown(&tls), tls.not_after());
        // Half of a renewal.
        files(&folder, &second.cert, &first.key);
        tls.reload();
        assert_eq!(shown(&tls), of_first);
        fs::remove_file(folder.path().join("key.pem")).unwrap();
        tls.reload();
        assert_eq!(shown(&tls), of_first);
        files(&folder, &second.cert, &second.key);
        tls.reload();
        assert_ne!(shown(&tls), of_first);
        assert!(tls.not_after() > until);
    }
}
