//! Who may come in, and how far: users, logins, tokens, on the real daemon.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use support::*;

const PASSWORD: &str = "canary battery staple";

#[track_caller]
fn done(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn add_user(daemon: &Daemon, name: &str, more: &[&str]) {
    done(daemon.tarsier(&[&["user", "add", name], more].concat(), &format!("{PASSWORD}\n")));
}

fn token(daemon: &Daemon, name: &str, more: &[&str]) -> String {
    let secret = done(daemon.tarsier(&[&["token", "add", name], more].concat(), ""));
    format!("Bearer {}", secret.trim())
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

fn ask(daemon: &Daemon, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let (status, headers, body) = daemon.send(method, path, headers, body);
    Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
}

fn log_in(daemon: &Daemon, user: &str, password: &str) -> Answer {
    let body = json!({"user": user, "password": password}).to_string();
    ask(daemon, "POST", "/api/login", &[("Content-Type", "application/json")], &body)
}

/// The cookie of a login that must succeed.
#[track_caller]
fn cookie(daemon: &Daemon, user: &str) -> String {
    let answer = log_in(daemon, user, PASSWORD);
    assert_eq!(answer.status, 204, "{}", answer.body);
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

fn camera(daemon: &Daemon, cookie: &str) -> u16 {
    ask(daemon, "GET", "/api/cameras", &[("Cookie", cookie)], "").status
}

#[test]
fn people_log_in_programs_have_tokens_and_both_can_be_shut_out() {
    let mut daemon =
        Daemon::builder().camera("yard", "source: none.mp4\n").camera("vault", "source: none.mp4\n").start();
    assert_eq!(daemon.cameras().len(), 2, "without users everything is open");
    let said = done(daemon.tarsier(&["user", "add", "anna"], &format!("{PASSWORD}\n")));
    assert!(said.contains("user anna is there, as admin"), "{said}");
    assert_eq!(ask(&daemon, "GET", "/api/cameras", &[], "").status, 401, "seen at once");
    add_user(&daemon, "bert", &["--camera", "yard"]);
    assert!(refused(daemon.tarsier(&["user", "add", "bert"], PASSWORD)).contains("already"));
    assert!(refused(daemon.tarsier(&["user", "add", "carl"], "short\n")).contains("at least 8"));
    let list = done(daemon.tarsier(&["user", "list"], ""));
    assert_eq!(list.lines().count(), 2);
    assert!(list.lines().nth(1).unwrap().ends_with(" yard") && !list.contains("argon"), "{list}");

    let anna = cookie(&daemon, "anna");
    let bert = cookie(&daemon, "bert");
    let me = ask(&daemon, "GET", "/api/me", &[("Cookie", &bert)], "").json();
    assert_eq!(me, json!({"user": "bert", "role": "viewer", "cameras": ["yard"]}));
    let seen = ask(&daemon, "GET", "/api/cameras", &[("Cookie", &bert)], "").json();
    assert_eq!(seen.as_array().unwrap().len(), 1);
    for (who, camera, status) in [(&bert, "yard", 403), (&bert, "vault", 403), (&anna, "vault", 202)] {
        let answer = ask(&daemon, "POST", &format!("/api/cameras/{camera}/restart"), &[("Cookie", who)], "");
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    for origin in ["http://evil.example", "null"] {
        let headers = [("Cookie", anna.as_str()), ("Origin", origin)];
        assert_eq!(ask(&daemon, "POST", "/api/cameras/vault/restart", &headers, "").status, 403);
        let headers = [("Content-Type", "application/json"), ("Origin", origin)];
        assert_eq!(ask(&daemon, "POST", "/api/login", &headers, "{}").status, 403);
    }

    // A program's way.
    let metrics = token(&daemon, "prometheus", &["--camera", "yard", "--expires", "90d"]);
    let text = ask(&daemon, "GET", "/metrics", &[("Authorization", &metrics)], "").body;
    assert!(text.contains("{camera=\"yard\"}") && !text.contains("vault"), "{text}");
    let listed = done(daemon.tarsier(&["token", "list"], ""));
    assert!(listed.contains("prometheus") && !listed.contains("tarsier_"), "{listed}");
    done(daemon.tarsier(&["token", "remove", "prometheus"], ""));
    assert_eq!(ask(&daemon, "GET", "/metrics", &[("Authorization", &metrics)], "").status, 401);

    // Logins live as long as they should: over a restart, until logging out, another password, or the user's end.
    assert_eq!(daemon.terminate(secs(6)), Some(0));
    daemon.restart();
    assert_eq!(camera(&daemon, &anna), 200);
    let second = cookie(&daemon, "anna");
    let out = ask(&daemon, "POST", "/api/logout", &[("Cookie", &second)], "");
    assert!(out.status == 204 && out.header("set-cookie").contains("Max-Age=0"), "{:?}", out.headers);
    assert_eq!((camera(&daemon, &second), camera(&daemon, &anna)), (401, 200));
    done(daemon.tarsier(&["user", "password", "anna"], "another battery staple\n"));
    assert_eq!(camera(&daemon, &anna), 401);
    assert_eq!(log_in(&daemon, "anna", PASSWORD).status, 401);
    done(daemon.tarsier(&["user", "remove", "bert"], ""));
    assert_eq!(camera(&daemon, &bert), 401);
    let said = done(daemon.tarsier(&["user", "remove", "anna"], ""));
    assert!(said.contains("everything is open"), "{said}");
    assert_eq!(daemon.cameras().len(), 2);
    let found = grep_all(daemon.folder(), PASSWORD, &[]);
    assert!(found.is_empty(), "a password in {found:?}");
}

#[test]
fn admins_keep_users_over_http() {
    let daemon = Daemon::builder().start();
    let as_json = ("Content-Type", "application/json");
    let add = |headers: &[(&str, &str)], body: Value| ask(&daemon, "POST", "/api/users", headers, &body.to_string());
    let anna = json!({"name": "anna", "password": PASSWORD, "role": "admin"});
    let viewer = json!({"name": "bert", "password": PASSWORD, "role": "viewer", "cameras": ["yard"]});
    assert_eq!(add(&[as_json], viewer.clone()).status, 409, "the first has to be an admin");
    assert_eq!(add(&[("Content-Type", "text/plain")], anna.clone()).status, 415);
    let made = add(&[as_json], anna.clone());
    assert_eq!((made.status, made.json()["cameras"].clone()), (201, Value::Null));
    assert_eq!(add(&[as_json], viewer.clone()).status, 401, "from now on one has to log in");
    let anna = cookie(&daemon, "anna");
    let headers = [as_json, ("Cookie", anna.as_str())];
    assert_eq!(add(&headers, viewer).status, 201);
    for (body, status, words) in [
        (json!({"name": "c d", "password": PASSWORD, "role": "viewer"}), 400, "no name"),
        (json!({"name": "carl", "password": "short", "role": "viewer"}), 400, "at least 8"),
        (json!({"name": "carl", "password": 12345678, "role": "viewer"}), 400, "`password`"),
        (json!({"name": "carl", "password": PASSWORD, "role": "root"}), 400, "`role`"),
        (json!({"name": "carl", "password": PASSWORD, "role": "admin", "cameras": []}), 400, "all cameras"),
        (json!({"name": "anna", "password": PASSWORD, "role": "viewer"}), 409, "already"),
    ] {
        let answer = add(&headers, body);
        assert!(answer.status == status && answer.body.contains(words), "{words}: {} {}", answer.status, answer.body);
        assert!(!answer.body.contains("12345678"));
    }
    let list = ask(&daemon, "GET", "/api/users", &headers, "");
    assert!(!list.body.contains("argon"), "{}", list.body);
    let names: Vec<Value> = list.json()["users"].as_array().unwrap().iter().map(|user| user["name"].clone()).collect();
    assert_eq!(names, ["anna", "bert"]);

    let bert = cookie(&daemon, "bert");
    let patch =
        |name: &str, body: Value| ask(&daemon, "PATCH", &format!("/api/users/{name}"), &headers, &body.to_string());
    let cameras = |body: Value| patch("bert", body).json()["cameras"].clone();
    assert_eq!(cameras(json!({})), json!(["yard"]), "what is left out stays");
    assert_eq!(cameras(json!({"cameras": null})), Value::Null);
    assert_eq!(patch("anna", json!({"role": "viewer"})).status, 409, "an admin has to be left");
    assert_eq!(patch("carl", json!({"role": "viewer"})).status, 404);
    assert_eq!(ask(&daemon, "DELETE", "/api/users/anna", &headers, "").status, 409);
    assert_eq!(patch("bert", json!({"password": "another battery staple"})).status, 200);
    assert_eq!(camera(&daemon, &bert), 401, "the old password's logins are over");
    assert_eq!(patch("anna", json!({"password": "another battery staple"})).status, 200);
    assert_eq!(camera(&daemon, &anna), 200, "but not the one by which it was changed");
    assert_eq!(ask(&daemon, "DELETE", "/api/users/bert", &headers, "").status, 204);
    let large = format!("{{\"name\": \"{}\"}}", "a".repeat(100_000));
    assert_eq!(ask(&daemon, "POST", "/api/users", &headers, &large).status, 413);
}

#[test]
fn admins_keep_tokens_over_http() {
    let daemon = Daemon::builder().start();
    let as_json = ("Content-Type", "application/json");
    let doorbell =
        json!({"name": "doorbell", "role": "viewer", "cameras": ["yard"], "expires": "2200-01-01T00:00:00Z"});
    let add = |headers: &[(&str, &str)], body: &Value| ask(&daemon, "POST", "/api/tokens", headers, &body.to_string());
    assert_eq!(add(&[as_json], &doorbell).status, 404, "without users everything is open");
    add_user(&daemon, "anna", &[]);
    let anna = cookie(&daemon, "anna");
    let headers = [as_json, ("Cookie", anna.as_str())];
    let made = add(&headers, &doorbell);
    assert_eq!(made.status, 201, "{}", made.body);
    let secret = format!("Bearer {}", made.json()["secret"].as_str().unwrap());
    let me = ask(&daemon, "GET", "/api/me", &[("Authorization", &secret)], "");
    assert_eq!(me.json(), json!({"user": "doorbell", "role": "viewer", "cameras": ["yard"]}));
    for (change, value, status, words) in [
        ("role", json!("viewer"), 409, "already"),
        ("name", json!("a b"), 400, "no name"),
        ("role", json!("admin"), 400, "all cameras"),
        ("expires", json!("2020-01-01T00:00:00Z"), 400, "over already"),
        ("expires", json!("tomorrow"), 400, "expires"),
    ] {
        let mut wish = doorbell.clone();
        wish[change] = value;
        let answer = add(&headers, &wish);
        assert!(answer.status == status && answer.body.contains(words), "{words}: {} {}", answer.status, answer.body);
    }
    let list = ask(&daemon, "GET", "/api/tokens", &headers, "");
    assert_eq!(list.json()["tokens"][0]["name"], "doorbell");
    assert!(!list.body.contains("tarsier_"), "the secret is told once: {}", list.body);
    assert_eq!(ask(&daemon, "GET", "/api/tokens", &[("Authorization", &secret)], "").status, 403);
    assert_eq!(ask(&daemon, "DELETE", "/api/tokens/doorbell", &headers, "").status, 204);
    assert_eq!(ask(&daemon, "DELETE", "/api/tokens/doorbell", &headers, "").status, 404);
    assert_eq!(ask(&daemon, "GET", "/api/me", &[("Authorization", &secret)], "").status, 401);
}

#[test]
fn an_admin_lets_others_in_by_the_page_of_users() {
    const PAGE: &str = "
        const until = async (what, is) => {
            for (let tries = 0; tries < 400; tries++) {
                const found = await is();
                if (found) return found;
                await new Promise(done => setTimeout(done, 50));
            }
            throw new Error('waited for ' + what + '; the page is ' + document.body.innerHTML.slice(0, 4000));
        };
        await until('the scripts', () => document.readyState == 'complete');
        const card = () => document.querySelector('dialog');
        const send = async fields => {
            const form = await until('the form', () => document.querySelector('dialog form'));
            for (const [name, value] of Object.entries(fields)) {
                const field = form.elements[name];
                if (typeof value == 'boolean') field.checked = value; else field.value = value;
                field.dispatchEvent(new Event('change'));
            }
            form.requestSubmit();
        };
        const row = name => document.querySelector(`[data-user='${name}'], [data-token='${name}']`);
        const press = (within, what) => within.querySelector(`[data-do=${what}]`).click();
    ";
    let on_page =
        |browser: &mut Chromium, script: &str| browser.evaluate(&format!("(async () => {{ {PAGE} {script} }})()"));
    let daemon = Daemon::builder().camera("yard", "source: rtsp://127.0.0.1:9/live\n").start();
    let mut browser = Chromium::start();
    browser.open(&daemon.url("/users"));
    // The first is an admin, and has to log in from then on.
    on_page(&mut browser, &format!("press(document, 'add'); await send({{name: 'anna', password: '{PASSWORD}'}});"));
    let is_there = |browser: &mut Chromium, what: &str| {
        let expression = format!("document.querySelector(\"{what}\") !== null");
        wait_for(what, secs(20), || browser.evaluate(&expression).as_bool()?.then_some(()));
    };
    is_there(&mut browser, "form[action='/api/login'] #password");
    browser.evaluate(&format!(
        "document.querySelector('#user').value = 'anna'; document.querySelector('#password').value = '{PASSWORD}'; \
         document.querySelector('form').requestSubmit(); true"
    ));
    is_there(&mut browser, "[data-user=anna]");

    // A viewer of one camera; what is refused is said where it was written.
    let seen = on_page(
        &mut browser,
        &format!(
            "press(document, 'add');
             await send({{name: 'b e r t', password: '{PASSWORD}', role: 'viewer', every: false, camera: true}});
             await until('why not', () => card()?.querySelector('[role=alert]').textContent.includes('is no name'));
             await send({{name: 'bert'}});
             await until('bert', () => row('bert'));
             return row('bert').innerText;"
        ),
    );
    let seen = seen.as_str().unwrap();
    assert!(seen.contains("viewer") && seen.contains("yard"), "{seen}");
    let bert = log_in(&daemon, "bert", PASSWORD);
    assert_eq!(bert.status, 204, "{}", bert.body);
    let bert = bert.header("set-cookie").split(';').next().unwrap().to_owned();
    let me = ask(&daemon, "GET", "/api/me", &[("Cookie", &bert)], "").json();
    assert_eq!(me, json!({"user": "bert", "role": "viewer", "cameras": ["yard"]}));
    for path in ["/users", "/api/users", "/api/tokens"] {
        assert_eq!(ask(&daemon, "GET", path, &[("Cookie", &bert)], "").status, 403, "{path}");
    }

    // Another password, another role, and out.
    on_page(
        &mut browser,
        "press(row('bert'), 'password');
         await send({password: 'another battery staple'});
         await until('it to be over', () => !card());",
    );
    assert_eq!(camera(&daemon, &bert), 401);
    assert_eq!(log_in(&daemon, "bert", "another battery staple").status, 204);
    on_page(
        &mut browser,
        "press(row('bert'), 'change');
         await send({role: 'admin'});
         await until('an admin', () => row('bert').dataset.role == 'admin');
         press(row('bert'), 'remove');
         (await until('the question', () => card()?.querySelector('[value=yes]'))).click();
         await until('bert to be gone', () => !row('bert'));",
    );
    assert_eq!(log_in(&daemon, "bert", "another battery staple").status, 401);

    // A token is shown once.
    let secret = on_page(
        &mut browser,
        "press(document, 'token');
         await send({name: 'doorbell'});
         const secret = (await until('the token', () => document.querySelector('#secret'))).value;
         await until('the row', () => row('doorbell'));
         card().close();
         return secret;",
    );
    let secret = format!("Bearer {}", secret.as_str().unwrap());
    assert_eq!(ask(&daemon, "GET", "/api/me", &[("Authorization", &secret)], "").json()["user"], "doorbell");
    let page = ask(&daemon, "GET", "/users", &[("Cookie", &cookie(&daemon, "anna"))], "").body;
    assert!(page.contains("doorbell") && !page.contains("tarsier_"), "{page}");
    on_page(
        &mut browser,
        "press(row('doorbell'), 'remove');
         (await until('the question', () => card()?.querySelector('[value=yes]'))).click();
         await until('it to be gone', () => !row('doorbell'));",
    );
    assert_eq!(ask(&daemon, "GET", "/api/me", &[("Authorization", &secret)], "").status, 401);
}

#[test]
fn wrong_passwords_are_limited_and_the_right_one_has_to_wait_too() {
    let daemon = Daemon::builder().start();
    add_user(&daemon, "anna", &[]);
    let anna = cookie(&daemon, "anna");
    let mut refusals = 0;
    let limited = loop {
        let answer = log_in(&daemon, "anna", "wrong battery staple");
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 401, "{}", answer.body);
        refusals += 1;
        assert!(refusals < 20, "nothing limits them");
    };
    assert!(refusals >= 5, "{refusals}: a few typing errors are free");
    let wait: u64 = limited.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&wait) && limited.body.contains("wait"), "{wait} {}", limited.body);
    let right = wait_for("the limit to hold for the right password", secs(60), || {
        // Right behind one that is wrong, so that it comes within the wait.
        log_in(&daemon, "anna", "wrong battery staple");
        Some(log_in(&daemon, "anna", PASSWORD)).filter(|answer| answer.status == 429)
    });
    assert!(right.body.contains("wait"));
    assert_eq!(camera(&daemon, &anna), 200, "who is in stays in");
    let late = wait_for("the wait to be over", secs(90), || {
        Some(log_in(&daemon, "anna", PASSWORD)).filter(|answer| answer.status != 429)
    });
    assert_eq!(late.status, 204, "{}", late.body);
    let log = daemon.stderr();
    assert!(log.contains("a login failed") && !log.contains("battery"), "{log}");
}

#[test]
fn a_flood_of_logins_is_turned_away_and_keeps_nobody_who_is_in() {
    let daemon = Daemon::builder().start();
    add_user(&daemon, "anna", &[]);
    let anna = cookie(&daemon, "anna");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let attempts: Vec<_> = (0..60)
            .map(|at| {
                let (daemon, name) = (&daemon, format!("nobody{at}"));
                scope.spawn(move || log_in(daemon, &name, "wrong battery staple").status)
            })
            .collect();
        assert_eq!(camera(&daemon, &anna), 200);
        attempts.into_iter().map(|attempt| attempt.join().unwrap()).collect()
    });
    let hashed = statuses.iter().filter(|status| **status == 401).count();
    assert!(statuses.iter().all(|status| [401, 429, 503].contains(status)), "{statuses:?}");
    assert!(hashed <= 8, "many at one time gain nothing: {statuses:?}");
}

