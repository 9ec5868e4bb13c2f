//! The portal on real parts: nginx, five waitress workers behind PasteDeploy, the shipped roles.yaml and nginx.conf.
//!
//! Each test lives in namespaces of its own ([`place`]), so the ports are those of production. What is changed in
//! roles.yaml is only how long the portal still serves after SIGTERM, and that not in the test of the stop.

#![allow(clippy::disallowed_methods, clippy::disallowed_macros)]

mod http;
mod place;
mod run;

use std::time::Instant;

use http::{Load, PATIENCE, Went, ask, get};
use place::Place;
use run::{Line, POLL, Portal, runner};

const WORKERS: u64 = 5;

/// Makes a stop quick, where the stop is not what is tested.
fn no_drain(place: &Place) {
    place.change("drain_delay: 15s", "drain_delay: 0s");
}

/// Waits until nginx runs; gives the place in the log behind that.
fn up(portal: &Portal) -> usize {
    let (_, at) = portal.event(0, "started", "nginx", None);
    answers();
    at
}

/// nginx binds its port a moment after its process is there.
fn answers() {
    let deadline = Instant::now() + PATIENCE;
    while !matches!(ask("GET", "/health", &[]), Went::Answered(answer) if answer.status == 200) {
        assert!(Instant::now() < deadline, "nginx does not answer");
        std::thread::park_timeout(POLL);
    }
}

/// Stops it, and checks that it went in order and that nothing is left.
fn stop(portal: Portal) -> Vec<Line> {
    portal.signal(libc::SIGTERM);
    let (status, lines) = portal.end();
    let last = lines
        .iter()
        .find(|line| line.event() == "ended")
        .expect("it was waited for");
    assert_eq!(status.code(), Some(0), "{}", last.message());
    assert_eq!(last.message(), "exit 0: stopped in order by SIGTERM");
    for started in lines.iter().filter(|line| line.event() == "started") {
        // SAFETY: integers only; signal 0 only asks.
        let there = unsafe { libc::kill(started.pid(), 0) } == 0;
        assert!(
            !there,
            "pid {} of {} is still there",
            started.pid(),
            started.member()
        );
    }
    lines
}

#[test]
fn nginx_waits_for_all_five_workers() {
    let Some(place) = Place::enter("nginx_waits_for_all_five_workers") else {
        return;
    };
    no_drain(&place);
    place.make("start-6547");
    let portal = Portal::start(&place);
    for replica in 0..WORKERS - 1 {
        portal.event(0, "ready", "app", Some(replica));
    }
    let (waits, _) = portal.event(0, "waiting", "nginx", None);
    assert_eq!(waits.message(), "waits for app to be ready");
    assert!(
        matches!(ask("GET", "/health", &[]), Went::Refused),
        "nginx listens though a worker is not ready"
    );

    assert_eq!(health(&place), (Some(1), "starting".to_owned()));

    place.take_away("start-6547");
    let (_, ready) = portal.event(0, "ready", "app", Some(WORKERS - 1));
    let (_, started) = portal.event(0, "started", "nginx", None);
    assert!(
        ready < started,
        "nginx was started before the last worker was ready"
    );
    answers();
    assert_eq!(health(&place), (Some(0), "healthy".to_owned()));
    let health = get("/health?format=json").json();
    // From versions and GAC, by way of the rendered production.ini and PasteDeploy.
    assert_eq!(health["application_version"], "0.0.0");
    assert_eq!(health["image_version"], "local");
    assert_eq!(health["namespace"], "cgap-local");
    stop(portal);
}

