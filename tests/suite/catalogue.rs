//! Models, experiments, datasets, versions and images over `/api/v1`: made, listed, read, edited.

use crate::harness::client::{self, Answer};
use crate::harness::{Form, Server, Yard, images};
use serde_json::{Value, json};

fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    client::send(server.address, method, path, &headers, body.to_string().as_bytes())
}

#[track_caller]
fn make(server: &Server, path: &str, body: &Value) -> Answer {
    let answer = ask(server, "POST", path, &[], body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer
}

fn upload(server: &Server, path: &str, file_name: &str, content: &[u8]) -> Answer {
    let form = Form::new().file("file", file_name, content);
    client::request(server.address, "POST", path, &client::form_type(), &form.body())
}

/// Everything of a list, a few at a time.
fn all(server: &Server, path: &str, query: &[(&str, &str)]) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut query = [query, &[("limit", "2")]].concat();
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let page = server.get(path, &query).ok();
        let data = page["data"].as_array().unwrap();
        assert!(data.len() <= 2);
        found.extend(data.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return found,
        }
    }
}

fn names(found: &[Value]) -> Vec<&str> {
    found.iter().map(|one| one["name"].as_str().unwrap()).collect()
}

#[test]
fn a_model_is_made_found_by_name_and_id_edited_and_deleted() {
    let yard = Yard::new().experiments(3);
    let server = yard.start();
    let made = make(&server, "/api/v1/models", &json!({ "name": "pets", "description": "cats and dogs" }));
    assert_eq!((made.header("location"), made.header("etag")), (Some("/api/v1/models/pets"), Some("\"1\"")));
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let by_id = server.get(&format!("/api/v1/models/{id}"), &[]).ok();
    assert_eq!(by_id, server.get("/api/v1/models/pets", &[]).ok());
    assert_eq!((&by_id["description"], &by_id["best"]), (&"cats and dogs".into(), &Value::Null));
    ask(&server, "POST", "/api/v1/models", &[], &json!({ "name": "pets" })).problem(409);
    ask(&server, "POST", "/api/v1/models", &[], &json!({ "name": "a/b" })).problem(400);
    ask(&server, "POST", "/api/v1/models", &[], &json!({ "name": "x", "description": "x".repeat(901) })).problem(400);

    let change = json!({ "name": "animals", "description": "" });
    let path = format!("/api/v1/models/{id}");
    let stale = ask(&server, "PATCH", &path, &[("If-Match", "\"7\"")], &change);
    stale.problem(412);
    assert_eq!(stale.json()["code"], "stale");
    let changed = ask(&server, "PATCH", &path, &[("If-Match", "\"1\"")], &change);
    assert_eq!((changed.ok()["name"].as_str(), changed.header("etag")), (Some("animals"), Some("\"2\"")));
    server.get("/api/v1/models/pets", &[]).problem(404);
    make(&server, "/api/v1/models", &json!({ "name": "pets" }));
    ask(&server, "PATCH", &path, &[], &json!({ "name": "pets" })).problem(409);
    let kinds: Vec<Value> = all(&server, "/api/v1/audit", &[]).iter().map(|entry| entry["action"].clone()).collect();
    assert!(kinds.contains(&"model_changed".into()), "{kinds:?}");

    let deleted = ask(&server, "DELETE", &path, &[("If-Match", "\"1\"")], &Value::Null);
    deleted.problem(412);
    assert_eq!(ask(&server, "DELETE", &path, &[("If-Match", "\"2\"")], &Value::Null).status, 200);
    server.get(&path, &[]).problem(404);
}

#[test]
fn a_request_that_comes_again_is_answered_as_before() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    let keyed = |server: &Server, key: &str, path: &str, body: &Value| {
        ask(server, "POST", path, &[("Idempotency-Key", key)], body)
    };
    let body = json!({ "name": "m", "description": "\n".repeat(900) });
    let first = keyed(&server, "k1", "/api/v1/models", &body);
    assert_eq!(first.status, 201, "{}", first.text());
    let again = keyed(&server, "k1", "/api/v1/models", &body);
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!((again.header("location"), again.header("etag")), (first.header("location"), first.header("etag")));
    assert_eq!((again.header("idempotency-replayed"), first.header("idempotency-replayed")), (Some("true"), None));
    let other = keyed(&server, "k1", "/api/v1/models", &json!({ "name": "n" }));
    other.problem(422);
    assert_eq!(other.json()["code"], "key_reused");
    keyed(&server, "", "/api/v1/models", &body).problem(400);
    keyed(&server, "k2", "/api/v1/models", &body).problem(409);
    // What failed made nothing, so its key may be used for it again.
    assert_eq!(ask(&server, "DELETE", "/api/v1/models/m", &[], &Value::Null).status, 200);
    assert_eq!(keyed(&server, "k2", "/api/v1/models", &body).status, 201);

    server.kill9();
    let server = yard.start();
    assert_eq!(keyed(&server, "k1", "/api/v1/models", &body).body, first.body, "it is kept on the disk");
    let words = client::request(server.address, "POST", "/api/v1/maintenance/verify", "", &[]).text();
    assert!(words.lines().last().unwrap().contains("\"problems\":0"), "{words}");
}

