//! Fetches from a small server on this machine, and refusals that must not reach it.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::address::AddressRule;
use super::names::{Lookup, NameError, NameLookup};
use super::*;

/// Answers by path; counts the connections it accepts.
struct Server {
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = connections.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || answer(stream.unwrap(), port));
            }
        });
        Self { port, connections }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn answer(stream: TcpStream, port: u16) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let request = lines.next().unwrap().unwrap();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    let path = request.split(' ').nth(1).unwrap();
    let mut stream = stream;
    let mut say = |text: &str| stream.write_all(text.as_bytes()).is_ok() && stream.flush().is_ok();
    let found = |location: &str| format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    match path.trim_start_matches('/').split_once('/').unwrap_or((path, "")) {
        ("ok", _) => say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        ("chain", "0") => say(&found("/ok/end.png")),
        ("chain", left) => say(&found(&format!("{}", left.parse::<u32>().unwrap() - 1))),
        ("loop", _) => say(&found("/loop/")),
        ("to-file", _) => say(&found("file:///etc/passwd")),
        ("to-private", _) => say(&found("http://10.0.0.1/")),
        ("to-v6", _) => say(&found(&format!("http://[::1]:{port}/ok/a.png"))),
        ("to-name", _) => say(&found(&format!("http://inside.test:{port}/ok/a.png"))),
        ("to-user", _) => say(&found("http://u:p@127.0.0.1/")),
        ("to-nothing", _) => say(&found("http://[")),
        ("large", _) => say("HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n"),
        ("large-chunked", _) => {
            let chunk = format!("32\r\n{}\r\n", "x".repeat(50));
            say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            (0..1000).all(|_| say(&chunk))
        }
        ("short", _) => say("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nonly this"),
        ("hang", _) => {
            thread::sleep(Duration::from_secs(5));
            true
        }
        ("stall", _) => {
            say("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello");
            thread::sleep(Duration::from_secs(5));
            true
        }
        ("drip", _) => {
            say("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n");
            (0..90).all(|_| {
                thread::sleep(Duration::from_millis(100));
                say("x")
            })
        }
        ("gzip", _) => say("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"),
        ("garbage", _) => say("\0\0\0 what is this\r\n\r\n"),
        _ => say("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    };
}

/// Names that only these tests know.
struct TableNames(HashMap<&'static str, Vec<IpAddr>>);

impl NameLookup for TableNames {
    fn lookup(&self, name: String) -> Lookup<'_> {
        let found = self.0.get(name.as_str()).cloned();
        Box::pin(async move { found.ok_or(NameError::Unresolvable) })
    }
}

fn policy(allow_private_addresses: bool) -> FetchPolicy {
    FetchPolicy {
        allow_private_addresses,
        max_bytes: 100,
        connect_timeout: Duration::from_millis(500),
        idle_timeout: Duration::from_millis(300),
        total_timeout: Duration::from_millis(1500),
        max_redirects: 5,
        at_once: 2,
    }
}

fn open_fetcher() -> Fetcher {
    Fetcher::new(policy(true))
}

/// Takes 127.0.0.1 for the public net and everything else for ours.
fn guarded_fetcher() -> Fetcher {
    let local = IpAddr::from(Ipv4Addr::LOCALHOST);
    let inside = IpAddr::from([10, 0, 0, 1]);
    let names = TableNames(HashMap::from([
        ("public.test", vec![local]),
        ("inside.test", vec![inside]),
        ("both.test", vec![inside, local]),
        ("empty.test", vec![]),
    ]));
    Fetcher::with_parts(policy(false), AddressRule::new(move |address| address == local), Arc::new(names))
}

async fn read(fetcher: &Fetcher, url: &str) -> Result<(String, Vec<u8>), FetchError> {
    let mut fetched = fetcher.fetch(url).await?;
    let mut body = Vec::new();
    while let Some(chunk) = fetched.chunk().await? {
        body.extend_from_slice(&chunk);
    }
    Ok((fetched.file_name, body))
}

async fn failure(fetcher: &Fetcher, url: &str) -> FetchError {
    match read(fetcher, url).await {
        Err(error) => error,
        Ok(_) => panic!("{url} was fetched"),
    }
}

#[tokio::test]
async fn fetches_and_follows() {
    let server = Server::start();
    let fetcher = open_fetcher();
    let name_and_body = read(&fetcher, &server.url("/ok/a%20cat.png?size=1")).await.unwrap();
    assert_eq!(name_and_body, ("a cat.png".to_owned(), b"hello".to_vec()));
    assert_eq!(fetcher.fetch(&server.url("/ok/")).await.unwrap().declared_size(), Some(5));
    // Five hops: four numbers, then the file.
    assert_eq!(read(&fetcher, &server.url("/chain/4")).await.unwrap().0, "4");
    let by_name = format!("http://localhost:{}/ok/b.png", server.port);
    assert_eq!(read(&fetcher, &by_name).await.unwrap().0, "b.png");
}

#[tokio::test]
async fn failures_of_the_other_side() {
    let server = Server::start();
    let fetcher = open_fetcher();
    macro_rules! fails {
        ($path:literal, $pattern:pat) => {
            let error = failure(&fetcher, &server.url($path)).await;
            assert!(matches!(error, $pattern), "{} {error:?}", $path);
            assert!(!error.is_client_fault(), "{error}");
        };
    }
    fails!("/missing", FetchError::BadStatus { status: 404, .. });
    fails!("/chain/5", FetchError::TooManyRedirects { limit: 5, .. });
    fails!("/loop/", FetchError::TooManyRedirects { .. });
    fails!("/to-nothing/", FetchError::BadRedirect { .. });
    fails!("/large/", FetchError::TooLarge { limit: 100, .. });
    fails!("/large-chunked/", FetchError::TooLarge { limit: 100, .. });
    fails!("/short/", FetchError::BrokenOff { .. });
    fails!("/hang/", FetchError::TimedOut { .. });
    fails!("/stall/", FetchError::TimedOut { .. });
    fails!("/drip/", FetchError::TimedOut { .. });
    fails!("/gzip/", FetchError::Encoded { .. });
    fails!("/garbage/", FetchError::Unreachable { .. });
    let too_large = failure(&fetcher, &server.url("/large/")).await;
    assert_eq!(too_large.fault(), FetchFault::TooLarge);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = failure(&fetcher, &format!("http://{closed}/?token=hunter2")).await;
    assert_eq!(error.fault(), FetchFault::Remote);
    let source = std::error::Error::source(&error).unwrap();
    assert!(!format!("{error} {error:?} {source}").contains("hunter2"));
}

#[tokio::test]
async fn redirects_are_checked_like_the_first_url() {
    let server = Server::start();
    let open = open_fetcher();
    let error = failure(&open, &server.url("/to-file/")).await;
    assert!(matches!(error, FetchError::ForbiddenScheme { .. }), "{error:?}");
    let error = failure(&open, &server.url("/to-user/")).await;
    assert!(matches!(error, FetchError::Credentials { .. }), "{error:?}");

    let guarded = guarded_fetcher();
    assert_eq!(read(&guarded, &server.url("/ok/")).await.unwrap().1, b"hello");
    for path in ["/to-private/", "/to-v6/", "/to-name/"] {
        let error = failure(&guarded, &server.url(path)).await;
        assert!(matches!(error, FetchError::ForbiddenAddress { .. }), "{path} {error:?}");
        assert!(error.is_client_fault());
    }
}

#[tokio::test]
async fn names_are_judged_by_their_addresses() {
    let server = Server::start();
    let guarded = guarded_fetcher();
    let url = |name: &str| format!("http://{name}:{}/ok/a.png", server.port);
    assert_eq!(read(&guarded, &url("public.test")).await.unwrap().1, b"hello");
    assert_eq!(read(&guarded, &url("both.test")).await.unwrap().1, b"hello");
    let connections = server.connections();
    let error = failure(&guarded, &url("inside.test")).await;
    assert!(matches!(error, FetchError::ForbiddenAddress { .. }), "{error:?}");
    assert!(!error.to_string().contains("10.0.0.1"));
    for name in ["empty.test", "unknown.test"] {
        let error = failure(&guarded, &url(name)).await;
        assert!(matches!(error, FetchError::Unresolvable { .. }), "{error:?}");
        assert_eq!(error.fault(), FetchFault::Remote);
    }
    assert_eq!(server.connections(), connections);
}

/// A name that is public when it is checked and ours when it is asked for again.
struct Rebinding {
    answers: Mutex<VecDeque<IpAddr>>,
    asked: Arc<AtomicUsize>,
}

impl NameLookup for Rebinding {
    fn lookup(&self, _: String) -> Lookup<'_> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.answers.lock().unwrap().pop_front();
        Box::pin(async move { Ok(answer.into_iter().collect()) })
    }
}