/// The exit code of `runner health`, and the word that it says first.
fn health(place: &Place) -> (Option<i32>, String) {
    let output = runner(place)
        .arg("health")
        .output()
        .expect("the binary can be run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let word = said.split(|c: char| !c.is_ascii_lowercase()).next();
    (output.status.code(), word.unwrap_or_default().to_owned())
}

#[test]
fn the_door_does_what_its_configuration_says() {
    let Some(place) = Place::enter("the_door_does_what_its_configuration_says") else {
        return;
    };
    no_drain(&place);
    let portal = Portal::start(&place);
    up(&portal);
    redirects_what_was_not_encrypted();
    passes_paths_and_headers_on();
    compresses_and_guards();
    the_fifth_worker_is_kept_free(&portal);
    stop(portal);
}

fn redirects_what_was_not_encrypted() {
    let answer = ask("GET", "/a//b%2Fc?q=1//2", &[("X-Forwarded-Proto", "http")]).answer();
    assert_eq!(answer.status, 301);
    assert_eq!(
        answer.header("location"),
        "https://portal.example/a//b%2Fc?q=1//2"
    );
    let answer = ask("GET", "/echo/x", &[("X-Forwarded-Proto", "https")]).answer();
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("strict-transport-security"),
        "max-age=31536000"
    );
    assert_eq!(
        answer.json()["scheme"],
        "https",
        "the application writes its own links so"
    );
    let inside = get("/echo/x");
    assert_eq!(
        inside.status, 200,
        "a health check of the load balancer is not redirected"
    );
    assert_eq!(inside.header("strict-transport-security"), "");
}

fn passes_paths_and_headers_on() {
    assert_eq!(get("/echo//a///b?q=x//y").json()["path"], "/echo/a/b");
    assert_eq!(get("//echo/a%20b").json()["path"], "/echo/a b");
    assert_eq!(get("/echo/a%2Fb%25").json()["path"], "/echo/a/b%");
    let long = "c".repeat(60_000);
    let answer = ask("GET", "/echo/x", &[("Cookie", &long)]).answer();
    assert_eq!(answer.status, 200, "a long cookie");
    assert_eq!(answer.json()["headers"]["Cookie"], long);
    let long = format!("/echo/{}", "p".repeat(30_000));
    assert_eq!(get(&long).json()["path"], long, "a long address");
    let answer = ask("POST", "/echo/x", &[]).answer();
    assert_eq!(answer.json()["method"], "POST");
    assert_eq!(answer.json()["headers"]["Host"], "portal.example");
}

fn compresses_and_guards() {
    let answer = ask("GET", "/large", &[("Accept-Encoding", "gzip")]).answer();
    assert_eq!(answer.header("content-encoding"), "gzip");
    let answer = get("/large");
    assert_eq!(answer.header("content-encoding"), "");
    assert_eq!(
        answer.body.len(),
        105_012,
        "larger than nginx's buffers for one answer's head"
    );
    for path in ["/health", "/no-such-page"] {
        let answer = get(path);
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("x-frame-options"), "SAMEORIGIN", "{path}");
        assert_eq!(answer.header("server"), "nginx", "{path}: no version");
    }
}

fn the_fifth_worker_is_kept_free(portal: &Portal) {
    let (fifth, _) = portal.event(0, "started", "app", Some(WORKERS - 1));
    let mut asked: Vec<i64> = (0..20)
        .filter_map(|_| get("/health").json()["pid"].as_i64())
        .collect();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 4, "four workers share the work");
    assert!(!asked.contains(&i64::from(fifth.pid())));
}

#[test]
fn a_killed_worker_costs_nobody_else_an_answer() {
    let Some(place) = Place::enter("a_killed_worker_costs_nobody_else_an_answer") else {
        return;
    };
    no_drain(&place);
    let portal = Portal::start(&place);
    let mut at = up(&portal);
    let load = Load::start(3);
    let mut ends = Vec::new();
    for replica in 0..WORKERS {
        let lines = portal.lines();
        let of_replica = |line: &&Line| line.member() == "app" && line.replica() == Some(replica);
        let mut latest = lines.iter().rev().filter(of_replica);
        let worker = latest
            .find(|line| line.event() == "started")
            .expect("it was started")
            .pid();
        kill(worker);
        let (exited, next) = portal.event(at, "exited", "app", Some(replica));
        assert!(
            exited.message().contains("killed by SIGKILL (9)"),
            "{}",
            exited.message()
        );
        ends.push(exited.clock());
        at = portal.event(next, "ready", "app", Some(replica)).1;
    }
    let enough = load.done();
    let went = load.finish(false);
    assert!(
        enough >= 50,
        "only {enough} requests while five workers were killed"
    );
    let lines = stop(portal);
    only_with_their_worker(&went, &lines, &ends);
}

