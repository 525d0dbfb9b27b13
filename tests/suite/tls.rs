//! TLS: the certificate that is shown, that a renewed one is taken, and what is said of files that are no good.

use crate::harness::client::raw;
use crate::harness::{Server, Yard, wait_until};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// A certificate for localhost that signs itself.
struct Made {
    cert: String,
    key: String,
}

fn made(until: i32) -> Made {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(1990, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    Made { cert: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

fn write(yard: &Yard, cert: &str, key: &str) {
    yard.write("cert.pem", cert);
    yard.write("key.pem", key);
}

/// A yard with paths that are relative to its settings file.
fn yard() -> Yard {
    Yard::new().set("server", "tls_cert", "cert.pem").set("server", "tls_key", "key.pem")
}

/// The answer to a GET, where the server shows a certificate that is trusted, and the protocol that was agreed on.
fn get(address: SocketAddr, trusted: &Made, target: &str) -> Option<(String, Option<Vec<u8>>)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.cert.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket);
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some((String::from_utf8(answer).unwrap(), stream.conn.alpn_protocol().map(<[u8]>::to_vec)))
}

fn is_shown(server: &Server, made: &Made) -> bool {
    get(server.address, made, "/healthz").is_some_and(|(answer, _)| answer.starts_with("HTTP/1.1 200 OK\r\n"))
}

#[test]
fn the_server_speaks_tls_and_tells_those_who_do_not() {
    let (yard, good) = (yard(), made(2100));
    write(&yard, &good.cert, &good.key);
    let server = yard.start();
    let (answer, protocol) = get(server.address, &good, "/api/v1/queue").unwrap();
    assert!(answer.contains("\"concurrency\":2"), "{answer}");
    assert_eq!(protocol.as_deref(), Some(&b"http/1.1"[..]));
    assert!(!is_shown(&server, &made(2100)), "somebody else's certificate is not what is shown");
    let plain = raw(server.address, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(plain.refused(400, "status").contains("https://"));
    // Neither noise nor silence keeps others out.
    let noise: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(server.address).unwrap()).collect();
    for mut socket in &noise[..25] {
        socket.write_all(b"\x16\x03\x01\xff\xffnonsense").unwrap();
    }
    assert!(is_shown(&server, &good));
    let metrics = get(server.address, &good, "/metrics").unwrap().0;
    assert!(metrics.contains("\ntrainyard_tls_certificate_end_seconds 4102444800\n"), "{metrics}");
    server.stop();
}

#[test]
fn a_renewed_certificate_is_shown_and_a_broken_one_is_not() {
    let (yard, first, second) = (yard(), made(2100), made(2101));
    write(&yard, &first.cert, &first.key);
    let server = yard.start();
    assert!(is_shown(&server, &first));
    yard.write("cert.pem", &second.cert);
    wait_until("the log to say that half a renewal is not used", || {
        assert!(is_shown(&server, &first));
        server.log().contains("the old one stays")
    });
    yard.write("key.pem", &second.key);
    wait_until("the second certificate", || is_shown(&server, &second));
    assert!(!is_shown(&server, &first));
    assert!(server.log().contains("renewed"));
}

#[test]
fn files_that_are_no_good_are_named_at_the_start() {
    let (good, other, old) = (made(2100), made(2100), made(2000));
    let yard = yard();
    for (cert, key, named) in [
        (&*good.cert, &*other.key, "is not that of the certificate"),
        (&good.cert, "nonsense", "tls_key"),
        ("", &good.key, "tls_cert"),
        (&old.cert, &old.key, "expired on 2000-01-01"),
    ] {
        write(&yard, cert, key);
        let message = yard.refusal(&[]);
        assert!(message.contains(named) && message.contains(".pem"), "{named}: {message}");
        assert!(!yard.path("data").exists(), "{named}: nothing is made for settings that are refused");
    }
    std::fs::remove_file(yard.path("key.pem")).unwrap();
    assert!(yard.refusal(&[]).contains("key.pem"));
    let message = Yard::new().set("server", "tls_cert", "cert.pem").refusal(&[]);
    assert!(message.contains("tls_key"), "{message}");
}
