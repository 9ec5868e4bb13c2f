//! `command` and `shell` steps, and the keys that all steps have.

use std::time::Duration;

use crate::common::{Place, root, wait_gone};

#[test]
fn steps_run_in_order_those_of_the_file_first_and_a_failure_ends_them() {
    let place = Place::with(
        "startup:\n  - shell: echo file >> order\nroles:\n  r:\n    startup:\n      - shell: echo one >> order\n      - name: two\n        shell: echo two >> order; exit 9\n      - shell: echo three >> order\n",
    );
    let ended = place.play();
    ended.expect(9, "step `two` failed: `sh` exited with 9");
    assert_eq!(place.read("order"), "file\none\ntwo\n");
    assert_eq!(ended.messages("step-started").len(), 3);
    assert_eq!(ended.messages("step-done").len(), 2);
    assert_eq!(ended.messages("step-failed"), ["`sh` exited with 9"]);
}

#[test]
fn a_role_of_steps_ends_when_they_are_done() {
    let place = Place::steps(&["command: [echo, out]", "shell: echo err >&2"]);
    let ended = place.play();
    ended.expect(0, "role r is done: all its steps have run");
    assert_eq!(ended.said(), ["out"]);
    let err = ended.log();
    let err = err.iter().find(|line| line["stream"] == "stderr");
    assert_eq!(err.expect("it wrote")["message"], "err");
}

#[test]
fn a_condition_decides() {
    let place = Place::with(
        "settings:\n  keys:\n    ON: { default: \"yes\" }\n    OFF: { default: \"\" }\n    NO: { default: \"0\" }\nroles:\n  r:\n    startup:\n      - { if: ON, command: [echo, a] }\n      - { if: OFF, command: [echo, b] }\n      - { if: not OFF, command: [echo, c] }\n      - { if: \"ON == 'yes' and not OFF\", command: [echo, d] }\n      - { if: \"NO == '1'\", command: [echo, e] }\n      - { if: NO, command: [echo, f] }\n",
    );
    let ended = place.play();
    // FLAG=0 was not meant as "yes".
    ended.expect(78, "cannot render the condition `NO`");
    assert_eq!(ended.said(), ["a", "c", "d"]);
    assert_eq!(
        ended.messages("step-skipped"),
        [
            "skipped: `OFF` does not hold",
            "skipped: `NO == '1'` does not hold"
        ]
    );
    let ended = place.run(&["run", "r", "--set", "NO=x"]);
    ended.expect(0, "");
    assert_eq!(ended.said(), ["a", "c", "d", "f"]);
}

/// Both wait for the ten seconds of grace: side by side.
#[test]
fn a_program_that_takes_too_long_gets_sigterm_and_then_sigkill() {
    let willing = Place::steps(&[
        "timeout: 700ms\nshell: trap 'echo asked; exit 0' TERM; echo $$ > pid; while :; do sleep 0.01; done",
    ]);
    let stubborn = Place::steps(&[
        "timeout: 200ms\nshell: trap '' TERM; (trap '' TERM; exec sleep 60) & echo $! > pid; wait",
    ]);
    let (first, second) = (willing.start(&["run", "r"]), stubborn.start(&["run", "r"]));
    let ended = first.wait();
    ended.expect(124, "`sh` was stopped: it took longer than 700ms");
    assert_eq!(ended.said(), ["asked"]);
    assert!(ended.took < Duration::from_secs(5), "{:?}", ended.took);
    let pid = stubborn.wait_lines("pid", 1);
    let ended = second.wait();
    ended.expect(124, "`sh` was stopped: it took longer than 200ms");
    assert!(ended.took >= Duration::from_secs(10), "{:?}", ended.took);
    wait_gone(pid.trim().parse().expect("a number"));
}

