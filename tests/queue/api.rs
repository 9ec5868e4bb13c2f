//! The HTTP endpoint of a queue: real requests, over real sockets, to a real runner.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value as Json, json};

use crate::stage::{DEADLINE, Folder, Queue, Runner, Server, roles, wait_for};

const TOKEN: &str = "CANARY-0123456789abcdef";

/// A queue with an endpoint, and the runner that handles it.
struct Stage {
    folder: Folder,
    server: Server,
    port: u16,
}

impl Stage {
    async fn new() -> Self {
        let server = Server::with(Vec::new());
        Queue::create(&server.client, "tasks-dlq", &[]).await;
        let arn = "arn:aws:sqs:us-east-1:000000000000:tasks-dlq";
        let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": 100}).to_string();
        let attributes = [(QueueAttributeName::RedrivePolicy, policy.as_str())];
        Queue::create(&server.client, "tasks", &attributes).await;
        Self {
            folder: Folder::new(),
            server,
            port: free_port(),
        }
    }

    fn run(&self, keys: &str) -> Runner {
        let api = format!(
            "api: {{ listen: \"127.0.0.1:{}\", token: \"${{TOKEN}}\" }}\nwait_time: 1s\n",
            self.port
        );
        let text = roles(&self.server.endpoint(), &(api + keys)).replace(
            "version: 1\n",
            "version: 1\nsettings:\n  sources: [environment]\n  keys:\n    \
             TOKEN: { required: true, secret: true, description: of the api }\n",
        );
        Runner::start(&self.folder, &text, &[("TOKEN", TOKEN)])
    }

    /// Asks with the token.
    fn ask(&self, line: &str, body: &str) -> (u16, Json) {
        let (status, _, body) = self.raw(line, &format!("Authorization: Bearer {TOKEN}\r\n"), body);
        (status, body)
    }

    /// Asks with these headers; the status, the headers and the body of the answer.
    fn raw(&self, line: &str, headers: &str, body: &str) -> (u16, String, Json) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket");
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        // It may answer before it has read all.
        let _ = stream.write_all(request.as_bytes());
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text);
        let (head, body) = text.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).expect("a status");
        let body = serde_json::from_str(body).expect("JSON");
        (status.parse().expect("a number"), head.to_lowercase(), body)
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

/// Notes each message, and rejects what says `bad`.
const NOTING: &str = "handler: { command: [sh, -c, 'x=$(cat); echo \"$x\" >> done; case $x in *bad*) exit 65; esac'] }
dead_letter: tasks-dlq
message_schema: { type: object, required: [uuid] }
";

#[tokio::test]
async fn who_has_the_token_adds_tasks_counts_them_and_brings_them_back() {
    let stage = Stage::new().await;
    let mut runner = stage.run(NOTING);
    let listening = runner.tells("queue-listening", 1).await;
    let where_ = format!("http://127.0.0.1:{}, with the token", stage.port);
    assert!(listening[0].contains(&where_), "{}", listening[0]);

    let (status, body) = stage.ask("POST /messages", "{\"uuid\": \"a\"}\n{\"uuid\": \"bad\"}\n");
    assert_eq!((status, body), (200, json!({"queue": "tasks", "sent": 2})));
    let mut done = stage.folder.has_lines("done", 2).await;
    done.sort();
    assert_eq!(done, ["{\"uuid\": \"a\"}", "{\"uuid\": \"bad\"}"]);
    runner.tells("message-rejected", 1).await;
    let added = runner.tells("messages-added", 1).await;
    assert!(added[0].contains(" added 2 messages\""), "{}", added[0]);

    let (status, depth) = stage.ask("GET /depth", "");
    assert_eq!(status, 200);
    assert_eq!((&depth["visible"], &depth["dead"]), (&json!(0), &json!(1)));
    let (_, peeked) = stage.ask("GET /messages?count=10&dead=true", "");
    let message = &peeked["messages"][0];
    assert_eq!(peeked["queue"], "tasks-dlq");
    assert_eq!(message["body"], "{\"uuid\": \"bad\"}");
    assert!(message["attributes"]["RejectReason"].is_string());

    let (status, moved) = stage.ask("POST /redrive", "");
    let expected = json!({"from": "tasks-dlq", "to": "tasks", "messages": 1});
    assert_eq!((status, moved), (200, expected));
    stage.folder.has_lines("done", 3).await;
    runner.tells("message-rejected", 2).await;

    // A delay hides it from the handler, so that it can be counted.
    let (status, _) = stage.ask("POST /messages?delay=15m", "{\"uuid\": \"later\"}");
    assert_eq!(status, 200);
    let (_, depth) = stage.ask("GET /depth", "");
    assert_eq!(depth["delayed"], 1);
    let (code, log) = runner.stop().await;
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("CANARY"), "{log}");
}