#[test]
fn lists_have_cursors_filters_an_order_and_parts() {
    let yard = Yard::new().experiments(5);
    let server = yard.start();
    for name in ["b1", "a2", "a1", "c1", "a3"] {
        server.create_model(name);
    }
    assert_eq!(names(&all(&server, "/api/v1/models", &[])), ["a1", "a2", "a3", "b1", "c1"]);
    assert_eq!(names(&all(&server, "/api/v1/models", &[("prefix", "a")])), ["a1", "a2", "a3"]);
    assert_eq!(names(&all(&server, "/api/v1/models", &[("sort", "created_at")])), ["b1", "a2", "a1", "c1", "a3"]);
    assert_eq!(names(&all(&server, "/api/v1/models", &[("sort", "created_at"), ("prefix", "a")])), ["a2", "a1", "a3"]);
    let part = server.get("/api/v1/models/a1", &[("fields", "name,images")]).ok();
    assert_eq!(part.as_object().unwrap().keys().collect::<Vec<_>>(), ["id", "name", "images"]);
    assert!(server.get("/api/v1/models", &[("fields", "nonsense")]).problem(400).contains("description"));
    for (name, value) in [("limit", "0"), ("limit", "x"), ("sort", "size"), ("cursor", "../x")] {
        server.get("/api/v1/models", &[(name, value)]).problem(400);
    }

    let path = "/api/v1/models/a1/experiments";
    let body = json!({ "name": "mine", "learning_rate": 0.25, "layers": 2, "steps": 10 });
    let made = make(&server, path, &body);
    assert_eq!(made.header("location"), Some("/api/v1/models/a1/experiments/mine"));
    let found = all(&server, path, &[("fields", "name")]);
    assert_eq!(names(&found), ["default_1", "default_2", "default_3", "default_4", "default_5", "mine"]);
    assert_eq!(found[0].as_object().unwrap().len(), 2);
    for (field, value) in [("learning_rate", json!(-1)), ("layers", json!(0)), ("steps", json!(1.5)), ("x", json!(1))] {
        let mut bad = body.clone();
        bad[field] = value;
        ask(&server, "POST", path, &[], &bad).problem(400);
    }
}

#[test]
fn names_change_and_results_follow() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    server.model_with_image("m");
    server.create_dataset("m", "d");
    server.upload("m", "d", "cat.1.png", &images::png(1));
    let run =
        server.get("/train", &[("model_name", "m"), ("experiment_name", "default_1"), ("dataset_name", "d")]).ok();
    server.idle();
    assert_eq!(server.run(run["run_id"].as_str().unwrap())["dataset"], "d");
    for (path, name) in [("experiments/default_1", "first"), ("datasets/d", "renamed")] {
        let answer = ask(&server, "PATCH", &format!("/api/v1/models/m/{path}"), &[], &json!({ "name": name }));
        assert_eq!(answer.ok()["name"], name);
    }
    let best = server.get("/bestAccuracy", &[("model_name", "m")]).ok();
    assert_eq!((&best["body"]["bestExperiment"], &best["body"]["bestDataset"]), (&"first".into(), &"renamed".into()));
    let model = server.get("/api/v1/models/m", &[]).ok();
    assert_eq!((&model["best"]["experiment"], &model["best"]["run_id"]), (&"first".into(), &run["run_id"]));
    let experiment = server.get("/api/v1/models/m/experiments/first", &[]).ok();
    assert_eq!(experiment["best"]["accuracy"], "0.5");
    let words = client::request(server.address, "POST", "/api/v1/maintenance/verify", "", &[]).text();
    assert!(words.lines().last().unwrap().contains("\"problems\":0"), "{words}");
}