#[test]
fn a_failed_step_is_tried_again_with_growing_pauses() {
    let retry = "retry: { attempts: 3, backoff: { initial: 20ms, factor: 3, jitter: 0 } }\n";
    let place = Place::steps(&[&format!(
        "{retry}shell: echo x >> tries; test $(wc -l < tries) = 3"
    )]);
    let ended = place.play();
    ended.expect(0, "is done");
    assert_eq!(
        ended.messages("step-retried"),
        [
            "`sh` exited with 1; try 1 of 3, the next one in 20ms",
            "`sh` exited with 1; try 2 of 3, the next one in 60ms"
        ]
    );
    assert!(ended.took >= Duration::from_millis(80));
    let place = Place::steps(&[&format!("{retry}shell: echo x >> tries; exit 5")]);
    place.play().expect(5, "exited with 5");
    assert_eq!(place.read("tries"), "x\nx\nx\n");
}

#[test]
fn the_time_limit_is_for_one_try() {
    let place = Place::steps(&[
        "timeout: 1s\nretry: { attempts: 2, backoff: { initial: 1ms } }\nshell: echo x >> tries; test -f there || { touch there; exec sleep 60; }",
    ]);
    let ended = place.play();
    ended.expect(0, "is done");
    assert_eq!(place.read("tries"), "x\nx\n");
    assert!(ended.messages("step-retried")[0].contains("it took longer than 1s"));
}

#[test]
fn a_failure_may_be_forgiven() {
    let place = Place::steps(&[
        "continue_on_error: true\ncommand: [sh, -c, exit 4]",
        "continue_on_error: true\ncommand: [no-such-program]",
        "command: [echo, went on]",
    ]);
    let ended = place.play();
    ended.expect(0, "is done");
    assert_eq!(ended.said(), ["went on"]);
    let forgiven = ended.messages("step-forgiven");
    assert_eq!(
        forgiven[0],
        "`sh` exited with 4; going on, as the step says"
    );
    assert!(forgiven[1].starts_with("cannot start `no-such-program`: "));
}

#[test]
fn codes_that_count_as_success() {
    Place::steps(&["success_exit_codes: [0, 3]\ncommand: [sh, -c, exit 3]"])
        .play()
        .expect(0, "is done");
    let strict = Place::steps(&["success_exit_codes: [3]\ncommand: \"true\""]);
    strict.play().expect(1, "`true` exited with 0");
}

