//! SIGTERM at every moment of a role's life.

use std::time::{Duration, Instant};

use crate::common::server::{Act, Server};
use crate::common::{Ended, Place, moto, wait_gone};

/// At once, on a busy machine too.
const PROMPT: Duration = Duration::from_secs(3);

/// 128 + n, by itself or by the signal's default action before there was a handler.
#[track_caller]
fn stopped_early(ended: &Ended) {
    match (ended.code, ended.signal) {
        (None, Some(libc::SIGTERM)) => {}
        (Some(143), None) => {
            assert!(ended.why().starts_with("stopped by SIGTERM before"));
        }
        _ => panic!("{ended:?}"),
    }
}

#[test]
fn in_the_first_moments() {
    let place = Place::steps(&["command: [sleep, 60]"]);
    for after in (0..50).step_by(2) {
        let running = place.start(&["run", "r"]);
        // Not a wait for something to happen: the moment itself is what is tried.
        let until = Instant::now() + Duration::from_millis(after);
        while Instant::now() < until {
            std::thread::yield_now();
        }
        let ended = running.stop();
        stopped_early(&ended);
        assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    }
}

#[test]
fn while_the_secret_is_fetched() {
    let vault = Server::new([Act::Hang]);
    let place = Place::with(
        "settings: { sources: [ { secret: gac, region: us-east-1 } ], keys: { A: { required: true } } }\nroles: { r: { startup: [ { command: [echo, \"${A}\"] } ] } }\n",
    );
    let place = moto::at(place, &vault.url(""));
    let running = place.start(&["run", "r"]);
    vault.asked(1);
    let asked = Instant::now();
    let ended = running.stop();
    ended.expect(143, "stopped by SIGTERM before the role's steps were done");
    assert!(ended.at - asked < PROMPT);
}

#[test]
fn while_a_settings_command_runs() {
    let place = Place::with(
        "settings: { sources: [ { command: [sh, -c, \"echo x > began; exec sleep 60\"], key: A, timeout: 1h } ], keys: { A: { required: true } } }\nroles: { r: { startup: [ { command: [echo, \"${A}\"] } ] } }\n",
    );
    let running = place.start(&["run", "r"]);
    place.wait_lines("began", 1);
    let ended = running.stop();
    ended.expect(143, "stopped by SIGTERM");
    assert!(ended.took < Duration::from_secs(5));
}

#[test]
fn during_a_step_that_hears_it() {
    let place = Place::steps(&[
        "shell: trap 'echo told; exit 0' TERM; echo x > began; while :; do sleep 0.01; done",
        "shell: touch later",
    ]);
    let running = place.start(&["run", "r"]);
    place.wait_lines("began", 1);
    let ended = running.stop();
    ended.expect(143, "stopped by SIGTERM before the role's steps were done");
    assert_eq!(ended.said(), ["told"]);
    assert!(!place.has("later"));
    std::fs::remove_file(place.path("began")).expect("ours");
    let running = place.start(&["run", "r"]);
    place.wait_lines("began", 1);
    running.signal(libc::SIGINT);
    running.wait().expect(130, "stopped by SIGINT");
}

