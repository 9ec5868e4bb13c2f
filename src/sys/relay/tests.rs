//! The relay with real pipes and real children.

use super::*;
use crate::secret::Secret;
use redact::Redactor;
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::thread::JoinHandle as Thread;
use tokio::task::LocalSet;
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(30);

fn app() -> Label {
    Label {
        member: "app".into(),
        replica: Some(2),
    }
}

/// An outlet before two pipes.
fn outlet(format: Format) -> (Outlet, PipeReader, PipeReader) {
    let ((out, out_end), (err, err_end)) = (pipe().unwrap(), pipe().unwrap());
    let outlet = Outlet {
        writer: Writer::new(out_end.into(), err_end.into()).unwrap(),
        redaction: Redaction::default(),
        format,
    };
    (outlet, out, err)
}

fn reading(mut reader: PipeReader) -> Thread<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    })
}

/// A shell's stdout and stderr, and its pid. It is reaped with the test's process.
#[expect(clippy::zombie_processes)]
fn shell(script: &str) -> (PipeReader, PipeReader, u32) {
    let ((out, out_end), (err, err_end)) = (pipe().unwrap(), pipe().unwrap());
    let child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(out_end)
        .stderr(err_end)
        .spawn()
        .unwrap();
    (out, err, child.id())
}

/// What comes out on stdout and stderr for a shell script.
async fn relayed(script: &str, format: Format) -> (Vec<u8>, Vec<u8>) {
    let (outlet, out_end, err_end) = outlet(format);
    let (out_end, err_end) = (reading(out_end), reading(err_end));
    let (out, err, _) = shell(script);
    LocalSet::new()
        .run_until(async {
            let out = Relay::new(out.into(), &app(), Stream::Stdout, &outlet)
                .unwrap()
                .spawn();
            let err = Relay::new(err.into(), &app(), Stream::Stderr, &outlet)
                .unwrap()
                .spawn();
            assert!(matches!(out.finish(LONG).await, End::Closed));
            assert!(matches!(err.finish(LONG).await, End::Closed));
        })
        .await;
    assert_eq!(outlet.writer.close(Instant::now() + LONG).await, 0);
    (out_end.join().unwrap(), err_end.join().unwrap())
}

fn without_prefix(text: &[u8]) -> Vec<u8> {
    text.split_inclusive(|b| *b == b'\n')
        .flat_map(|line| {
            line.strip_prefix(b"app/2 | ")
                .expect("a prefix before each line")
        })
        .copied()
        .collect()
}

/// Waits until the relay has read everything that was written.
async fn until_read(pipe: &PipeWriter) {
    let deadline = Instant::now() + LONG;
    loop {
        let mut waiting: libc::c_int = 0;
        // SAFETY: FIONREAD writes one int, and `waiting` is one.
        assert_eq!(
            unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut waiting) },
            0
        );
        if waiting == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "nobody reads");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn each_stream_of_a_child_comes_out_on_ours_and_a_last_line_needs_no_end() {
    let (out, err) = relayed(
        "echo out; echo err >&2; printf 'a\\r\\n\\nlast'",
        Format::Text,
    )
    .await;
    assert_eq!(out, b"app/2 | out\napp/2 | a\r\napp/2 | \napp/2 | last\n");
    assert_eq!(err, b"app/2 | err\n");
}

#[tokio::test]
async fn ten_megabytes_of_random_bytes_come_through_as_they_are() {
    let copy = std::env::temp_dir().join(format!("relay-flood-{}", std::process::id()));
    let script = format!("head -c 10000000 /dev/urandom | tee {}", copy.display());
    let (out, _) = relayed(&script, Format::Text).await;
    let mut wanted = std::fs::read(&copy).unwrap();
    std::fs::remove_file(&copy).unwrap();
    if !wanted.ends_with(b"\n") {
        wanted.push(b'\n');
    }
    assert!(without_prefix(&out) == wanted);
}

#[tokio::test]
async fn binary_and_endless_lines_are_json_of_less_than_16_kib() {
    let script = "head -c 300000 /dev/urandom; echo; head -c 300000 /dev/zero | tr '\\0' '\"'; echo; echo end";
    let (out, _) = relayed(script, Format::Json).await;
    let objects: Vec<serde_json::Value> = out
        .split_inclusive(|b| *b == b'\n')
        .inspect(|line| assert!(line.len() < 16 * 1024))
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let quotes: usize = objects
        .iter()
        .filter(|o| o.get("binary").is_none())
        .map(|o| o["message"].as_str().unwrap())
        .filter(|m| m.bytes().all(|b| b == b'"'))
        .map(str::len)
        .sum();
    assert!(quotes >= 300_000);
    assert_eq!(objects.last().unwrap()["message"], "end");
    assert!(objects.iter().any(|o| o["binary"] == true));
}

