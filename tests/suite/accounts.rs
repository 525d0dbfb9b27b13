//! Accounts, passwords, tokens and sessions, by the command line and over HTTP.

use super::harness::client::{self, Answer};
use super::harness::yard::PASSWORD;
use super::harness::{Server, Yard};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

fn ask(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    client::send(server.address, method, path, headers, body.as_bytes())
}

fn queue_with(server: &Server, authorization: &str) -> u16 {
    ask(server, "GET", "/api/v1/queue", &[("Authorization", authorization)], &Value::Null).status
}

#[test]
fn accounts_are_made_listed_changed_and_removed_whether_a_server_runs_or_not() {
    for runs in [false, true] {
        let yard = Yard::new();
        let server = runs.then(|| yard.start());
        let refused = yard.command(&["user", "add", "bob", "--password-stdin"], "long enough\n").unwrap_err();
        assert!(refused.stderr.contains("the first account has to be an admin's"), "{refused:?}");
        yard.add_user("ann", "admin");
        yard.add_user("bob", "viewer");
        let refused = yard.command(&["user", "add", "bob", "--no-password"], "").unwrap_err();
        assert!(refused.stderr.contains("exists already"), "{refused:?}");
        let refused = yard.command(&["user", "add", "eve", "--password-stdin"], "short\n").unwrap_err();
        assert!(refused.stderr.contains("8 characters"), "{refused:?}");
        let listed = yard.command(&["user", "list"], "").unwrap();
        let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().take(3).collect()).collect();
        assert_eq!(rows, [["NAME", "ROLE", "PASSWORD"], ["ann", "admin", "yes"], ["bob", "viewer", "yes"]], "{listed}");
        yard.command(&["user", "change", "bob", "--role", "member"], "").unwrap();
        for words in [&["user", "remove", "ann"][..], &["user", "change", "ann", "--role", "viewer"]] {
            let refused = yard.command(words, "").unwrap_err();
            assert!(refused.stderr.contains("only admin"), "{refused:?}");
        }
        let token = yard.token("bob");
        yard.command(&["user", "remove", "bob"], "").unwrap();
        let json: Value = serde_json::from_str(&yard.command(&["user", "list", "--json"], "").unwrap()).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 1, "{json}");
        let refused = yard.command(&["user", "remove", "bob"], "").unwrap_err();
        assert!(refused.stderr.contains("no account `bob`"), "{refused:?}");
        let server = server.unwrap_or_else(|| yard.start());
        assert_eq!(queue_with(&server, &format!("Bearer {token}")), 401, "its tokens went with it");
        assert_eq!(queue_with(&server, &basic("ann", PASSWORD)), 200);
        server.stop();
    }
}

#[test]
fn a_server_closes_with_its_first_account_and_stays_closed() {
    let yard = Yard::new();
    let server = yard.start();
    server.create_model("m");
    assert_eq!(server.get("/api/v1/session", &[]).ok(), json!({ "account": null, "role": "admin", "open": true }));
    yard.add_user("ann", "admin");
    let refused = server.get("/allAccuracies", &[("model_name", "m")]);
    assert!(refused.refused(401, "status").contains("trainyard token create"));
    assert!(refused.head.contains("Bearer realm") && refused.head.contains("Basic realm"), "{}", refused.head);
    assert_eq!(server.get("/healthz", &[]).status, 200);
    server.stop();
    let server = yard.start();
    assert_eq!(server.get("/allAccuracies", &[("model_name", "m")]).status, 401);
    // What was made before there were accounts is the machine's, and so the admins'.
    let answer =
        ask(&server, "GET", "/allAccuracies?model_name=m", &[("Authorization", &basic("ann", PASSWORD))], &Value::Null);
    assert_eq!(answer.status, 200);
}