#[test]
fn the_page_to_log_in_works_without_scripts_and_leads_only_home() {
    let daemon = Daemon::builder().start();
    add_user(&daemon, "anna", &[]);
    let page = ask(&daemon, "GET", "/timeline?from=2026-01-31", &[("Accept", "text/html,*/*")], "");
    assert_eq!((page.status, page.header("location")), (303, "/login?next=%2Ftimeline%3Ffrom%3D2026-01-31"));
    let form = ask(&daemon, "GET", page.header("location"), &[("Accept", "text/html")], "");
    assert!(form.body.contains("name=\"next\" value=\"/timeline?from=2026-01-31\""), "{}", form.body);
    let send = |body: &str| {
        let origin = daemon.url("");
        let headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Origin", origin.as_str())];
        ask(&daemon, "POST", "/api/login", &headers, body)
    };
    let wrong = send("user=%3Cb%3Eanna&password=wrong+battery&next=%2Ftimeline");
    assert_eq!((wrong.status, wrong.header("content-type")), (401, "text/html; charset=utf-8"));
    assert!(wrong.body.contains("user and password do not fit") && wrong.body.contains("value=\"&lt;b&gt;anna\""));
    assert!(!wrong.body.contains("wrong battery"));
    for (next, leads_to) in
        [("%2Ftimeline", "/timeline"), ("%2F%2Fevil.example", "/"), ("https%3A%2F%2Fevil.example", "/")]
    {
        let right = send(&format!("user=anna&password=canary+battery+staple&next={next}"));
        assert_eq!((right.status, right.header("location")), (303, leads_to));
        assert!(right.header("set-cookie").starts_with("tarsier_session="));
    }
}

