//! Signing in and out.

use super::page::{Frame, answer, own_place, see, show_as};
use crate::domain::account::Own;
use crate::domain::error::Code;
use crate::http::auth::{self, Came, Granted};
use crate::http::body::Fields;
use crate::http::error::{Shape, status};
use crate::http::parameters::Parameters;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use actix_web::cookie::time::Duration;
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Data, ReqData};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// How long a cookie lasts.
const LASTS: Duration = Duration::days(14);

pub(super) fn configure(routes: &mut Routes<'_>) {
    routes.add(at("/sign-in", Shape::Page).open(Method::GET, form).open(Method::POST, sign_in));
    routes.add(at("/sign-out", Shape::Page).post(sign_out));
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    frame: Frame,
    next: &'a str,
    name: &'a str,
    problem: Option<String>,
    is_open: bool,
}

async fn form(services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let given = Parameters::from_query(request.query_string());
    let page = SignIn {
        frame: Frame::bare("Sign in"),
        next: own_place(given.optional("next")).unwrap_or("/"),
        name: "",
        problem: None,
        is_open: services.accounts().is_open(),
    };
    show_as(StatusCode::OK, &page)
}

async fn sign_in(services: Data<Services>, request: HttpRequest, Fields(given): Fields) -> HttpResponse {
    let next = own_place(given.optional("next")).unwrap_or("/");
    let name = given.optional("name").unwrap_or_default();
    let outcome = async {
        auth::check_page(&request)?;
        let password = given.optional("password").unwrap_or_default();
        services.accounts().sign_in(name, password, auth::place(&request)).await
    };
    match outcome.await {
        Ok((secret, _)) => {
            let mut answer = see(next);
            let kept = answer.add_cookie(&auth::session_cookie(&request, &secret, LASTS));
            match kept {
                Ok(()) => answer,
                Err(error) => super::page::answer(Err(crate::domain::error::Error::internal(error))),
            }
        }
        Err(error) => {
            let problem = match error.code {
                Code::Unauthenticated => "No account has this name with this password.".to_owned(),
                _ => error.message.clone(),
            };
            let is_open = services.accounts().is_open();
            let page = SignIn { frame: Frame::bare("Sign in"), next, name, problem: Some(problem), is_open };
            show_as(status(error.code), &page)
        }
    }
}

async fn sign_out(
    Granted(permit): Granted<Own>,
    services: Data<Services>,
    request: HttpRequest,
    came: Option<ReqData<Came>>,
) -> HttpResponse {
    let outcome = async {
        if let Some(came) = came {
            services.accounts().end_session(permit, came.0).await?;
        }
        let mut answer = see("/sign-in");
        let cookie = auth::session_cookie(&request, "", Duration::ZERO);
        answer.add_cookie(&cookie).map_err(crate::domain::error::Error::internal)?;
        Ok(answer)
    };
    answer(outcome.await)
}
