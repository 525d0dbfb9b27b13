//! Handing one message to a server for e-mail: a connection, TLS, a password, the message, and an end to all waiting.
//!
//! A connection is made for each message: they are hours apart. A server's words are bounded, as is the time that they take.

use crate::domain::mail::Security;
use crate::domain::text::printable;
use crate::ingest::fetch::{NameLookup, SystemNames};
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, AsyncTokioStream, Certificate, CertificateStore, TlsParameters,
};
use lettre::transport::smtp::extension::ClientId;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Host;

/// For a whole message, its connection included.
const PATIENCE: Duration = Duration::from_secs(60);

/// For a connection to one address.
const CONNECT: Duration = Duration::from_secs(10);

/// For the farewell, which changes nothing any more.
const FAREWELL: Duration = Duration::from_secs(2);

/// The most bytes that a server may say that has shown no certificate at the start.
const MOST_SAID: usize = 256 << 10;

/// The most characters of its words that are kept.
const MOST_SHOWN: usize = 300;

/// A server that takes e-mail.
pub struct Server {
    /// Its name or address.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// How the connection is kept from others.
    pub security: Security,
    /// What it asks for, if it does.
    pub credentials: Option<Credentials>,
    /// Who vouches for it besides Mozilla's authorities.
    pub authorities: Option<Certificate>,
}

impl Server {
    /// Hands in a message. Once the server took it, it is delivered, whatever follows.
    ///
    /// # Errors
    /// What went wrong, in words without a secret.
    pub(super) async fn deliver(&self, envelope: &Envelope, message: &[u8]) -> Result<(), String> {
        self.deliver_within(PATIENCE, envelope, message).await
    }

    async fn deliver_within(&self, patience: Duration, envelope: &Envelope, message: &[u8]) -> Result<(), String> {
        let outcome = timeout(patience, self.hand_in(envelope, message)).await;
        let mut connection =
            outcome.unwrap_or_else(|_| Err(format!("{} did not take the message within {patience:?}", self.host)))?;
        // A server that hangs now has the message: to send it again would be a second one.
        let _ = timeout(FAREWELL, connection.abort()).await;
        Ok(())
    }

    async fn hand_in(&self, envelope: &Envelope, message: &[u8]) -> Result<AsyncSmtpConnection, String> {
        let addresses = self.addresses().await?;
        let mut connection = match self.security {
            // Whoever answers here has shown a certificate; lettre bounds neither its lines nor its words as closely.
            Security::Tls => {
                let (hello, tls) = (ClientId::default(), Some(self.tls()?));
                let greeted =
                    AsyncSmtpConnection::connect_tokio1(&addresses[..], Some(CONNECT), &hello, tls, None).await;
                greeted.map_err(|error| self.words("did not begin TLS", &error))?
            }
            Security::Plain | Security::StartTls => self.greeted(&addresses).await?,
        };
        if let Some(credentials) = &self.credentials {
            // Its words could hold what it was told.
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(|error| match error.status() {
                Some(code) => format!("{} refused the user and password of mail.smtp_url ({code})", self.host),
                None if error.is_client() => format!("{} takes no password, but mail.smtp_url has one", self.host),
                None => format!("{} broke off when it was given the password", self.host),
            })?;
        }
        connection.send(envelope, message).await.map_err(|error| self.words("did not take the message", &error))?;
        Ok(connection)
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, String> {
        let found = match &self.host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => {
                let found = SystemNames::default().lookup(name.clone()).await;
                found.map_err(|error| format!("{}: {error}", self.host))?
            }
        };
        Ok(found.into_iter().map(|address| SocketAddr::new(address, self.port)).collect())
    }

    /// A connection that begins in the clear, and goes on in TLS where that is wanted.
    async fn greeted(&self, addresses: &[SocketAddr]) -> Result<AsyncSmtpConnection, String> {
        let (tcp, peer) = self.connect(addresses).await?;
        let hello = match tcp.local_addr().map(|address| address.ip().to_canonical()) {
            Ok(IpAddr::V4(address)) => ClientId::Ipv4(address),
            Ok(IpAddr::V6(address)) => ClientId::Ipv6(address),
            Err(_) => ClientId::default(),
        };
        let stream = Box::new(Bounded { inner: tcp, left: MOST_SAID, peer });
        let greeted = AsyncSmtpConnection::connect_with_transport(stream, &hello).await;
        let mut connection = greeted.map_err(|error| self.words("did not greet", &error))?;
        if self.security == Security::StartTls {
            let outcome = connection.starttls(self.tls()?, &hello).await;
            outcome.map_err(|error| self.words("did not begin TLS", &error))?;
        }
        Ok(connection)
    }

