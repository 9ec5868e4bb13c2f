//! Loops: when runs begin, what a failure means, how a loop stops.

use std::time::Duration;

use crate::common::Place;

/// Nanoseconds since 1970, a line for each begin (`b`) and end (`e`) of a run.
const TIMED: &str = "echo b$(date +%s%N) >> times";

/// The begins and ends of the runs, in milliseconds since the first begin.
fn times(text: &str) -> Vec<(char, f64)> {
    let parse = |line: &str| {
        let nanos: f64 = line[1..].parse().expect("a number");
        (line.chars().next().expect("a letter"), nanos / 1e6)
    };
    let all: Vec<(char, f64)> = text.lines().map(parse).collect();
    let first = all[0].1;
    all.into_iter()
        .map(|(kind, at)| (kind, at - first))
        .collect()
}

#[test]
fn an_interval_is_from_the_end_of_a_run_to_the_start_of_the_next() {
    let place = Place::looping(
        "interval: 200ms",
        &[&format!(
            "shell: {TIMED}; sleep 0.3; echo e$(date +%s%N) >> times"
        )],
    );
    let running = place.start(&["run", "r"]);
    let text = place.wait_lines("times", 7);
    running.stop().expect(0, "stopped in order by SIGTERM");
    let times = times(&text);
    for pair in times[1..7].chunks(2) {
        let [(end, ended), (begin, began)] = pair else {
            panic!("{times:?}")
        };
        assert_eq!((*end, *begin), ('e', 'b'), "runs overlap: {times:?}");
        assert!(began - ended >= 200.0, "{times:?}");
    }
}

#[test]
fn a_beat_skips_the_ticks_that_a_long_run_missed() {
    let place = Place::looping(
        "every: 200ms",
        &[&format!(
            "shell: {TIMED}; test $(grep -c b times) != 2 || sleep 0.5; echo e$(date +%s%N) >> times"
        )],
    );
    let running = place.start(&["run", "r"]);
    let text = place.wait_lines("times", 8);
    let missed = running.wait_event("ticks-missed");
    running.stop().expect(0, "stopped in order");
    let missed = missed["message"].as_str().unwrap_or_default();
    // A busy machine may make the run a tick longer.
    assert!(
        missed.ends_with(" ticks missed, as the run took longer"),
        "{missed}"
    );
    let times = times(&text);
    let kinds: String = times.iter().map(|(kind, _)| *kind).collect();
    assert!(kinds.starts_with("bebebebe"), "runs overlap: {kinds}");
    // The second run began at 200 and took until after 700: the next tick is 800.
    assert!(times[2].1 >= 100.0, "{times:?}");
    assert!(times[4].1 - times[2].1 >= 500.0, "{times:?}");
    assert!(times[6].1 - times[0].1 >= 800.0, "{times:?}");
}

#[test]
fn jitter_stays_within_its_bounds() {
    let place = Place::looping(
        "interval: 100ms\n        jitter: 0.5",
        &[&format!("shell: {TIMED}")],
    );
    let running = place.start(&["run", "r"]);
    let times = times(&place.wait_lines("times", 16));
    running.stop().expect(0, "stopped in order");
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
    let least = gaps.iter().copied().fold(f64::MAX, f64::min);
    let most = gaps.iter().copied().fold(0.0, f64::max);
    assert!(least >= 50.0, "{gaps:?}");
    // Fifteen equal rolls of the dice would be no dice.
    assert!(most - least > 10.0, "{gaps:?}");
}

#[test]
fn a_run_that_takes_too_long_is_stopped_and_the_loop_goes_on() {
    let place = Place::looping(
        "interval: 10ms\n        timeout: 1s",
        &[
            "shell: echo $$ >> pids; trap 'echo told >> told; exit 0' TERM; test $(wc -l < pids) != 1 || while :; do sleep 0.01; done",
            "shell: echo x >> after",
        ],
    );
    let running = place.start(&["run", "r"]);
    let failed = running.wait_event("run-failed");
    assert_eq!(
        failed["message"],
        "run 1 failed: the run of `l` was stopped: it took longer than 1s"
    );
    place.wait_lines("after", 2);
    running.stop().expect(0, "stopped in order");
    assert_eq!(place.read("told"), "told\n");
}

#[test]
fn a_loop_gives_up_after_so_many_failures_in_a_row() {
    let place = Place::looping(
        "interval: 1ms\n        max_failures: 3",
        &["shell: echo x >> runs; case $(wc -l < runs) in 3) exit 0;; *) exit 7;; esac"],
    );
    let ended = place.play();
    ended.expect(7, "loop `l` failed 3 times in a row: ");
    assert_eq!(place.read("runs").lines().count(), 6);
    let failed = ended.messages("run-failed");
    assert!(failed[0].starts_with("run 1 failed: "), "{failed:?}");
    assert!(failed[1].starts_with("run 2 failed (2 in a row): "));
    assert!(failed[2].starts_with("run 4 failed: "));
    assert!(failed[4].starts_with("run 6 failed (3 in a row): "));
}

