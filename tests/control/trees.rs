//! What a service leaves behind, and whom it holds up.

use crate::common::{Place, wait_gone};
use crate::{member, role, status, touch, wait_health, wait_status};

fn number(place: &Place, name: &str) -> i32 {
    let text = place.wait_lines(name, 1);
    text.trim().parse().expect("a pid")
}

#[test]
fn a_daemon_that_left_its_group_is_killed_when_its_service_ends_and_restart_decides() {
    // The double fork of a daemon: the parent exits as soon as its child has a session of its own.
    let daemon = "setsid sh -c 'echo $$ > daemon; exec sleep 1000' & \
                  while [ ! -s daemon ] || [ ! -e go ]; do sleep 0.01; done; exit 0";
    let place = role(
        "stop_timeout: 30s",
        &[&format!(
            "app: {{command: [sh, -c, \"{daemon}\"], backoff: {{initial: 60s, max: 60s}}}}"
        )],
    );
    let running = place.start(&["run", "r"]);
    let stray = number(&place, "daemon");
    touch(&place, "go");
    wait_gone(stray);
    let told = running.wait_event("strays-ended");
    assert_eq!(told["member"], "app");
    let message = told["message"].as_str().unwrap_or_default();
    assert_eq!(
        message,
        format!("left processes behind; killed pid {stray}")
    );
    wait_status(&place, &["backoff", "exited with 0", "restarts in "]);
    running.stop().expect(0, "SIGTERM");
}

#[test]
fn a_process_of_one_service_is_no_stray_of_another() {
    let daemon = "setsid sh -c 'echo $$ > daemon; exec sleep 1000' & while :; do sleep 0.02; done";
    let place = role(
        "stop_timeout: 30s",
        &[
            &format!("app: {{command: [sh, -c, \"{daemon}\"]}}"),
            "ap: {command: [sh, -c, 'while [ ! -e go ]; do sleep 0.02; done'], restart: never, essential: false}",
            "says: {command: [sh, -c, 'echo $RUNNER_MEMBER; exec sleep 1000'], replicas: 2}",
        ],
    );
    let running = place.start(&["run", "r"]);
    let daemon = number(&place, "daemon");
    running.wait_stdout("says/0");
    running.wait_stdout("says/1");
    touch(&place, "go");
    wait_status(&place, &["succeeded"]);
    assert!(crate::common::lives(daemon));
    let ended = running.stop();
    ended.expect(0, "SIGTERM");
    wait_gone(daemon);
    assert!(
        ended.stderr.contains("strays-ended"),
        "it was the last of app: {}",
        ended.stderr
    );
}

#[test]
fn one_replica_that_keeps_dying_holds_up_nobody_for_ever() {
    let place = role(
        "stop_timeout: 30s",
        &[
            "app: {command: [sh, -c, 'test ${replica} = 0 && exec sleep 1000; exit 3'], replicas: 2, \
             backoff: {initial: 1ms, max: 50ms}, \
             readiness: {exec: ['true'], interval: 20ms, start_period: 500ms}}",
            "front: {command: [sleep, \"1000\"], depends_on: {app: {condition: ready}}}",
        ],
    );
    let running = place.start(&["run", "r"]);
    wait_status(&place, &["front "]);
    let started = std::time::Instant::now();
    while member(&status(&place), "front", None)["state"] != "running" {
        assert!(
            started.elapsed() < crate::common::DEADLINE,
            "front never starts"
        );
    }
    running.stop().expect(0, "SIGTERM");
}

#[test]
fn probes_run_as_their_service_does_and_go_on_while_its_dependents_stop() {
    let place = role(
        "stop_timeout: 30s",
        &[
            "app: {command: [sleep, \"1000\"], environment: {WORD: hello}, working_dir: deep, \
             liveness: {exec: [sh, -c, 'echo $WORD >> asked'], interval: 20ms, retries: 1}}",
            "front: {command: [sh, -c, \"trap 'while [ ! -e leave ]; do sleep 0.02; done; exit' TERM; while :; do sleep 0.02; done\"], \
             depends_on: {app: {condition: started}}}",
        ],
    )
    .file("deep/here", "");
    let running = place.start(&["run", "r"]);
    wait_health(&place, "healthy", &[]);
    assert!(place.wait_lines("deep/asked", 1).starts_with("hello\n"));
    running.signal(libc::SIGTERM);
    wait_health(&place, "stopping", &["waiting for front"]);
    let count = place.read("deep/asked").lines().count();
    place.wait_lines("deep/asked", count + 5);
    assert_eq!(member(&status(&place), "app", None)["state"], "running");
    touch(&place, "leave");
    let ended = running.wait();
    ended.expect(0, "SIGTERM");
    assert_eq!(ended.messages("liveness-failed"), Vec::<String>::new());
}
