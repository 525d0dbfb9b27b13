//! `[mail]`: the server that takes e-mail, who sends it and who gets it.
//!
//! The url holds a password, so no message shows it.

use super::ConfigError;
use super::sections::MailSection;
use crate::domain::mail::{MailTopic, Security};
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::Certificate;
use percent_encoding::percent_decode_str;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use url::{Host, Url};

/// The most addresses that are written to.
const MOST: usize = 20;

/// E-mail, where there is any.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The name or address of the server that takes it.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// How the connection is kept from others.
    pub security: Security,
    /// The user and the password there, if it asks for them. Their debug form does not show them.
    pub credentials: Option<Credentials>,
    /// The same for whoever masks secrets.
    pub secrets: Secrets,
    /// Who vouches for the server besides Mozilla's authorities.
    pub authorities: Option<Certificate>,
    /// Who sends it.
    pub from: Mailbox,
    /// Who gets it.
    pub to: Vec<Mailbox>,
    /// About what.
    pub topics: Vec<MailTopic>,
}

/// Texts that nobody is to read.
#[derive(Clone, Default)]
pub struct Secrets(pub Vec<Vec<u8>>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Mail {
    /// `None` where no server is set. `found` is where a file of that name lies.
    pub(super) fn check(section: &MailSection, found: impl Fn(&Path) -> PathBuf) -> Result<Option<Self>, ConfigError> {
        let bad = |message: String| ConfigError::Value(message);
        let topics: Result<Vec<_>, _> = section.topics.iter().map(|topic| MailTopic::parse(topic)).collect();
        let topics = topics.map_err(|error| bad(format!("mail.topics: {}", error.message)))?;
        let to: Vec<Mailbox> = section.to.iter().map(|text| mailbox("to", text)).collect::<Result<_, _>>()?;
        if to.len() > MOST {
            return Err(bad(format!("mail.to has {} addresses; it has at most {MOST}", to.len())));
        }
        if let Some(twice) = (1..to.len()).find(|at| to[..*at].iter().any(|other| other.email == to[*at].email)) {
            return Err(bad(format!("mail.to has {} twice", to[twice].email)));
        }
        let from = section.from.as_deref().map(|text| mailbox("from", text)).transpose()?;
        let url = section.smtp_url.as_ref().map(|url| url.as_str()).filter(|url| !url.is_empty());
        let Some(url) = url else {
            if to.is_empty() {
                return Ok(None);
            }
            let message = "mail.to is set, but mail.smtp_url is not; give it, best as TRAINYARD_MAIL_SMTP_URL";
            return Err(bad(message.to_owned()));
        };
        let server = Server::parse(url).map_err(|why| bad(format!("mail.smtp_url {why}")))?;
        let from = from.ok_or_else(|| {
            bad("mail.smtp_url is set, but mail.from is not; give the address that mail comes from".to_owned())
        })?;
        if to.is_empty() || topics.is_empty() {
            return Err(bad("mail.smtp_url is set, but mail.to or mail.topics is empty".to_owned()));
        }
        let authorities = section.ca.as_deref().map(|file| authorities(&found(file))).transpose()?;
        let Server { host, port, security, credentials, secrets } = server;
        Ok(Some(Self { host, port, security, credentials, secrets, authorities, from, to, topics }))
    }
}

/// The certificates of a PEM file.
fn authorities(file: &Path) -> Result<Certificate, ConfigError> {
    let bad = |what: String| ConfigError::Value(format!("mail.ca: {} {what}", file.display()));
    let pem = std::fs::read(file).map_err(|error| bad(format!("cannot be read: {error}")))?;
    let mut found = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        certificate.map_err(|error| bad(format!("is damaged: {error}")))?;
        found += 1;
    }
    if found == 0 {
        return Err(bad("has no certificate in it; it begins with -----BEGIN CERTIFICATE-----".to_owned()));
    }
    Certificate::from_pem(&pem).map_err(|error| bad(format!("is damaged: {error}")))
}

fn mailbox(key: &str, text: &str) -> Result<Mailbox, ConfigError> {
    let example = "Ann <ann@example.org>";
    text.parse().map_err(|error| {
        ConfigError::Value(format!("mail.{key} has {text:?}, which is no address such as {example:?}: {error}"))
    })
}

/// What a url says.
struct Server {
    host: Host,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
    secrets: Secrets,
}

