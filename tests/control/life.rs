//! Health and status over the life of a role.

use crate::common::Place;
use crate::{member, remove, role, status, touch, wait_health, wait_status};

/// A shell that sleeps in small pieces, so that its traps run soon.
const REST: &str = "while :; do sleep 0.02; done";

#[test]
fn health_over_the_life_of_a_role() {
    let stubborn = "trap 'while [ ! -e leave ]; do sleep 0.02; done; exit 0' TERM";
    let place = role(
        "startup: [{name: the gate, wait: {file: go, interval: 10ms}, timeout: 60s}]",
        &[&format!(
            "app: {{command: [sh, -c, \"{stubborn}; {REST}\"], stop_timeout: 15s, \
             backoff: {{initial: 10ms}}, \
             readiness: {{exec: [test, -e, ready], interval: 20ms, start_period: 60s}}, \
             liveness: {{exec: [test, '!', -e, hung], interval: 20ms, retries: 1}}}}"
        )],
    );
    let absent = place.run(&["health"]);
    assert_eq!(absent.code, Some(69), "{}", absent.stderr);
    assert!(
        absent.stderr.starts_with("no runner is running here: "),
        "{}",
        absent.stderr
    );

    let running = place.start(&["run", "r"]);
    running.wait_event("step-started");
    wait_health(&place, "starting", &["step 1 of 1, `the gate`"]);
    let at_start = status(&place);
    assert_eq!(at_start["role"], "r");
    assert_eq!(at_start["phase"], "steps");
    assert_eq!(at_start["step"]["name"], "the gate");
    assert_eq!(at_start["pid"], running.pid());

    touch(&place, "go");
    wait_health(&place, "starting", &["app is not ready yet", "of 1m"]);
    touch(&place, "ready");
    assert_eq!(wait_health(&place, "healthy", &[]), "healthy\n");

    touch(&place, "hung");
    wait_health(&place, "unhealthy", &["app does not answer its liveness"]);
    remove(&place, "hung");
    touch(&place, "leave");
    assert_eq!(wait_health(&place, "healthy", &[]), "healthy\n");
    let back = status(&place);
    assert_eq!(member(&back, "app", None)["restarts"], 1, "{back:#}");

    remove(&place, "leave");
    running.signal(libc::SIGTERM);
    wait_health(
        &place,
        "stopping",
        &["SIGTERM was received", "waiting for app"],
    );
    let stopping = status(&place);
    assert_eq!(stopping["phase"], "stopping");
    assert_eq!(stopping["stop"]["waiting_for"][0], "app");
    let left = stopping["stop"]["until"]["seconds"].as_f64();
    assert!(
        left.is_some_and(|left| (1.0..=29.0).contains(&left)),
        "{stopping:#}"
    );
    assert_eq!(member(&stopping, "app", None)["state"], "stopping");
    wait_status(
        &place,
        &["stopping: SIGTERM was received; waiting for app; killed in"],
    );
    touch(&place, "leave");
    running.wait().expect(0, "SIGTERM");
    assert_eq!(place.run(&["health"]).code, Some(69));
}