    async fn connect(&self, addresses: &[SocketAddr]) -> Result<(TcpStream, SocketAddr), String> {
        let mut last = "it has no address".to_owned();
        for address in addresses {
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(connected)) => return Ok((connected, *address)),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = format!("no answer within {CONNECT:?}"),
            }
        }
        Err(format!("{} port {} cannot be reached: {last}", self.host, self.port))
    }

    /// TLS that trusts Mozilla's roots, which are embedded, and those of the settings.
    fn tls(&self) -> Result<TlsParameters, String> {
        let mut parameters = TlsParameters::builder(self.name()).certificate_store(CertificateStore::WebpkiRoots);
        if let Some(authorities) = &self.authorities {
            parameters = parameters.add_root_certificate(authorities.clone());
        }
        parameters.build().map_err(|error| self.words("cannot be asked for TLS", &error))
    }

    /// As certificates have it.
    fn name(&self) -> String {
        match &self.host {
            Host::Ipv6(address) => address.to_string(),
            other => other.to_string(),
        }
    }

    fn words(&self, what: &str, error: &dyn Error) -> String {
        let all: String = error.to_string().chars().take(MOST_SHOWN).collect();
        format!("{} {what}: {}", self.host, printable(&all))
    }
}

/// A connection that ends once so many bytes were read.
struct Bounded<S> {
    inner: S,
    left: usize,
    peer: SocketAddr,
}

