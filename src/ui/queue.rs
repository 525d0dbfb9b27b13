//! `/queue`: what runs, what waits and why.

use super::page::{Frame, answer, see, show};
use super::run::{RunShown, id};
use crate::domain::account::{Administer, Change, View};
use crate::domain::error::Error;
use crate::domain::stamp::Seen;
use crate::http::auth::Granted;
use crate::http::error::Shape;
use crate::http::routes::{Routes, at};
use crate::service::Services;
use crate::service::control::MAX_PRIORITY;
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

/// Waiting runs that are shown.
const PAGE: usize = 100;

pub(super) fn configure(routes: &mut Routes<'_>) {
    let shape = Shape::Page;
    routes.add(at("/queue", shape).get(get));
    routes.add(at("/queue/pause", shape).post(pause));
    routes.add(at("/queue/resume", shape).post(resume));
    routes.add(at("/queue/clear", shape).post(clear));
    routes.add(at("/queue/{id}/cancel", shape).post(cancel));
    routes.add(at("/queue/{id}/first", shape).post(first));
}

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage {
    frame: Frame,
    queued: u64,
    running: u64,
    concurrency: u64,
    paused: bool,
    memory: Option<(u64, u64)>,
    runs: Vec<RunShown>,
    waiting: Vec<RunShown>,
    children: Option<String>,
}

async fn get(Granted(permit): Granted<View>, services: Data<Services>, request: HttpRequest) -> HttpResponse {
    let outcome = async {
        let status = services.queue_status(permit)?;
        let asked = services.clone();
        let found = tokio::task::spawn_blocking(move || asked.queue(permit, PAGE));
        let (runs, waiting) = found.await.map_err(Error::internal)??;
        let frame = Frame::new(&services, &request, permit.actor(), "queue", "Queue")?;
        let shown =
            |runs: Vec<crate::service::runs::RunView>| runs.into_iter().map(|run| RunShown::new(run, &frame)).collect();
        let memory =
            status.waits_for_memory.map(|wait| (wait.needed_bytes.div_ceil(1 << 20), wait.available_bytes >> 20));
        let (runs, waiting) = (shown(runs), shown(waiting));
        Ok(show(&QueuePage {
            queued: status.queued,
            running: status.running,
            concurrency: status.concurrency,
            paused: status.paused,
            memory,
            runs,
            waiting,
            children: services.children_memory().map(super::format::bytes),
            frame,
        }))
    };
    answer(outcome.await)
}

async fn pause(Granted(permit): Granted<Administer>, services: Data<Services>) -> HttpResponse {
    answer(services.pause_queue(permit, true).await.map(|()| see("/queue")))
}

async fn resume(Granted(permit): Granted<Administer>, services: Data<Services>) -> HttpResponse {
    answer(services.pause_queue(permit, false).await.map(|()| see("/queue")))
}

async fn clear(Granted(permit): Granted<Change>, services: Data<Services>) -> HttpResponse {
    answer(services.cancel_queued(permit, None).await.map(|_| see("/queue")))
}

async fn cancel(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome = async { services.cancel_run(permit, id(&path)?).await.map(|()| see("/queue")) };
    answer(outcome.await)
}

async fn first(Granted(permit): Granted<Change>, services: Data<Services>, path: Path<String>) -> HttpResponse {
    let outcome =
        async { services.prioritise(permit, id(&path)?, Seen::default(), MAX_PRIORITY).await.map(|()| see("/queue")) };
    answer(outcome.await)
}