#[test]
fn people_see_in_a_browser_why_they_are_not_let_in_and_come_to_where_they_wanted() {
    let daemon = Daemon::builder().start();
    add_user(&daemon, "anna", &[]);
    let mut browser = Chromium::start();
    browser.open(&daemon.url("/system"));
    let fill = |browser: &mut Chromium, password: &str| {
        browser.evaluate(&format!(
            "document.querySelector('#user').value = 'anna'; document.querySelector('#password').value = '{password}'; \
             document.querySelector('form').requestSubmit(); true"
        ));
    };
    let wait_for_words = |browser: &mut Chromium, selector: &str, wanted: &str| {
        let expression = format!("document.querySelector('{selector}')?.textContent ?? ''");
        wait_for(wanted, secs(20), || browser.evaluate(&expression).as_str()?.contains(wanted).then_some(()));
    };
    wait_for_words(&mut browser, "button", "Log in");
    fill(&mut browser, "wrong battery staple");
    wait_for_words(&mut browser, "[role=alert]", "do not fit");
    fill(&mut browser, PASSWORD);
    wait_for_words(&mut browser, "main h1", "System");
    assert_eq!(browser.evaluate("document.cookie"), "", "no script sees the login");
    // A login that ends while a page is open leads back to the page to log in, and from there on.
    browser.open(&daemon.url("/"));
    done(daemon.tarsier(&["user", "password", "anna"], &format!("{PASSWORD}\n")));
    wait_for_words(&mut browser, "button", "Log in");
    fill(&mut browser, PASSWORD);
    wait_for_words(&mut browser, "title", "Wall");
    let complaints = browser.complaints();
    assert!(complaints.iter().all(|complaint| complaint.contains("status of 401")), "{complaints:?}");
    browser.evaluate("document.querySelector('#log-out button').click(); true");
    wait_for_words(&mut browser, "button", "Log in");
}

