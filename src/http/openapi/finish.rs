//! What follows for a document from the rest of it: pages refer to what they list, things that can be asked for in part
//! need not have all of their fields, and `fields` and `cursor` take what there is. And what its maker gets wrong: parameters
//! and bodies are never null, and numbers of 32 bits without a sign do not fit into the format `int32`.

use super::parts::{CURSORS, PROJECTED};
use serde_json::{Map, Value, json};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ArrayItems, Components, Schema};
use utoipa::openapi::{Ref, RefOr};

/// Parameters that count as left out where they are empty.
const MAY_BE_EMPTY: [&str; 4] = ["cursor", "fields", "label", "sort"];

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

/// Corrects the values of a document that is about to be written.
pub(super) fn values(document: &mut Value) {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let operations = paths.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut);
    for operation in operations.flat_map(Map::values_mut) {
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        parameters.into_iter().flatten().for_each(parameter);
        let bodies = operation.pointer_mut("/requestBody/content").and_then(Value::as_object_mut);
        bodies.into_iter().flat_map(Map::values_mut).filter_map(|body| body.get_mut("schema")).for_each(never_null);
        // What a stream consists of, OpenAPI 3.1 cannot say: a schema would be of all of it at once.
        if let Some(stream) = operation.pointer_mut("/responses/200/content/text~1event-stream") {
            *stream = json!({});
        }
    }
    if let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas") {
        *schemas = std::mem::take(schemas).into_iter().map(|(name, schema)| (pleasant(&name), schema)).collect();
    }
    correct(document);
}

/// What a program would call it: `ModelPage`, not `Page_Model`.
fn pleasant(name: &str) -> String {
    name.strip_prefix(PAGE).map_or_else(|| name.to_owned(), |item| format!("{item}Page"))
}

/// What can be left out instead, such as a parameter or a body as a whole.
fn never_null(schema: &mut Value) {
    if let Some(Value::Array(any)) = schema.get("oneOf")
        && let Some(only) = any.iter().find(|one| one["type"] != "null")
    {
        *schema = only.clone();
    }
    if let Some(Value::Array(kinds)) = schema.get("type")
        && let Some(only) = kinds.iter().find(|kind| *kind != "null")
    {
        schema["type"] = only.clone();
    }
}

fn parameter(parameter: &mut Value) {
    let may_be_empty = parameter["in"] == "query" && MAY_BE_EMPTY.iter().any(|name| parameter["name"] == *name);
    let Some(schema) = parameter.get_mut("schema") else { return };
    never_null(schema);
    if may_be_empty && let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        schema["pattern"] = json!(format!("^$|{pattern}"));
    }
}

/// Numbers of 32 bits without a sign are numbers of 64 bits with a maximum; pages are referred to by their pleasant names.
fn correct(value: &mut Value) {
    match value {
        Value::Object(object) => {
            if object.get("format").is_some_and(|format| format == "int32")
                && object.get("minimum").and_then(Value::as_f64).is_some_and(|least| least >= 0.0)
            {
                object.insert("format".to_owned(), json!("int64"));
                object.entry("maximum").or_insert(json!(u32::MAX));
            }
            if let Some(Value::String(reference)) = object.get_mut("$ref")
                && let Some((path, name)) = reference.rsplit_once('/')
            {
                *reference = format!("{path}/{}", pleasant(name));
            }
            object.values_mut().for_each(correct);
        }
        Value::Array(values) => values.iter_mut().for_each(correct),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_its_maker_gets_wrong_is_corrected() {
        let schemas = json!({ "Page_Run": {}, "Run": { "$ref": "#/components/schemas/Page_Run" } });
        let mut document = json!({ "components": { "schemas": schemas }, "paths": { "/x": { "get": { "parameters": [
            { "name": "cursor", "in": "query", "schema": { "type": ["string", "null"], "pattern": "^a$" } },
            { "name": "state", "in": "query", "schema": { "oneOf": [{ "type": "null" }, { "$ref": "#/s" }] } },
            { "name": "n", "in": "query", "schema": { "type": ["integer", "null"], "format": "int32", "minimum": 0 } },
        ] } } } });
        values(&mut document);
        let schemas = json!({ "RunPage": {}, "Run": { "$ref": "#/components/schemas/RunPage" } });
        assert_eq!(document["components"]["schemas"], schemas);
        let given = &document["paths"]["/x"]["get"]["parameters"];
        assert_eq!(given[0]["schema"], json!({ "type": "string", "pattern": "^$|^a$" }));
        assert_eq!(given[1]["schema"], json!({ "$ref": "#/s" }));
        let number = json!({ "type": "integer", "format": "int64", "minimum": 0, "maximum": u32::MAX });
        assert_eq!(given[2]["schema"], number);
    }
}
