//! Bad names and numbers, unknown and taken names, wrong methods and paths: a clear error in the call's own shape, the
//! right status, and nothing changed.

use crate::harness::state::{furnished, images_are_untouched};
use crate::harness::{Answer, Form, Server, State, Yard, client, images};

/// The source document's words.
const NOT_THERE: &str = "no model or experiment or dataset exists";

const GOOD: &[(&str, &str)] = &[
    ("model_name", "m"),
    ("dataset_name", "d"),
    ("experiment_name", "e"),
    ("learning_rate", "0.1"),
    ("num_layers", "2"),
    ("num_steps", "10"),
    ("image_urls", "http://127.0.0.1:1/a.png"),
];

/// (path, parameters, which of them may be left out)
const CALLS: &[(&str, &[&str], &[&str])] = &[
    ("/createModel", &["model_name"], &[]),
    ("/createDataset", &["model_name", "dataset_name", "dataset_name_old"], &["dataset_name_old"]),
    ("/createExperiment", &["model_name", "experiment_name", "learning_rate", "num_layers", "num_steps"], &[]),
    ("/uploadTrainingImage", &["model_name", "dataset_name"], &["dataset_name"]),
    ("/uploadTrainingImages", &["model_name", "image_urls", "dataset_name"], &["dataset_name"]),
    ("/train", &["model_name", "experiment_name", "dataset_name"], &["dataset_name"]),
    ("/runDefaultExperiments", &["model_name", "dataset_name"], &["dataset_name"]),
    ("/test", &["model_name"], &[]),
    ("/allAccuracies", &["model_name", "experiment_name"], &["experiment_name"]),
    ("/bestAccuracy", &["model_name", "experiment_name"], &["experiment_name"]),
];

fn is_post(path: &str) -> bool {
    matches!(path, "/uploadTrainingImage" | "/test")
}

/// Makes a call with the good value of each parameter, but for one: `None` leaves it out.
fn call(server: &Server, path: &str, odd: &str, value: Option<&str>) -> Answer {
    let (_, parameters, _) = CALLS.iter().find(|(known, ..)| *known == path).unwrap();
    let good = |name: &str| GOOD.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let given: Vec<(&str, &str)> =
        parameters.iter().filter_map(|name| Some((*name, if *name == odd { value } else { good(name) }?))).collect();
    send(server, path, &given)
}

fn send(server: &Server, path: &str, given: &[(&str, &str)]) -> Answer {
    if is_post(path) {
        let form = given.iter().fold(Form::new(), |form, (name, value)| form.field(name, value));
        server.post(path, &form.file("file", "b.png", &images::png(2)))
    } else {
        server.get(path, given)
    }
}

/// The status key of a call's errors.
fn key(path: &str) -> &'static str {
    if path == "/test" { "Status" } else { "status" }
}

