//! Restarts, stops and signals.

use crate::common::{Place, lives, wait_gone};
use crate::{member, remove, role, status, touch, wait_health, wait_status};

/// Writes down its start and its stop, and is ready when `allow-N` is there; with `broken` it ends at once.
fn workers(count: u32) -> Place {
    let worker = "if [ -e broken ]; then exit 3; fi; trap 'echo stop ${replica} >> log; exit 0' TERM; \
                  echo start ${replica} >> log; while :; do sleep 0.02; done";
    role(
        "stop_timeout: 30s",
        &[
            &format!(
                "app: {{command: [sh, -c, \"{worker}\"], replicas: {count}, backoff: {{initial: 60s, max: 60s}}, \
                 readiness: {{exec: [test, -e, \"allow-${{replica}}\"], interval: 20ms, start_period: 60s}}}}"
            ),
            "other: {command: [sleep, \"1000\"]}",
        ],
    )
}

fn pid(place: &Place, name: &str, replica: Option<u64>) -> i64 {
    let pid = &member(&status(place), name, replica)["pid"];
    pid.as_i64().expect("it runs")
}

#[test]
fn a_restart_goes_from_replica_to_replica_and_waits_until_each_is_ready() {
    let place = workers(3);
    for number in 0..3 {
        touch(&place, &format!("allow-{number}"));
    }
    let running = place.start(&["run", "r"]);
    wait_health(&place, "healthy", &[]);
    place.wait_lines("log", 3);
    remove(&place, "allow-0");
    let other = pid(&place, "other", None);
    let restart = place.start(&["restart", "app"]);
    for number in 0..3 {
        let log = place.wait_lines("log", 5 + 2 * number);
        let mut expected = String::new();
        for before in 0..=number {
            expected.push_str(&format!("stop {before}\nstart {before}\n"));
        }
        // The first three lines are the first starts, in any order.
        let now: Vec<&str> = log.lines().skip(3).collect();
        assert_eq!(now.join("\n") + "\n", expected, "one after the other");
        if number == 0 {
            // The others serve: a platform must not end the container for this.
            wait_health(&place, "healthy", &["note: app/0 is not ready yet"]);
            let again = place.run(&["restart", "app/2"]);
            assert_eq!(again.code, Some(1));
            assert!(again.stderr.contains("is under way"), "{}", again.stderr);
        }
        // The next one's turn comes as soon as this one is ready: the gate it will wait at is closed before.
        let _ = std::fs::remove_file(place.path(&format!("allow-{}", number + 1)));
        touch(&place, &format!("allow-{number}"));
    }
    let done = restart.wait();
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(done.stdout, "restarted app/0, app/1, app/2\n");
    assert_eq!(pid(&place, "other", None), other);
    let after = member(&status(&place), "app", Some(0));
    assert_eq!(
        after["restarts"], 0,
        "those that are asked for do not count"
    );
    running.stop().expect(0, "SIGTERM");
}

#[test]
fn one_replica_alone_is_restarted_where_it_is_named() {
    let place = workers(2);
    touch(&place, "allow-0");
    touch(&place, "allow-1");
    let running = place.start(&["run", "r"]);
    wait_health(&place, "healthy", &[]);
    let before = (pid(&place, "app", Some(0)), pid(&place, "app", Some(1)));
    let done = place.run(&["restart", "app/1"]);
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (Some(0), "restarted app/1\n")
    );
    assert_eq!(pid(&place, "app", Some(0)), before.0);
    assert_ne!(pid(&place, "app", Some(1)), before.1);
    running.stop().expect(0, "SIGTERM");
}

#[test]
fn a_replica_that_does_not_come_back_ends_the_restart() {
    let place = workers(2);
    touch(&place, "allow-0");
    touch(&place, "allow-1");
    let running = place.start(&["run", "r"]);
    wait_health(&place, "healthy", &[]);
    let untouched = pid(&place, "app", Some(1));
    touch(&place, "broken");
    remove(&place, "allow-0");
    let failed = place.run(&["restart", "app"]);
    assert_eq!(failed.code, Some(1));
    assert_eq!(
        failed.stderr,
        "cannot restart `app`: app/0 did not come back: exited with 3; left alone: app/1\n"
    );
    assert_eq!(pid(&place, "app", Some(1)), untouched);
    remove(&place, "broken");
    touch(&place, "allow-0");
    let cured = place.run(&["restart", "app/0"]);
    assert_eq!(
        cured.code,
        Some(0),
        "the backoff is not waited for: {}",
        cured.stderr
    );
    running.stop().expect(0, "SIGTERM");
}