#[test]
fn a_loop_may_go_on_for_ever() {
    for keys in [
        "interval: 1ms",
        "interval: 1ms\n        max_failures: 2\n        on_max_failures: unhealthy",
    ] {
        let place = Place::looping(
            keys,
            &["shell: echo x >> runs; exit 7", "shell: touch later"],
        );
        let running = place.start(&["run", "r"]);
        place.wait_lines("runs", 5);
        running.stop().expect(0, "stopped in order by SIGTERM");
        assert!(!place.has("later"), "a run ends with its first failure");
    }
}

#[test]
fn the_first_run_may_come_after_the_first_pause() {
    let place = Place::looping(
        "interval: 1h\n        run_on_start: false",
        &["shell: touch ran"],
    );
    let running = place.start(&["run", "r"]);
    running.wait_event("settings");
    running.stop().expect(0, "stopped in order");
    assert!(!place.has("ran"));
    for key in ["interval", "every"] {
        let place = Place::looping(
            &format!("{key}: 150ms\n        run_on_start: false"),
            &["shell: echo x >> runs"],
        );
        let running = place.start(&["run", "r"]);
        place.wait_lines("runs", 1);
        let ended = running.stop();
        assert!(ended.took >= Duration::from_millis(150));
        ended.expect(0, "stopped in order");
    }
}

#[test]
fn a_stop_ends_the_pause_at_once() {
    for keys in ["interval: 1h", "every: 1h"] {
        let place = Place::looping(keys, &["shell: echo x >> runs"]);
        let running = place.start(&["run", "r", "--log-level", "debug"]);
        running.wait_event("run-done");
        let asked = std::time::Instant::now();
        let ended = running.stop();
        ended.expect(0, "stopped in order by SIGTERM");
        let took = ended.at - asked;
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert_eq!(place.read("runs"), "x\n");
    }
}

#[test]
fn a_stop_ends_the_run_that_is_under_way() {
    for timeout in ["", "\n        timeout: 1h"] {
        let place = Place::looping(
            &format!("interval: 1h{timeout}"),
            &[
                "shell: trap 'echo told >> told; exit 3' TERM; echo x > began; while :; do sleep 0.01; done",
                "shell: touch later",
            ],
        );
        let running = place.start(&["run", "r"]);
        place.wait_lines("began", 1);
        let ended = running.stop();
        ended.expect(0, "stopped in order by SIGTERM");
        assert_eq!(place.read("told"), "told\n");
        assert!(!place.has("later"));
        assert_eq!(ended.messages("run-failed"), Vec::<String>::new());
    }
}

#[test]
fn a_run_that_does_not_hear_is_killed_by_the_second_signal() {
    for timeout in ["", "\n        timeout: 1h"] {
        let place = Place::looping(
            &format!("interval: 1h{timeout}"),
            &["shell: trap '' TERM; echo $$ > began; while :; do sleep 0.01; done"],
        );
        let running = place.start(&["run", "r"]);
        place.wait_lines("began", 1);
        running.signal(libc::SIGTERM);
        running.wait_event("stopping");
        let ended = running.stop();
        ended.expect(137, "killed by a second SIGTERM");
        assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    }
}

#[test]
fn a_loop_waits_for_a_service_to_be_ready() {
    let place = Place::with(
        "roles:\n  r:\n    services:\n      s:\n        command: [sh, -c, \"exec sleep 60\"]\n        readiness: { exec: [test, -f, up], interval: 20ms, start_period: 1h }\n    loops:\n      l:\n        interval: 1h\n        depends_on: { s: { condition: ready } }\n        steps:\n          - shell: test -f up && echo x >> runs\n",
    );
    let running = place.start(&["run", "r"]);
    let waiting = running.wait_event("waiting");
    assert_eq!(waiting["message"], "waits for s to be ready");
    assert!(!place.has("runs"));
    std::fs::write(place.path("up"), "").expect("ours");
    place.wait_lines("runs", 1);
    running.stop().expect(0, "stopped in order");
}

#[test]
fn a_run_that_does_not_end_within_the_stop_is_killed_and_the_code_is_124() {
    for timeout in ["", ", timeout: 1h"] {
        let place = Place::with(&format!(
            "roles:\n  r:\n    stop_timeout: 1300ms\n    loops:\n      l:\n        {{ interval: 1h{timeout}, steps: [ {{ shell: \"trap '' TERM; echo x > began; while :; do sleep 0.01; done\" }} ] }}\n"
        ));
        let running = place.start(&["run", "r"]);
        place.wait_lines("began", 1);
        let ended = running.stop();
        ended.expect(124, "the stop took longer than its 1.3s");
        assert!(ended.took < Duration::from_secs(3), "{:?}", ended.took);
    }
}

/// A run that has run out of time has ten seconds to stop, and no longer than the role has.
#[test]
fn a_stop_does_not_wait_for_the_grace_of_a_run_that_took_too_long() {
    let place = Place::with(
        "roles:\n  r:\n    stop_timeout: 1300ms\n    loops:\n      l:\n        { interval: 1h, timeout: 600ms, steps: [ { shell: \"trap 'echo x >> told' TERM; echo x > began; while :; do sleep 0.01; done\" } ] }\n",
    );
    let running = place.start(&["run", "r"]);
    place.wait_lines("told", 1);
    let asked = std::time::Instant::now();
    let ended = running.stop();
    ended.expect(124, "the stop took longer than its 1.3s");
    let took = ended.at - asked;
    assert!(took < Duration::from_millis(1300), "{took:?}");
}
