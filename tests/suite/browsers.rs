//! What pages of other sites can make a visitor's browser do: nothing.

use super::harness::client::{self, Answer};
use super::harness::yard::PASSWORD;
use super::harness::{Server, Yard};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

fn get(server: &Server, target: &str, headers: &[(&str, &str)]) -> Answer {
    client::send(server.address, "GET", target, headers, b"")
}

/// What a page of another site makes a browser send along.
const FOREIGN: [&[(&str, &str)]; 5] = [
    &[("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Mode", "no-cors")],
    &[("Sec-Fetch-Site", "same-site")],
    &[("Origin", "https://evil.example")],
    &[("Origin", "null")],
    &[("Referer", "http://evil.example/page")],
];

#[test]
fn an_open_server_changes_nothing_for_a_page_of_another_site() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    for headers in FOREIGN {
        let refused = get(&server, "/createModel?model_name=m", headers);
        assert!(refused.refused(403, "status").contains("another site"), "{headers:?}");
    }
    server.get("/allAccuracies", &[("model_name", "m")]).refused(404, "status");
    let own = format!("http://{}", server.address);
    for (number, headers) in [
        vec![],
        vec![("Sec-Fetch-Site", "same-origin")],
        vec![("Sec-Fetch-Site", "none")],
        vec![("Origin", own.as_str())],
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(get(&server, &format!("/createModel?model_name=m{number}"), headers).status, 200, "{headers:?}");
    }
}

#[test]
fn a_cookie_changes_nothing_unless_the_page_is_known_to_be_ours() {
    let yard = Yard::new().one_experiment();
    yard.add_user("ann", "admin");
    let server = yard.start();
    let body = format!("{{\"name\":\"ann\",\"password\":\"{PASSWORD}\"}}");
    for headers in FOREIGN {
        client::send(server.address, "POST", "/api/v1/session", headers, body.as_bytes()).problem(403);
    }
    let signed = client::send(server.address, "POST", "/api/v1/session", &[], body.as_bytes());
    let cookie = signed.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let with = |headers: &[(&'static str, &'static str)]| {
        let all = [&[("Cookie", cookie.as_str())], headers].concat();
        get(&server, "/createModel?model_name=m", &all)
    };
    let (nothing, typed): (&[_], &[_]) = (&[], &[("Sec-Fetch-Site", "none")]);
    for headers in FOREIGN.into_iter().chain([nothing, typed]) {
        with(headers).refused(403, "status");
    }
    let all = [("Cookie", cookie.as_str()), ("Sec-Fetch-Site", "none")];
    assert_eq!(get(&server, "/api/v1/queue", &all).status, 200, "looking is no change");
    assert_eq!(with(&[("Sec-Fetch-Site", "same-origin")]).status, 200);
}

#[test]
fn basic_is_lent_by_browsers_too_and_a_token_is_not() {
    let yard = Yard::new().one_experiment();
    yard.add_user("ann", "admin");
    let server = yard.start();
    let basic = format!("Basic {}", STANDARD.encode(format!("ann:{PASSWORD}")));
    let bearer = format!("Bearer {}", yard.token("ann"));
    for (number, headers) in FOREIGN.into_iter().enumerate() {
        let target = format!("/createModel?model_name=m{number}");
        get(&server, &target, &[&[("Authorization", basic.as_str())], headers].concat()).refused(403, "status");
        assert_eq!(get(&server, &target, &[&[("Authorization", bearer.as_str())], headers].concat()).status, 200);
    }
    assert_eq!(get(&server, "/createModel?model_name=by-curl", &[("Authorization", &basic)]).status, 200);
}

#[test]
fn an_open_server_has_no_other_names() {
    let yard = Yard::new().set("server", "hosts", vec!["yard.example".to_owned()]);
    let server = yard.start();
    for host in ["evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", ""] {
        let refused = get(&server, "/api/v1/queue", &[("Host", host)]);
        assert!(refused.problem(421).contains("server.hosts"), "{host}");
    }
    for host in ["localhost:1", "127.0.0.1", "[::1]:80", "yard.example", "YARD.example:8080"] {
        assert_eq!(get(&server, "/api/v1/queue", &[("Host", host)]).status, 200, "{host}");
    }
}

#[test]
fn answers_tell_browsers_to_do_little_with_them() {
    let server = Yard::new().start();
    for target in ["/healthz", "/api/v1/queue", "/bestAccuracy", "/no/such/call"] {
        let answer = get(&server, target, &[]);
        let is = |name: &str, value: &str| assert_eq!(answer.header(name), Some(value), "{target}: {}", answer.head);
        is("x-content-type-options", "nosniff");
        is("x-frame-options", "DENY");
        is("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
        is("cross-origin-resource-policy", "same-origin");
        is("referrer-policy", "same-origin");
        is("cache-control", "no-store");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[test]
fn listed_origins_may_ask_with_a_token() {
    let origin = "https://tools.example.org";
    let yard = Yard::new().one_experiment().set("server", "cors_origins", vec![origin.to_owned()]);
    yard.add_user("ann", "admin");
    let server = yard.start();
    let ask = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "GET"),
        ("Access-Control-Request-Headers", "authorization"),
    ];
    let preflight = client::send(server.address, "OPTIONS", "/createModel", &ask, b"");
    assert_eq!(preflight.header("access-control-allow-origin"), Some(origin), "{preflight:?}");
    assert_eq!(preflight.header("access-control-allow-credentials"), None, "cookies stay at home");
    let bearer = format!("Bearer {}", yard.token("ann"));
    let headers = [("Origin", origin), ("Sec-Fetch-Site", "cross-site"), ("Authorization", bearer.as_str())];
    let answer = get(&server, "/createModel?model_name=m", &headers);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(origin)));
    let evil = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "GET")];
    let preflight = client::send(server.address, "OPTIONS", "/createModel", &evil, b"");
    assert_eq!(preflight.header("access-control-allow-origin"), None, "{preflight:?}");
}