#[test]
fn a_token_is_shown_once_ends_and_is_revoked() {
    let yard = Yard::new();
    yard.add_user("ann", "admin");
    yard.add_user("bob", "member");
    let server = yard.start();
    let token =
        yard.command(&["token", "create", "--user", "bob", "--label", "laptop", "--expires", "30"], "").unwrap();
    let token = token.trim();
    assert!(token.starts_with("ty_") && token.len() == 47, "{token}");
    let bearer = format!("Bearer {token}");
    assert_eq!(queue_with(&server, &bearer), 200);
    assert_eq!(queue_with(&server, &basic("whoever", token)), 200, "for tools that know nothing but Basic");
    for wrong in [&token[..46], "ty_", "", &token.replace("ty_", "TY_"), &format!("{token} ")[1..]] {
        assert_eq!(queue_with(&server, &format!("Bearer {wrong}")), 401, "{wrong}");
    }
    let list = || -> Value {
        serde_json::from_str(&yard.command(&["token", "list", "--user", "bob", "--json"], "").unwrap()).unwrap()
    };
    super::harness::wait_until("the time of its use", || list()[0]["last_used_at"].is_string());
    let listed = list();
    assert!(listed[0]["label"] == "laptop" && listed[0]["expires_at"].is_string(), "{listed}");
    assert!(!listed.to_string().contains(token), "{listed}");
    let stored = super::harness::yard::tree(&yard.path("data"));
    let holds = |path: &std::path::Path| {
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(token.len()).any(|window| window == token.as_bytes()))
    };
    assert!(!stored.keys().any(|path| holds(path)), "the secret is nowhere on the disk");
    yard.command(&["token", "revoke", listed[0]["id"].as_str().unwrap()], "").unwrap();
    assert_eq!(queue_with(&server, &bearer), 401);
}

#[test]
fn nobody_has_a_say_in_others_tokens() {
    let yard = Yard::new();
    for (name, role) in [("ann", "admin"), ("bob", "member"), ("eve", "member")] {
        yard.add_user(name, role);
    }
    let server = yard.start();
    let eve = format!("Bearer {}", yard.token("eve"));
    yard.token("bob");
    let listed: Value =
        serde_json::from_str(&yard.command(&["token", "list", "--user", "bob", "--json"], "").unwrap()).unwrap();
    let id = listed[0]["id"].as_str().unwrap();
    let headers = [("Authorization", eve.as_str())];
    ask(&server, "GET", "/api/v1/tokens?account=bob", &headers, &Value::Null).problem(403);
    ask(&server, "GET", "/api/v1/tokens?account=nobody", &headers, &Value::Null).problem(403);
    ask(&server, "POST", "/api/v1/tokens", &headers, &json!({ "account": "ann" })).problem(403);
    ask(&server, "DELETE", &format!("/api/v1/tokens/{id}"), &headers, &Value::Null).problem(404);
    let made = ask(&server, "POST", "/api/v1/tokens", &headers, &json!({ "label": "ci" }));
    assert_eq!((made.status, made.json()["account"].as_str()), (201, Some("eve")));
    for bad in [json!({ "expires_in_days": 0 }), json!({ "label": "x".repeat(101) }), json!({ "label": "a\nb" })] {
        ask(&server, "POST", "/api/v1/tokens", &headers, &bad).problem(400);
    }
    ask(&server, "POST", "/api/v1/tokens", &headers, &json!({ "lable": "typo" })).problem(400);
    ask(&server, "POST", "/api/v1/tokens", &headers, &json!({ "label": "x".repeat(70_000) })).problem(413);
}

fn sign_in(server: &Server, name: &str, password: &str) -> Answer {
    ask(server, "POST", "/api/v1/session", &[], &json!({ "name": name, "password": password }))
}

