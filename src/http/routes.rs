//! Routes, and who may use them. A handler asks for leave by its first argument, and one that does not is no route,
//! unless it is added as open by name.
//!
//! Knows paths and methods; not what a handler does.

use super::auth::Granted;
use super::error::{Shape, refusal};
use crate::domain::account::Access;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder, Route};

/// A method of a path, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Such as `GET`.
    pub method: String,
    /// Such as `/api/v1/runs/{id}`.
    pub path: &'static str,
    /// The name of what the asker must be allowed; `open` where anybody may.
    pub access: &'static str,
}

/// What a handler's first argument asks for.
pub trait Demands {
    /// Leave for this.
    type Access: Access;
}

macro_rules! demands {
    ($(($($rest:ident),*))+) => {
        $(impl<A: Access, $($rest),*> Demands for (Granted<A>, $($rest,)*) {
            type Access = A;
        })+
    };
}

demands! { () (B) (B, C) (B, C, D) (B, C, D, E) }

/// One path with its methods.
pub struct At {
    path: &'static str,
    shape: Shape,
    resource: Resource,
    listed: Vec<Listed>,
}

/// A path whose errors have this shape.
pub fn at(path: &'static str, shape: Shape) -> At {
    // The name is what metrics know the route by.
    At { path, shape, resource: web::resource(path).name(path), listed: Vec::new() }
}

impl At {
    fn method(mut self, method: Method, access: &'static str, route: Route) -> Self {
        self.listed.push(Listed { method: method.to_string(), path: self.path, access });
        self.resource = self.resource.route(route.method(method));
        self
    }

    fn granted<H, Args>(self, method: Method, handler: H) -> Self
    where
        H: Handler<Args>,
        Args: FromRequest + Demands + 'static,
        H::Output: Responder + 'static,
    {
        self.method(method, Args::Access::NAME, web::to(handler))
    }

    /// Answers GET.
    pub fn get<H, Args>(self, handler: H) -> Self
    where
        H: Handler<Args>,
        Args: FromRequest + Demands + 'static,
        H::Output: Responder + 'static,
    {
        self.granted(Method::GET, handler)
    }

    /// Answers POST.
    pub fn post<H, Args>(self, handler: H) -> Self
    where
        H: Handler<Args>,
        Args: FromRequest + Demands + 'static,
        H::Output: Responder + 'static,
    {
        self.granted(Method::POST, handler)
    }

    /// Answers PUT.
    pub fn put<H, Args>(self, handler: H) -> Self
    where
        H: Handler<Args>,
        Args: FromRequest + Demands + 'static,
        H::Output: Responder + 'static,
    {
        self.granted(Method::PUT, handler)
    }

    /// Answers PATCH.
    pub fn patch<H, Args>(self, handler: H) -> Self
    where
        H: Handler<Args>,
        Args: FromRequest + Demands + 'static,
        H::Output: Responder + 'static,
    {
        self.granted(Method::PATCH, handler)
    }

    /// Answers DELETE.
    pub fn delete<H, Args>(self, handler: H) -> Self
    where
        H: Handler<Args>,
        Args: FromRequest + Demands + 'static,
        H::Output: Responder + 'static,
    {
        self.granted(Method::DELETE, handler)
    }

    /// Takes JSON bodies of up to so many bytes.
    pub fn body(mut self, bytes: usize) -> Self {
        self.resource = self.resource.app_data(web::PayloadConfig::new(bytes));
        self
    }

    /// Answers a method for anybody who asks.
    pub fn open<H, Args>(self, method: Method, handler: H) -> Self
    where
        H: Handler<Args>,
        Args: FromRequest + 'static,
        H::Output: Responder + 'static,
    {
        self.method(method, "open", web::to(handler))
    }
}

/// Takes routes: into an application, into a list, or both.
#[derive(Default)]
pub struct Routes<'a> {
    app: Option<&'a mut ServiceConfig>,
    listed: Vec<Listed>,
}

impl<'a> Routes<'a> {
    /// Routes of an application.
    pub fn of(app: &'a mut ServiceConfig) -> Self {
        Self { app: Some(app), listed: Vec::new() }
    }

    /// Adds a path; its other methods are refused in its own shape.
    pub fn add(&mut self, at: At) {
        let At { shape, resource, mut listed, .. } = at;
        let allowed = listed.iter().map(|one| one.method.as_str()).collect::<Vec<_>>().join(", ");
        self.listed.append(&mut listed);
        let Some(app) = &mut self.app else { return };
        let refuse = move |request: HttpRequest| {
            let answer = wrong_method(&request, &allowed, shape);
            async move { answer }
        };
        app.service(resource.default_service(web::to(refuse)));
    }

    /// What was added.
    pub fn listed(self) -> Vec<Listed> {
        self.listed
    }
}

fn wrong_method(request: &HttpRequest, allowed: &str, shape: Shape) -> HttpResponse {
    let message = format!("{} takes {allowed}, not {}; README.md lists the calls", request.path(), request.method());
    let mut answer = refusal(shape, StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &message);
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}