#[test]
fn status_says_of_every_member_where_it_stands_and_what_comes_next() {
    let place = Place::with(
        "roles:
  r:
    services:
      app: {command: [sleep, \"1000\"], replicas: 2}
      crash: {command: [sh, -c, exit 3], essential: false, backoff: {initial: 60s, max: 60s}}
      slow: {command: [sleep, \"1000\"], readiness: {exec: [\"false\"], interval: 20ms, start_period: 60s}}
      late: {command: [sleep, \"1000\"], depends_on: {slow: {condition: ready}}}
    loops:
      tick: {interval: 60s, steps: [{command: [\"true\"]}]}
      fail: {interval: 60s, steps: [{command: [sh, -c, exit 4]}]}
",
    );
    let running = place.start(&["run", "r"]);
    running.wait_event("run-failed");
    wait_status(&place, &["1 run, last success", "exited with 3"]);
    let status = status(&place);

    let app = member(&status, "app", Some(1));
    assert_eq!(app["kind"], "service");
    assert_eq!(app["state"], "running");
    assert!(app["pid"].as_i64().is_some_and(|pid| pid > 1), "{app:#}");
    assert!(app["since"]["seconds"].is_number(), "{app:#}");
    assert_eq!(app["restarts"], 0);
    assert_eq!(app["next"], "restarts when it ends");
    assert_eq!(member(&status, "app", Some(0))["state"], "running");

    let crash = member(&status, "crash", None);
    assert_eq!(crash["state"], "backoff");
    assert_eq!(crash["pid"], serde_json::Value::Null);
    assert_eq!(crash["last_exit"], "exited with 3");
    let next = crash["next"].as_str().unwrap_or_default();
    assert!(next.starts_with("restarts in "), "{next}");

    let late = member(&status, "late", None);
    assert_eq!(late["state"], "pending");
    assert_eq!(late["next"], "waits for slow to be ready");
    assert_eq!(
        member(&status, "slow", None)["ready"],
        serde_json::Value::Null
    );

    let tick = member(&status, "tick", None);
    assert_eq!(tick["kind"], "loop");
    assert_eq!(tick["state"], "waiting");
    assert_eq!(tick["runs"], 1);
    assert_eq!(tick["failures"], 0);
    assert!(tick["last_success"]["seconds"].is_number(), "{tick:#}");
    let next = tick["next_run"]["seconds"].as_f64();
    assert!(
        next.is_some_and(|next| (20.0..=60.0).contains(&next)),
        "{tick:#}"
    );
    let fail = member(&status, "fail", None);
    assert_eq!(fail["failures"], 1);
    assert_eq!(fail["last_success"], serde_json::Value::Null);
    assert!(
        fail["last_exit"]
            .as_str()
            .is_some_and(|end| end.contains("exited with 4"))
    );

    assert_eq!(status["health"]["state"], "starting");
    let text = place.run(&["status"]).stdout;
    assert!(text.starts_with("role r: starting, up "), "{text}");
    assert!(
        text.lines().all(|line| line.chars().count() <= 100),
        "{text}"
    );
    running.stop().expect(0, "SIGTERM");
}

#[test]
fn a_service_that_never_becomes_ready_is_unhealthy_and_lives_on() {
    let place = role(
        "stop_timeout: 30s",
        &[
            "app: {command: [sleep, \"1000\"], readiness: {exec: [\"false\"], interval: 20ms, retries: 1, start_period: 50ms}}",
        ],
    );
    let running = place.start(&["run", "r"]);
    wait_health(&place, "unhealthy", &["app has not become ready in "]);
    assert_eq!(member(&status(&place), "app", None)["state"], "running");
    running.stop().expect(0, "SIGTERM");
}

#[test]
fn a_restart_storm_is_unhealthy() {
    let place = role(
        "stop_timeout: 30s",
        &["app: {command: [sh, -c, \"sleep 0.2; exit 3\"], backoff: {initial: 1ms, max: 1ms}}"],
    );
    let running = place.start(&["run", "r"]);
    wait_health(
        &place,
        "unhealthy",
        &["app has been restarted ", " in a row"],
    );
    running.stop().expect(0, "SIGTERM");
}

#[test]
fn a_loop_is_unhealthy_by_its_failures_or_by_the_age_of_its_success() {
    let place = Place::looping(
        "interval: 10ms\n        max_failures: 2\n        on_max_failures: unhealthy",
        &["command: [\"false\"]"],
    );
    let running = place.start(&["run", "r"]);
    wait_health(&place, "unhealthy", &["l failed ", " times in a row: "]);
    running.stop().expect(0, "SIGTERM");

    let place = Place::looping(
        "interval: 10ms\n        timeout: 100ms",
        &["command: [test, -e, good]"],
    );
    let running = place.start(&["run", "r"]);
    wait_health(
        &place,
        "unhealthy",
        &["l has not succeeded in ", "at most 220ms"],
    );
    touch(&place, "good");
    wait_health(&place, "healthy", &[]);
    remove(&place, "good");
    wait_health(&place, "unhealthy", &["l last succeeded "]);
    running.stop().expect(0, "SIGTERM");
}

#[test]
fn a_role_of_steps_alone_is_healthy_while_they_run() {
    let place = Place::steps(&["{name: gate, wait: {file: go, interval: 10ms}, timeout: 60s}"]);
    let running = place.start(&["run", "r"]);
    running.wait_event("step-started");
    assert!(wait_health(&place, "healthy", &[]).contains("note: step 1 of 1, `gate`"));
    touch(&place, "go");
    running.wait().expect(0, "all its steps have run");
}

#[test]
fn what_waits_for_what_can_never_be_ends_the_role_if_it_is_essential() {
    let failed = "migrate: {command: [sh, -c, exit 3], restart: never, essential: false}";
    let waits = "command: [sleep, \"1000\"], depends_on: {migrate: {condition: succeeded}}";
    let place = role("stop_timeout: 30s", &[failed, &format!("app: {{{waits}}}")]);
    let why = "app waits for migrate to be succeeded, which can never be";
    place.play().expect(1, why);

    let side = format!("app: {{{waits}, essential: false}}");
    let other = "other: {command: [sleep, \"1000\"]}";
    let place = role("stop_timeout: 30s", &[failed, &side, other]);
    let running = place.start(&["run", "r"]);
    wait_health(&place, "healthy", &[&format!("note: {why}")]);
    running.stop().expect(0, "SIGTERM");
}
