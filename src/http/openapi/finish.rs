//! What follows for a document from the rest of it: pages refer to what they list, things that can be asked for in part
//! need not have all of their fields, and `fields` and `cursor` take what there is.

use super::parts::{CURSORS, PROJECTED};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ArrayItems, Components, Schema};
use utoipa::openapi::{Ref, RefOr};

/// The prefix of the names of pages.
const PAGE: &str = "Page_";

/// Lets pages refer to what they list, and makes most fields optional of what can be asked for in part.
pub(super) fn components(components: &mut Components) {
    let pages: Vec<String> = components.schemas.keys().filter(|name| name.starts_with(PAGE)).cloned().collect();
    for page in pages {
        let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(&page) else { continue };
        if let Some(RefOr::T(Schema::Array(list))) = object.properties.get_mut("data") {
            let item = page.trim_start_matches(PAGE).to_owned();
            let listed = std::mem::replace(&mut list.items, ArrayItems::RefOrSchema(Box::new(reference(&item))));
            if let ArrayItems::RefOrSchema(listed) = listed {
                components.schemas.entry(item).or_insert(*listed);
            }
        }
    }
    for (name, key) in PROJECTED {
        if let Some(RefOr::T(Schema::Object(object))) = components.schemas.get_mut(name) {
            object.required.retain(|field| field == key);
        }
    }
}

fn reference(name: &str) -> RefOr<Schema> {
    RefOr::Ref(Ref::from_schema_name(name))
}

/// Says what the parameters `fields` and `cursor` of an operation take.
pub(super) fn parameters(operation: &mut Operation, components: &Components) {
    let fields = answered(operation).and_then(|name| field_names(components, name.trim_start_matches(PAGE)));
    let cursor = operation.operation_id.as_deref().and_then(|id| CURSORS.iter().find(|(known, _)| *known == id));
    for parameter in operation.parameters.iter_mut().flatten() {
        let pattern = match parameter.name.as_str() {
            "fields" => fields.as_ref().map(|names| format!("^({names})(,({names}))*$")),
            "cursor" => cursor.map(|(_, pattern)| (*pattern).to_owned()),
            _ => None,
        };
        if let (Some(pattern), Some(RefOr::T(Schema::Object(object)))) = (pattern, &mut parameter.schema) {
            object.pattern = Some(pattern);
        }
    }
}

/// The name of what an operation answers when all is well.
fn answered(operation: &Operation) -> Option<String> {
    let RefOr::T(response) = operation.responses.responses.get("200")? else { return None };
    match response.content.get("application/json")?.schema.as_ref()? {
        RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().map(str::to_owned),
        RefOr::T(_) => None,
    }
}

fn field_names(components: &Components, name: &str) -> Option<String> {
    match components.schemas.get(name)? {
        RefOr::T(Schema::Object(object)) => {
            Some(object.properties.keys().map(String::as_str).collect::<Vec<_>>().join("|"))
        }
        _ => None,
    }
}
