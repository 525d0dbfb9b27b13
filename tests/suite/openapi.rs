//! The document of the API: it has every route, and only those, and says of each what a program needs to know.

use crate::harness::{Yard, client};
use serde_json::Value;
use std::collections::BTreeSet;

fn document() -> Value {
    let yard = Yard::new();
    yard.add_user("admin", "admin");
    let server = yard.start();
    let answer = server.get("/api/v1/openapi.json", &[]);
    let document = answer.ok();
    let etag = answer.header("etag").unwrap().to_owned();
    let again = client::get_with(server.address, "/api/v1/openapi.json", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!(again.status, 304);
    document
}

/// Method, path and operation of everything in the document.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    found
}

/// Every `$ref` below a value.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(reference)) = object.get("$ref") {
                found.insert(reference.clone());
            }
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let document = document();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let listed: BTreeSet<_> =
        trainyard::http::routes().into_iter().map(|route| (route.method, route.path.to_owned())).collect();
    let described: BTreeSet<_> = operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    assert_eq!(described, listed, "a handler has to be in the `paths` of its file's Docs");
}

#[test]
fn every_operation_says_what_a_program_needs_to_know() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let which = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{which}: no operationId"));
        assert!(id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{which}: {id}");
        assert!(ids.insert(id.to_owned()), "{which}: {id} is taken");
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{which}: no summary");
        let tag = &operation["tags"][0];
        assert!(document["tags"].as_array().unwrap().iter().any(|known| &known["name"] == tag), "{which}: {tag}");
        let given: BTreeSet<_> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .into_iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let wanted: BTreeSet<_> = path.split('{').skip(1).map(|part| part.split('}').next().unwrap()).collect();
        assert_eq!(given, wanted, "{which}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{which}: nothing goes well");
        assert!(responses.contains_key("429") && responses.contains_key("500"), "{which}");
        let route = trainyard::http::routes().into_iter().find(|route| route.method == method && route.path == path);
        let is_open = route.unwrap().access == "open";
        assert_eq!(operation["security"].as_array().is_some_and(Vec::is_empty), is_open, "{which}");
        assert_eq!(responses.contains_key("401"), !is_open || id == "sign_in", "{which}");
        if !wanted.is_empty() {
            assert!(responses.contains_key("400") && responses.contains_key("404"), "{which}");
        }
    }
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
    }
}
