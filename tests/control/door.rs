//! The socket itself: who may ask, where it stands, what it makes of strange questions.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value as Json;

use crate::common::{DEADLINE, Place, Running, root, skip};
use crate::{role, wait_health};

fn simple() -> Place {
    role("stop_timeout: 30s", &["app: {command: [sleep, \"1000\"]}"])
}

/// Where the runner of a place listens.
fn socket(place: &Place) -> PathBuf {
    place.path("").with_extension("sock")
}

fn up(place: &Place) -> Running {
    let running = place.start(&["run", "r"]);
    wait_health(place, "healthy", &[]);
    running
}

fn ask(place: &Place, line: &str) -> Json {
    let mut stream = UnixStream::connect(socket(place)).expect("somebody listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.write_all(line.as_bytes()).expect("it is read");
    let mut text = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).expect("an answer") == 1 && byte[0] != b'\n' {
        text.push(byte[0]);
    }
    serde_json::from_slice(&text).expect("JSON")
}

#[test]
fn the_socket_is_private_and_goes_with_its_runner() {
    let place = simple();
    let running = up(&place);
    let there = fs::symlink_metadata(socket(&place)).expect("it is there");
    assert!(there.file_type().is_socket());
    assert_eq!(there.mode() & 0o7777, 0o600);
    let listening = running.wait_event("listening");
    let said = listening["message"].as_str().unwrap_or_default();
    assert!(
        said.ends_with(&socket(&place).display().to_string()),
        "{said}"
    );
    running.stop().expect(0, "SIGTERM");
    assert!(fs::symlink_metadata(socket(&place)).is_err());
}

/// Asks as another user, from a process of its own; what became of it.
fn asked_as_nobody(path: &std::path::Path) -> &'static str {
    let name = std::ffi::CString::new(path.to_str().expect("text")).expect("no NUL");
    // SAFETY: the address is zeroed plain data, and the name fits as the runner itself listens on it; the forked child
    // makes system calls only and ends by _exit.
    unsafe {
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        address.sun_family = libc::AF_UNIX.try_into().expect("it fits");
        for (to, from) in address.sun_path.iter_mut().zip(name.as_bytes_with_nul()) {
            *to = (*from).cast_signed();
        }
        let child = libc::fork();
        if child == 0 {
            let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
            let changed = libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534);
            let size = u32::try_from(size_of_val(&address)).unwrap_or(0);
            if changed != 0 {
                libc::_exit(9);
            }
            if libc::connect(socket, (&raw const address).cast(), size) != 0 {
                libc::_exit(1);
            }
            let question = c"{\"request\":\"stop\"}\n";
            libc::write(socket, question.as_ptr().cast(), question.count_bytes());
            let mut answer = [0u8; 64];
            let got = libc::read(socket, answer.as_mut_ptr().cast(), answer.len());
            libc::_exit(if got > 0 { 3 } else { 2 });
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        match libc::WEXITSTATUS(status) {
            1 => "refused by the mode",
            2 => "not answered",
            3 => "answered",
            _ => "it could not be tried",
        }
    }
}

#[test]
fn another_user_is_answered_by_nobody_whatever_the_mode_says() {
    if !root("another_user_is_answered_by_nobody_whatever_the_mode_says") {
        return;
    }
    let place = simple();
    let running = up(&place);
    assert_eq!(asked_as_nobody(&socket(&place)), "refused by the mode");
    fs::set_permissions(socket(&place), fs::Permissions::from_mode(0o777)).expect("it is ours");
    assert_eq!(asked_as_nobody(&socket(&place)), "not answered");
    wait_health(&place, "healthy", &[]);
    running.stop().expect(0, "SIGTERM");
}

#[test]
fn a_second_runner_leaves_the_first_one_its_socket_and_plays_its_role() {
    let place = simple();
    let first = up(&place);
    let second = place.start(&["run", "r"]);
    let warning = second.wait_event("warning");
    let text = warning["message"].as_str().unwrap_or_default();
    let expected = format!("another runner (pid {}) answers there", first.pid());
    assert!(text.contains(&expected), "{text}");
    assert!(text.contains("RUNNER_SOCKET"), "{text}");
    second.wait_event("started");
    second.stop().expect(0, "SIGTERM");
    let status = crate::status(&place);
    assert_eq!(status["pid"], first.pid());
    first.stop().expect(0, "SIGTERM");
}