#[test]
fn names_that_are_none_are_refused_by_every_call() {
    let yard = Yard::new().one_experiment();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    let long = "x".repeat(129);
    let bad =
        ["../x", "..", "a/b", "a\\b", "é", "模型", "a b", " a", "-a", "_a", ".a", "a\0", "a\n", "a%2e", "a;b", &long];
    for (path, parameters, _) in CALLS {
        for name in parameters.iter().filter(|name| name.contains("_name")) {
            for value in bad {
                let message = call(&server, path, name, Some(value)).refused(400, key(path));
                assert!(message.contains(name) && message.len() < 400, "{path} {name}={value:?}: {message}");
            }
        }
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn what_is_missing_or_empty_is_named_by_every_call() {
    let yard = Yard::new().one_experiment();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    for (path, parameters, optional) in CALLS {
        for name in parameters.iter().filter(|name| !optional.contains(name)) {
            for value in [None, Some(""), Some(" ")] {
                let message = call(&server, path, name, value).refused(400, key(path));
                assert!(message.contains(name), "{path} {name}={value:?}: {message}");
            }
        }
        send(&server, path, &[]).refused(400, key(path));
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn the_longest_and_the_oddest_names_are_taken() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    for name in [&"x".repeat(128), "0", "A.b_c-d", "default_1"] {
        server.create_model(name);
        server.create_dataset(name, name);
        server.upload(name, name, "a.png", &images::png(1));
        server.trained(name, "default_1", name);
    }
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let yard = Yard::new().one_experiment();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    let nowhere = ["NaN", "nan", "inf", "-inf", "Infinity", "-1", "0", "-0", "x", "1,5", "0x10", "1e999", "+-1", "１"];
    let rates = ["1e300", "1e-300", "-0.001", "0.0", "0,1"];
    let counts = ["1.5", "1.0", "1e3", "99999999999999999999", "18446744073709551616", "-9223372036854775808"];
    let table = [
        ("learning_rate", &rates[..]),
        ("num_layers", &counts),
        ("num_steps", &counts),
        ("num_layers", &["1000000000"]),
    ];
    for (name, more) in table {
        for value in nowhere.iter().chain(more) {
            let given = GOOD.iter().map(|(key, good)| match *key {
                "experiment_name" => (*key, "new"),
                key if key == name => (key, *value),
                key => (key, *good),
            });
            let given: Vec<_> = given.collect();
            let message = server.get("/createExperiment", &given).refused(400, "status");
            assert!(message.contains(name) && message.len() < 400, "{name}={value}: {message}");
        }
    }
    before.still(&yard, &server);
}

#[test]
fn unknown_models_datasets_and_experiments_are_named() {
    let yard = Yard::new().one_experiment();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    for (path, parameters, _) in CALLS.iter().filter(|(path, ..)| *path != "/createModel") {
        let named = parameters.iter().filter(|name| match **name {
            "dataset_name" => *path != "/createDataset",
            "experiment_name" => *path != "/createExperiment",
            name => name.contains("_name"),
        });
        for name in named {
            // Names that would be taken do not get in the way.
            let given: Vec<(&str, &str)> = parameters
                .iter()
                .filter_map(|parameter| match *parameter {
                    parameter if parameter == *name => Some((parameter, "nobody")),
                    "dataset_name" if *path == "/createDataset" => Some(("dataset_name", "new")),
                    parameter => GOOD.iter().find(|(key, _)| *key == parameter).copied(),
                })
                .collect();
            let message = send(&server, path, &given).refused(404, key(path));
            assert!(message.starts_with(NOT_THERE) && message.contains("nobody"), "{path} {name}: {message}");
        }
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn names_that_exist_are_refused() {
    let yard = Yard::new().one_experiment();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    for (path, name, value) in [
        ("/createModel", "model_name", "m"),
        ("/createDataset", "dataset_name", "d"),
        ("/createExperiment", "experiment_name", "e"),
        ("/createExperiment", "experiment_name", "default_1"),
    ] {
        let message = call(&server, path, name, Some(value)).refused(409, "status");
        assert!(message.contains(value) && message.contains("exists"), "{path}: {message}");
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn of_equal_names_at_once_one_wins() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let create = || server.get("/createModel", &[("model_name", "m")]).status;
        let all: Vec<_> = (0..8).map(|_| scope.spawn(create)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let count = |status: u16| statuses.iter().filter(|given| **given == status).count();
    assert_eq!((count(200), count(409)), (1, 7), "{statuses:?}");
    assert_eq!(server.accuracies("m").len(), 1);
}

#[test]
fn training_without_images_says_what_to_do() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    let before = State::of(&yard, &server);
    for path in ["/train", "/runDefaultExperiments"] {
        for dataset in [&[][..], &[("dataset_name", "d")]] {
            let given = [&[("model_name", "m"), ("experiment_name", "default_1")][..], dataset].concat();
            let message = server.get(path, &given).refused(409, "status");
            assert!(message.contains("no images") && message.contains("uploadTrainingImage"), "{message}");
        }
    }
    before.still(&yard, &server);
}

#[test]
fn labels_that_no_folder_can_bear_are_refused() {
    let yard = Yard::new().one_experiment();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    for label in ["..", ".", "a/b", "a\\b", "a\nb", "a\0", ".hidden", " ", &"x".repeat(300)] {
        let form = Form::new().field("model_name", "m").field("label", label);
        let message = server.post("/uploadTrainingImage", &form.file("file", "b.png", &images::png(2)));
        assert!(message.refused(400, "status").contains("label"), "{label:?}");
    }
    before.still(&yard, &server);
    images_are_untouched(&server);
}

#[test]
fn wrong_methods_and_unknown_paths_are_refused_in_shape() {
    let yard = Yard::new().one_experiment();
    let server = furnished(&yard);
    let before = State::of(&yard, &server);
    let request = |method: &str, path: &str| client::request(server.address, method, path, "", &[]);
    for (path, ..) in CALLS {
        let wrong = if is_post(path) { "GET" } else { "POST" };
        for method in [wrong, "DELETE", "PUT", "PATCH"] {
            let message = request(method, &format!("{path}?model_name=new")).refused(405, key(path));
            assert!(message.contains(method) && message.contains(path), "{message}");
        }
    }
    assert!(request("GET", "/").text().starts_with("<!doctype html>"));
    request("POST", "/").refused(405, "status");
    for path in ["/createmodel", "/createModel/", "/nothing", "//", "/test/x", "/%00", "/..%2f..%2fetc%2fpasswd"] {
        request("GET", path).refused(404, "status");
        request("POST", path).refused(404, "status");
    }
    for path in ["/api/v1/nothing", "/api/v1/runs/run_0000000000000/nothing", "/api/v2/runs"] {
        request("GET", path).problem(404);
    }
    for path in ["/api/v1/queue", "/api/v1/runs", "/healthz"] {
        request("DELETE", path).problem(405);
    }
    before.still(&yard, &server);
}

#[test]
fn a_wrong_method_is_told_the_right_one() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    for (path, ..) in CALLS {
        let answer = client::request(server.address, "DELETE", path, "", &[]);
        assert_eq!(answer.status, 405);
        let right = if is_post(path) { "POST" } else { "GET" };
        // RFC 9110, 15.5.6: an answer with this status has to say so.
        assert!(answer.header("allow").is_some_and(|allowed| allowed.contains(right)), "{path}: {}", answer.head);
    }
}
