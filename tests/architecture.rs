//! Keeps the directions of the house: reads the sources and fails on an import that its room may not make.
//!
//! The table is the one of the crate's design: a room names the rooms that it may use.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// room -> rooms it may use; `""` stands for files that lie in src itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("image", &[]),
    ("store", &["domain"]),
    ("blob", &["domain"]),
    ("ingest", &["domain", "image"]),
    ("trainer", &["domain", "image"]),
    ("executor", &["domain", "trainer", "blob"]),
    ("scheduler", &["domain", "store", "executor"]),
    ("service", &["domain", "store", "blob", "ingest", "scheduler"]),
    ("http", &["domain", "service"]),
    ("config", &["domain", "trainer"]),
    ("telemetry", &[]),
    ("allocator", &[]),
];

/// Rooms that wire the others and may use anything.
const WIRING: &[&str] = &["app", "cli", "lib", "main"];

/// A room that uses another only through its trait, and the one name it may take from it.
const ONLY: &[(&str, &str, &[&str])] = &[
    ("scheduler", "executor", &["Executor"]),
    ("executor", "blob", &["BlobStore"]),
    ("service", "scheduler", &["Handle"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn room(path: &Path) -> String {
    let inside = path.strip_prefix("src").unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of a file without comments, strings' insides kept: a path in a string is nobody's import.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every `crate::room::Name` of a text, braces of a use tree included.
fn uses(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let inside = group.split("};").next().unwrap_or_default();
            found.extend(inside.split(',').map(|part| split(part.trim())));
        } else {
            found.push(split(rest));
        }
    }
    found
}

fn split(path: &str) -> (String, String) {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let room = word(path);
    let rest = path[room.len()..].strip_prefix("::").unwrap_or_default();
    (room, rest.trim_start_matches('{').to_owned())
}

fn violations(room: &str, text: &str) -> Vec<String> {
    if WIRING.contains(&room) {
        return Vec::new();
    }
    let table: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let Some(allowed) = table.get(room) else {
        return vec![format!("the room `{room}` is not in the table")];
    };
    let mut bad = Vec::new();
    for (used, name) in uses(&code(text)) {
        if used == room {
            continue;
        }
        if !allowed.contains(&used.as_str()) {
            bad.push(format!("`{room}` may not use `{used}`"));
        }
        let only = ONLY.iter().find(|(from, to, _)| *from == room && *to == used);
        if only.is_some_and(|(_, _, names)| !names.iter().any(|allowed| name.starts_with(allowed))) {
            bad.push(format!("`{room}` may use `{used}` only through its trait or handle, not `{name}`"));
        }
    }
    bad
}

#[test]
fn rooms_use_only_what_they_may() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    assert!(files.len() > 50, "the sources were not found");
    let mut bad = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // Tests at the end of a file may reach further than its room.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        bad.extend(violations(&room(&file), text).into_iter().map(|what| format!("{}: {what}", file.display())));
    }
    assert!(bad.is_empty(), "imports against the directions of the house:\n{}", bad.join("\n"));
}

#[test]
fn a_forbidden_import_is_found() {
    assert_eq!(violations("domain", "use crate::store::Store;").len(), 1);
    assert_eq!(violations("http", "use crate::{domain::error::Error, store::Store};").len(), 1);
    assert_eq!(violations("scheduler", "use crate::executor::local::LocalPool;").len(), 1);
    assert_eq!(violations("attic", "").len(), 1);
    assert!(violations("http", "use crate::service::Services; // not crate::store").is_empty());
    assert!(violations("scheduler", "use crate::executor::Executor;").is_empty());
    assert!(violations("app", "use crate::store::Store;").is_empty());
}

#[test]
fn outside_crates_stay_in_their_rooms() {
    let homes = [("actix_web", "http"), ("sled", "store"), ("bincode", "store"), ("reqwest", "ingest")];
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    for file in files {
        let room = room(&file);
        if WIRING.contains(&room.as_str()) {
            continue;
        }
        let text = code(&fs::read_to_string(&file).unwrap());
        for (package, home) in homes {
            let used = text.contains(&format!("{package}::"));
            assert!(!used || room == home, "{} uses {package}, which lives in {home}", file.display());
        }
    }
}