#[test]
fn the_environment_is_the_containers_and_the_steps_and_nothing_else() {
    let place = Place::with(
        "settings:\n  sources: [environment, { secret: \"file:gac.json\" }]\n  keys: { WORD: { required: true }, HIDDEN: { required: true } }\nroles:\n  r:\n    startup:\n      - command: env\n        environment: { WORD: \"${WORD}!\", NEW: \"${HIDDEN|length}\" }\n",
    )
    .file("gac.json", r#"{"HIDDEN": "four", "UNDECLARED": "x"}"#)
    .env("WORD", "hello")
    .env("OTHER", "kept as it is: ${WORD} %s");
    let ended = place.play();
    ended.expect(0, "is done");
    let mut said = ended.said();
    // Where the test keeps the control socket.
    said.retain(|line| !line.starts_with("RUNNER_SOCKET="));
    said.sort();
    // Every place of these tests has it, so that their runners do not meet.
    said.retain(|line| !line.starts_with("RUNNER_SOCKET="));
    assert_eq!(
        said,
        [
            "NEW=4",
            "OTHER=kept as it is: ${WORD} %s",
            "PATH=/usr/local/bin:/usr/bin:/bin",
            "WORD=hello!"
        ]
    );
}

#[test]
fn a_program_has_no_input_and_no_descriptor_of_ours() {
    let place = Place::steps(&["command: cat", "shell: ls -1 /proc/self/fd"]);
    let ended = place.play();
    ended.expect(0, "is done");
    // The fourth is the folder that ls itself reads.
    assert_eq!(ended.said(), ["0", "1", "2", "3"]);
}

#[test]
fn the_folder_that_a_program_starts_in() {
    let place = Place::steps(&["working_dir: sub\ncommand: pwd"]).file("sub/x", "");
    let ended = place.play();
    ended.expect(0, "is done");
    assert_eq!(
        ended.said(),
        [place.path("sub").to_string_lossy().into_owned()]
    );
    let gone = Place::steps(&["working_dir: gone\ncommand: pwd"]).play();
    let why = gone.why();
    assert!(
        why.contains("gone") && why.contains("no such file or directory"),
        "{why}"
    );
    assert_eq!(gone.code, Some(78), "{why}");
}

#[test]
fn a_text_is_split_into_words_and_no_shell_sees_it() {
    let place = Place::steps(&[
        r#"command: printf '%s|' 'a b' "c;d" $HOME e\ f * `id` '' "x'y" "${'one word'}""#,
    ]);
    let ended = place.play();
    ended.expect(0, "is done");
    assert_eq!(ended.said(), ["a b|c;d|$HOME|e f|*|`id`||x'y|one word|"]);
}

#[test]
fn a_script_is_for_the_shell() {
    let place = Place::steps(&[
        "environment: { NAME: \"two words\" }\nshell: |\n  echo one two | tr a-z A-Z\n  echo \"$${NAME}\" $(( 1 + 2 ))",
        "shell: |\n  false\n  echo not reached",
    ]);
    let ended = place.play();
    ended.expect(1, "`sh` exited with 1");
    assert_eq!(ended.said(), ["ONE TWO", "two words 3"]);
    let unset = Place::steps(&["shell: echo $NOT_SET; echo not reached"]).play();
    assert_ne!(unset.code, Some(0));
    assert_eq!(unset.said(), Vec::<String>::new());
}

#[test]
fn a_program_can_run_as_somebody_else() {
    if !root("a_program_can_run_as_somebody_else") {
        return;
    }
    let place = Place::steps(&[
        "user: nobody\ncommand: [sh, -c, \"id -u; id -g; id -G; echo $HOME $USER $LOGNAME; grep NoNewPrivs /proc/self/status; echo again > /dev/stdout\"]",
        "user: \"65534:0\"\nenvironment: { HOME: /elsewhere }\ncommand: [sh, -c, \"id -u; id -g; echo $HOME\"]",
    ])
    .env("HOME", "/root")
    .env("USER", "root");
    let ended = place.play();
    ended.expect(0, "is done");
    let said = ended.said();
    assert_eq!(said[..3], ["65534", "65534", "65534"]);
    assert_eq!(said[3], "/nonexistent nobody nobody");
    assert_eq!(said[4], "NoNewPrivs:\t1");
    assert_eq!(said[5..], ["again", "65534", "0", "/elsewhere"]);
    let unknown = Place::steps(&["user: nobody-has-this-name\ncommand: id"]).play();
    unknown.expect(78, "nobody-has-this-name");
}

#[test]
fn who_is_not_root_cannot_become_another() {
    if !root("who_is_not_root_cannot_become_another") {
        return;
    }
    let place = Place::steps(&["user: root\ncommand: id"]);
    let ended = place.play_as_nobody();
    ended.expect(77, "cannot run as user `root`: runner itself runs as uid 65534, not root (start the container as root, or leave out `user`)");
    assert_eq!(ended.said(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_started_is_told_by_name() {
    let place = Place::empty().file("plain", "#!/bin/sh\n");
    for (command, code, why) in [
        (
            "no-such-program",
            127,
            "cannot start `no-such-program`: no `no-such-program` in PATH (/usr/local/bin:/usr/bin:/bin) (is it installed in this image?)",
        ),
        ("./no/such", 127, "cannot start `./no/such`: "),
        (
            "./plain",
            126,
            "`./plain` cannot be executed: permission denied (mode 0644, no execute bit)",
        ),
        ("/tmp", 126, "cannot start `/tmp`: "),
    ] {
        let roles =
            format!("version: 1\nroles:\n  r:\n    startup:\n      - command: [\"{command}\"]\n");
        std::fs::write(place.path("roles.yaml"), roles).expect("ours");
        place.play().expect(code, why);
    }
}