impl Server {
    /// What is wrong is said without the url.
    fn parse(text: &str) -> Result<Self, String> {
        let form = "give smtps://USER:PASSWORD@HOST, smtp://USER:PASSWORD@HOST?tls=required or smtp://HOST; \
                    characters such as / ? # @ % within user and password are written %2F %3F %23 %40 %25";
        let url = Url::parse(text).map_err(|error| format!("is no url ({error}); {form}"))?;
        let (security, usual_port) = match (url.scheme(), url.query()) {
            ("smtps", None) => (Security::Tls, 465),
            ("smtp", Some("tls=required")) => (Security::StartTls, 587),
            ("smtp", None) => (Security::Plain, 25),
            _ => return Err(format!("is of another form; {form}")),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(format!("has something behind the host; {form}"));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| format!("names no host; {form}"))?;
        let host = Host::parse(host).map_err(|error| format!("names no host ({error}); {form}"))?;
        let port = url.port().unwrap_or(usual_port);
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(std::borrow::Cow::into_owned);
        let user = decoded(url.username()).map_err(|_| format!("has a user name that is not UTF-8; {form}"))?;
        let Some(written) = url.password() else {
            if !user.is_empty() {
                return Err(format!("has a user name and no password; {form}"));
            }
            return Ok(Self { host, port, security, credentials: None, secrets: Secrets::default() });
        };
        let password = decoded(written).map_err(|_| format!("has a password that is not UTF-8; {form}"))?;
        if security == Security::Plain && !is_loopback(&host) {
            return Err(format!(
                "would send the password in the clear; take smtps:// or smtp://...?tls=required, or this machine; {form}"
            ));
        }
        let secrets = Secrets(vec![password.clone().into_bytes(), written.as_bytes().to_vec()]);
        Ok(Self { host, port, security, credentials: Some(Credentials::new(user, password)), secrets })
    }
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).to_canonical().is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(url: &str) -> MailSection {
        MailSection {
            smtp_url: Some(url.to_owned().into()),
            from: Some("Trainyard <yard@example.org>".to_owned()),
            to: vec!["Ann Ärger <ann@example.org>".to_owned()],
            ..MailSection::default()
        }
    }

    #[test]
    fn urls_say_where_to_and_how() {
        let mail = |url: &str| Mail::check(&section(url), Path::to_owned).unwrap().unwrap();
        let found = mail("smtps://ann%40example.org:p%2Fw%25d-long@mail.example.org");
        assert_eq!(
            (found.host.to_string().as_str(), found.port, found.security),
            ("mail.example.org", 465, Security::Tls)
        );
        assert_eq!(found.credentials, Some(Credentials::new("ann@example.org".into(), "p/w%d-long".into())));
        assert_eq!(found.secrets.0, [b"p/w%d-long".to_vec(), b"p%2Fw%25d-long".to_vec()]);
        assert_eq!(found.topics, [MailTopic::SweepFinished, MailTopic::RunFailed]);
        let found = mail("smtp://u:p@mail.example.org?tls=required");
        assert_eq!((found.port, found.security), (587, Security::StartTls));
        let found = mail("smtp://[::1]:2525");
        assert_eq!((found.host, found.port), (Host::Ipv6(std::net::Ipv6Addr::LOCALHOST), 2525));
        assert!(matches!(mail("smtp://u:p@127.0.0.1").host, Host::Ipv4(_)));
        assert_eq!(mail("smtp://relay.internal").security, Security::Plain);
        assert!(Mail::check(&MailSection::default(), Path::to_owned).unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        let long = |count: usize| (0..count).map(|n| format!("a{n}@example.org")).collect::<Vec<_>>();
        let full = || section("smtp://127.0.0.1");
        let cases = [
            (section("hunter2-hunter2"), "smtp_url"),
            (section("http://u:hunter2-hunter2@example.org"), "smtps://"),
            (section("smtp://u:hunter2-hunter2@mail.example.org"), "in the clear"),
            (section("smtp://u:hunter2-hunter2@mail.example.org?tls=opportunistic"), "tls=required"),
            (section("smtps://u:hunter2/hunter2@mail.example.org"), "%2F"),
            (section("smtps://hunter2-hunter2@mail.example.org"), "no password"),
            (section("smtps://u:hunter2-hunter2@"), "host"),
            (MailSection { smtp_url: None, ..full() }, "TRAINYARD_MAIL_SMTP_URL"),
            (MailSection { from: None, ..full() }, "mail.from"),
            (MailSection { from: Some("nobody".into()), ..full() }, "mail.from"),
            (MailSection { to: vec![], ..full() }, "mail.to"),
            (MailSection { to: vec!["ann@example.org\r\nBcc: eve@example.org".into()], ..full() }, "mail.to"),
            (MailSection { to: vec!["a@example.org".into(), "A <a@example.org>".into()], ..full() }, "twice"),
            (MailSection { to: long(21), ..full() }, "at most 20"),
            (MailSection { topics: vec!["run_started".into()], ..full() }, "run_failed"),
            (MailSection { topics: vec![], ..full() }, "mail.topics"),
            (MailSection { ca: Some("gone.pem".into()), ..full() }, "gone.pem cannot be read"),
            (MailSection { ca: Some("config.toml".into()), ..full() }, "no certificate"),
        ];
        for (section, named) in cases {
            let message = Mail::check(&section, Path::to_owned).unwrap_err().to_string();
            assert!(message.contains(named) && !message.contains("hunter2"), "{named}: {message}");
        }
        let shown = format!("{0:?} {1:?}", section("smtps://u:hunter2-hunter2@mail.example.org"), {
            Mail::check(&section("smtps://u:hunter2-hunter2@mail.example.org"), Path::to_owned)
        });
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