/// A request that an ending worker had not begun to answer goes to the next one. What it had begun cannot be taken
/// back: that one may be lost, and no other. `ends` is when each replica's worker ended.
fn only_with_their_worker(went: &[(String, Went)], lines: &[Line], ends: &[u64]) {
    for (path, went) in went.iter().filter(|(_, went)| !is_good(went)) {
        let request = format!("\"GET {path} HTTP");
        // Its access log says which worker had it; its error log may speak of the request before.
        let told = lines.iter().find(|line| {
            let said = line.message();
            line.member() == "nginx" && said.contains(&request) && said.contains("worker=")
        });
        let told = told.unwrap_or_else(|| panic!("{path} {went:?} is not in nginx's log"));
        let in_hand = (0..WORKERS).zip(ends).any(|(replica, end)| {
            let worker = format!("worker=127.0.0.1:{} ", 6543 + replica);
            told.message().contains(&worker) && told.clock().abs_diff(*end) < 1000
        });
        assert!(
            in_hand,
            "{path} {went:?}: no worker ended with it: {}",
            told.message()
        );
    }
}

#[test]
fn a_rolling_restart_costs_nobody_an_answer() {
    let Some(place) = Place::enter("a_rolling_restart_costs_nobody_an_answer") else {
        return;
    };
    no_drain(&place);
    let portal = Portal::start(&place);
    let from = up(&portal);
    let load = Load::start(3);
    let output = runner(&place)
        .args(["restart", "app"])
        .output()
        .expect("the binary can be run");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for replica in 0..WORKERS {
        assert!(said.contains(&format!("app/{replica}")), "{said}");
    }
    let enough = load.done();
    let went = load.finish(false);
    assert!(enough >= 50, "only {enough} requests in a restart of five");

    let mut ends = Vec::new();
    let mut at = from;
    for replica in 0..WORKERS {
        // Each is told to stop only when the one before is back.
        at = portal.event(at, "stopping-process", "app", Some(replica)).1;
        let (exited, next) = portal.event(at, "exited", "app", Some(replica));
        ends.push(exited.clock());
        at = portal.event(next, "ready", "app", Some(replica)).1;
    }
    only_with_their_worker(&went, &stop(portal), &ends);
}

#[test]
fn what_must_not_be_done_twice_fails_with_its_worker_and_alone() {
    let Some(place) = Place::enter("what_must_not_be_done_twice_fails_with_its_worker_and_alone")
    else {
        return;
    };
    no_drain(&place);
    let portal = Portal::start(&place);
    let at = up(&portal);
    let load = Load::start(2);
    let held = std::thread::spawn(|| ask("POST", "/hold/order", &[]).answer());
    let worker = begun(&place, "order");
    kill(worker);
    assert_eq!(held.join().expect("it does not panic").status, 502);
    let (exited, at) = portal.wait_for(at, "end of the worker", |line| line.event() == "exited");
    assert_eq!(exited.pid(), worker);
    portal.event(at, "ready", "app", exited.replica());
    let failed: Vec<_> = load
        .finish(false)
        .into_iter()
        .filter(|(_, went)| !is_good(went))
        .collect();
    assert!(failed.is_empty(), "{failed:?}");
    stop(portal);
}

