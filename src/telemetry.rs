//! Logs: to standard error, at the level that `RUST_LOG` says, `info` unless it does; lines for people or JSON.
//!
//! A line that a request causes carries that request's id. Whose it is, somebody else says when the line is written: a
//! request that logs nothing costs nothing.

use std::fmt;
use std::io::IsTerminal;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Format, Json, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Says the id of the request on whose behalf this thread works now, if there is one. It has to be harmless in a log.
pub type RequestOf = fn() -> Option<String>;

/// Sets the log of a command up, for people; a second call changes nothing.
pub fn start(default_level: &str) {
    start_server(false, default_level, || None);
}

/// Sets the log of a server up; a second call changes nothing.
pub fn start_server(json: bool, default_level: &str, request: RequestOf) {
    // actix_http has a line for every head that makes no sense: a stranger would fill the disk with them.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{default_level},actix_server=warn,actix_http=off,sled=warn")));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber is refused, which is what a test that starts two servers wants.
    let _ = if json {
        log.event_format(JsonLines { format: Format::default().json().with_current_span(false), request }).try_init()
    } else {
        let is_terminal = std::io::stderr().is_terminal();
        log.with_ansi(is_terminal).with_target(false).fmt_fields(WithRequest { request }).try_init()
    };
}

/// Fields for people, the request's id behind them.
struct WithRequest {
    request: RequestOf,
}

impl<'writer> FormatFields<'writer> for WithRequest {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        DefaultFields::new().format_fields(writer.by_ref(), fields)?;
        match (self.request)() {
            Some(id) => write!(writer, " request_id={id}"),
            None => Ok(()),
        }
    }
}

/// JSON lines, the request's id in front of the other keys.
struct JsonLines {
    format: Format<Json>,
    request: RequestOf,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(id) = (self.request)() else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        match line.strip_prefix('{') {
            Some(rest) => write!(writer, "{{\"request_id\":{},{rest}", serde_json::Value::from(id)),
            None => writer.write_str(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn a_line_is_one_object_with_the_requests_id() {
        let lines = Lines::default();
        let format = Format::default().json().with_current_span(false);
        for request in [|| Some("r\"1".to_owned()), || None] as [RequestOf; 2] {
            let format = JsonLines { format: format.clone(), request };
            let log = tracing_subscriber::fmt().with_writer(lines.clone()).event_format(format).finish();
            tracing::subscriber::with_default(log, || tracing::warn!(answer = 42, "two\nlines \u{1b}[31m"));
        }
        let text = lines.text();
        let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects.len(), 2, "{text}");
        assert_eq!(objects[0]["request_id"], "r\"1");
        assert!(objects[1].get("request_id").is_none());
        for object in &objects {
            assert_eq!(object["level"], "WARN");
            assert_eq!(object["fields"]["answer"], 42);
            assert!(object["fields"]["message"].as_str().unwrap().starts_with("two\nlines"));
            assert!(object["target"].as_str().unwrap().contains("telemetry"));
            assert!(object["timestamp"].is_string());
        }
    }

    #[test]
    fn lines_for_people_end_with_the_requests_id() {
        let lines = Lines::default();
        let log = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .with_ansi(false)
            .fmt_fields(WithRequest { request: || Some("r1".to_owned()) })
            .finish();
        tracing::subscriber::with_default(log, || tracing::info!(answer = 42, "words"));
        assert!(lines.text().ends_with("words answer=42 request_id=r1\n"), "{}", lines.text());
    }
}
