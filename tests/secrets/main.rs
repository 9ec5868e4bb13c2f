//! The canary: every value of a GAC holds a marker, roles succeed and fail in every way, and the marker may stand
//! only in the rendered file and where `environment:`, a header or a body puts it.
//!
//! What is `secret: true` is redacted in everything that is printed, from eight bytes on. So there is a secret of
//! seven bytes too: nothing but care keeps that one out of messages.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test runs real programs, writes its scratch files and prints what it skips"
)]

#[path = "../common/mod.rs"]
mod common;
mod scenes;

use common::moto::{self, Moto};
use common::server::{Server, answer};
use common::{Ended, Place};
use scenes::{CHILD, GAC, MARKERS, SCENES, SETTINGS};

fn place() -> Place {
    let mut roles = SETTINGS.replace(
        "    - { that: \"PLAIN == 'x' or not WRONG_ASSERT\"",
        "    - { that: \"PLAIN != 'x'\"",
    ) + "roles:\n";
    for scene in SCENES {
        let steps = scene.steps.replace("CHILD", CHILD);
        roles.push_str(&format!("  {}:\n    startup:{steps}", scene.name));
    }
    Place::with(&roles)
        .file("gac.json", GAC)
        .file(
            "all.txt",
            "${TOKEN}|${SHORT}|${PLAIN}|${BROKEN}|${DERIVED}|${QUOTED}\n",
        )
        .file("broken.ini", "[a]\nb = ${BROKEN}\n")
        .file("wrong.txt", "x ${PLAIN}\n${SHORT|int}\n")
}

/// Nothing that was printed holds a marker, and nothing panicked.
#[track_caller]
fn silent(what: &str, ended: &Ended) {
    for (stream, text) in [("stdout", &ended.stdout), ("stderr", &ended.stderr)] {
        let folded = text.to_lowercase();
        for marker in MARKERS {
            assert!(
                !folded.contains(marker),
                "{what}: {marker} in {stream}:\n{text}"
            );
        }
        assert!(!folded.contains("panicked"), "{what}: {text}");
        // The marker as base64 at each of three offsets.
        for coded in ["Q0FOQVJZ", "NBTkFSW", "DQU5BUl"] {
            assert!(
                !text.contains(coded),
                "{what}: {coded} in {stream}:\n{text}"
            );
        }
    }
}

#[test]
fn no_value_of_the_gac_is_printed_at_any_level_in_any_format() {
    let server = Server::new([answer(200, "")]);
    let port = format!("PORT={}", server.address().replace("127.0.0.1:", ""));
    let place = place();
    for scene in SCENES {
        for level in ["debug", "info", "warn", "error"] {
            for format in ["json", "text"] {
                let args = [
                    "run",
                    scene.name,
                    "--set",
                    &port,
                    "--log-level",
                    level,
                    "--log-format",
                    format,
                ];
                let ended = place.run(&args);
                let what = format!("{} {level} {format}", scene.name);
                silent(&what, &ended);
                assert_eq!(ended.code, Some(scene.code), "{what}: {}", ended.stderr);
                if format == "json" && (level != "error" && level != "warn" || scene.code != 0) {
                    ended.expect(scene.code, scene.why);
                }
            }
        }
    }
    // Where they belong they are, or nothing above means anything.
    assert_eq!(
        place.read("out.txt"),
        "CANARY-token%9f8e$7d'6c\"5b|CNRY#s1|CANARYplain|CANARYbroken\n[CANARYsection]|postgres://u:CANARY-token%259f8e%247d%276c%225b@CANARYplain/|\"CANARY-token%9f8e$7d'6c\\\"5b\"\n"
    );
    assert!(place.read("env.txt").contains("S=CNRY#s1\n"));
    let request = &server.requests()[0];
    assert!(
        request.contains("Bearer CANARY-token%259f8e%247d%276c%225b\r\n"),
        "{request}"
    );
    assert!(
        request.ends_with("CANARYbroken\n[CANARYsection]"),
        "{request}"
    );
    assert!(!place.has("out.ini"));
}