#[test]
fn the_socket_of_a_runner_that_was_killed_is_replaced() {
    let place = simple();
    let first = up(&place);
    let pid = first.pid();
    crate::common::kill(pid, libc::SIGKILL);
    assert_eq!(first.wait().signal, Some(libc::SIGKILL));
    assert!(
        fs::symlink_metadata(socket(&place)).is_ok(),
        "nobody could remove it"
    );
    let answer = place.run(&["health"]);
    assert_eq!(answer.code, Some(69), "{}", answer.stderr);
    let second = up(&place);
    assert_eq!(crate::status(&place)["pid"], second.pid());
    second.stop().expect(0, "SIGTERM");
}

#[test]
fn what_is_no_socket_stays_and_the_role_is_played() {
    let place = simple();
    fs::write(socket(&place), "mine").expect("it can be written");
    let running = place.start(&["run", "r"]);
    let warning = running.wait_event("warning");
    let text = warning["message"].as_str().unwrap_or_default();
    assert!(text.contains("it is there and is no socket"), "{text}");
    running.wait_event("started");
    running.stop().expect(0, "SIGTERM");
    assert_eq!(
        fs::read_to_string(socket(&place)).expect("it stayed"),
        "mine"
    );
    fs::remove_file(socket(&place)).expect("it is ours");
}

#[test]
fn where_nothing_can_be_written_in_run_the_socket_stands_in_tmp() {
    let name = "where_nothing_can_be_written_in_run_the_socket_stands_in_tmp";
    if !root(name) {
        return;
    }
    let place = simple();
    // The program is bound beside roles.yaml first: it may itself stand in /tmp.
    let script = "mount -t tmpfs -o ro none /run && : > runner && mount --bind . /mnt \
                  && mount --bind \"$0\" /mnt/runner && cd /mnt && mount -t tmpfs none /tmp || exit 99
                  unset RUNNER_SOCKET; ./runner run r & \
                  until ./runner health 2>/dev/null; do sleep 0.02; done
                  ls /tmp; ./runner stop --wait; wait; ls /tmp";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, env!("CARGO_BIN_EXE_runner")]);
    place.prepare(&mut command);
    let ended = Running::start(command).wait();
    if ended.code == Some(99) || ended.stderr.contains("unshare:") {
        skip(name, "mounting is refused");
        return;
    }
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let said = ended.messages("listening");
    assert_eq!(
        said,
        [
            "health, status, restart and stop are answered on /tmp/runner-0.sock (/run/runner.sock: read-only file system)"
        ]
    );
    assert!(
        ended.stdout.ends_with("healthy\nrunner-0.sock\nstopped\n"),
        "{}",
        ended.stdout
    );
}

#[test]
fn strange_questions_are_answered_and_silent_askers_hold_nobody_up() {
    let place = simple();
    let running = up(&place);
    let silent: Vec<UnixStream> = (0..10)
        .map(|_| UnixStream::connect(socket(&place)).expect("somebody listens"))
        .collect();
    for line in [
        "\n",
        "health\n",
        "{\"request\":\"dance\"}\n",
        "{\"request\":\"restart\"}\n",
        "[1]\n",
    ] {
        let answer = ask(&place, line);
        assert_eq!(answer["error"]["exit"], 64, "{line}: {answer}");
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert!(
            message.starts_with("cannot understand the request"),
            "{message}"
        );
    }
    let answer = ask(&place, "{\"request\":\"health\"}\n");
    assert_eq!(answer["ok"]["state"], "healthy");
    // One that breaks off in the middle of a line.
    drop(silent);
    let mut half = UnixStream::connect(socket(&place)).expect("somebody listens");
    half.write_all(b"{\"request\":").expect("it is read");
    drop(half);
    wait_health(&place, "healthy", &[]);
    running.stop().expect(0, "SIGTERM");
}

#[test]
fn a_runner_that_does_not_answer_is_not_healthy() {
    let place = simple();
    // It takes the question and closes without a word.
    let listener = UnixListener::bind(socket(&place)).expect("it is ours");
    let deaf = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a question");
        let mut question = [0; 64];
        let _ = stream.read(&mut question);
    });
    let answer = place.run(&["health"]);
    deaf.join().expect("it has ended");
    assert_eq!(answer.code, Some(1), "{}", answer.stderr);
    assert!(
        answer.stderr.contains("it ended before it answered"),
        "{}",
        answer.stderr
    );
    fs::remove_file(socket(&place)).expect("it is ours");
}