impl<S> fmt::Debug for Bounded<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bounded({})", self.peer)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> AsyncTokioStream for Bounded<S> {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.peer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let outcome = std::task::ready!(Pin::new(&mut self.inner).poll_read(context, into));
        match self.left.checked_sub(into.filled().len() - before) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other("the server says too much"))),
        }
        Poll::Ready(outcome)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use std::future::Future;
    use std::sync::Arc;
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    /// What becomes of a message for a server that does this with the connection, and what it was told.
    async fn outcome<F: Future<Output = Vec<u8>> + Send + 'static>(
        security: Security,
        patience: Duration,
        serve: impl FnOnce(TcpStream) -> F,
    ) -> (String, String) {
        let (outcome, told) = delivered(security, patience, None, serve).await;
        (outcome.unwrap_err(), told)
    }

    /// The same for a server that this authority vouches for.
    async fn delivered<F: Future<Output = Vec<u8>> + Send + 'static>(
        security: Security,
        patience: Duration,
        authorities: Option<Certificate>,
        serve: impl FnOnce(TcpStream) -> F,
    ) -> (Result<(), String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let credentials = Some(Credentials::new("ann".to_owned(), "hunter2-hunter2".to_owned()));
        let server = Server { host: Host::Domain("localhost".to_owned()), port, security, credentials, authorities };
        let address = |text: &str| text.parse().unwrap();
        let envelope = Envelope::new(Some(address("yard@example.org")), vec![address("ann@example.org")]).unwrap();
        let deliver = server.deliver_within(patience, &envelope, b"Subject: x\r\n\r\nx\r\n");
        let served = async {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream)).await.unwrap()
        };
        let (outcome, told) = tokio::join!(deliver, served);
        (outcome, String::from_utf8_lossy(&told).into_owned())
    }

    /// Says this, then listens until the end.
    async fn says(mut stream: TcpStream, words: &'static [u8]) -> Vec<u8> {
        let mut told = Vec::new();
        stream.write_all(words).await.unwrap();
        let _ = stream.read_to_end(&mut told).await;
        told
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_server_that_says_nothing_is_left() {
        let (why, told) = outcome(Security::Plain, Duration::from_millis(50), |stream| says(stream, b"")).await;
        assert!(why.contains("within 50ms") && told.is_empty(), "{why}: {told}");
    }

    #[tokio::test]
    async fn a_server_that_never_stops_is_left() {
        let (why, told) = outcome(Security::Plain, LONG, |mut stream| async move {
            while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
            Vec::new()
        })
        .await;
        assert!(why.contains("says too much") && told.is_empty(), "{why}: {told}");
    }

    #[tokio::test]
    async fn no_password_is_sent_where_tls_is_wanted_and_not_had() {
        let (why, told) =
            outcome(Security::StartTls, LONG, |stream| says(stream, b"220 hello\r\n250-hello\r\n250 AUTH PLAIN\r\n"))
                .await;
        assert!(why.contains("STARTTLS") && told.starts_with("EHLO ") && !told.contains("AUTH"), "{why}: {told}");
    }

    /// A key with a certificate that vouches for itself: who takes connections with it, and the certificate in PEM.
    fn identity() -> (TlsAcceptor, String) {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config.unwrap().with_no_client_auth().with_single_cert(vec![cert.der().clone()], key).unwrap();
        (TlsAcceptor::from(Arc::new(config)), cert.pem())
    }

    /// Takes a message, and gives back all that it was told. STARTTLS ends it, acknowledged.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(stream: S, greeting: &str, can: &str) -> (S, Vec<u8>) {
        let (mut stream, mut told) = (BufReader::new(stream), Vec::new());
        stream.write_all(greeting.as_bytes()).await.unwrap();
        let mut is_text = false;
        loop {
            let begin = told.len();
            // Whoever has said all there is may hang up without a word.
            if stream.read_until(b'\n', &mut told).await.unwrap_or_default() == 0 {
                return (stream.into_inner(), told);
            }
            let line = &told[begin..];
            let answer = match line {
                b".\r\n" => {
                    is_text = false;
                    "250 taken\r\n"
                }
                _ if is_text => continue,
                _ if line.starts_with(b"EHLO") => can,
                b"DATA\r\n" => {
                    is_text = true;
                    "354 go on\r\n"
                }
                b"STARTTLS\r\n" => "220 go on\r\n",
                _ if line.starts_with(b"AUTH") => "235 welcome\r\n",
                _ => "250 fine\r\n",
            };
            let is_over = line == b"STARTTLS\r\n";
            stream.write_all(answer.as_bytes()).await.unwrap();
            if is_over {
                return (stream.into_inner(), told);
            }
        }
    }

    const CAN: &str = "250-test\r\n250 AUTH PLAIN\r\n";

    #[tokio::test]
    async fn a_certificate_that_nobody_vouches_for_is_refused() {
        let (why, told) = outcome(Security::Tls, LONG, |stream| async move {
            match identity().0.accept(stream).await {
                Ok(_) => b"a handshake".to_vec(),
                Err(_) => Vec::new(),
            }
        })
        .await;
        assert!(why.contains("certificate") && told.is_empty(), "{why}: {told}");
    }

    #[tokio::test]
    async fn a_message_goes_over_tls_to_a_server_that_the_settings_vouch_for() {
        let (acceptor, pem) = identity();
        let authority = Some(Certificate::from_pem(pem.as_bytes()).unwrap());
        let (outcome, told) = delivered(Security::Tls, LONG, authority, |stream| async move {
            talk(acceptor.accept(stream).await.unwrap(), "220 test\r\n", CAN).await.1
        })
        .await;
        assert_eq!(outcome, Ok(()), "{told}");
        assert!(told.contains("AUTH PLAIN") && told.contains("Subject: x\r\n\r\nx\r\n"), "{told}");
    }

    #[tokio::test]
    async fn starttls_comes_before_the_password() {
        let (acceptor, pem) = identity();
        let authority = Some(Certificate::from_pem(pem.as_bytes()).unwrap());
        let (outcome, told) = delivered(Security::StartTls, LONG, authority, |stream| async move {
            let (stream, mut told) = talk(stream, "220 test\r\n", "250-test\r\n250 STARTTLS\r\n").await;
            told.extend(b"-- TLS --");
            told.extend(talk(acceptor.accept(stream).await.unwrap(), "", CAN).await.1);
            told
        })
        .await;
        assert_eq!(outcome, Ok(()), "{told}");
        let (clear, secret) = told.split_once("-- TLS --").unwrap();
        assert!(clear.ends_with("STARTTLS\r\n") && !clear.contains("AUTH"), "{told}");
        assert!(secret.contains("AUTH PLAIN") && secret.contains("Subject: x"), "{told}");
    }
}
