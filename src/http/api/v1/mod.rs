//! `/api/v1`: plural nouns, snake_case, cursors, problem details. One file a resource.

mod maintenance;
mod page;
mod queue;
mod runs;

use actix_web::web;

/// Adds the routes.
pub fn configure(app: &mut web::ServiceConfig) {
    maintenance::configure(app);
    queue::configure(app);
    runs::configure(app);
}