#[test]
fn sigterm_under_load_answers_what_was_accepted() {
    let Some(place) = Place::enter("sigterm_under_load_answers_what_was_accepted") else {
        return;
    };
    let portal = Portal::start(&place);
    let at = up(&portal);
    let load = Load::start(3);
    let held: Vec<_> = (0..3)
        .map(|number| {
            let path = format!("/hold/{number}");
            let asking = std::thread::spawn(move || ask("GET", &path, &[]));
            begun(&place, &number.to_string());
            asking
        })
        .collect();

    portal.signal(libc::SIGTERM);
    let (draining, at) = portal.event(at, "draining", "nginx", None);
    let answered = load.done();
    assert_eq!(
        get("/health").status,
        200,
        "it still serves while the load balancer takes it out"
    );
    let (quit, at) = portal.event(at, "stopping-process", "nginx", None);
    assert!(
        quit.message().starts_with("sent SIGQUIT"),
        "{}",
        quit.message()
    );
    let drained = (quit.clock() + DAY - draining.clock()) % DAY;
    assert!(
        (15_000..30_000).contains(&drained),
        "drain_delay is 15 s, it took {drained} ms"
    );
    assert!(
        load.done() > answered,
        "no request was answered in 15 s of draining"
    );

    // nginx stays for those that it has accepted, and the workers for nginx.
    for number in 0..3 {
        place.make(&format!("{number}.go"));
    }
    for held in held {
        assert_eq!(held.join().expect("it does not panic").answer().status, 200);
    }
    let (_, gone) = portal.event(at, "exited", "nginx", None);
    let (_, told) = portal.event(at, "stopping-process", "app", None);
    assert!(
        gone < told,
        "a worker was told to stop before nginx was gone"
    );
    let went = load.finish(true);
    let lines = ended(portal);
    every_accepted_request_was_answered(&went, &lines);
}

/// Milliseconds of a day: the stop may go over midnight.
const DAY: u64 = 24 * 60 * 60 * 1000;

/// The end of a portal that was told to stop.
fn ended(portal: Portal) -> Vec<Line> {
    let (status, lines) = portal.end();
    assert_eq!(
        status.code(),
        Some(0),
        "{:?}",
        lines.last().map(|line| line.0.clone())
    );
    lines
}

/// What nginx has in its log was accepted. A connection that the kernel had taken and nginx had not when it closed its
/// door is lost, and is none of them: that is what drain_delay is for.
fn every_accepted_request_was_answered(went: &[(String, Went)], lines: &[Line]) {
    let from_nginx = lines
        .iter()
        .filter(|line| line.member() == "nginx" && line.event().is_empty());
    let accepted: Vec<&str> = from_nginx.map(Line::message).collect();
    let is_accepted = |path: &str| {
        let request = format!("\"GET {path} HTTP");
        accepted.iter().any(|line| line.contains(&request))
    };
    let mut answered = 0;
    for (path, went) in went {
        match went {
            Went::Answered(answer) if answer.status == 200 => answered += 1,
            Went::Answered(answer) => panic!("{path} was answered with {}", answer.status),
            Went::Refused => {}
            Went::Lost(error) => {
                assert!(!is_accepted(path), "{path} was accepted and lost: {error}")
            }
        }
    }
    let lost = went
        .iter()
        .filter(|(_, went)| matches!(went, Went::Lost(_)))
        .count();
    assert!(
        lost <= 3,
        "each of the three askers can lose one, at the very end; {lost} were lost"
    );
    assert!(answered > 100, "only {answered} requests");
    assert!(
        is_accepted("/hold/0"),
        "nginx's log is read as it is written"
    );
}

fn is_good(went: &Went) -> bool {
    matches!(went, Went::Answered(answer) if answer.status == 200)
}

fn kill(pid: libc::pid_t) {
    // SAFETY: integers only; the worker was told of by the log and not yet of its end.
    assert_eq!(
        unsafe { libc::kill(pid, libc::SIGKILL) },
        0,
        "the worker is there"
    );
}

/// Waits until a worker has a held request in hand; its pid.
fn begun(place: &Place, name: &str) -> libc::pid_t {
    let path = place.hold.join(format!("{name}.begun"));
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(text) = std::fs::read_to_string(&path) {
            return text.parse().expect("a pid");
        }
        assert!(Instant::now() < deadline, "no worker took /hold/{name}");
        std::thread::park_timeout(POLL);
    }
}