#[tokio::test]
async fn a_name_is_asked_for_once_a_hop_and_that_address_is_the_one_connected_to() {
    let server = Server::start();
    let (local, inside) = (IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from([10, 0, 0, 1]));
    let fetcher = |answers: &[IpAddr]| {
        let asked = Arc::new(AtomicUsize::new(0));
        let names = Rebinding { answers: Mutex::new(answers.iter().copied().collect()), asked: asked.clone() };
        let rule = AddressRule::new(move |address| address == local);
        (Fetcher::with_parts(policy(false), rule, Arc::new(names)), asked)
    };
    let url = |path: &str| format!("http://rebind.test:{}{path}", server.port);

    let (of_two, asked) = fetcher(&[local, inside]);
    assert_eq!(read(&of_two, &url("/ok/a.png")).await.unwrap().1, b"hello");
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    // A redirect to the very same name is another hop: what the name leads to now is judged anew.
    let connections = server.connections();
    let (rebound, asked) = fetcher(&[local, inside]);
    let error = failure(&rebound, &url("/chain/0")).await;
    assert!(matches!(error, FetchError::ForbiddenAddress { .. }), "{error:?}");
    assert_eq!((asked.load(Ordering::SeqCst), server.connections()), (2, connections + 1));

    let (private_first, asked) = fetcher(&[inside, local]);
    let error = failure(&private_first, &url("/ok/a.png")).await;
    assert!(matches!(error, FetchError::ForbiddenAddress { .. }), "{error:?}");
    assert_eq!((asked.load(Ordering::SeqCst), server.connections()), (1, connections + 1));
}