#[test]
fn a_browser_signs_in_and_out() {
    let yard = Yard::new();
    yard.add_user("ann", "admin");
    let server = yard.start();
    let signed = sign_in(&server, "ann", PASSWORD);
    assert_eq!(signed.ok(), json!({ "account": "ann", "role": "admin", "open": false }));
    let cookie = signed.header("set-cookie").unwrap().to_owned();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=1209600"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let pair = cookie.split(';').next().unwrap();
    let ours = [("Cookie", pair), ("Sec-Fetch-Site", "same-origin")];
    assert_eq!(ask(&server, "GET", "/api/v1/session", &ours, &Value::Null).ok()["account"], "ann");
    assert_eq!(ask(&server, "GET", "/createModel?model_name=m", &ours, &Value::Null).status, 200);
    // The secret of a session is no token, and outlives a restart.
    let secret = pair.split_once('=').unwrap().1;
    assert_eq!(queue_with(&server, &format!("Bearer {secret}")), 401);
    server.stop();
    let server = yard.start();
    assert_eq!(ask(&server, "GET", "/api/v1/session", &ours, &Value::Null).status, 200);
    let out = ask(&server, "DELETE", "/api/v1/session", &ours, &Value::Null);
    assert!(out.status == 204 && out.header("set-cookie").unwrap().contains("Max-Age=0"), "{out:?}");
    assert_eq!(ask(&server, "GET", "/api/v1/session", &ours, &Value::Null).status, 401);
}

#[test]
fn a_new_password_ends_the_old_one_and_its_sessions() {
    let yard = Yard::new();
    yard.add_user("ann", "admin");
    let server = yard.start();
    let cookie = sign_in(&server, "ann", PASSWORD).header("set-cookie").unwrap().to_owned();
    let ours = [("Cookie", cookie.split(';').next().unwrap()), ("Sec-Fetch-Site", "same-origin")];
    let change = |old: &str, new: &str| {
        ask(&server, "PUT", "/api/v1/session/password", &ours, &json!({ "old": old, "new": new })).status
    };
    assert_eq!(change("wrong one", "another one"), 401);
    assert_eq!(change(PASSWORD, "short"), 400);
    assert_eq!(change(PASSWORD, "ty_another"), 400);
    assert_eq!(change(PASSWORD, "another one"), 204);
    assert_eq!(change("another one", PASSWORD), 401, "the session is over");
    assert_eq!(sign_in(&server, "ann", PASSWORD).status, 401);
    assert_eq!(sign_in(&server, "ann", "another one").status, 200);
    yard.command(&["user", "change", "ann", "--password-stdin"], "a third one\n").unwrap();
    assert_eq!(queue_with(&server, &basic("ann", "another one")), 401);
    assert_eq!(queue_with(&server, &basic("ann", "a third one")), 200);
}

#[test]
fn guessing_is_slowed_down_and_says_for_how_long() {
    let yard = Yard::new();
    yard.add_user("ann", "admin");
    let server = yard.start();
    let token = yard.token("ann");
    for name in ["ann", "nobody", "../x", "ann", "ann"] {
        let refused = sign_in(&server, name, "a wrong guess");
        assert_eq!(refused.problem(401), "the name or the password is wrong", "{name}");
    }
    let refused = sign_in(&server, "ann", PASSWORD);
    assert!(refused.problem(429).contains("try again in"), "{refused:?}");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait), "{wait}");
    assert_eq!(queue_with(&server, &format!("Bearer {token}")), 200, "tokens go on working");
    super::harness::wait_until("the end of the wait", || sign_in(&server, "ann", PASSWORD).status == 200);
}

/// A sign-in that a proxy on this machine passed on.
fn forwarded(server: &Server, client: &str, password: &str) -> Answer {
    let headers = [("X-Forwarded-For", client), ("X-Forwarded-Proto", "https")];
    ask(server, "POST", "/api/v1/session", &headers, &json!({ "name": "ann", "password": password }))
}

#[test]
fn behind_a_proxy_the_one_who_guesses_waits_and_not_the_others() {
    let yard = Yard::new().set("server", "trusted_proxies", vec!["127.0.0.1"]);
    yard.add_user("ann", "admin");
    let server = yard.start();
    for number in 0..5 {
        // What stands before the address that the proxy saw is the guesser's own invention.
        forwarded(&server, &format!("203.0.113.{number}, 192.0.2.1"), "a wrong guess").problem(401);
    }
    forwarded(&server, "192.0.2.1", PASSWORD).problem(429);
    let answer = forwarded(&server, "192.0.2.2", PASSWORD);
    assert_eq!(answer.status, 200);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-trainyard_session=") && cookie.contains("Secure"), "{cookie}");
}

