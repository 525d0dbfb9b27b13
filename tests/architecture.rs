//! Keeps the directions of the house: reads the sources and fails on an import that its room may not make.
//!
//! The table is the one of the crate's design: a room names the rooms that it may use.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use syn::UseTree;
use syn::visit::Visit;

/// room -> rooms it may use; `""` stands for files that lie in src itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("image", &[]),
    ("store", &["domain"]),
    ("blob", &["domain"]),
    ("care", &["domain", "store", "blob"]),
    ("ingest", &["domain", "image"]),
    ("trainer", &["domain", "image"]),
    ("executor", &["domain", "trainer", "blob"]),
    ("scheduler", &["domain", "store", "executor"]),
    ("outbox", &["domain", "store", "ingest"]),
    ("service", &["domain", "store", "blob", "care", "ingest", "scheduler", "outbox"]),
    ("http", &["domain", "service"]),
    ("ui", &["domain", "service", "http"]),
    ("config", &["domain", "trainer"]),
    ("telemetry", &[]),
    ("allocator", &[]),
    ("control", &[]),
    ("supervisor", &[]),
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

/// Every path in the sources of one file, as far as its beginning tells where it leads; tests are left out.
struct Paths {
    /// The module that is being read, from the crate's root.
    module: Vec<String>,
    /// Paths into this crate, from its root.
    own: Vec<Vec<String>>,
    /// All others; the first name may be another crate.
    others: Vec<String>,
}

impl Paths {
    fn of(module: &[&str], text: &str) -> Self {
        let module = module.iter().map(|name| (*name).to_owned()).collect();
        let mut paths = Self { module, own: Vec::new(), others: Vec::new() };
        paths.visit_file(&syn::parse_file(text).unwrap());
        paths
    }

    fn note(&mut self, path: Vec<String>) {
        let mut base = self.module.clone();
        let mut rest = path.into_iter().peekable();
        match rest.peek().map(String::as_str) {
            Some("crate") => {
                base.clear();
                rest.next();
            }
            Some("self" | "super") => {}
            Some(_) => return self.others.extend(rest.next()),
            None => return,
        }
        while let Some(step) = rest.next_if(|step| step == "self" || step == "super") {
            if step == "super" {
                base.pop();
            }
        }
        base.extend(rest);
        self.own.push(base);
    }

    fn flatten(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.flatten(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => self.note(with(&name.ident)),
            UseTree::Rename(rename) => self.note(with(&rename.ident)),
            UseTree::Glob(_) => self.note([before, &["*".to_owned()]].concat()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.flatten(tree, before)),
        }
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|what| what.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            self.module.push(item.ident.to_string());
            syn::visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            self.flatten(&item.tree, &[]);
        }
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        self.note(vec![item.ident.to_string()]);
    }

    // `pub(crate)` says who may look in, not what is used.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        // What a macro is given need not be Rust; its paths are found word by word.
        let text = call.tokens.to_string().replace(" :: ", "::");
        for word in text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            if word.contains("::") && !word.starts_with(':') {
                self.note(word.split("::").map(str::to_owned).collect());
            }
        }
    }
}

/// Crates that only these rooms may use.
const HOMES: &[(&str, &[&str])] = &[
    ("actix_web", &["http", "ui"]),
    ("actix_http", &["http"]),
    ("actix_server", &["http"]),
    ("tokio_rustls", &["http"]),
    ("sled", &["store"]),
    ("bincode", &["store"]),
    ("reqwest", &["ingest"]),
    ("tract_onnx", &["trainer"]),
];

fn violations(module: &[&str], text: &str) -> Vec<String> {
    let room = module[0];
    if WIRING.contains(&room) {
        return Vec::new();
    }
    let table: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let Some(allowed) = table.get(room) else {
        return vec![format!("the room `{room}` is not in the table")];
    };
    let paths = Paths::of(module, text);
    let mut bad = Vec::new();
    for path in paths.own {
        let used = path.first().map_or("", String::as_str);
        if used == room {
            continue;
        }
        if !allowed.contains(&used) {
            bad.push(format!("`{room}` may not use `{used}`"));
        }
        let only = ONLY.iter().find(|(from, to, _)| *from == room && *to == used);
        let name = path.get(1).map_or("", String::as_str);
        if only.is_some_and(|(_, _, names)| !names.contains(&name)) {
            bad.push(format!("`{room}` may use `{used}` only through its trait or handle, not `{name}`"));
        }
    }
    for (package, homes) in HOMES {
        if !homes.contains(&room) && paths.others.iter().any(|name| name == package) {
            bad.push(format!("`{room}` uses {package}, which lives in {}", homes.join(" and ")));
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
        let module: Vec<String> = file
            .with_extension("")
            .strip_prefix("src")
            .unwrap()
            .iter()
            .map(|part| part.to_string_lossy().into())
            .collect();
        let module: Vec<&str> = module.iter().map(String::as_str).filter(|name| *name != "mod").collect();
        // A file of tests may reach further than its room.
        if module.last().is_some_and(|name| name.ends_with("tests")) {
            continue;
        }
        let found = violations(&module, &fs::read_to_string(&file).unwrap());
        bad.extend(found.into_iter().map(|what| format!("{}: {what}", file.display())));
    }
    assert!(bad.is_empty(), "imports against the directions of the house:\n{}", bad.join("\n"));
}

#[test]
fn a_forbidden_import_is_found_however_it_is_written() {
    let bad = [
        ("domain", "use crate::store::Store;"),
        ("domain", "use super::super::store::Store;"),
        ("domain", "fn f() -> crate::http::Body { todo() }"),
        ("domain", "#[cfg(test)] mod tests; use crate::store::Store;"),
        ("domain", "mod inner { use super::super::super::store; }"),
        ("domain", "fn f() { println!(\"{}\", crate::store::FORMAT) }"),
        ("domain", "use crate as everything;"),
        ("domain", "use crate::*;"),
        ("domain", "use sled as _;"),
        ("domain", "use sled;"),
        ("domain", "extern crate sled as database;"),
        ("service", "fn f(d: actix_web::web::Bytes) {}"),
        ("http", "use crate::{domain::error::Error, store::Store};"),
        ("scheduler", "use crate::executor::local::LocalPool;"),
        ("scheduler", "use crate::executor::{Executor, LocalPool};"),
        ("attic", ""),
    ];
    for (room, text) in bad {
        assert_eq!(violations(&[room, "file"], text).len(), 1, "{room}: {text}");
    }
    let good = [
        ("http", "use crate::service::Services; // not crate::store"),
        ("http", "const NOTE: &str = \"crate::store\";"),
        ("scheduler", "use crate::executor::Executor;"),
        ("domain", "use super::error::Error;"),
        ("domain", "pub(crate) fn f() {}"),
        ("domain", "#[cfg(test)] mod tests { use crate::store::Store; }"),
        ("app", "use crate::store::Store;"),
    ];
    for (room, text) in good {
        assert_eq!(violations(&[room, "file"], text), Vec::<String>::new(), "{room}: {text}");
    }
}