#[tokio::test]
async fn only_so_many_are_fetched_at_once() {
    let server = Server::start();
    let fetcher = open_fetcher();
    let first = fetcher.fetch(&server.url("/ok/1")).await.unwrap();
    let _second = fetcher.fetch(&server.url("/ok/2")).await.unwrap();
    let connections = server.connections();
    let error = failure(&fetcher, &server.url("/ok/3")).await;
    assert!(matches!(error, FetchError::TimedOut { .. }), "{error:?}");
    assert_eq!(server.connections(), connections);
    drop(first);
    read(&fetcher, &server.url("/ok/3")).await.unwrap();
}

#[tokio::test]
async fn private_addresses_are_refused_before_connecting() {
    let server = Server::start();
    let fetcher = Fetcher::new(policy(false));
    for host in [
        "127.0.0.1",
        "[::1]",
        "0.0.0.0",
        "10.0.0.1",
        "169.254.169.254",
        "2130706433",
        "0x7f.1",
        "localhost",
        "[::ffff:10.0.0.1]",
        "[::ffff:127.0.0.1]",
        "127.1",
        "sub.localhost",
    ] {
        let error = failure(&fetcher, &format!("http://{host}:{}/ok/", server.port)).await;
        assert!(matches!(error, FetchError::ForbiddenAddress { .. }), "{host} {error:?}");
        assert!(error.is_client_fault());
    }
    assert_eq!(server.connections(), 0);
    // Nothing was asked for, so nothing was built.
    assert!(fetcher.client.get().is_none());
}

#[tokio::test]
async fn the_client_speaks_tls_and_checks_certificates() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let hello = thread::spawn(move || {
        use std::io::Read;
        let (mut stream, _) = listener.accept().unwrap();
        let mut record = [0; 3];
        stream.read_exact(&mut record).unwrap();
        record
    });
    let error = failure(&open_fetcher(), &format!("https://{address}/")).await;
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error:?}");
    // A TLS handshake record.
    assert_eq!(hello.join().unwrap()[..2], [22, 3]);
}

#[tokio::test]
async fn the_systems_resolver_can_be_made_and_asked() {
    let names = SystemNames::default();
    // Reserved names, which no name server is asked for.
    let found = names.lookup("no-such-host.invalid".to_owned()).await;
    assert_eq!(found, Err(NameError::Unresolvable));
    let found = names.lookup("localhost".to_owned()).await.unwrap();
    assert!(found.iter().all(IpAddr::is_loopback) && found.len() == 2);
}

#[test]
fn fetching_may_move_between_threads() {
    fn movable<T: Send>(value: T) -> T {
        value
    }
    let fetcher = open_fetcher();
    drop(movable(fetcher.fetch("http://h/")));
    movable(&fetcher);
}
