//! README's table of what is where: every call of the API is in it, and every page and command that it names is there.

use crate::harness::Yard;
use crate::harness::command::command;
use std::collections::BTreeSet;

/// The cells of the table's rows: what, API, pages, commands.
fn rows() -> Vec<[String; 4]> {
    let text = include_str!("../../README.md");
    let section = text.split("\n## What is where\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap();
    let rows: Vec<_> = section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| what |"))
        .map(|line| {
            let cells: Vec<String> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
            <[String; 4]>::try_from(cells).unwrap_or_else(|cells| panic!("{cells:?} are not four cells"))
        })
        .collect();
    assert!(rows.len() > 20, "the table is not where it was");
    rows
}

/// What stands between backticks in a cell. A cell without any has a dash and says why.
fn quoted(cell: &str) -> Vec<&str> {
    let found: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
    let says_why = cell.strip_prefix("– ").is_some_and(|why| why.len() > 5) || cell == "every page";
    assert!(!found.is_empty() || says_why, "{cell:?} names nothing and does not say why");
    if cell.starts_with('–') { Vec::new() } else { found }
}

#[test]
fn every_call_of_the_api_is_in_the_table_of_what_is_where() {
    let document = Yard::new().start().get("/api/v1/openapi.json", &[]).ok();
    let paths = document["paths"].as_object().unwrap();
    let mut missing = BTreeSet::new();
    for (path, item) in paths {
        missing.extend(item.as_object().unwrap().keys().map(|method| format!("{} {path}", method.to_uppercase())));
    }
    let all = missing.clone();
    for [what, api, ..] in rows() {
        for calls in quoted(&api) {
            let (methods, path) = calls.rsplit_once(' ').unwrap_or_else(|| panic!("{what}: {calls} has no method"));
            let path = if paths.contains_key(path) { path.to_owned() } else { format!("/api/v1{path}") };
            for method in methods.split(' ') {
                let call = format!("{method} {path}");
                assert!(all.contains(&call), "{what}: the API has no {call}");
                missing.remove(&call);
            }
        }
    }
    assert!(missing.is_empty(), "README's table of what is where lacks {missing:?}");
}

#[test]
fn every_page_in_the_table_of_what_is_where_is_there() {
    let routes = trainyard::ui::routes();
    for [what, _, pages, _] in rows() {
        for page in quoted(&pages) {
            let is_there = routes.iter().any(|route| route.method == "GET" && route.path == page);
            assert!(is_there, "{what}: there is no page {page}");
        }
    }
}

#[test]
fn every_command_in_the_table_of_what_is_where_is_there() {
    let mut known = BTreeSet::new();
    for [.., commands] in rows() {
        for name in quoted(&commands) {
            if known.insert(name.to_owned()) {
                let words: Vec<&str> = name.split(' ').chain(["--help"]).collect();
                assert!(command(&words).ok().text().contains("Usage: trainyard"), "{name}");
            }
        }
    }
    let listed = command(&["--help"]).ok().text();
    let commands = listed.split("Commands:").nth(1).and_then(|rest| rest.split("Options:").next()).unwrap();
    // What is indented further goes on from the line before.
    let lines = commands.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    for name in lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        let is_listed = known.iter().any(|one| one.split(' ').next() == Some(name));
        assert!(is_listed, "README's table of what is where lacks the command {name}");
    }
}