#[tokio::test]
async fn who_has_not_the_token_and_what_is_asked_wrongly_is_turned_away() {
    let stage = Stage::new().await;
    let mut runner = stage.run(NOTING);
    runner.tells("queue-listening", 1).await;
    let message = "{\"uuid\": \"x\"}";
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for header in [
        String::new(),
        format!("Authorization: Bearer {TOKEN}x\r\n"),
        format!("Authorization: Bearer {}\r\n", &TOKEN[1..]),
        format!("Authorization: Basic {TOKEN}\r\n"),
    ] {
        let (status, head, body) = stage.raw("POST /messages", &header, message);
        assert_eq!(status, 401, "{header}");
        assert!(head.contains("\r\nwww-authenticate: bearer"), "{head}");
        assert!(!body.to_string().contains("CANARY"), "{body}");
    }
    // Told once, not for each.
    let told = runner.events("queue-trouble");
    assert_eq!(told.len(), 1, "{told:?}");
    let page = format!("{bearer}Origin: http://evil.example\r\n");
    assert_eq!(stage.raw("POST /messages", &page, message).0, 403);
    let (status, head, _) = stage.raw("DELETE /messages", &bearer, "");
    assert_eq!(status, 405);
    assert!(head.contains("\r\nallow: get, post"), "{head}");

    let long = format!("\"{}\"", "x".repeat(13 << 20));
    let cases = [
        (
            "GET /",
            "",
            404,
            "there is no such path; there are /messages, /depth, /redrive",
        ),
        ("POST /messages", "", 400, "there is no message in the body"),
        (
            "POST /messages",
            "{CANARY",
            400,
            "what stands at line 1, column 2 is not JSON",
        ),
        (
            "POST /messages?dealy=1s",
            message,
            400,
            "there is no parameter `dealy`: did you mean `delay`?",
        ),
        (
            "POST /messages?delay=1h",
            message,
            400,
            "the delay is not a time of at most 15m, such as 30s",
        ),
        (
            "POST /messages?group=g",
            message,
            400,
            "the queue is not FIFO",
        ),
        (
            "GET /depth?x=1",
            "",
            400,
            "there is no parameter `x`: it takes none",
        ),
        (
            "GET /messages?count=11",
            "",
            400,
            "`count` is not a number from 1 to 10",
        ),
        (
            "POST /messages",
            &long,
            413,
            "a request may have 12582912 bytes; send several",
        ),
    ];
    for (line, body, status, why) in cases {
        assert_eq!(
            stage.ask(line, body),
            (status, json!({"error": why})),
            "{line}"
        );
    }
    let misfit = "{\"uuid\": 1}{\"uid\": 1}";
    let (status, body) = stage.ask("POST /messages", misfit);
    assert_eq!((status, &body["error"]), (422, &json!("nothing was sent")));
    let why = body["messages"][0].as_str().expect("a reason");
    assert!(
        why.starts_with("message 2: the message does not fit its schema"),
        "{why}"
    );
    let (code, log) = runner.stop().await;
    assert_eq!(code, 0);
    assert!(!log.contains("CANARY"), "{log}");
    assert_eq!(stage.folder.lines("done"), Vec::<String>::new());
}

