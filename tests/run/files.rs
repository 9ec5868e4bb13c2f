//! `render` and `random`: files whole or not at all.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::common::{Ended, Place, Running, root};

const KEYS: &str = "settings:\n  sources: [environment]\n  keys: { WORD: { default: hello } }\n";

/// A role that renders `t` as `out`, with more keys of the step.
fn rendering(more: &str) -> Place {
    Place::with(&format!(
        "{KEYS}roles:\n  r:\n    startup:\n      - render: {{ source: t, destination: out{more} }}\n"
    ))
    .file("t", "a ${WORD}\n$${x} %s $WORD\n")
}

fn mode(place: &Place, name: &str) -> u32 {
    let meta = fs::metadata(place.path(name)).expect("it is there");
    meta.permissions().mode() & 0o7777
}

/// Runs with a umask.
fn play_under(place: &Place, umask: libc::mode_t) -> Ended {
    let mut command = place.command(&["run", "r"]);
    // SAFETY: umask(2) may be called between fork and exec.
    unsafe {
        command.pre_exec(move || {
            libc::umask(umask);
            Ok(())
        });
    }
    Running::start(command).wait()
}

#[test]
fn a_template_becomes_a_file_with_its_mode_under_any_umask() {
    for umask in [0, 0o022, 0o077, 0o777] {
        let place = rendering("").file("out", "an old and much longer file\n".repeat(9));
        fs::set_permissions(place.path("out"), fs::Permissions::from_mode(0o666)).expect("ours");
        play_under(&place, umask).expect(0, "is done");
        assert_eq!(place.read("out"), "a hello\n${x} %s $WORD\n");
        assert_eq!(mode(&place, "out"), 0o600, "umask {umask:o}");
        let wide = rendering(", mode: \"0664\"");
        play_under(&wide, umask).expect(0, "is done");
        assert_eq!(mode(&wide, "out"), 0o664, "umask {umask:o}");
    }
}

#[test]
fn an_owner_and_a_group_can_be_given() {
    if !root("an_owner_and_a_group_can_be_given") {
        return;
    }
    let place = rendering(", owner: nobody, group: \"7\"");
    place.play().expect(0, "is done");
    let meta = fs::metadata(place.path("out")).expect("it is there");
    assert_eq!(
        (meta.uid(), meta.gid(), mode(&place, "out")),
        (65534, 7, 0o600)
    );
    let unknown = rendering(", owner: nobody-has-this-name");
    unknown.play().expect(78, "nobody-has-this-name");
    assert!(!unknown.has("out"));
}

#[test]
fn a_value_that_cannot_be_written_leaves_the_old_file() {
    let place = Place::with(&format!(
        "{KEYS}roles:\n  r:\n    startup:\n      - render: {{ source: t.ini, destination: out.ini }}\n"
    ))
    .file("t.ini", "[app]\na = ${WORD}\n")
    .file("out.ini", "old\n")
    .env("WORD", "x\n[evil]");
    let ended = place.play();
    ended.expect(78, "cannot render `t.ini`: the value of `${WORD}` has a line break, which could add keys to the file");
    assert!(!ended.stderr.contains("evil"));
    assert_eq!(place.read("out.ini"), "old\n");
    assert_eq!(place.names(), ["out.ini", "roles.yaml", "t.ini"]);
}

#[test]
fn an_ini_is_escaped_and_its_empty_keys_are_left_out() {
    let roles = |more: &str| {
        format!(
            "settings:\n  sources: [environment]\n  keys: {{ A: {{ default: \"\" }}, B: {{ default: \"\" }} }}\nroles:\n  r:\n    startup:\n      - render: {{ source: t, destination: out.ini, omit_empty: true{more} }}\n"
        )
    };
    let text = "[app]\nhere = %(here)s\na = ${A}\nb = ${B}\nc =\n";
    let place = Place::with(&roles("")).file("t", text).env("A", "50% $x");
    place.play().expect(0, "is done");
    assert_eq!(
        place.read("out.ini"),
        "[app]\nhere = %(here)s\na = 50%% $x\nc =\n"
    );
    let plain = Place::with(&roles(", escape: none"))
        .file("t", text)
        .env("A", "50%");
    plain.play().expect(0, "is done");
    assert_eq!(
        plain.read("out.ini"),
        "[app]\nhere = %(here)s\na = 50%\nc =\n"
    );
}

#[test]
fn a_full_disk_leaves_the_old_file_whole() {
    if !root("a_full_disk_leaves_the_old_file_whole") {
        return;
    }
    let place = Place::steps(&["random: { destination: small/out, bytes: 300000, encoding: raw }"])
        .file("small/x", "");
    let script = "mount -t tmpfs -o size=64k tmpfs small && echo old > small/out || exit 99\n\
                  \"$0\" run r; code=$?; cat small/out; ls -A small; exit $code";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_runner")]);
    place.prepare(&mut command);
    let ended = Running::start(command).wait();
    ended.expect(
        74,
        "cannot write `small/out`: 300000 bytes in directory `small`: no space left on device",
    );
    assert_eq!(ended.stdout, "old\nout\n");
}