#[test]
fn images_are_added_listed_sent_and_relabelled() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    server.create_model("m");
    make(&server, "/api/v1/models/m/datasets", &json!({ "name": "d" }));
    let path = "/api/v1/models/m/datasets/d/images";
    let first = upload(&server, path, "cat/1.png", &images::png(1));
    assert_eq!(first.status, 201, "{}", first.text());
    assert_eq!(upload(&server, path, "cat/1.png", &images::png(1)).status, 200);
    for (name, seed) in [("dog/2.png", 2), ("cat/3.png", 3), ("dog/4.png", 4), ("5.png", 5)] {
        assert_eq!(upload(&server, path, name, &images::png(seed)).status, 201);
    }
    upload(&server, path, "cat/x.png", b"no image").problem(415);
    assert_eq!(names(&all(&server, path, &[])), ["1.png", "2.png", "3.png", "4.png", "5.png"]);
    assert_eq!(names(&all(&server, path, &[("label", "dog")])), ["2.png", "4.png"]);
    assert_eq!(names(&all(&server, path, &[("unlabelled", "true")])), ["5.png"]);
    assert_eq!(all(&server, "/api/v1/models/m/images", &[]).len(), 5);

    let image = first.json();
    let url = image["url"].as_str().unwrap();
    assert_eq!(first.header("location"), Some(url));
    let sent = client::request(server.address, "GET", url, "", &[]);
    assert_eq!((sent.status, sent.header("content-type")), (200, Some("image/png")));
    assert_eq!(sent.body, images::png(1));
    assert_eq!(sent.header("x-content-type-options"), Some("nosniff"));
    assert!(sent.header("cache-control").unwrap().contains("immutable"));
    let etag = sent.header("etag").unwrap();
    assert_eq!(client::get_with(server.address, url, &format!("If-None-Match: {etag}\r\n")).status, 304);
    let by_name = server.get(&format!("{path}/content"), &[("label", "cat"), ("name", "1.png")]);
    assert_eq!((by_name.status, by_name.header("cache-control")), (200, Some("private, no-cache")));
    server.get(&format!("{path}/content"), &[("label", "dog"), ("name", "1.png")]).problem(404);

    let copied = make(&server, "/api/v1/models/m/datasets", &json!({ "name": "copy", "from": "d" })).json();
    assert_eq!((&copied["images"], &copied["version"], &copied["base"]["version"]), (&5.into(), &0.into(), &5.into()));
    let copy = "/api/v1/models/m/datasets/copy";
    let changes = json!({ "changes": [
        { "label": "cat", "name": "1.png", "new_label": "dog" },
        { "label": null, "name": "5.png", "new_label": "cat" },
        { "label": "dog", "name": "4.png", "new_label": null },
    ] });
    ask(&server, "PATCH", &format!("{copy}/images"), &[("If-Match", "\"9\"")], &changes).problem(412);
    let changed = ask(&server, "PATCH", &format!("{copy}/images"), &[("If-Match", "\"1\"")], &changes);
    assert_eq!((changed.ok()["version"].as_u64(), changed.header("etag")), (Some(6), Some("\"2\"")));
    ask(&server, "PATCH", &format!("{copy}/images"), &[], &changes).problem(404);
    assert_eq!(names(&all(&server, &format!("{copy}/images"), &[("label", "dog")])), ["2.png", "1.png"]);
    assert_eq!(names(&all(&server, &format!("{copy}/images"), &[("label", "cat")])), ["3.png", "5.png"]);
    assert_eq!(names(&all(&server, path, &[("label", "dog")])), ["2.png", "4.png"], "the original is as it was");
    assert_eq!(all(&server, &format!("{copy}/images"), &[("version", "0"), ("label", "cat")]).len(), 2);
    server.get(&format!("{copy}/images"), &[("version", "7")]).problem(404);

    let balance = |version: u64| {
        let found = all(&server, &format!("{copy}/versions/{version}/balance"), &[]);
        found.iter().map(|one| format!("{} {}", one["label"], one["images"])).collect::<Vec<_>>()
    };
    assert_eq!(balance(0), ["null 1", "\"cat\" 2", "\"dog\" 2"]);
    assert_eq!(balance(2), ["null 1", "\"cat\" 1", "\"dog\" 3"]);
    assert_eq!(balance(4), ["\"cat\" 2", "\"dog\" 3"]);
    assert_eq!(balance(6), ["null 1", "\"cat\" 2", "\"dog\" 2"]);

    let diff = all(&server, &format!("{copy}/versions/0/diff/6"), &[]);
    let told: Vec<_> = diff.iter().map(|one| format!("{} {} {}", one["change"], one["label"], one["name"])).collect();
    assert_eq!(
        told,
        [
            "\"removed\" \"cat\" \"1.png\"",
            "\"added\" \"dog\" \"1.png\"",
            "\"removed\" null \"5.png\"",
            "\"added\" \"cat\" \"5.png\"",
            "\"removed\" \"dog\" \"4.png\"",
            "\"added\" null \"4.png\"",
        ]
    );
    assert_eq!(all(&server, &format!("{copy}/versions/6/diff/0"), &[])[0]["change"], "added");
    assert!(all(&server, &format!("{copy}/versions/3/diff/3"), &[]).is_empty());
    let versions = all(&server, "/api/v1/models/m/datasets/d/versions", &[]);
    assert_eq!((versions.len(), &versions[0]["number"], &versions[0]["images"]), (6, &5.into(), &5.into()));
    let pinned = all(&server, "/api/v1/models/m/datasets/d/versions", &[("pinned", "true")]);
    assert_eq!((pinned.len(), &pinned[0]["number"]), (1, &5.into()));
    let words = client::request(server.address, "POST", "/api/v1/maintenance/verify", "", &[]).text();
    assert!(words.lines().last().unwrap().contains("\"problems\":0"), "{words}");
}