#[tokio::test]
async fn a_stop_closes_the_door_and_lets_the_handler_finish() {
    let stage = Stage::new().await;
    let wait = "handler: { command: [sh, -c, 'echo begun > begun; until [ -e go ]; do sleep 0.02; done; cat > done'] }\n\
                dead_letter: tasks-dlq\n";
    let mut runner = stage.run(wait);
    runner.tells("queue-listening", 1).await;
    // A text is one message as it is.
    let text = format!("Authorization: Bearer {TOKEN}\r\nContent-Type: text/plain\r\n");
    assert_eq!(stage.raw("POST /messages", &text, "any text").0, 200);
    stage.folder.has_lines("begun", 1).await;
    runner.signal(libc::SIGTERM);
    wait_for("a closed door", || {
        TcpStream::connect(("127.0.0.1", stage.port)).err()
    })
    .await;
    stage.folder.write("go", "");
    assert_eq!(runner.ends().await.code(), Some(0), "{}", runner.log());
    assert_eq!(stage.folder.lines("done"), ["any text"]);
}

#[tokio::test]
async fn a_fifo_queue_is_told_the_group_and_takes_one_text_once() {
    let stage = Stage::new().await;
    for name in ["tasks.fifo", "dead.fifo"] {
        let fifo = [(QueueAttributeName::FifoQueue, "true")];
        Queue::create(&stage.server.client, name, &fifo).await;
    }
    let keys = "handler: { command: [sh, -c, 'cat >> done; echo >> done'] }\ndead_letter: dead.fifo\nwait_time: 1s\n";
    let api = format!(
        "api: {{ listen: \"127.0.0.1:{}\", token: {TOKEN} }}\n",
        stage.port
    );
    let text = roles(&stage.server.endpoint(), &(api + keys))
        .replace("queue: tasks\n", "queue: tasks.fifo\n");
    let mut runner = Runner::start(&stage.folder, &text, &[]);
    runner.tells("queue-listening", 1).await;
    let (status, body) = stage.ask("POST /messages", "1");
    let why = "the queue is FIFO, and must know whose order the messages keep";
    assert_eq!((status, body), (400, json!({"error": why})));
    for (body, id) in [("1", "a"), ("2", "a"), ("3", "b")] {
        let line = format!("POST /messages?group=g&deduplication={id}");
        assert_eq!(stage.ask(&line, body).0, 200);
    }
    assert_eq!(stage.folder.has_lines("done", 2).await, ["1", "3"]);
    let (status, _) = stage.ask("POST /messages?group=g&deduplication=c", "4 5");
    assert_eq!(status, 400);
    assert_eq!(runner.stop().await.0, 0);
}

#[tokio::test]
async fn a_door_that_cannot_be_opened_ends_the_role_with_a_sentence() {
    let stage = Stage::new().await;
    let taken = TcpListener::bind(("127.0.0.1", stage.port)).expect("a free port");
    let mut runner = stage.run(NOTING);
    assert_eq!(runner.ends().await.code(), Some(69));
    let why = format!(
        "cannot listen on 127.0.0.1:{} for tasks of tasks: address already in use",
        stage.port
    );
    assert!(runner.log().contains(&why), "{}", runner.log());
    drop(taken);

    for (token, why) in [
        ("", "its token is empty"),
        ("short", "its token is too short"),
    ] {
        let roles = roles(
            &stage.server.endpoint(),
            "handler: { command: [cat] }\napi: { token: \"${TOKEN}\" }\n",
        );
        let roles = roles.replace(
            "version: 1\n",
            "version: 1\nsettings: { sources: [environment], keys: { TOKEN: { default: \"\" } } }\n",
        );
        let mut runner = Runner::start(&stage.folder, &roles, &[("TOKEN", token)]);
        assert_eq!(runner.ends().await.code(), Some(78));
        assert!(runner.log().contains(why), "{}", runner.log());
    }
}
