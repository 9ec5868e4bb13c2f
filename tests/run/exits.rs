//! The whole table of exit codes.

use std::sync::atomic::{AtomicI32, Ordering};

use crate::common::{Place, Running};

/// Calls `one` for each number, on as many threads as there are processors.
fn each(numbers: std::ops::Range<i32>, one: impl Fn(i32) + Sync) {
    let next = AtomicI32::new(numbers.start);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return;
                    }
                    one(number);
                }
            });
        }
    });
}

#[test]
fn a_step_ends_the_role_with_its_own_code() {
    let place = Place::with(
        "settings: { sources: [environment], keys: { CODE: { required: true } } }\nroles: { r: { startup: [ { command: [sh, -c, \"exit ${CODE}\"] } ] } }\n",
    );
    each(0..256, |code| {
        let set = format!("CODE={code}");
        let ended = place.run(&["run", "r", "--set", &set]);
        let why = match code {
            0 => "all its steps have run".to_owned(),
            _ => format!("`sh` exited with {code}"),
        };
        ended.expect(code, &why);
    });
}

#[test]
fn a_signal_that_kills_a_step_is_128_and_its_number() {
    let place = Place::with(
        "settings: { sources: [environment], keys: { NUMBER: { required: true } } }\nroles: { r: { startup: [ { command: [sh, -c, \"ulimit -c 0; kill -${NUMBER} $$; exit 0\"] } ] } }\n",
    );
    let not_fatal = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGURG,
        libc::SIGWINCH,
    ];
    each(1..32, |number| {
        if not_fatal.contains(&number) {
            return;
        }
        let set = format!("NUMBER={number}");
        let ended = place.run(&["run", "r", "--set", &set]);
        ended.expect(128 + number, "`sh` was killed by SIG");
        let why = ended.why();
        assert!(why.ends_with(&format!(" ({number})")), "{why}");
    });
}

fn service(keys: &str) -> Place {
    Place::with(&format!(
        "roles:\n  r:\n    services:\n      s: {{ {keys} }}\n"
    ))
}

#[test]
fn an_essential_member_ends_the_role() {
    service("command: \"true\", restart: never")
        .play()
        .expect(1, "service s ended by itself: it exited with");
    service("command: [sh, -c, exit 5], restart: never")
        .play()
        .expect(5, "service s failed: it exited with");
    service("command: [sh, -c, kill -9 $$], restart: never")
        .play()
        .expect(137, "service s failed: it was killed by");
    service("command: no-such-program, restart: never")
        .play()
        .expect(127, "cannot start `no-such-program`");
}

#[test]
fn a_member_that_cannot_start_says_why_once_and_is_tried_again() {
    let place = service(
        "command: no-such-program, max_restarts: 3, backoff: { initial: 1ms, max: 1ms, jitter: 0 }",
    );
    let ended = place.play();
    ended.expect(127, "cannot start `no-such-program`");
    let said = ended.messages("not-started");
    assert_eq!(said.len(), 4, "{said:?}");
    assert!(
        said[0].contains("no `no-such-program` in PATH ("),
        "{said:?}"
    );
    for again in &said[1..] {
        assert_eq!(
            again.as_str(),
            "still cannot be started, for the same reason as before"
        );
    }
}

#[test]
fn members_that_stop_as_told_end_the_role_with_0() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let place = service("command: [sleep, 60]");
        let running = place.start(&["run", "r"]);
        running.wait_event("started");
        running.signal(signal);
        let name = if signal == libc::SIGTERM {
            "SIGTERM"
        } else {
            "SIGINT"
        };
        running
            .wait()
            .expect(0, &format!("stopped in order by {name}"));
    }
}

#[test]
fn a_member_that_does_not_stop_in_time_is_killed_and_the_code_is_124() {
    let place = service(
        "command: [sh, -c, \"trap '' TERM; echo x > began; while :; do sleep 0.01; done\"], stop_timeout: 200ms",
    );
    let running = place.start(&["run", "r"]);
    place.wait_lines("began", 1);
    running
        .stop()
        .expect(124, "service s did not stop in time and was killed");
}

