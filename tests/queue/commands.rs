//! `runner queue`: the commands, and the server that one of them is.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use std::time::{Duration, Instant};

use runner::queue_server::model::refusal::Code;
use runner::queue_server::{Fault, FaultKind};

use crate::stage::{DEADLINE, Folder, Queue, Server, client, wait_for};

/// Runs a command in a folder and waits for its end; what is given on stdin is there.
async fn run(folder: &Folder, args: &[&str], input: &str) -> (i32, String, String) {
    let mut child = command(folder, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input.as_bytes())
        .expect("it reads");
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    let ended = tokio::time::timeout(DEADLINE, ended)
        .await
        .expect("in time")
        .expect("no panic");
    let Output {
        status,
        stdout,
        stderr,
    } = ended.expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn command(folder: &Folder, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
    command
        .args(args)
        .current_dir(&folder.0)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("STAGE", "test");
    command
}

/// `queue serve` as a process; killed when dropped.
struct Served {
    child: std::process::Child,
    endpoint: String,
}

impl Served {
    async fn start(folder: &Folder, more: &[&str]) -> Self {
        let args = [&["queue", "serve", "--listen", "127.0.0.1:0"], more].concat();
        let log = folder.0.join("serve.log");
        let file = std::fs::File::create(&log).expect("a log");
        let child = command(folder, &args)
            .stderr(file)
            .spawn()
            .expect("it starts");
        let endpoint = wait_for("the address", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let rest = text.split("queues are served on ").nth(1)?;
            rest.split(',')
                .next()
                .filter(|_| rest.contains('\n'))
                .map(str::to_owned)
        })
        .await;
        Self { child, endpoint }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_roles(folder: &Folder, endpoint: &str) {
    let queue = |name: &str| {
        format!(
            "    queues:\n      tasks:\n        queue: \"${{STAGE}}-{name}\"\n        dead_letter: \"${{STAGE}}-{name}-dlq\"\n        \
             endpoint: {endpoint}\n        message_schema: {{ type: object, required: [uuid] }}\n        handler: {{ command: [cat] }}\n"
        )
    };
    folder.write(
        "roles.yaml",
        &format!(
            "version: 1\nsettings:\n  sources: [environment]\n  keys:\n    STAGE: {{ required: true, description: where }}\n    \
             SECRET: {{ required: true, description: not needed here }}\nroles:\n  a:\n{}  b:\n{}  none: {{}}\n",
            queue("a"),
            queue("b")
        ),
    );
}

#[tokio::test]
async fn tasks_are_sent_counted_shown_and_brought_back() {
    let folder = Folder::new();
    let served = Served::start(
        &folder,
        &["--journal", "queues.jsonl", "--max-receives", "1"],
    )
    .await;
    write_roles(&folder, &served.endpoint);
    folder.write(
        "tasks.jsonl",
        "{\"uuid\": 1}\n{\"uuid\": 2}\n\n{\n  \"uuid\": 3\n}\n",
    );
    let args = [
        "queue",
        "send",
        "tasks",
        "--role",
        "a",
        "--json",
        "{\"uuid\": 0}",
        "--file",
        "tasks.jsonl",
        "-",
    ];
    let lines: String = (4..30).map(|n| format!("{{\"uuid\": {n}}}\n")).collect();
    assert_eq!(
        run(&folder, &args, &lines).await,
        (0, "30 messages sent to test-a\n".to_owned(), String::new())
    );

    let depth = ["queue", "depth", "tasks", "--role", "a"];
    let (code, out, _) = run(&folder, &depth, "").await;
    let expected =
        "test-a\n  visible:   30\n  in flight: 0\n  delayed:   0\n  dead:      0 in test-a-dlq\n";
    assert_eq!((code, out.as_str()), (0, expected));

    let (code, out, said) = run(
        &folder,
        &["queue", "peek", "tasks", "--role", "a", "--count", "2"],
        "",
    )
    .await;
    assert_eq!((code, out.lines().count()), (0, 2), "{said}");
    assert!(
        said.contains("2 of test-a shown; that counts as a receive of each"),
        "{said}"
    );
    // Received once, and given back: the next receive puts both among the dead letters.
    let (_, out, _) = run(
        &folder,
        &["queue", "peek", "tasks", "--role", "a", "--count", "10"],
        "",
    )
    .await;
    assert_eq!(out.lines().count(), 10);
    let (_, out, _) = run(
        &folder,
        &["queue", "depth", "tasks", "--role", "a", "--format", "json"],
        "",
    )
    .await;
    let counts: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (&counts["dead"], &counts["dead_letter"]),
        (&2.into(), &"test-a-dlq".into())
    );

    let (code, out, said) = run(&folder, &["queue", "redrive", "tasks", "--role", "a"], "").await;
    assert_eq!(
        (
            code,
            out.contains("moves 2 messages of test-a-dlq back to test-a")
        ),
        (0, true),
        "{said}"
    );
    let dead = client(&served.endpoint);
    let dead = crate::stage::Queue::create(&dead, "test-a-dlq", &[]).await;
    dead.reaches((0, 0, 0)).await;
    drop(served);

    // The journal keeps them.
    let served = Served::start(&folder, &["--journal", "queues.jsonl"]).await;
    write_roles(&folder, &served.endpoint);
    let (_, out, _) = run(&folder, &depth, "").await;
    assert!(out.contains("visible:   30\n"), "{out}");
}

#[tokio::test]
async fn what_cannot_be_sent_is_said_and_nothing_of_it_is_sent() {
    let folder = Folder::new();
    let served = Served::start(&folder, &[]).await;
    write_roles(&folder, &served.endpoint);
    let send = ["queue", "send", "tasks", "--role", "a"];
    let with = |more: &[&'static str]| [&send[..], more].concat();
    for (more, input, code, expected) in [
        (
            with(&["--json", "{\"uuid\": 1}", "--json", "{\"id\": \"CANARY\"}"]),
            "",
            1,
            "message 2: the message does not fit its schema at `/required`",
        ),
        (
            with(&["--body", ""]),
            "",
            1,
            "message 1: the message is empty",
        ),
        (
            vec!["queue", "send", "http://127.0.0.1:1/0/q", "--body", ""],
            "",
            1,
            "message 1: the message is empty",
        ),
        (
            with(&["--json", "{CANARY}"]),
            "",
            1,
            "cannot send --json: what stands at line 1, column 2 is not JSON",
        ),
        (
            with(&["--json", "1 2"]),
            "",
            64,
            "cannot use --json: it holds 2 JSON values",
        ),
        (
            with(&["-"]),
            "{\"uuid\": 1}\n{",
            1,
            "cannot send stdin: what stands at line 2, column 1 is not JSON",
        ),
        (
            with(&["--file", "nowhere"]),
            "",
            74,
            "cannot read nowhere: no such file or directory",
        ),
        (with(&[]), "", 64, "cannot send: there is no message"),
        (
            with(&["--json", "{\"uuid\": 1}", "--group", "g"]),
            "",
            64,
            "the queue is not FIFO",
        ),
        (
            with(&["--json", "{\"uuid\": 1}", "--delay", "1h"]),
            "",
            64,
            "the delay is not a time of at most 15m, such as 30s (look at --delay)",
        ),
        (
            vec!["queue", "send", "tasks", "--json", "1"],
            "",
            64,
            "the roles a and b have one (say which with --role)",
        ),
        (
            vec!["queue", "depth", "tasks", "--role", "none"],
            "",
            64,
            "the role `none` has no such queue (it has none at all)",
        ),
        (
            vec!["queue", "depth", "tasks", "--role", "nona"],
            "",
            64,
            "did you mean `none`?",
        ),
        (
            vec!["queue", "peek", "tasks", "--role", "a"],
            "",
            1,
            "no message of test-a can be received now",
        ),
        (
            vec!["queue", "depth", "taks"],
            "",
            78,
            "(did you mean `tasks`, which roles.yaml has?)",
        ),
        (
            vec!["queue", "depth", "elsewhere"],
            "",
            78,
            "cannot open queue `elsewhere`: its region is not known",
        ),
    ] {
        let (found, out, said) = run(&folder, &more, input).await;
        assert_eq!(found, code, "{more:?}: {said}");
        assert!(said.contains(expected), "{more:?}: {said}");
        assert!(!said.contains("CANARY") && out.is_empty(), "{said}{out}");
    }
    // A queue can be named as SQS knows it, with no roles.yaml at all.
    let url = format!("{}/000000000000/free", served.endpoint);
    let (code, out, said) = run(
        &Folder::new(),
        &["queue", "send", &url, "--body", "any text"],
        "",
    )
    .await;
    assert_eq!((code, &*out, &*said), (0, "1 message sent to free\n", ""));
}

#[tokio::test]
async fn a_strict_server_has_only_what_was_created_and_stops_as_told() {
    let folder = Folder::new();
    let mut served = Served::start(&folder, &["--strict"]).await;
    write_roles(&folder, &served.endpoint);
    let (code, _, said) = run(&folder, &["queue", "depth", "tasks", "--role", "a"], "").await;
    assert_eq!(code, 78);
    assert!(
        said.contains("cannot find queue `test-a` at 127.0.0.1"),
        "{said}"
    );
    // SAFETY: integers only; the child is not waited for yet.
    unsafe { libc::kill(served.child.id().cast_signed(), libc::SIGTERM) };
    let ended = wait_for("the server's end", || {
        served.child.try_wait().expect("a child")
    })
    .await;
    assert_eq!(ended.code(), Some(0));
    let (code, _, said) = run(&folder, &["queue", "depth", "tasks", "--role", "a"], "").await;
    assert_eq!(code, 69);
    assert!(said.contains("connection refused"), "{said}");
}

#[tokio::test]
async fn many_are_sent_without_pauses_and_where_the_queue_goes_away_the_rest_is_not_tried() {
    let refused = |nth| Fault {
        action: "SendMessageBatch".to_owned(),
        nth,
        kind: FaultKind::Error(Code::ServiceUnavailable),
    };
    // The second command's second call, and its two tries after that.
    let server = Server::with(vec![refused(42), refused(43), refused(44)]);
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let folder = Folder::new();
    let lines =
        |count: u32| -> String { (0..count).map(|n| format!("{{\"n\": {n}}}\n")).collect() };
    let send = ["queue", "send", &queue.url, "-"];
    let begun = Instant::now();
    let (code, out, said) = run(&folder, &send, &lines(400)).await;
    assert_eq!((code, &*out), (0, "400 messages sent to tasks\n"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(20), "it paused");
    assert_eq!(queue.counts().await, (400, 0, 0));
    let (code, out, said) = run(&folder, &send, &lines(35)).await;
    assert_eq!((code, &*out), (69, "10 messages sent to tasks\n"), "{said}");
    assert!(
        said.starts_with(
            "runner: 25 messages were not sent\n  messages 11 to 20: cannot send to queue `tasks`"
        ) && said.ends_with("\n  messages 21 to 35: not tried after that\n"),
        "{said}"
    );
    assert_eq!(queue.counts().await, (410, 0, 0));
}

#[tokio::test]
async fn what_is_refused_of_a_batch_is_tried_again_alone_or_named() {
    let entries = |nth, code, places: &[usize]| Fault {
        action: "SendMessageBatch".to_owned(),
        nth,
        kind: FaultKind::Entries(code, places.to_vec()),
    };
    let server = Server::with(vec![
        entries(1, Code::InternalFailure, &[1, 2]),
        entries(2, Code::InvalidMessageContents, &[1]),
    ]);
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let send = ["queue", "send", &queue.url, "-"];
    let (code, out, said) = run(&Folder::new(), &send, "1 2 3 4").await;
    assert_eq!((code, &*out), (69, "3 messages sent to tasks\n"), "{said}");
    assert!(
        said.starts_with("runner: 1 message was not sent\n  message 3: InvalidMessageContents"),
        "{said}"
    );
    let mut bodies: Vec<String> = queue
        .drain()
        .await
        .into_iter()
        .filter_map(|m| m.body)
        .collect();
    bodies.sort();
    assert_eq!(bodies, ["1", "2", "4"]);
}

#[tokio::test]
async fn a_stdin_that_never_ends_is_not_in_the_way_of_a_signal() {
    let folder = Folder::new();
    let mut child = command(&folder, &["queue", "send", "http://127.0.0.1:1/0/q", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("it starts");
    let status = format!("/proc/{}/status", child.id());
    wait_for("its ears", || {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
        (caught & (1 << (libc::SIGTERM - 1)) != 0).then_some(())
    })
    .await;
    // SAFETY: integers only; the child is not waited for yet, so the number is its.
    unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) };
    let ended = wait_for("its end", || child.try_wait().expect("a child")).await;
    assert_eq!(ended.code(), Some(143));
}