#[test]
fn places_where_no_file_can_be_written() {
    let place = |destination: &str| {
        Place::steps(&[&format!("random: {{ destination: {destination} }}")]).file("folder/x", "")
    };
    place("gone/out")
        .play()
        .expect(74, "cannot write `gone/out`: ")
        .expect(74, "create the directory first");
    place("folder")
        .play()
        .expect(78, "cannot write `folder`: it is a directory");
    place("roles.yaml/out").play().expect(74, "not a directory");
    place("/dev/null")
        .play()
        .expect(78, "it is a device, a pipe or a socket");
}

#[test]
fn a_folder_that_may_not_be_written() {
    if !root("a_folder_that_may_not_be_written") {
        return;
    }
    let place = Place::steps(&["random: { destination: folder/out }"]).file("folder/out", "old");
    place.play_as_nobody().expect(
        77,
        "cannot write `folder/out`: no new file in directory `folder`: permission denied",
    );
    assert_eq!(place.read("folder/out"), "old");
}

#[test]
fn a_symbolic_link_is_replaced_and_not_followed() {
    let place = rendering("").file("secret-of-another", "untouched");
    symlink("secret-of-another", place.path("out")).expect("ours");
    place.play().expect(0, "is done");
    assert_eq!(place.read("secret-of-another"), "untouched");
    let meta = fs::symlink_metadata(place.path("out")).expect("it is there");
    assert!(meta.is_file());
    assert_eq!(place.read("out"), "a hello\n${x} %s $WORD\n");
}

#[test]
fn a_template_that_is_not_there_is_found_before_anything_runs() {
    let place = Place::steps(&[
        "shell: touch ran",
        "render: { source: gone.ini, destination: out }",
    ]);
    let ended = place.play();
    ended.expect(78, "roles.yaml cannot be used");
    assert!(
        ended
            .stderr
            .contains("cannot read the template `gone.ini`: there is no such file"),
        "{}",
        ended.stderr
    );
    assert!(!place.has("ran"));
}

#[test]
fn a_templates_path_may_be_known_only_at_run_time() {
    let roles = format!(
        "{KEYS}roles:\n  r:\n    startup:\n      - render: {{ source: \"${{WORD}}.txt\", destination: \"out-${{WORD}}\" }}\n"
    );
    let place = Place::with(&roles).file("hello.txt", "to ${WORD}\n");
    place.play().expect(0, "is done");
    assert_eq!(place.read("out-hello"), "to hello\n");
    let gone = Place::with(&roles).env("WORD", "gone");
    gone.play()
        .expect(78, "cannot render `gone.txt`: there is no such file");
    let unknown = Place::with(&roles).file("hello.txt", "a ${NOWHERE}\n");
    unknown
        .play()
        .expect(78, "cannot render `hello.txt`: `NOWHERE` is not defined");
    assert!(!unknown.has("out-hello"));
}

#[test]
fn random_bytes_are_fresh_replaced_and_encoded() {
    let place =
        |more: &str| Place::steps(&[&format!("random: {{ destination: out, bytes: 256{more} }}")]);
    let base64 = place("");
    base64.play().expect(0, "is done");
    let first = base64.read("out");
    base64.play().expect(0, "is done");
    let second = base64.read("out");
    assert_eq!((first.len(), second.len()), (345, 345));
    assert!(first != second && !second.contains(first.trim()));
    assert_eq!(mode(&base64, "out"), 0o600);
    let hex = place(", encoding: hex");
    hex.play().expect(0, "is done");
    let text = hex.read("out");
    assert_eq!(text.len(), 513);
    assert!(text.trim().bytes().all(|byte| byte.is_ascii_hexdigit()));
    let raw = place(", encoding: raw, mode: \"0440\"");
    raw.play().expect(0, "is done");
    assert_eq!(fs::metadata(raw.path("out")).expect("there").len(), 256);
    assert_eq!(mode(&raw, "out"), 0o440);
}

#[test]
fn a_file_of_listed_in_is_validate_s_alone() {
    let place = Place::with(
        "roles:\n  r:\n    services:\n      s: { command: \"true\", restart: never, port: 80, listed_in: [nowhere.conf] }\n",
    );
    place.play().expect(1, "service s ended by itself");
    assert_eq!(place.run(&["plan", "r"]).code, Some(0));
    let found = place.run(&["validate"]);
    assert_eq!((found.code, found.stderr.as_str()), (Some(1), ""));
}
