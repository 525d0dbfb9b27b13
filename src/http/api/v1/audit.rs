//! `/api/v1/audit`: who changed what, for admins.

use super::page::{self, Page};
use super::{answer, time};
use crate::domain::account::Oversee;
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::openapi::parts::Paging;
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::audit::Audited;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::{OpenApi, ToSchema};

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/api/v1/audit", Shape::Problem).get(list));
}

#[derive(OpenApi)]
#[openapi(paths(list))]
pub(super) struct Docs;

/// A change as `/api/v1` shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct AuditBody {
    sequence: u64,
    #[schema(format = DateTime)]
    at: String,
    /// Null for the machine's owner: a server without accounts, or a command on its machine.
    account: Option<String>,
    action: &'static str,
    subject: Option<String>,
    model: Option<String>,
}

impl From<Audited> for AuditBody {
    fn from(audited: Audited) -> Self {
        let Audited { event, account, model } = audited;
        Self {
            sequence: event.sequence,
            at: time(event.at),
            account,
            action: event.kind.as_str(),
            subject: event.kind.subject(event.subject),
            model,
        }
    }
}

/// Who changed what
#[utoipa::path(get, path = "/api/v1/audit", operation_id = "list_audit_entries", tag = "server",
    params(Paging), responses((status = 200, body = Page<AuditBody>)))]
async fn list(Granted(permit): Granted<Oversee>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let outcome = (|| {
        let limit = page::limit(&given)?;
        let found = services.audit(permit, page::cursor(&given)?.unwrap_or(0), limit + 1)?;
        let next_cursor =
            found.get(limit).and_then(|_| found.get(limit - 1)).map(|last| last.event.sequence.to_string());
        let data: Vec<AuditBody> = found.into_iter().take(limit).map(AuditBody::from).collect();
        Ok(Page { data, next_cursor })
    })();
    answer(outcome)
}