#[test]
fn names_that_are_none_are_answered_with_the_nearest() {
    let place = Place::with(
        "roles:
  r:
    services:
      app: {command: [sleep, \"1000\"], replicas: 2}
      nginx: {command: [sleep, \"1000\"]}
    loops:
      index: {interval: 60s, steps: [{command: [\"true\"]}]}
",
    );
    let running = place.start(&["run", "r"]);
    wait_health(&place, "healthy", &[]);
    for (name, text) in [
        ("ngnix", "there is no such service (did you mean `nginx`?)"),
        (
            "zebra/1",
            "there is no such service (the services are app, nginx)",
        ),
        (
            "index",
            "it is no service, and only services can be restarted",
        ),
        ("app/2", "it has replicas 0 to 1"),
        ("nginx/1", "it has one replica, 0"),
        ("app/one", "a replica is a number, such as app/0"),
        ("", "there is no such service"),
    ] {
        let refused = place.run(&["restart", name]);
        let expected = format!("cannot restart `{name}`: {text}");
        assert_eq!(refused.code, Some(64), "{}", refused.stderr);
        assert!(refused.stderr.starts_with(&expected), "{}", refused.stderr);
    }
    running.stop().expect(0, "SIGTERM");
}

#[test]
fn nothing_is_restarted_before_there_are_members_and_while_they_stop() {
    let place = role(
        "startup: [{wait: {file: go, interval: 10ms}, timeout: 60s}]",
        &[
            "app: {command: [sh, -c, \"trap 'while [ ! -e leave ]; do sleep 0.02; done; exit' TERM; while :; do sleep 0.02; done\"]}",
        ],
    );
    let running = place.start(&["run", "r"]);
    running.wait_event("step-started");
    let early = place.run(&["restart", "app"]);
    assert_eq!(early.code, Some(1));
    assert!(
        early.stderr.contains("have not been started yet"),
        "{}",
        early.stderr
    );
    touch(&place, "go");
    wait_health(&place, "healthy", &[]);
    running.signal(libc::SIGTERM);
    wait_health(&place, "stopping", &[]);
    let late = place.run(&["restart", "app"]);
    assert_eq!(late.code, Some(1));
    assert_eq!(late.stderr, "cannot restart `app`: the role stops\n");
    touch(&place, "leave");
    running.wait().expect(0, "SIGTERM");
}

#[test]
fn a_stop_is_orderly_however_often_it_is_asked_for() {
    let place = role(
        "stop_timeout: 30s",
        &[
            "app: {command: [sh, -c, \"trap 'while [ ! -e leave ]; do sleep 0.02; done; exit' TERM; while :; do sleep 0.02; done\"]}",
        ],
    );
    let running = place.start(&["run", "r"]);
    wait_health(&place, "healthy", &[]);
    let waiting = place.start(&["stop", "--wait"]);
    wait_health(&place, "stopping", &["as asked", "waiting for app"]);
    for _ in 0..3 {
        let again = place.run(&["stop"]);
        assert_eq!(again.code, Some(0));
        assert!(again.stdout.starts_with("stopping; "), "{}", again.stdout);
    }
    assert!(lives(running.pid()));
    wait_status(&place, &["stopping: as asked; waiting for app"]);
    touch(&place, "leave");
    let waited = waiting.wait();
    assert_eq!(
        (waited.code, waited.stdout.as_str()),
        (Some(0), "stopped\n")
    );
    let ended = running.wait();
    ended.expect(0, "stopped in order as asked");
    assert!(waited.at >= ended.at - std::time::Duration::from_millis(500));
    assert_eq!(place.run(&["stop"]).code, Some(69));
}

/// Says which of its signals came, one line each.
const EARS: &str = "for s in HUP USR1 QUIT; do trap \\\"echo $s >> heard-$0\\\" $s; done; touch up-$0; \
                    while :; do sleep 0.02; done";

#[test]
fn signals_reach_the_services_that_want_them_and_no_others() {
    let place = role(
        "stop_timeout: 30s",
        &[
            &format!(
                "a: {{command: [sh, -c, \"{EARS}\", a], forward_signals: [SIGHUP, SIGUSR1], replicas: 1}}"
            ),
            &format!("b: {{command: [sh, -c, \"{EARS}\", b], forward_signals: [SIGHUP, SIGQUIT]}}"),
            &format!("c: {{command: [sh, -c, \"{EARS}\", c]}}"),
        ],
    );
    let running = place.start(&["run", "r"]);
    for name in ["up-a", "up-b", "up-c"] {
        wait_file(&place, name);
    }
    running.signal(libc::SIGHUP);
    place.wait_lines("heard-a", 1);
    place.wait_lines("heard-b", 1);
    running.signal(libc::SIGUSR1);
    running.signal(libc::SIGQUIT);
    assert_eq!(place.wait_lines("heard-a", 2), "HUP\nUSR1\n");
    assert_eq!(place.wait_lines("heard-b", 2), "HUP\nQUIT\n");
    running.signal(libc::SIGUSR2);
    running.wait_stderr("SIGUSR2 was received; no service that runs has it in its forward_signals");
    assert!(!place.has("heard-c"));
    wait_health(&place, "healthy", &[]);
    let ended = running.stop();
    ended.expect(0, "SIGTERM");
    assert!(!place.has("heard-c"));
    let told = ended.messages("signal");
    assert_eq!(told[0], "SIGHUP was received and passed on to a, b");
}

#[test]
fn sigquit_that_no_service_wants_is_an_orderly_stop() {
    let place = role("stop_timeout: 30s", &["app: {command: [sleep, \"1000\"]}"]);
    let running = place.start(&["run", "r"]);
    wait_health(&place, "healthy", &[]);
    let app = pid(&place, "app", None);
    running.signal(libc::SIGQUIT);
    running.wait().expect(0, "stopped in order by SIGQUIT");
    wait_gone(i32::try_from(app).expect("a pid"));

    let place = Place::steps(&["{wait: {file: never, interval: 10ms}, timeout: 60s}"]);
    let running = place.start(&["run", "r"]);
    running.wait_event("step-started");
    running.signal(libc::SIGQUIT);
    running.wait().expect(131, "SIGQUIT");
}

#[test]
fn a_signal_that_nobody_can_catch_is_found_before_any_step() {
    let place = role(
        "startup: [{command: [touch, ran]}]",
        &["app: {command: [sleep, \"1000\"], forward_signals: [SIGKILL]}"],
    );
    let ended = place.play();
    assert_eq!(ended.code, Some(78), "{}", ended.stderr);
    assert!(ended.stderr.contains("SIGKILL"), "{}", ended.stderr);
    assert!(!place.has("ran"));
}

fn wait_file(place: &Place, name: &str) {
    let started = std::time::Instant::now();
    while !place.has(name) {
        assert!(started.elapsed() < crate::common::DEADLINE, "no {name}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