#[tokio::test]
async fn many_small_writes_make_whole_lines() {
    let script = "i=0; while [ $i -lt 3000 ]; do printf %s $i; printf 'x\\n'; i=$((i+1)); done";
    let (out, _) = relayed(script, Format::Text).await;
    let wanted: String = (0..3000).map(|n| format!("app/2 | {n}x\n")).collect();
    assert!(out == wanted.as_bytes());
}

#[tokio::test]
async fn a_secret_in_several_writes_is_masked_and_so_is_our_own_log() {
    let (outlet, out_end, mut err_end) = outlet(Format::Text);
    let (child, mut child_end) = pipe().unwrap();
    let out_end = reading(out_end);
    LocalSet::new()
        .run_until(async {
            let relay = Relay::new(child.into(), &app(), Stream::Stdout, &outlet)
                .unwrap()
                .spawn();
            child_end.write_all(b"before: hunter22\n").unwrap();
            until_read(&child_end).await;
            outlet
                .redaction
                .set(Redactor::new(&[Secret::new("hunter22")]));
            for part in ["after: h", "unter", "22 hunter2", "2\nhunter", "2\n"] {
                child_end.write_all(part.as_bytes()).unwrap();
                until_read(&child_end).await;
            }
            drop(child_end);
            assert!(matches!(relay.finish(LONG).await, End::Closed));
        })
        .await;
    outlet.log().write_all(b"own: hunter22\n").unwrap();
    assert_eq!(outlet.writer.close(Instant::now() + LONG).await, 0);
    let shown = String::from_utf8(out_end.join().unwrap()).unwrap();
    assert_eq!(
        shown,
        "app/2 | before: hunter22\napp/2 | after: *** ***\napp/2 | hunter2\n"
    );
    let mut own = [0; 9];
    err_end.read_exact(&mut own).unwrap();
    assert_eq!(&own, b"own: ***\n");
}

#[tokio::test]
async fn a_prompt_is_shown_after_a_pause_and_its_rest_is_marked() {
    let (outlet, mut out_end, _err) = outlet(Format::Text);
    let (child, mut child_end) = pipe().unwrap();
    LocalSet::new()
        .run_until(async {
            let relay = Relay::new(child.into(), &app(), Stream::Stdout, &outlet)
                .unwrap()
                .spawn();
            child_end.write_all(b"Continue? ").unwrap();
            let prompt = "app/2 | Continue?  … [cut]\n";
            let read = tokio::task::spawn_blocking(move || {
                let mut shown = vec![0; prompt.len()];
                out_end.read_exact(&mut shown).unwrap();
                (shown, out_end)
            });
            let (shown, out_end) = read.await.unwrap();
            assert_eq!(shown, prompt.as_bytes());
            child_end.write_all(b"yes\nnext\n").unwrap();
            drop(child_end);
            assert!(matches!(relay.finish(LONG).await, End::Closed));
            assert_eq!(outlet.writer.close(Instant::now() + LONG).await, 0);
            let rest = reading(out_end).join().unwrap();
            assert_eq!(
                String::from_utf8(rest).unwrap(),
                "app/2 | [continued] … yes\napp/2 | next\n"
            );
        })
        .await;
}

