//! The pages, as a browser without JavaScript has them: links, forms, and ways back.

use super::harness::client::{self, Answer};
use super::harness::{Form, Server, Yard, images};

/// What browsers say they take.
const HTML: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");

/// What a form without files is.
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

struct Browser<'a> {
    server: &'a Server,
    cookie: Option<String>,
}

impl<'a> Browser<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, cookie: None }
    }

    fn send(&self, method: &str, target: &str, content_type: Option<&str>, body: &[u8]) -> Answer {
        let mut headers = vec![HTML];
        headers.extend(content_type.map(|kind| ("Content-Type", kind)));
        headers.extend(self.cookie.as_deref().map(|cookie| ("Cookie", cookie)));
        let origin = format!("http://{}", self.server.address);
        if method == "POST" {
            headers.push(("Origin", &origin));
        }
        client::send(self.server.address, method, target, &headers, body)
    }

    /// A page that is there.
    #[track_caller]
    fn see(&self, target: &str) -> String {
        let answer = self.send("GET", target, None, b"");
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        answer.text()
    }

    /// Sends a form, and goes where that leads.
    #[track_caller]
    fn submit(&self, target: &str, body: &str) -> String {
        let answer = self.send("POST", target, Some(FORM.1), body.as_bytes());
        assert_eq!(answer.status, 303, "{target}: {}", answer.text());
        answer.header("location").unwrap().to_owned()
    }
}

