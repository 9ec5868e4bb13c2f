//! The first process of a PID namespace: orphans come, none stays a zombie, and codes and signals are as elsewhere.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test runs real programs, writes its scratch files and prints what it skips"
)]

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{DEADLINE, Place, Running, kill, skip};

/// The binary as PID 1 of a namespace of its own.
struct First {
    /// unshare(1), which waits for it and takes over its code.
    outer: Running,
}

impl First {
    fn start(place: &Place, args: &[&str]) -> Self {
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--fork", "--kill-child", "--mount-proc"])
            .arg(env!("CARGO_BIN_EXE_runner"))
            .args(args);
        place.prepare(&mut command);
        Self {
            outer: Running::start(command),
        }
    }

    /// Its number out here.
    fn pid(&self) -> i32 {
        let outer = self.outer.pid();
        let started = Instant::now();
        loop {
            let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"));
            let children = children.unwrap_or_default();
            if let Some(pid) = children.split_whitespace().next() {
                return pid.parse().expect("a number");
            }
            assert!(started.elapsed() < DEADLINE, "unshare starts nothing");
            std::thread::yield_now();
        }
    }
}

/// Whether we may make PID namespaces.
fn may(test: &str) -> bool {
    let tried = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "true"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success()) || skip(test, "unshare --pid is refused")
}

#[test]
fn it_knows_what_it_is_and_gives_the_roles_code() {
    if !may("it_knows_what_it_is_and_gives_the_roles_code") {
        return;
    }
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
    ] {
        let place = Place::steps(&[&format!("shell: echo $PPID; {script}")]);
        let ended = First::start(&place, &["run", "r"]).outer.wait();
        ended.expect(code, "");
        assert_eq!(ended.said(), ["1"]);
        let mode = ended.messages("mode");
        assert!(mode[0].starts_with("runner is PID 1: "), "{mode:?}");
    }
}

#[test]
fn orphans_come_to_it_and_none_stays_a_zombie() {
    if !may("orphans_come_to_it_and_none_stays_a_zombie") {
        return;
    }
    let place = Place::steps(&[
        // An orphan that waits until it is one, out of its step's group so that it outlives the step.
        "shell: setsid sh -c 'touch up; while test $(cut -d \" \" -f 4 /proc/$$/stat) != 1; do sleep 0.01; done; echo x > came' & while ! test -f up; do sleep 0.01; done",
        // Many at once, while a step's own status must not be lost.
        "success_exit_codes: [9]\nshell: for i in $(seq 50); do (setsid sh -c 'exit 3' &); done; exit 9",
        "wait: { file: came, interval: 10ms }",
        "timeout: 10s\nshell: while grep -lE '\\) Z ' /proc/[0-9]*/stat 2>/dev/null; do sleep 0.01; done",
    ]);
    let ended = First::start(&place, &["run", "r"]).outer.wait();
    ended.expect(0, "is done");
}

#[test]
fn no_status_is_lost_among_orphans() {
    if !may("no_status_is_lost_among_orphans") {
        return;
    }
    let place = Place::looping(
        "interval: 1ms\n        max_failures: 1",
        &[
            "success_exit_codes: [9]\nshell: (setsid true &); (setsid true &); echo x >> runs; exit 9",
        ],
    );
    let first = First::start(&place, &["run", "r"]);
    place.wait_lines("runs", 60);
    kill(first.pid(), libc::SIGTERM);
    first.outer.wait().expect(0, "stopped in order by SIGTERM");
}

#[test]
fn a_stop_is_as_elsewhere() {
    if !may("a_stop_is_as_elsewhere") {
        return;
    }
    let place = Place::looping("interval: 1h", &["shell: echo x >> runs"]);
    let first = First::start(&place, &["run", "r"]);
    place.wait_lines("runs", 1);
    // The kernel keeps from PID 1 what it has no handler for; what it has one for must not end it.
    for harmless in [
        libc::SIGHUP,
        libc::SIGUSR1,
        libc::SIGUSR2,
        libc::SIGWINCH,
        libc::SIGPIPE,
        libc::SIGALRM,
    ] {
        kill(first.pid(), harmless);
    }
    let asked = Instant::now();
    kill(first.pid(), libc::SIGTERM);
    let ended = first.outer.wait();
    ended.expect(0, "stopped in order by SIGTERM");
    assert!(ended.at - asked < Duration::from_secs(3));
}

#[test]
fn a_step_is_stopped_and_what_ignores_it_is_killed() {
    if !may("a_step_is_stopped_and_what_ignores_it_is_killed") {
        return;
    }
    let place =
        Place::steps(&["shell: trap 'exit 0' TERM; echo x > began; while :; do sleep 0.01; done"]);
    let first = First::start(&place, &["run", "r"]);
    place.wait_lines("began", 1);
    kill(first.pid(), libc::SIGTERM);
    first.outer.wait().expect(143, "stopped by SIGTERM");

    let place = Place::steps(&[
        "shell: trap '' TERM INT; (trap '' TERM INT; setsid sleep 60) & echo x > began; wait",
    ]);
    let first = First::start(&place, &["run", "r"]);
    place.wait_lines("began", 1);
    let pid = first.pid();
    kill(pid, libc::SIGTERM);
    kill(pid, libc::SIGINT);
    let ended = first.outer.wait();
    assert!(matches!(ended.code, Some(130 | 143)), "{ended:?}");
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
}

/// What a step leaves behind ends with the role; as PID 1 the kernel would see to it, but not in order.
#[test]
fn a_daemon_that_was_left_behind_does_not_delay_the_end() {
    if !may("a_daemon_that_was_left_behind_does_not_delay_the_end") {
        return;
    }
    let place = Place::steps(&[
        "shell: setsid sh -c 'trap \"\" TERM HUP; touch up; exec sleep 60' > /dev/null 2>&1 & while ! test -f up; do sleep 0.01; done",
    ]);
    let ended = First::start(&place, &["run", "r"]).outer.wait();
    ended.expect(0, "is done");
    assert!(ended.took < Duration::from_secs(3), "{:?}", ended.took);
}

/// Under `docker run --init`, and with a shared PID namespace, somebody else is PID 1.
#[test]
fn as_the_child_of_an_init_it_is_a_subreaper() {
    if !may("as_the_child_of_an_init_it_is_a_subreaper") {
        return;
    }
    let place = Place::steps(&[
        "shell: setsid sh -c 'touch up; while test $(cut -d \" \" -f 4 /proc/$$/stat) != $(cat runner.pid); do sleep 0.01; done; echo x > came' & while ! test -f up; do sleep 0.01; done",
        "timeout: 10s\nwait: { file: came, interval: 10ms }",
        "timeout: 10s\nshell: while grep -lE '\\) Z ' /proc/[0-9]*/stat 2>/dev/null; do sleep 0.01; done; exit 8",
    ]);
    let mut command = Command::new("unshare");
    command
        .args([
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
        ])
        .arg("\"$0\" run r & echo $! > runner.pid; wait $!")
        .arg(env!("CARGO_BIN_EXE_runner"));
    place.prepare(&mut command);
    let ended = Running::start(command).wait();
    ended.expect(8, "exited with 8");
    let mode = ended.messages("mode");
    assert!(mode[0].contains("not PID 1 but a subreaper"), "{mode:?}");
}