#[test]
fn nor_is_one_that_came_through_a_secrets_manager() {
    let Some(vault) = Moto::start("nor_is_one_that_came_through_a_secrets_manager") else {
        return;
    };
    vault.put("gac", GAC);
    let server = Server::new([answer(200, "")]);
    let port = format!("PORT={}", server.address().replace("127.0.0.1:", ""));
    let place = moto::at(place().env("IDENTITY", "gac"), &vault.url);
    for scene in SCENES {
        let ended = place.run(&["run", scene.name, "--set", &port, "--log-level", "debug"]);
        silent(scene.name, &ended);
        ended.expect(scene.code, scene.why);
    }
}

#[test]
fn commands_that_print_print_no_value() {
    let place = place();
    let mut all: Vec<Vec<&str>> = vec![
        vec!["--help"],
        vec!["run", "--help"],
        vec!["plan"],
        vec!["plan", "--format", "json"],
        vec!["schema"],
        vec!["completions", "bash"],
        vec!["explain"],
        vec!["explain", "--role", "fine"],
    ];
    for format in ["text", "json", "github", "sarif"] {
        all.push(vec!["validate", "--format", format]);
        all.push(vec!["validate", "--format", format, "--gac", "gac.json"]);
        all.push(vec!["validate", "--format", format, "--gac", "torn.json"]);
    }
    for key in [
        "TOKEN",
        "SHORT",
        "PLAIN",
        "DERIVED",
        "LIST",
        "WRONG_INT",
        "BROKEN",
        "UNDECLARED",
    ] {
        all.push(vec!["explain", key]);
        all.push(vec!["explain", key, "--format", "json"]);
    }
    for destination in ["out.txt", "all.txt", "out.ini", "wrong.txt"] {
        all.push(vec!["render", destination]);
        all.push(vec!["render", destination, "--diff", "old.txt"]);
    }
    let place = place
        .file(
            "torn.json",
            GAC.replace("\"CNRY#s1\",", "\"CNRY#s1\" CANARY"),
        )
        .file("old.txt", "an old file\n");
    for args in all {
        silent(&args.join(" "), &place.run(&args));
    }
}

#[test]
fn a_wrong_command_line_repeats_no_value() {
    let place = place();
    for args in [
        &["run", "fine", "--set", "CANARYwithout-a-key"][..],
        &["run", "fine", "--set", "=CANARY"],
        &["run", "fine", "--set", "TOKN=CANARY"],
        &["run", "fine", "--set", "DERIVED=CANARY"],
        &["plan", "--set", "TOKEN=CANARY"],
        &[
            "run",
            "missing_beside_them",
            "--set",
            "TOKEN=CANARYset",
            "--set",
            "SHORT=cnry",
        ],
    ] {
        silent(&args.join(" "), &place.run(args));
    }
}

/// A secret in these places would be seen: told before anything runs, at the place where it stands.
#[test]
fn a_secret_where_it_would_be_seen_is_refused() {
    for step in [
        "command: [echo, \"${TOKEN}\"]",
        "command: \"echo ${DERIVED}\"",
        "shell: echo ${SHORT}",
        "{ name: \"${SHORT}\", command: \"true\" }",
        "{ command: \"true\", working_dir: \"${SHORT}\" }",
        "{ command: \"true\", user: \"${SHORT}\" }",
        "http: { url: \"http://u:${TOKEN}@127.0.0.1:1/\" }",
        "http: { url: \"http://127.0.0.1:1/?t=${TOKEN|urlencode}\" }",
        "wait: { tcp: \"${SHORT}:1\" }",
        "wait: { file: \"${SHORT}\" }",
        "random: { destination: \"${SHORT}\" }",
        "random: { destination: x, owner: \"${SHORT}\" }",
        "random: { destination: x, group: \"${SHORT}\" }",
        "render: { source: \"${SHORT}\", destination: x }",
    ] {
        let place = Place::with(&format!(
            "settings:\n  sources: [environment, {{ secret: \"file:gac.json\" }}]\n  keys: {{ TOKEN: {{ required: true, secret: true }}, SHORT: {{ required: true, secret: true }}, DERIVED: {{ value: \"x${{TOKEN}}\" }} }}\nroles:\n  r:\n    startup:\n      - {step}\n"
        ))
        .file("gac.json", GAC);
        let ended = place.play();
        silent(step, &ended);
        ended.expect(78, "roles.yaml cannot be used");
        assert!(
            ended.stderr.contains("error[secret-visible]"),
            "{step}: {}",
            ended.stderr
        );
    }
}