#[test]
fn during_a_step_that_ignores_it() {
    let place = Place::with(
        "roles:\n  r:\n    stop_timeout: 1500ms\n    startup:\n      - shell: trap '' TERM; (trap '' TERM; exec sleep 60) & echo $! > began; wait\n",
    );
    let running = place.start(&["run", "r"]);
    let pid = place.wait_lines("began", 1);
    let asked = Instant::now();
    let ended = running.stop();
    ended.expect(143, "stopped by SIGTERM");
    let took = ended.at - asked;
    // A second of the budget is runner's own.
    assert!(took >= Duration::from_millis(500), "{took:?}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
    wait_gone(pid.trim().parse().expect("a number"));
}

#[test]
fn twice_kills_at_once() {
    let place = Place::steps(&[
        "shell: trap '' TERM; (trap '' TERM; exec sleep 60) & echo $! > began; wait",
    ]);
    for second in [libc::SIGTERM, libc::SIGINT] {
        let _ = std::fs::remove_file(place.path("began"));
        let running = place.start(&["run", "r"]);
        let pid = place.wait_lines("began", 1);
        running.signal(libc::SIGTERM);
        let told = running.wait_event("stopping");
        assert_eq!(told["message"], "stopping within 30s: SIGTERM was received");
        running.signal(second);
        let ended = running.wait();
        ended.expect(128 + second, "before the role's steps were done");
        assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
        wait_gone(pid.trim().parse().expect("a number"));
    }
}

#[test]
fn in_the_pause_before_another_try() {
    let place = Place::steps(&[
        "retry: { attempts: 5, backoff: { initial: 1h, max: 2h } }\ncommand: \"false\"",
    ]);
    let running = place.start(&["run", "r"]);
    running.wait_event("step-retried");
    let asked = Instant::now();
    let ended = running.stop();
    ended.expect(143, "stopped by SIGTERM");
    assert!(ended.at - asked < PROMPT);
}

#[test]
fn during_a_request_and_during_a_wait() {
    let server = Server::new([Act::Hang]);
    let request = format!("timeout: 1h\nhttp: {{ url: {} }}", server.url("/"));
    let place = Place::steps(&[&request]);
    let running = place.start(&["run", "r"]);
    server.asked(1);
    let asked = Instant::now();
    let ended = running.stop();
    ended.expect(143, "stopped by SIGTERM");
    assert!(ended.at - asked < PROMPT);

    let place = Place::steps(&["timeout: 1h\nwait: { file: gone, interval: 1h }"]);
    let running = place.start(&["run", "r"]);
    running.wait_event("step-started");
    let asked = Instant::now();
    let ended = running.stop();
    ended.expect(143, "stopped by SIGTERM");
    assert!(ended.at - asked < PROMPT);
}

#[test]
fn nothing_that_a_step_left_behind_survives() {
    let place = Place::steps(&[
        "shell: (setsid sh -c 'trap \"\" TERM HUP; echo $$ > pid; exec sleep 60' &) ; while ! test -s pid; do sleep 0.01; done",
    ]);
    let ended = place.play();
    ended.expect(0, "is done");
    let pid = place.read("pid").trim().parse().expect("a number");
    wait_gone(pid);
}

#[test]
fn a_blocked_reader_of_the_log_does_not_hinder_a_stop() {
    use std::process::Stdio;
    let place = Place::steps(&["shell: echo x > began; exec yes"]);
    let mut command = place.command(&["run", "r"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    place.wait_lines("began", 1);
    crate::common::kill(child.id().cast_signed(), libc::SIGTERM);
    // Nobody reads its pipes.
    let (tell, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || tell.send(child.wait().map(|status| status.code())));
    let code = end.recv_timeout(Duration::from_secs(10)).expect("it ends");
    assert_eq!(code.expect("our child"), Some(143));
}

#[test]
fn while_a_secret_is_read_from_a_pipe_that_nobody_writes() {
    for source in ["{ secret: \"file:pipe.json\" }", "{ file: pipe.json }"] {
        let place = Place::with(&format!(
            "settings: {{ sources: [ {source} ], keys: {{ A: {{ required: true }} }} }}\nroles: {{ r: {{ startup: [ {{ command: [echo, \"${{A}}\"] }} ] }} }}\n"
        ));
        let pipe = std::ffi::CString::new(place.path("pipe.json").to_string_lossy().as_bytes())
            .expect("no NUL");
        // SAFETY: a C string.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        let running = place.start(&["run", "r"]);
        running.wait_event("mode");
        let asked = Instant::now();
        let ended = running.stop();
        ended.expect(143, "stopped by SIGTERM");
        assert!(ended.at - asked < PROMPT);
    }
}