#[test]
fn a_wrong_command_line_is_64() {
    let place = Place::steps(&["command: \"true\""]);
    for (args, said) in [
        (&["run", "r", "--sett", "A=1"][..], "--sett"),
        (&["rum"], "rum"),
        (&["run", "r", "--set", "A"], "expected KEY=VALUE"),
        (&["run", "r", "--log-level", "loud"], "loud"),
        (&["run", "r", "more"], "more"),
        (&[], "Usage"),
    ] {
        let ended = place.run(args);
        assert_eq!(ended.code, Some(64), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(said), "{args:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "", "{args:?}");
    }
    place
        .run(&["run", "r", "--set", "GONE=1"])
        .expect(64, "cannot use --set GONE=…: the setting is not declared");
    place
        .run(&["run", "q"])
        .expect(64, "cannot play the role `q`, named on the command line");
    for args in [&["--help"][..], &["run", "--help"], &["--version"]] {
        let ended = place.run(args);
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(0), ""),
            "{args:?}"
        );
        assert!(!ended.stdout.is_empty());
    }
}

#[test]
fn a_roles_yaml_that_cannot_be_used_is_78() {
    let nothing = Place::empty().run(&["run", "r"]);
    nothing.expect(78, "roles.yaml cannot be used; the mistakes stand above");
    assert!(nothing.stderr.contains("there is no such file"));
    for (text, said) in [
        (&b"\xff\xfe"[..], "is not UTF-8"),
        (b"version: 1\nroles:\n\tr: {}\n", "tab"),
        (b"version: 1\nroles: [", "roles.yaml"),
        (b"version: 1\nroles: { r: {}, r: {} }\n", "duplicate"),
        (b"version: 1\nroles: { r: { startupp: [] } }\n", "startupp"),
        (b"version: 1\nroles: { r: { startup: 5 } }\n", "expected"),
        (
            b"a: &a [x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: &f [*e, *e, *e, *e, *e, *e, *e, *e, *e]\ng: &g [*f, *f, *f, *f, *f, *f, *f, *f, *f]\nh: [*g, *g, *g, *g, *g, *g, *g, *g, *g]\n",
            "alias",
        ),
        (b"version: 1\nroles: { r: { startup: [ { command: [\"${GONE}\"] } ] } }\n", "GONE"),
        (
            b"version: 1\nsettings: { keys: { A: { value: \"${B}\" }, B: { value: \"${A}\" } } }\nroles: { r: {} }\n",
            "A",
        ),
    ] {
        let place = Place::empty().file("roles.yaml", text);
        let ended = place.play();
        ended.expect(78, "cannot be used");
        assert!(ended.stderr.to_lowercase().contains(&said.to_lowercase()), "{said}: {}", ended.stderr);
    }
    let large = format!("version: 1\n#{}\n", "x".repeat(4 * 1024 * 1024));
    let ended = Place::empty().file("roles.yaml", large).play();
    ended.expect(78, "cannot be used");
    assert!(ended.stderr.contains("over 4 MiB"), "{}", ended.stderr);
}

#[test]
fn a_setting_that_is_wrong_is_78_and_all_are_told_at_once() {
    let place = Place::with(
        "settings:\n  keys:\n    A: { required: true, description: the first }\n    B: { required: true }\n    N: { default: x }\n    C: { value: \"${N|int + 1}\" }\n    UNUSED: { required: true }\n  assert:\n    - { that: \"N == 'y'\", message: \"N is ${N}\" }\n    - { that: \"N == 'z'\", level: warning, message: careful }\nroles:\n  r:\n    startup:\n      - command: [echo, \"${A}${B}${C}${N}\"]\n",
    );
    let ended = place.play();
    ended
        .expect(78, "cannot use the settings, 4 are wrong")
        .expect(78, "A is missing (the first)")
        .expect(78, "B is missing")
        .expect(78, "C cannot be derived: ")
        .expect(78, "N is x");
    assert_eq!(ended.messages("warning"), ["careful"]);
    assert_eq!(ended.said(), Vec::<String>::new());
    assert!(!ended.why().contains("UNUSED"), "not asked of this role");
}

/// The command line is read before the log is there, and its refusal is one thing to read.
#[test]
fn the_last_line_says_why_in_text_too() {
    let place = Place::steps(&["command: \"false\""]);
    let mut command = place.command(&["run", "r", "--log-format", "text"]);
    command.env("NO_COLOR", "1");
    let ended = Running::start(command).wait();
    assert_eq!(ended.code, Some(1));
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(
        last.ends_with("ERROR exit 1: step `run false` failed: `false` exited with 1"),
        "{last}"
    );
}
