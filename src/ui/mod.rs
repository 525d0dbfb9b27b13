//! Pages for people: what the server can do, in a browser, from the one file that the server is.
//!
//! A page is a handler that asks services and a template that shows what they say. Forms are plain: a POST and a way back,
//! so that everything works without JavaScript; `assets/app.js` makes it livelier. Knows services and how HTTP is spoken
//! here; not the store, not processes.

mod about;
mod assets;
mod board;
mod compare;
mod dataset;
mod dataset_changes;
mod docs;
mod duplicates;
mod experiments;
mod format;
mod listed;
mod model;
mod models;
mod office;
mod page;
mod predict;
mod queue;
mod run;
mod session;
mod settings;
mod submit;
mod sweep;
mod versions;

use crate::http::Listed;
use crate::http::pages::Pages;
use crate::http::routes::Routes;

/// What a server needs to have the pages.
pub fn pages() -> Pages {
    Pages { configure, failed: page::failed }
}

fn configure(routes: &mut Routes<'_>) {
    about::configure(routes);
    assets::configure(routes);
    compare::configure(routes);
    dataset::configure(routes);
    dataset_changes::configure(routes);
    duplicates::configure(routes);
    docs::configure(routes);
    experiments::configure(routes);
    listed::configure(routes);
    model::configure(routes);
    models::configure(routes);
    office::configure(routes);
    predict::configure(routes);
    queue::configure(routes);
    run::configure(routes);
    session::configure(routes);
    settings::configure(routes);
    submit::configure(routes);
    sweep::configure(routes);
    versions::configure(routes);
}

/// Every route of the pages with what it takes.
pub fn routes() -> Vec<Listed> {
    let mut routes = Routes::default();
    configure(&mut routes);
    routes.listed()
}