/// Before the secret is read nothing can be redacted: what is read early may not be secret where it would be said.
#[test]
fn a_secret_of_the_environment_does_not_choose_the_role_or_the_secret() {
    for (select, source) in [
        ("select: ${SHORT}\n", "environment"),
        ("", "{ secret: \"${SHORT}\", region: us-east-1 }"),
        ("", "{ secret: x, region: \"${SHORT}\" }"),
        ("", "{ file: \"${SHORT}.json\" }"),
        ("", "{ command: [\"${SHORT}\"], key: OTHER }"),
    ] {
        let place = Place::with(&format!(
            "{select}settings:\n  sources: [environment, {source}]\n  keys: {{ SHORT: {{ required: true, secret: true }}, OTHER: {{ default: \"\" }} }}\nroles:\n  r: {{ startup: [ {{ command: \"true\" }} ] }}\n"
        ))
        .env("SHORT", "CNRY#s1");
        let args: &[&str] = if select.is_empty() {
            &["run", "r"]
        } else {
            &["run"]
        };
        let ended = place.run(args);
        silent(source, &ended);
        assert_eq!(ended.code, Some(78), "{source}: {}", ended.stderr);
    }
}

#[test]
fn an_assertion_that_fails_masks_what_it_names() {
    let place = Place::with(
        "settings:\n  sources: [{ secret: \"file:gac.json\" }]\n  keys: { SHORT: { required: true, secret: true }, PLAIN: { required: true }, OPEN: { default: fine } }\n  assert:\n    - { that: \"SHORT == PLAIN\", message: \"${SHORT} and ${PLAIN} disagree, ${OPEN}\" }\n    - { that: \"SHORT|int > 3\", message: \"no number: ${SHORT}\" }\n    - { that: \"SHORT != PLAIN\", level: warning, message: \"never said\" }\n    - { that: \"SHORT == ''\", level: warning, message: \"careful with ${SHORT}\" }\nroles:\n  r: { startup: [ { command: \"true\", environment: { A: \"${SHORT}${PLAIN}${OPEN}\" } } ] }\n",
    )
    .file("gac.json", GAC);
    let ended = place.play();
    silent("assertions", &ended);
    ended
        .expect(78, "*** and *** disagree, fine")
        .expect(78, "the assertion `SHORT|int > 3` cannot be ");
    assert_eq!(ended.messages("warning"), ["careful with ***"]);
}

#[test]
fn a_settings_command_that_fails_keeps_what_it_printed() {
    for script in [
        "echo CANARY; exit 3",
        "echo CANARY >&2; exit 3",
        "echo CANARY; exec sleep 60",
    ] {
        let place = Place::with(&format!(
            "settings:\n  sources: [{{ command: [sh, -c, \"{script}\"], key: TOKEN, timeout: 200ms }}]\n  keys: {{ TOKEN: {{ required: true, secret: true }} }}\nroles:\n  r: {{ startup: [ {{ command: \"true\", environment: {{ A: \"${{TOKEN}}\" }} }} ] }}\n"
        ));
        let ended = place.play();
        // The script itself stands in roles.yaml, where no secret may; it is quoted as it is written.
        let said = ended.why().replace(script, "");
        assert!(!said.contains("CANARY"), "{said}");
        ended.expect(78, "cannot get TOKEN from ");
    }
}

#[test]
fn a_secret_in_a_loop_and_in_a_service() {
    let place = Place::with(
        "settings:\n  sources: [{ secret: \"file:gac.json\" }]\n  keys: { SHORT: { required: true, secret: true }, TOKEN: { required: true, secret: true } }\nroles:\n  r:\n    services:\n      s:\n        command: [sh, -c, \"printf '%s' \\\"$T\\\"; sleep 0.05; printf '%s\\\\n' \\\"$T\\\" >&2; exit 4\"]\n        environment: { T: \"${TOKEN}\", S: \"${SHORT}\" }\n        restart: on-failure\n        backoff: { initial: 1ms, max: 2ms }\n        max_restarts: 2\n        essential: false\n    loops:\n      l:\n        interval: 1ms\n        max_failures: 9\n        steps:\n          - { shell: \"echo $T; exit 6\", environment: { T: \"${TOKEN}\", S: \"${SHORT}\" } }\n",
    )
    .file("gac.json", GAC);
    let ended = place.run(&["run", "r", "--log-level", "debug"]);
    silent("members", &ended);
    ended.expect(6, "loop `l` failed 9 times in a row");
    assert!(
        ended.said().iter().any(|line| line == "***"),
        "{}",
        ended.stdout
    );
}

