//! The pages, as a browser without JavaScript has them: links, forms, and ways back.

use super::harness::client::{self, Answer};
use super::harness::{Form, Server, Yard, archive, images};

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
    let whole = browser.send("GET", &source.replace("/thumbnail?", "/content?"), None, b"");
    assert_eq!(whole.body, images::png(1));

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
    // Several at once: each has an answer of its own, or a reason.
    let several = Form::new().file("file", "new.png", &images::png(2)).file("file", "not.png", b"no image").body();
    let answered = browser.send("POST", "/models/pets/predict", Some(&client::form_type()), &several).text();
    assert!(
        answered.contains("75.00 %") && answered.contains("not.png") && answered.contains("class=\"wrap problem\"")
    );
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
fn the_images_of_a_dataset_are_cared_for_by_forms_alone() {
    let yard = Yard::new();
    let server = yard.start();
    server.create_model("m");
    server.create_dataset("m", "d");
    let browser = Browser::new(&server);
    let place = "/models/m/datasets/d";
    let send = |zip: &[u8]| {
        let form = Form::new().file("file", "a.zip", zip).body();
        browser.send("POST", &format!("{place}/archive"), Some(&client::form_type()), &form)
    };
    let (one, two) = (images::png(1), images::png(2));
    let sent = send(&archive(&[("cat/1.png", &one), ("dog/2.png", &two), ("dog/1.png", &one), ("3.png", &two)]));
    assert_eq!((sent.status, sent.header("location")), (303, Some(place)), "{}", sent.text());
    let partly = send(&archive(&[("cat/<b>.png", b"no image"), ("cat/1.png", &one)]));
    let told = partly.text();
    assert!(
        partly.status == 200 && told.contains("1 entries were not taken") && told.contains("&#60;b&#62;"),
        "{told}"
    );
    assert_eq!(send(b"none").status, 400);

    let page = browser.see(place);
    assert_eq!(page.matches("type=\"checkbox\"").count(), 4, "{page}");
    assert!(page.contains("value=\"cat/1.png\"") && page.contains("value=\"/3.png\""), "{page}");
    assert!(page.contains("/api/v1/models/m/datasets/d/export.zip") && page.contains("more than once"), "{page}");
    let copies = browser.see(&format!("{place}/duplicates"));
    assert!(
        copies.contains("cat, 1.png") && copies.contains("dog, 1.png") && copies.contains("several labels"),
        "{copies}"
    );

    let ticked = "image=cat%2F1.png&image=%2F3.png&new_label=cow&back=/models/m/datasets/d?label%3Dcow";
    assert_eq!(browser.submit(&format!("{place}/relabel"), ticked), "/models/m/datasets/d?label=cow");
    let page = browser.see("/models/m/datasets/d?label=cow");
    assert!(page.contains("value=\"cow/1.png\"") && page.contains("value=\"cow/3.png\""), "{page}");
    assert_eq!(browser.submit(&format!("{place}/relabel"), "image=cow%2F3.png&new_label="), place);
    let none = browser.send("POST", &format!("{place}/relabel"), Some(FORM.1), b"new_label=x");
    assert!(none.status == 400 && none.text().contains("no image is ticked"), "{}", none.text());
    assert_eq!(
        browser.submit(&format!("{place}/remove"), &format!("label=dog&name=1.png&back={place}/duplicates")),
        format!("{place}/duplicates")
    );

    let versions = browser.see(&format!("{place}/versions?from=4"));
    assert!(versions.contains("<b>removed</b>") && versions.contains("<b>added</b>"), "{versions}");
    for source in versions.split("<img src=\"").skip(1) {
        let source = source.split('"').next().unwrap().replace("&#38;", "&");
        assert_eq!(browser.send("GET", &source, None, b"").status, 200, "{source}");
    }
    assert!(browser.see(&format!("{place}/versions")).contains("There are none yet"), "nothing is pinned");
    assert!(browser.see("/models/m/datasets/_all/versions?from=0&to=1").contains("<b>added</b>"));
    assert!(browser.see("/models/m/datasets/_all/duplicates").contains("2.png"));
    assert_eq!(browser.send("GET", &format!("{place}/versions?from=99"), None, b"").status, 404);
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

#[test]
fn a_model_is_described_renamed_and_deleted_on_its_own_page() {
    let yard = Yard::new().one_experiment();
    let server = yard.start();
    let browser = Browser::new(&server);
    browser.submit("/models", "name=pets&description=Cats+or+%3Cdogs%3E%3F");
    assert!(browser.see("/models/pets").contains("Cats or &#60;dogs&#62;?"));
    assert!(browser.see("/").contains("Cats or &#60;dogs&#62;?"));
    let settings = browser.see("/models/pets/settings");
    let revision = settings.split("name=\"revision\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let change = format!("revision={revision}&name=animals&description=All%0D%0Aof+them");
    assert_eq!(browser.submit("/models/pets/settings", &change), "/models/animals");
    assert!(browser.see("/models/animals").contains("All\nof them"));
    // Somebody else was there first: what they wrote is not written over.
    let stale = browser.send("POST", "/models/animals/settings", Some(FORM.1), change.as_bytes());
    assert_eq!(stale.status, 412, "{}", stale.text());
    assert_eq!(browser.send("POST", "/models/animals/delete", Some(FORM.1), b"name=pets").status, 400);
    assert_eq!(browser.submit("/models/animals/delete", "name=animals"), "/settings#trash");
    assert_eq!(browser.submit("/settings/trash/empty", ""), "/settings#trash");
    assert!(browser.see("/settings").contains("It is empty."));
}

#[test]
fn experiments_are_made_run_together_renamed_and_deleted_by_forms() {
    let yard = Yard::new().train("[ $6 -eq 7 ] && exit 3; echo accuracy=0.$6").one_experiment();
    let server = yard.start();
    server.model_with_image("m");
    let browser = Browser::new(&server);
    let made = "name=mine&learning_rate=0.5&layers=2&steps=";
    assert_eq!(browser.submit("/models/m/experiments", &format!("{made}7")), "/models/m/experiments");
    browser.submit("/models/m/experiments", &format!("{made}6").replace("mine", "other"));
    let page = browser.see("/models/m/experiments");
    let ids: Vec<_> =
        page.split("name=\"experiments\" value=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(ids.len(), 3, "{page}");
    let sweep =
        browser.submit("/models/m/experiments/run", &format!("experiments={}&experiments={}&seed=5", ids[1], ids[2]));
    assert!(sweep.starts_with("/sweeps/"), "{sweep}");
    server.idle();
    let page = browser.see(&sweep);
    assert!(page.contains("1 succeeded") && page.contains("1 failed") && page.contains("Retry what failed"), "{page}");
    assert!(browser.see("/models/m/sweeps").contains(&sweep));
    let failed = browser.see("/models/m/runs?state=failed");
    assert!(failed.contains("mine") && !failed.contains(">other<") && failed.contains("exit"), "{failed}");
    assert!(browser.see("/models/m/runs").contains(">other<"));
    let of_sweep = sweep.replace("/sweeps/", "/models/m/runs?sweep=");
    assert!(browser.see(&of_sweep).contains(">mine<"));
    assert_eq!(browser.send("POST", "/models/m/experiments/run", Some(FORM.1), b"dataset=").status, 400);
    browser.submit(&format!("/models/m/experiments/{}/rename", ids[1]), "name=unlucky");
    browser.submit("/models/m/experiments/other/delete", "");
    let page = browser.see("/models/m/experiments");
    assert!(page.contains("unlucky") && !page.contains("other"), "{page}");
}

#[test]
fn admins_share_look_after_accounts_and_see_who_did_what() {
    let yard = Yard::new().one_experiment();
    yard.add_user("ada", "admin");
    yard.add_user("bob", "member");
    let server = yard.start();
    let signed_in = |name: &str| {
        let mut browser = Browser::new(&server);
        let signed =
            browser.send("POST", "/sign-in", Some(FORM.1), format!("name={name}&password=correct+horse").as_bytes());
        assert_eq!(signed.status, 303, "{}", signed.text());
        browser.cookie = signed.header("set-cookie").unwrap().split(';').next().map(str::to_owned);
        browser
    };
    let (ada, bob) = (signed_in("ada"), signed_in("bob"));
    ada.submit("/models", "name=pets");
    assert_eq!(bob.send("GET", "/models/pets", None, b"").status, 404);
    assert_eq!(ada.submit("/models/pets/shares", "account=bob&access=view"), "/models/pets/settings#sharing");
    assert!(bob.see("/models/pets/settings").contains(">bob<"));
    let refused = bob.send("POST", "/models/pets/shares", Some(FORM.1), b"account=ada&access=edit");
    assert_eq!(refused.status, 403, "{}", refused.text());
    ada.submit("/models/pets/shares/bob/end", "");
    assert_eq!(bob.send("GET", "/models/pets", None, b"").status, 404);

    assert_eq!(ada.submit("/settings/accounts/bob/change", "role=viewer&password="), "/settings#accounts");
    assert_eq!(bob.send("POST", "/models", Some(FORM.1), b"name=m").status, 401, "another role ends the sessions");
    let bob = signed_in("bob");
    assert_eq!(bob.send("POST", "/models", Some(FORM.1), b"name=m").status, 403);
    let log = ada.see("/settings/audit");
    assert!(log.contains("model unshared") && log.contains("account changed") && log.contains(">ada<"), "{log}");
    assert!(log.find("account changed") < log.find("model created"), "the newest first");
    assert_eq!(bob.send("GET", "/settings/audit", None, b"").status, 403);
    assert!(ada.see("/settings/data").contains("/api/v1/backup"));
    let looked = ada.send("POST", "/settings/data", Some(FORM.1), b"");
    assert!(looked.status == 200 && looked.text().contains("All is well."), "{}", looked.text());
    assert_eq!(bob.send("POST", "/settings/data", Some(FORM.1), b"repair=true").status, 403);
}