/// How many bytes a process has written in its life.
fn bytes_written(pid: u32) -> usize {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = io.lines().find_map(|l| l.strip_prefix("wchar: ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn when_nobody_reads_us_the_child_pauses_and_nothing_is_lost() {
    let (outlet, out_end, _err) = outlet(Format::Text);
    let (out, _, pid) = shell("exec seq 1 1000000");
    let wanted: String = (1..=1_000_000).map(|n| format!("{n}\n")).collect();
    LocalSet::new()
        .run_until(async {
            let relay = Relay::new(out.into(), &app(), Stream::Stdout, &outlet)
                .unwrap()
                .spawn();
            // The whole way is full when what the child has written stays the same.
            let deadline = Instant::now() + LONG;
            let mut before = (0, 0);
            while before.1 < 50 {
                assert!(Instant::now() < deadline, "the child never paused");
                tokio::time::sleep(Duration::from_millis(2)).await;
                let written = bytes_written(pid);
                let still = written == before.0 && written > 100_000;
                before = (written, if still { before.1 + 1 } else { 0 });
            }
            assert!(
                before.0 < wanted.len() / 2,
                "{} bytes were taken from the child",
                before.0
            );
            let reader = reading(out_end);
            assert!(matches!(relay.finish(LONG).await, End::Closed));
            assert_eq!(outlet.writer.close(Instant::now() + LONG).await, 0);
            assert!(without_prefix(&reader.join().unwrap()) == wanted.as_bytes());
        })
        .await;
}

#[tokio::test]
async fn a_process_that_keeps_the_pipe_open_does_not_hold_the_stop_up() {
    let (outlet, mut out_end, _err) = outlet(Format::Text);
    let (out, _, _) = shell("setsid sleep 1000 & echo $!; echo rest");
    LocalSet::new()
        .run_until(async {
            let relay = Relay::new(out.into(), &app(), Stream::Stdout, &outlet)
                .unwrap()
                .spawn();
            let read = tokio::task::spawn_blocking(move || {
                let mut shown = Vec::new();
                while !shown.ends_with(b"app/2 | rest\n") {
                    let mut byte = [0];
                    out_end.read_exact(&mut byte).unwrap();
                    shown.extend(byte);
                }
                shown
            });
            let shown = String::from_utf8(without_prefix(&read.await.unwrap())).unwrap();
            let pid = shown.lines().next().unwrap().parse().unwrap();
            let end = relay.finish(Duration::from_millis(10)).await;
            // SAFETY: kill(2) of the process that the shell above started and named.
            assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0, "it was alive");
            assert!(matches!(end, End::LetGo));
        })
        .await;
}

#[tokio::test]
async fn a_pipe_that_is_let_go_gives_its_last_words() {
    let (outlet, out_end, _err) = outlet(Format::Text);
    let (child, mut child_end) = pipe().unwrap();
    LocalSet::new()
        .run_until(async {
            let relay = Relay::new(child.into(), &app(), Stream::Stdout, &outlet)
                .unwrap()
                .spawn();
            child_end.write_all(b"read but not").unwrap();
            until_read(&child_end).await;
            let finish = relay.finish(Duration::ZERO);
            child_end.write_all(b" ended\nunread").unwrap();
            assert!(matches!(finish.await, End::LetGo));
        })
        .await;
    assert_eq!(outlet.writer.close(Instant::now() + LONG).await, 0);
    assert_eq!(
        reading(out_end).join().unwrap(),
        b"app/2 | read but not ended\napp/2 | unread\n"
    );
}

#[tokio::test]
async fn a_stop_with_a_blocked_stdout_ends_in_time_and_counts_what_is_lost() {
    let (outlet, out_end, _err) = outlet(Format::Text);
    let (out, _, _) = shell("exec seq 1 1000000");
    let mut dropped = 0;
    LocalSet::new()
        .run_until(async {
            let relay = Relay::new(out.into(), &app(), Stream::Stdout, &outlet)
                .unwrap()
                .spawn();
            let deadline = Instant::now() + LONG;
            while outlet.writer.undelivered() < 50_000 {
                assert!(Instant::now() < deadline, "the queue never filled");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let begun = Instant::now();
            assert!(matches!(
                relay.finish(Duration::from_millis(20)).await,
                End::LetGo
            ));
            dropped = outlet
                .writer
                .close(Instant::now() + Duration::from_millis(100))
                .await;
            assert!(begun.elapsed() < Duration::from_secs(5));
        })
        .await;
    let text = without_prefix(&reading(out_end).join().unwrap());
    let delivered = memchr::memchr_iter(b'\n', &text).count();
    let wanted: String = (1..=delivered).map(|n| format!("{n}\n")).collect();
    assert!(
        text.starts_with(wanted.as_bytes()),
        "what came out is the beginning, in order"
    );
    assert!(
        dropped >= 50_000 && delivered > 1_000,
        "{dropped} dropped, {delivered} delivered"
    );
}

#[tokio::test]
async fn a_stdout_that_is_gone_does_not_pause_the_child() {
    let (outlet, out_end, _err) = outlet(Format::Text);
    drop(out_end);
    let (out, _, _) = shell("exec seq 1 1000000");
    LocalSet::new()
        .run_until(async {
            let relay = Relay::new(out.into(), &app(), Stream::Stdout, &outlet)
                .unwrap()
                .spawn();
            assert_eq!(outlet.writer.failure().await.stream, Stream::Stdout);
            assert!(matches!(relay.finish(LONG).await, End::Closed));
        })
        .await;
    assert_eq!(outlet.writer.close(Instant::now() + LONG).await, 1_000_000);
}

#[tokio::test]
async fn lines_that_came_another_way_are_relayed_alike() {
    let (outlet, out_end, _err) = outlet(Format::Text);
    outlet
        .redaction
        .set(Redactor::new(&[Secret::new("hunter22")]));
    let mut voice = outlet.voice(&app(), Stream::Stdout);
    voice.take(b"a hunter22");
    voice.deliver().await;
    voice.take(b"b\nc\n");
    voice.deliver().await;
    assert_eq!(outlet.writer.close(Instant::now() + LONG).await, 0);
    assert_eq!(
        reading(out_end).join().unwrap(),
        b"app/2 | a ***\napp/2 | b\napp/2 | c\n"
    );
}

#[tokio::test]
async fn what_is_not_a_pipe_is_refused() {
    let (outlet, _out, _err) = outlet(Format::Text);
    let file = File::open("/dev/null").unwrap();
    assert!(Relay::new(file.into(), &app(), Stream::Stdout, &outlet).is_err());
}
