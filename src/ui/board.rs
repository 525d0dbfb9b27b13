//! The leaderboard of a model's page: which part of it is asked for, and how it is shown.

use super::format;
use crate::domain::account::{Permit, View};
use crate::domain::error::{Error, Result};
use crate::domain::experiment::HyperParameters;
use crate::domain::name::Name;
use crate::http::parameters::Parameters;
use crate::service::Services;
use crate::service::overview::Row;
use crate::service::ranking::{Column as SortBy, Order};

/// Lines of a leaderboard on a page.
const PAGE: usize = 50;

pub(super) struct Column {
    pub title: &'static str,
    pub href: String,
    pub sorted: &'static str,
    pub is_number: bool,
}

pub(super) struct BoardShown {
    pub columns: Vec<Column>,
    pub rows: Vec<(usize, RowShown)>,
    pub previous: Option<String>,
    pub next: Option<String>,
    pub is_empty: bool,
}

pub(super) struct RowShown {
    pub percent: String,
    pub printed: String,
    pub experiment: String,
    pub parameters: HyperParameters,
    pub dataset: String,
    pub loss: Option<String>,
    pub run: String,
    pub is_best: bool,
}

/// The columns that a leaderboard is sorted by: the name in addresses, the title, the order, whether it is a number.
const COLUMNS: [(&str, &str, Option<SortBy>, bool); 5] = [
    ("accuracy", "Accuracy", None, true),
    ("experiment", "Experiment", Some(SortBy::Experiment), false),
    ("learning_rate", "Learning rate", Some(SortBy::LearningRate), true),
    ("layers", "Layers", Some(SortBy::Layers), true),
    ("steps", "Steps", Some(SortBy::Steps), true),
];

/// What part of a leaderboard is asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    column: usize,
    descending: bool,
    page: usize,
}

impl Asked {
    /// What the query asks for.
    pub fn read(given: &Parameters) -> Result<Self> {
        let column = match given.optional("sort") {
            None => 0,
            Some(name) => COLUMNS.iter().position(|column| column.0 == name).ok_or_else(|| {
                let names: Vec<_> = COLUMNS.iter().map(|column| column.0).collect();
                Error::parameter(format!("sort is one of {}", names.join(", ")))
            })?,
        };
        let descending = match given.optional("order") {
            None => column == 0,
            Some("asc") => false,
            Some("desc") => true,
            Some(_) => return Err(Error::parameter("order is asc or desc")),
        };
        let page = given.optional("page").map_or(Ok(1), str::parse).ok().filter(|page| (1..=100_000).contains(page));
        Ok(Self { column, descending, page: page.ok_or_else(|| Error::parameter("page is a whole number from 1"))? })
    }

    /// Where that is, whatever page shows it: also the one that answers a form has it.
    fn href(self, model: &Name) -> String {
        let order = if self.descending { "desc" } else { "asc" };
        let page = if self.page > 1 { format!("&page={}", self.page) } else { String::new() };
        format!("/models/{model}?sort={}&order={order}{page}#leaderboard", COLUMNS[self.column].0)
    }

    fn columns(self, model: &Name) -> Vec<Column> {
        let column = |(at, (_, title, _, is_number)): (usize, &(&str, &'static str, Option<SortBy>, bool))| {
            let is_sorted = at == self.column;
            let descending = if is_sorted { !self.descending } else { at == 0 };
            let sorted = match (is_sorted, self.descending) {
                (true, true) => "descending",
                (true, false) => "ascending",
                (false, _) => "none",
            };
            let href = Self { column: at, descending, page: 1 }.href(model);
            Column { title, href, sorted, is_number: *is_number }
        };
        COLUMNS.iter().enumerate().map(column).collect()
    }
}

fn row_shown(row: Row, best: Option<&str>) -> RowShown {
    let run = row.run.to_string();
    RowShown {
        percent: format::percent(row.value),
        printed: row.accuracy,
        experiment: row.experiment,
        parameters: row.parameters,
        dataset: row.dataset,
        loss: row.validation_loss.map(|loss| format!("{loss:.4}")),
        is_best: Some(run.as_str()) == best,
        run,
    }
}

/// Reads a page of the leaderboard; it may block.
pub(super) fn read(
    services: &Services,
    permit: Permit<View>,
    model: &Name,
    asked: Asked,
    best: Option<&str>,
) -> Result<BoardShown> {
    let skipped = (asked.page - 1) * PAGE;
    let order = Order { by: COLUMNS[asked.column].2, descending: asked.descending };
    let board = services.board(permit, model, order, skipped, PAGE)?;
    let to = |page| Asked { page, ..asked }.href(model);
    let is_empty = board.rows.is_empty();
    let rows = board.rows.into_iter().enumerate().map(|(at, row)| (skipped + at + 1, row_shown(row, best)));
    Ok(BoardShown {
        columns: asked.columns(model),
        rows: rows.collect(),
        previous: (asked.page > 1).then(|| to(asked.page - 1)),
        next: board.has_more.then(|| to(asked.page + 1)),
        is_empty,
    })
}