/// Whatever an expression does with a secret, its failure does not quote it.
#[test]
fn a_failing_expression_quotes_no_value() {
    let mut failed = 0;
    for expression in [
        "SHORT + 1",
        "SHORT - PLAIN",
        "SHORT * SHORT",
        "SHORT / 2",
        "-SHORT",
        "SHORT ** 2",
        "SHORT|int",
        "SHORT|float",
        "SHORT|bool",
        "SHORT|round",
        "SHORT|first|int",
        "SHORT|split('#')|int",
        "SHORT|split('#')|join(5)|int",
        "SHORT|replace('C', 5)|int",
        "SHORT|length + PLAIN",
        "SHORT|tojson|int",
        "SHORT|title(5)",
        "SHORT|default",
        "SHORT in 5",
        "5 in SHORT",
        "SHORT is in(5)",
        "SHORT is startingwith(5)",
        "SHORT()",
        "SHORT.field",
        "SHORT.method()",
        "SHORT[PLAIN]",
        "SHORT[5]",
        "SHORT[5:'x']",
        "{SHORT: 1}[PLAIN]",
        "{SHORT: 1}",
        "[SHORT, PLAIN]",
        "{'a': SHORT}.b",
        "SHORT * 100000000",
        "SHORT if PLAIN|int else 5",
    ] {
        let place = Place::with(&format!(
            "settings:\n  sources: [{{ secret: \"file:gac.json\" }}]\n  keys:\n    SHORT: {{ required: true, secret: true }}\n    PLAIN: {{ required: true }}\n    DERIVED:\n      value: >-\n        ${{{expression}}}\nroles:\n  derived: {{ startup: [ {{ command: \"true\", environment: {{ A: \"${{DERIVED}}\" }} }} ] }}\n  step:\n    startup:\n      - command: \"true\"\n        environment:\n          A: >-\n            ${{{expression}}}\n"
        ))
        .file("gac.json", GAC);
        for role in ["derived", "step"] {
            let ended = place.run(&["run", role]);
            silent(expression, &ended);
            assert!(
                matches!(ended.code, Some(0 | 78)),
                "{expression}: {}",
                ended.stderr
            );
            failed += u32::from(ended.code == Some(78) && !ended.stderr.contains("cannot be used"));
        }
    }
    assert!(
        failed >= 30,
        "only {failed} failed at run: the rest shows nothing"
    );
}

/// A template that is no ini has no keys by which a secret line could be known.
#[test]
fn a_comparison_shows_no_old_and_no_new_secret() {
    let place = |template: &str, old: &str| {
        Place::with(
            "settings:\n  sources: [{ secret: \"file:gac.json\" }]\n  keys: { SHORT: { required: true, secret: true }, BROKEN: { required: true, secret: true }, OPEN: { default: new } }\nroles:\n  r: { startup: [ { render: { source: t, destination: out } } ] }\n",
        )
        .file("gac.json", GAC)
        .file("t", template)
        .file("old", old)
    };
    let template = "first\npassword: ${SHORT}, ${OPEN}\nk = ${SHORT}\nlast ${OPEN}\n";
    let old = "first\npassword: canary-of-old, x\nk =canary-of-old\nlast old\n";
    let ended = place(template, old).run(&["render", "out", "--diff", "old"]);
    silent("diff", &ended);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert_eq!(
        ended.stdout.lines().skip(2).collect::<Vec<_>>(),
        [
            " first",
            "-password: ***",
            "-k = ***",
            "-last old",
            "+password: ***, new",
            "+k = ***",
            "+last new"
        ]
    );
    let place = place("a ${SHORT}\nb ${BROKEN}\n", "a x\n");
    let ended = place.run(&["render", "out", "--diff", "old"]);
    silent("diff with a line break", &ended);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let revealed = place.run(&["render", "out", "--diff", "old", "--reveal"]);
    assert!(
        revealed.stdout.contains("+a CNRY#s1\n"),
        "{}",
        revealed.stdout
    );
}