/// The daemon by its address file alone, for addresses that the other tests do not have.
struct Serving {
    child: Child,
    port: u16,
}

impl Serving {
    #[track_caller]
    fn start(daemon: &Daemon) -> Self {
        let address_file = daemon.folder().join("web.address");
        let _ = fs::remove_file(&address_file);
        let log = fs::File::create(daemon.stderr_path()).unwrap();
        let child = run(daemon).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let port = wait_for("the daemon to serve", secs(30), || {
            fs::read_to_string(&address_file).ok()?.trim().rsplit_once(':')?.1.parse().ok()
        });
        Serving { child, port }
    }

    fn hang_up(&self) {
        send_signal(self.child.id(), libc::SIGHUP);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(daemon: &Daemon) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarsier"));
    command.args(["run"]).current_dir(daemon.folder()).env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// What goes over `tarsier.yaml`.
fn set(daemon: &Daemon, web: &str) {
    fs::write(daemon.folder().join("tarsier.local.yaml"), format!("web: {{ {web} }}\n")).unwrap();
}

#[test]
fn other_machines_reach_it_only_where_there_are_users() {
    let mut daemon = Daemon::builder().prepare();
    set(&daemon, "listen: \"0.0.0.0:0\"");
    let output = run(&daemon).output().unwrap();
    let said = refused(output);
    assert!(said.contains("web.listen: 0.0.0.0:0 can be reached") && said.contains("tarsier user add NAME"), "{said}");
    let said = done_with(daemon.tarsier(&["check"], ""), 1);
    assert!(said.contains("tarsier.local.yaml:1:16: `web.listen`") && said.contains("tarsier user add NAME"), "{said}");
    add_user(&daemon, "anna", &[]);
    assert_eq!(done(daemon.tarsier(&["check"], "")), "0 cameras, no problems\n");
    daemon.restart();
    assert_eq!(ask(&daemon, "GET", "/api/cameras", &[], "").status, 401);
    assert_eq!(camera(&daemon, &cookie(&daemon, "anna")), 200);
    let foreign = [("Host", "evil.example")];
    assert_eq!(ask(&daemon, "GET", "/healthz", &foreign, "").status, 403);
    assert!(refused(daemon.tarsier(&["user", "remove", "anna"], "")).contains("last user"));
    let anna = cookie(&daemon, "anna");
    assert_eq!(ask(&daemon, "DELETE", "/api/users/anna", &[("Cookie", &anna)], "").status, 409);
    assert!(daemon.stderr().contains("set web.tls"), "it says that nothing is encrypted");
}

#[track_caller]
fn done_with(output: Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A key and a certificate for this machine that it signs itself.
fn certificate(folder: &Path, name: &str) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=tarsier", "-addext", "subjectAltName=DNS:localhost,DNS:nvr.example.org,IP:127.0.0.1"])
        .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// What curl says that trusts this certificate alone; None where it does not trust the server.
fn curl(daemon: &Daemon, trusted: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new("curl")
        .args(["-s", "-i", "--max-time", "20", "--cacert", trusted])
        .args(arguments)
        .current_dir(daemon.folder())
        .output()
        .unwrap();
    match output.status.code() {
        Some(0) => Some(String::from_utf8(output.stdout).unwrap()),
        Some(60) => None,
        _ => panic!("{output:?}"),
    }
}

#[test]
fn tls_serves_the_certificate_that_is_in_the_files_and_keeps_the_old_one_where_a_new_one_is_broken() {
    let daemon = Daemon::builder().prepare();
    let folder = daemon.folder();
    certificate(folder, "old");
    certificate(folder, "new");
    let take = |name: &str| {
        for kind in ["key", "pem"] {
            fs::copy(folder.join(format!("{name}.{kind}")), folder.join(format!("web.{kind}"))).unwrap();
        }
    };
    set(&daemon, "tls: { certificate: web.pem, key: web.key }, names: nvr.example.org");
    let said = done_with(daemon.tarsier(&["check"], ""), 1);
    assert!(said.contains("tarsier.local.yaml:1:28: `web.tls.certificate`") && said.contains("No such file"), "{said}");
    take("old");
    fs::copy(folder.join("new.key"), folder.join("web.key")).unwrap();
    let said = done_with(daemon.tarsier(&["check"], ""), 1);
    assert!(said.contains("`web.tls.key`") && said.contains("not the key of the certificate"), "{said}");
    assert!(refused(run(&daemon).output().unwrap()).contains("not the key of the certificate"));
    take("old");
    add_user(&daemon, "anna", &[]);
    assert_eq!(done(daemon.tarsier(&["check"], "")), "0 cameras, no problems\n");

    let serving = Serving::start(&daemon);
    let url = |path: &str| format!("https://localhost:{}{path}", serving.port);
    let healthy = |trusted: &str| curl(&daemon, trusted, &[&url("/healthz")]);
    let answer = healthy("old.pem").expect("the old certificate");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("strict-transport-security: max-age="), "{answer}");
    assert_eq!(healthy("new.pem"), None);
    let body = json!({"user": "anna", "password": PASSWORD}).to_string();
    let origin = format!("Origin: https://localhost:{}", serving.port);
    let login = ["-H", "Content-Type: application/json", "-H", &origin, "-d", &body, &url("/api/login")];
    let answer = curl(&daemon, "old.pem", &login).unwrap();
    assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("; Secure"), "{answer}");
    let plain_origin = format!("Origin: http://localhost:{}", serving.port);
    let login = ["-H", "Content-Type: application/json", "-H", &plain_origin, "-d", &body, &url("/api/login")];
    assert!(curl(&daemon, "old.pem", &login).unwrap().starts_with("HTTP/1.1 403"));
    let resolve = format!("nvr.example.org:{0}:127.0.0.1", serving.port);
    let named = format!("https://nvr.example.org:{}/healthz", serving.port);
    assert!(curl(&daemon, "old.pem", &["--resolve", &resolve, &named]).unwrap().starts_with("HTTP/1.1 200"));

    fs::write(folder.join("web.pem"), "-----BEGIN CERTIFICATE-----\nnonsense\n").unwrap();
    serving.hang_up();
    daemon.wait_for_stderr("the certificate before goes on", secs(20));
    assert!(healthy("old.pem").is_some(), "a broken file changes nothing");
    let made = token(&daemon, "watch", &[]);
    let header = format!("Authorization: {made}");
    let alarms = || curl(&daemon, "old.pem", &["-H", &header, &url("/api/alarms")]).unwrap_or_default();
    assert!(alarms().contains("\"kind\":\"tls\""), "{}", alarms());
    take("new");
    serving.hang_up();
    wait_for("the new certificate", secs(20), || healthy("new.pem"));
    assert_eq!(healthy("old.pem"), None);
    let alarms = curl(&daemon, "new.pem", &["-H", &header, &url("/api/alarms")]).unwrap();
    assert!(alarms.contains("\"alarms\":[]"), "{alarms}");

    // Nobody speaks plain HTTP here.
    let mut plain = std::net::TcpStream::connect(("127.0.0.1", serving.port)).unwrap();
    plain.set_read_timeout(Some(secs(20))).unwrap();
    write!(plain, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}