#[test]
fn the_whole_story_goes_by_links_and_forms_alone() {
    let yard = Yard::new()
        .train("mkdir -p $TRAINYARD_MODEL_DIR; echo '{\"step\":1,\"loss\":0.5}'; echo '<b>told</b>'; echo accuracy=0.5")
        .test("echo '{\"accuracy\": 0.5, \"label\": \"cat\", \"probabilities\": {\"cat\": 0.75, \"dog\": 0.25}}'")
        .one_experiment();
    let server = yard.start();
    let browser = Browser::new(&server);
    assert!(browser.see("/").contains("Nothing here yet"));
    assert_eq!(browser.submit("/models", "name=pets"), "/models/pets");
    assert!(browser.see("/models/pets").contains("It needs images"));
    assert_eq!(browser.submit("/models/pets/datasets", "name=d&from="), "/models/pets/datasets/d");
    let image = Form::new().field("label", "käse & brot").file("file", "1.png", &images::png(1));
    let sent = browser.send("POST", "/models/pets/datasets/d/upload", Some(&client::form_type()), &image.body());
    assert_eq!((sent.status, sent.header("location")), (303, Some("/models/pets/datasets/d")), "{}", sent.text());
    let gallery = browser.see("/models/pets/datasets/d");
    assert!(gallery.contains("käse &#38; brot"), "{gallery}");
    let source = gallery.split("<img src=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    let shown = browser.send("GET", &source, None, b"");
    assert_eq!((shown.status, shown.header("content-type")), (200, Some("image/png")), "{source}");
    assert_eq!(shown.body, images::png(1));

    assert_eq!(browser.submit("/models/pets/sweep", "dataset=d"), "/models/pets#sweep");
    server.idle();
    let model = browser.see("/models/pets");
    assert!(model.contains("50.00 %") && model.contains("default_1") && model.contains("class=\"mark\""), "{model}");
    let run = model.split("/runs/").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let page = browser.see(&format!("/runs/{run}"));
    assert!(page.contains("&#60;b&#62;told&#60;/b&#62;"), "what a script prints is text: {page}");
    assert!(page.contains("--i 0.1 --j 1 --k 1") && page.contains("version 1"), "{page}");
    assert_eq!(server.get(&format!("/runs/{run}/curves.json"), &[]).ok()["loss"][0][1], 0.5);
    assert!(browser.see(&format!("/compare?runs={run}&runs={run}")).contains("50.00 %"));
    let asked = Form::new().file("file", "new.png", &images::png(2)).body();
    let answered = browser.send("POST", "/models/pets/predict", Some(&client::form_type()), &asked);
    assert!(answered.status == 200 && answered.text().contains("75.00 %"), "{}", answered.text());
    assert!(browser.see("/queue").contains("Nothing waits."));
    assert_eq!(browser.submit("/queue/pause", ""), "/queue");
    assert!(browser.see("/queue").contains("is paused"));
    assert_eq!(
        browser.submit("/models/pets/grid", "learning_rates=0.1,+0.2&layers=1&steps=5&dataset=d"),
        "/models/pets#sweep"
    );
    let model = browser.see("/models/pets");
    assert!(model.contains("0.2 × 1 layer") && model.contains("2 queued"), "{model}");
    let next = browser.submit("/models/pets/experiment", "learning_rate=0.25&layers=3&steps=7&dataset=");
    assert!(browser.see(&next).contains("lr0.25_l3_s7"));
    assert_eq!(browser.submit(&format!("{next}/cancel"), ""), next);
    assert!(browser.see(&next).contains("cancelled"));
    assert_eq!(browser.submit("/models/pets/delete", "name=pets"), "/settings#trash");
    let settings = browser.see("/settings");
    let trash = settings.split("/settings/trash/").nth(1).unwrap().split('/').next().unwrap().to_owned();
    browser.submit(&format!("/settings/trash/{trash}/restore"), "");
    assert!(browser.see("/").contains("/models/pets"));
}

#[test]
fn a_leaderboard_is_sorted_and_paged_by_its_links() {
    let yard = Yard::new().train("[ $6 -gt 9 ] && echo accuracy=0.9 || echo accuracy=0.0$6").experiments(60);
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    server.idle();
    let browser = Browser::new(&server);
    let rows = |target: &str| -> Vec<String> {
        let page = browser.see(target);
        let board = page.split("id=\"board\"").nth(1).unwrap();
        let cells = board.split("<td><a href=\"/runs/").skip(1);
        cells.map(|cell| cell.split('>').nth(1).unwrap().split('<').next().unwrap().to_owned()).collect()
    };
    let best = rows("/models/m");
    assert_eq!((best.len(), best[0].as_str()), (50, "default_10"), "ties go to the earlier experiment");
    assert_eq!(rows("/models/m?page=2").len(), 10);
    assert_eq!(rows("/models/m?sort=steps&order=asc")[..2], ["default_1", "default_2"]);
    assert_eq!(rows("/models/m?sort=experiment&order=desc")[..2], ["default_60", "default_59"]);
    assert_eq!(rows("/models/m?sort=steps&order=desc&page=2").len(), 10);
    assert_eq!(browser.send("GET", "/models/m?sort=nonsense", None, b"").status, 400);
    assert_eq!(server.get("/models/m/points.json", &[]).ok().as_array().unwrap().len(), 60);
}

#[test]
fn people_are_told_in_a_page_and_programs_as_ever() {
    let yard = Yard::new();
    let server = yard.start();
    let browser = Browser::new(&server);
    for target in ["/models/nothing", "/runs/run_0000000000000", "/nowhere", "/models/a/b/c"] {
        let page = browser.send("GET", target, None, b"");
        assert_eq!((page.status, page.header("content-type")), (404, Some("text/html; charset=utf-8")), "{target}");
        assert!(page.text().contains("All models"), "{target}");
    }
    let page = browser.send("POST", "/models", Some(FORM.1), b"name=not%20a%20name");
    assert!(page.status == 400 && page.text().contains("<h1>That cannot be done</h1>"), "{}", page.text());
    server.get("/nowhere", &[]).refused(404, "status");
    server.get("/models/nothing", &[]).refused(404, "status");
    let api = browser.send("GET", "/api/v1/nowhere", None, b"");
    api.problem(404);
}

#[test]
fn pages_take_a_session_and_lead_to_where_one_signs_in() {
    let yard = Yard::new();
    yard.add_user("ada", "admin");
    let server = yard.start();
    let mut browser = Browser::new(&server);
    let away = browser.send("GET", "/models/m?sort=steps", None, b"");
    assert_eq!((away.status, away.header("location")), (303, Some("/sign-in?next=%2Fmodels%2Fm%3Fsort%3Dsteps")));
    assert!(browser.see("/sign-in?next=/queue").contains("value=\"/queue\""));
    assert!(browser.see("/sign-in?next=//evil.example").contains("value=\"/\""));
    let wrong = browser.send("POST", "/sign-in", Some(FORM.1), b"name=ada&password=wrong");
    assert!(wrong.status == 401 && wrong.text().contains("No account has this name"), "{}", wrong.text());
    let signed = browser.send("POST", "/sign-in", Some(FORM.1), b"name=ada&password=correct+horse&next=/queue");
    assert_eq!((signed.status, signed.header("location")), (303, Some("/queue")));
    let cookie = signed.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    browser.cookie = Some(cookie.split(';').next().unwrap().to_owned());
    assert!(browser.see("/settings").contains("signed in as ada"));
    let made = browser.send("POST", "/settings/tokens", Some(FORM.1), b"label=laptop&days=7");
    assert!(made.status == 200 && made.text().contains("shown this once"), "{}", made.text());

    // Another site's form comes with the cookie only where a browser is wrong, and is refused even then.
    let headers = [HTML, FORM, ("Cookie", browser.cookie.as_deref().unwrap()), ("Origin", "https://evil.example")];
    let foreign = client::send(server.address, "POST", "/models", &headers, b"name=m");
    assert_eq!(foreign.status, 403, "{}", foreign.text());
    assert_eq!(browser.submit("/sign-out", ""), "/sign-in");
    assert_eq!(browser.send("GET", "/settings", None, b"").status, 303, "the session is over");
}

#[test]
fn a_page_asks_no_other_host_and_runs_nothing_inline() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    server.model_with_image("m");
    server.sweep("m");
    server.idle();
    let browser = Browser::new(&server);
    let mut assets = std::collections::BTreeSet::new();
    for target in ["/", "/models/m", "/models/m/datasets/_all", "/queue", "/settings", "/sign-in"] {
        let answer = browser.send("GET", target, None, b"");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'self'") && !policy.contains("unsafe"), "{policy}");
        let page = answer.text();
        assert!(!page.contains(" style=") && !page.contains("<style") && !page.contains(" onclick"), "{target}");
        assert!(page.split("<script").skip(1).all(|script| script.starts_with(" src=\"/assets/")), "{target}");
        let referring = [" src=\"", " href=\"", " action=\"", " hx-get=\"", " hx-post=\""];
        let references = referring.iter().flat_map(|name| page.split(name).skip(1));
        for reference in references.map(|rest| rest.split('"').next().unwrap()) {
            assert!(!reference.starts_with("//") && !reference.starts_with("http"), "{target}: {reference}");
            if reference.starts_with("/assets/") {
                assets.insert(reference.to_owned());
            }
        }
    }
    assert!(assets.len() >= 5, "{assets:?}");
    for asset in assets {
        let headers = [("Accept-Encoding", "gzip")];
        let answer = client::send(server.address, "GET", &asset, &headers, b"");
        assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")), "{asset}");
        assert!(answer.header("cache-control").unwrap().contains("immutable"), "{asset}");
    }
}