#[test]
fn addresses_that_a_guesser_invents_are_not_believed() {
    let yard = Yard::new();
    yard.add_user("ann", "admin");
    let server = yard.start();
    for number in 0..5 {
        forwarded(&server, &format!("192.0.2.{number}"), "a wrong guess").problem(401);
    }
    forwarded(&server, "192.0.2.99", PASSWORD).problem(429);
}

#[test]
fn who_changed_what_is_written_down() {
    let yard = Yard::new().one_experiment().train(": < \"$YARD/gate\"; echo accuracy=0.5");
    let _gate = yard.gate("gate");
    yard.add_user("ann", "admin");
    yard.add_user("bob", "member");
    let server = yard.start();
    let (ann, bob) = (format!("Bearer {}", yard.token("ann")), format!("Bearer {}", yard.token("bob")));
    let bobs = [("Authorization", bob.as_str())];
    assert_eq!(ask(&server, "GET", "/createModel?model_name=m", &bobs, &Value::Null).status, 200);
    let form = client::Form::new().field("model_name", "m").file("file", "1.png", &super::harness::images::png(1));
    let kind = client::form_type();
    let headers = [("Authorization", bob.as_str()), ("Content-Type", &kind)];
    assert_eq!(client::send(server.address, "POST", "/uploadTrainingImage", &headers, &form.body()).status, 200);
    let run = ask(&server, "GET", "/train?model_name=m&experiment_name=default_1", &bobs, &Value::Null).json();
    let run = run["run_id"].as_str().unwrap();
    let anns = [("Authorization", ann.as_str())];
    assert_eq!(ask(&server, "POST", &format!("/api/v1/runs/{run}/cancel"), &anns, &Value::Null).status, 202);
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = ask(&server, "GET", &format!("/api/v1/audit?limit=2{cursor}"), &anns, &Value::Null).ok();
        seen.extend(page["data"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let told: Vec<_> = seen.iter().map(|entry| json!([entry["account"], entry["action"], entry["model"]])).collect();
    let wanted = [
        json!([null, "account_created", null]),
        json!([null, "account_created", null]),
        json!([null, "token_created", null]),
        json!([null, "token_created", null]),
        json!(["bob", "experiment_created", "m"]),
        json!(["bob", "model_created", "m"]),
        json!(["bob", "image_added", "m"]),
        json!(["bob", "run_submitted", "m"]),
        json!(["ann", "run_cancel_requested", "m"]),
    ];
    assert_eq!(told, wanted);
    assert_eq!(seen.last().unwrap()["subject"], run);
    assert!(seen.windows(2).all(|pair| pair[0]["sequence"].as_u64() < pair[1]["sequence"].as_u64()));
}

#[test]
fn of_two_admins_who_change_an_account_at_once_the_second_is_told() {
    let yard = Yard::new();
    let server = yard.start();
    yard.add_user("ann", "admin");
    yard.add_user("bob", "viewer");
    let signed = basic("ann", PASSWORD);
    let seen = ask(&server, "GET", "/api/v1/accounts/bob", &[("Authorization", &signed)], &Value::Null);
    let tag = seen.header("etag").unwrap().to_owned();
    let change = |role: &str| {
        let headers = [("Authorization", signed.as_str()), ("Content-Type", "application/json"), ("If-Match", &tag)];
        ask(&server, "PATCH", "/api/v1/accounts/bob", &headers, &json!({ "role": role }))
    };
    assert_eq!(change("member").ok()["role"], "member");
    change("admin").problem(412);
    let now = ask(&server, "GET", "/api/v1/accounts/bob", &[("Authorization", &signed)], &Value::Null).ok();
    assert_eq!(now["role"], "member");
}
