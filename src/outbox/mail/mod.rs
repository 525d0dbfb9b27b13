//! E-mail: whom it goes to, what about, and one message on its way.
//!
//! A run of a sweep is told of by its sweep's mail alone, so that a sweep is one message. Each address gets a message of its
//! own: one that the server refuses holds up no other.

mod letter;
mod smtp;

use crate::domain::error::{Error, Result};
use crate::domain::event::{Event, EventKind};
use crate::domain::ids::RunId;
use crate::domain::mail::MailTopic;
use crate::store::{Store, runs};
use letter::Letter;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message};
use lettre::{Address, address::Envelope};
pub use smtp::Server;
use std::time::{Duration, SystemTime};

/// What mail is sent with.
pub struct Settings {
    /// The server that takes it.
    pub server: Server,
    /// Who sends it.
    pub from: Mailbox,
    /// Who gets it.
    pub to: Vec<Mailbox>,
    /// About what.
    pub topics: Vec<MailTopic>,
    /// Where this server is reached, such as `http://127.0.0.1:8080`.
    pub base: String,
}

/// Writes mail and hands it to a server.
pub struct Mailer(Settings);

impl Mailer {
    /// A mailer; nothing is connected yet.
    pub fn new(settings: Settings) -> Self {
        Self(settings)
    }

    /// Who gets mail.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Address> + '_ {
        self.0.to.iter().map(|mailbox| mailbox.email.clone())
    }

    /// Whether mail tells of this.
    pub(super) fn concerns(&self, store: &Store, event: &Event) -> Result<bool> {
        if !self.0.topics.iter().any(|topic| topic.covers(event.kind)) {
            return Ok(false);
        }
        match event.kind {
            EventKind::SweepFinished => Ok(true),
            _ => Ok(runs::get(store, RunId(event.subject))?.is_some_and(|run| run.sweep.is_none())),
        }
    }

    /// Writes to an address about an event. The inner error is what went wrong on the way, in words.
    pub(super) async fn send(
        &self,
        store: &Store,
        address: &Address,
        event: &Event,
    ) -> Result<std::result::Result<(), String>> {
        let (reader, base, of) = (store.clone(), self.0.base.clone(), event.clone());
        let letter = tokio::task::spawn_blocking(move || letter::write(&reader, &of, &base));
        // What was removed for good meanwhile is nothing to tell of.
        let Some(letter) = letter.await.map_err(Error::internal)?? else { return Ok(Ok(())) };
        let Some(to) = self.0.to.iter().find(|mailbox| mailbox.email == *address) else { return Ok(Ok(())) };
        let message = self.message(to, event, letter).map_err(Error::internal)?;
        let envelope = Envelope::new(Some(self.0.from.email.clone()), vec![to.email.clone()]);
        Ok(self.0.server.deliver(&envelope.map_err(Error::internal)?, &message).await)
    }

    /// The message as it goes over the wire. It is the same at each try, its id included, so that mail programs can tell.
    fn message(
        &self,
        to: &Mailbox,
        event: &Event,
        letter: Letter,
    ) -> std::result::Result<Vec<u8>, lettre::error::Error> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(event.at.0);
        let id = format!("<{}.{}.trainyard@{}>", event.at.0, event.sequence, self.0.from.email.domain());
        let mut message = Message::builder()
            .from(self.0.from.clone())
            .to(to.clone())
            .subject(letter.subject)
            .date(at)
            .message_id(Some(id))
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN)
            .body(letter.body)?;
        // Tells those who are away not to answer.
        let name = HeaderName::new_from_ascii_str("Auto-Submitted");
        message.headers_mut().insert_raw(HeaderValue::new(name, "auto-generated".to_owned()));
        Ok(message.formatted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::AccountId;
    use crate::domain::mail::Security;
    use crate::domain::stamp::Timestamp;
    use proptest::prelude::*;
    use url::Host;

    fn mailer() -> Mailer {
        let host = Host::Domain("mail.example.org".to_owned());
        Mailer::new(Settings {
            server: Server { host, port: 25, security: Security::Plain, credentials: None, authorities: None },
            from: "Trainyard <yard@example.org>".parse().unwrap(),
            to: vec!["Ann Ärger <ann@example.org>".parse().unwrap()],
            topics: vec![MailTopic::SweepFinished],
            base: "http://127.0.0.1:8080".to_owned(),
        })
    }

    fn written(subject: &str, body: &str) -> String {
        let event = Event {
            sequence: 7,
            at: Timestamp(1_700_000_000_000),
            account: AccountId(1),
            kind: EventKind::SweepFinished,
            subject: 5,
            model: 4,
        };
        let mailer = mailer();
        let letter = Letter::new(subject, body.to_owned());
        String::from_utf8(mailer.message(&mailer.0.to[0], &event, letter).unwrap()).unwrap()
    }

    /// The names of a message's headers, and its body.
    fn parts(message: &str) -> (Vec<&str>, &str) {
        let (head, body) = message.split_once("\r\n\r\n").unwrap();
        let lines = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
        (lines.map(|line| line.split_once(": ").unwrap().0).collect(), body)
    }

    const HEADERS: [&str; 9] = [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Content-Type",
        "MIME-Version",
        "Content-Transfer-Encoding",
        "Auto-Submitted",
    ];

    fn sorted(mut names: Vec<&str>) -> Vec<&str> {
        names.sort_unstable();
        names
    }

    #[test]
    fn a_message_is_what_mail_programs_expect() {
        let message = written(
            "m: größer\r\nBcc: eve@example.org\r\n\r\nhello",
            "Größe, von der niemand weiß, was sie soll\n.\nQUIT\n",
        );
        let (names, body) = parts(&message);
        assert_eq!(sorted(names), sorted(HEADERS.to_vec()));
        assert!(message.contains("Message-ID: <1700000000000.7.trainyard@example.org>\r\n"), "{message}");
        assert!(message.contains("Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"), "{message}");
        assert!(message.contains("<ann@example.org>\r\n") && message.contains("Auto-Submitted: auto-generated\r\n"));
        assert!(message.is_ascii() && body.contains("Gr=C3=B6=C3=9Fe"), "{body}");
    }

    proptest! {
        #[test]
        fn whatever_a_subject_holds_it_stays_in_its_header(subject: String, body: String) {
            let message = written(&subject, &body);
            let (names, _) = parts(&message);
            prop_assert_eq!(sorted(names), sorted(HEADERS.to_vec()));
            prop_assert!(message.is_ascii());
            prop_assert!(message.split("\r\n").all(|line| !line.contains(['\r', '\n']) && line.len() <= 998));
        }
    }
}
