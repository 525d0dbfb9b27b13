//! What admins look after: `/settings/audit`, who changed what; `/settings/data`, a backup, and whether everything is there.

use super::format::{self, Moment};
use super::page::{Frame, answer, show};
use crate::domain::account::{Administer, Oversee};
use crate::domain::error::Error;
use crate::http::auth::Granted;
use crate::http::body::Fields;
use crate::http::error::Shape;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::audit::Audited;
use crate::service::care::{Summary, Weight, Word};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Changes on a page.
const PAGE: usize = 100;

/// Findings that are shown; a verification over the API tells all.
const FINDINGS: usize = 500;

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/settings/audit", Shape::Page).get(audit));
    routes.add(at("/settings/data", Shape::Page).get(data).post(verify));
}

struct ChangeShown {
    at: Moment,
    account: Option<String>,
    action: String,
    subject: Option<String>,
    /// Where the subject is looked at, while it is there.
    href: Option<String>,
    model: Option<String>,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    changes: Vec<ChangeShown>,
    is_first: bool,
    next: Option<u64>,
}

fn change_shown(audited: Audited, frame: &Frame) -> ChangeShown {
    let Audited { event, account, model } = audited;
    let subject = event.kind.subject(event.subject);
    let of = |prefix: &str| subject.as_deref().filter(|subject| subject.starts_with(prefix));
    let href = of("run_").map(|run| format!("/runs/{run}"));
    let href = href.or_else(|| of("swp_").map(|sweep| format!("/sweeps/{sweep}")));
    ChangeShown {
        at: frame.moment(event.at),
        account,
        action: event.kind.as_str().replace('_', " "),
        href,
        subject,
        model,
    }
}

async fn audit(Granted(permit): Granted<Oversee>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let outcome = async {
        let given = Parameters::from_query(request.query_string());
        let before = given.optional("before").map(str::parse).transpose();
        let before = before.map_err(|_| Error::parameter("before is the number of a change"))?;
        let asked = services.clone();
        let read = tokio::task::spawn_blocking(move || asked.newest_changes(permit, before, PAGE + 1));
        let mut found = read.await.map_err(Error::internal)??;
        let has_more = found.len() > PAGE;
        found.truncate(PAGE);
        let next = found.last().filter(|_| has_more).map(|last| last.event.sequence);
        let frame = Frame::new(&services, &request, permit.actor(), "settings", "Audit log")?;
        let changes = found.into_iter().map(|audited| change_shown(audited, &frame)).collect();
        Ok(show(&AuditPage { changes, is_first: before.is_none(), next, frame }))
    };
    answer(outcome.await)
}

/// What a verification said.
struct Report {
    /// How much it matters, what it is, whether a repair would mend it.
    findings: Vec<(&'static str, String, bool)>,
    more: usize,
    repaired: Vec<String>,
    summary: Option<String>,
    is_well: bool,
    can_repair: bool,
    failed: Option<String>,
}

#[derive(Template)]
#[template(path = "data.html")]
struct DataPage {
    frame: Frame,
    report: Option<Report>,
}

async fn data(Granted(permit): Granted<Oversee>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let frame = Frame::new(&services, &request, permit.actor(), "settings", "Data");
    answer(frame.map(|frame| show(&DataPage { frame, report: None })))
}

fn summed(summary: &Summary) -> String {
    format!(
        "{}, {} ({}) and {} were looked at.",
        format::counted(summary.records, "record"),
        format::counted(summary.images, "image"),
        format::bytes(summary.image_bytes),
        format::counted(summary.runs, "run")
    )
}

/// Looks at everything, and mends it where that is asked for; the page comes when that is done.
async fn verify(
    Granted(permit): Granted<Administer>,
    services: Data<Services>,
    request: HttpRequest,
    Fields(given): Fields,
) -> HttpResponse {
    let outcome = async {
        let mut words = services.verify(permit, given.flag("repair")?)?;
        let mut report = Report {
            findings: Vec::new(),
            more: 0,
            repaired: Vec::new(),
            summary: None,
            is_well: false,
            can_repair: false,
            failed: None,
        };
        while let Some(word) = words.recv().await {
            match word {
                Word::Progress { .. } => {}
                Word::Finding { what, weight, can_be_repaired } => {
                    report.can_repair |= can_be_repaired;
                    let weight = if weight == Weight::Problem { "problem" } else { "note" };
                    match report.findings.len() < FINDINGS {
                        true => report.findings.push((weight, what, can_be_repaired)),
                        false => report.more += 1,
                    }
                }
                Word::Repaired { what } if report.repaired.len() < FINDINGS => report.repaired.push(what),
                Word::Repaired { .. } => report.more += 1,
                Word::Done(summary) => {
                    report.is_well = summary.problems == 0;
                    report.summary = Some(summed(&summary));
                }
                Word::Failed { why } => report.failed = Some(why),
            }
        }
        let frame = Frame::new(&services, &request, permit.actor(), "settings", "Data")?;
        Ok(show(&DataPage { frame, report: Some(report) }))
    };
    answer(outcome.await)
}
