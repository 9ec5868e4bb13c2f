//! What becomes of a message by what its handler says.

use crate::common::scripted;
use crate::stage::{Folder, Queue, Runner, Server, program, roles};

#[tokio::test]
async fn a_command_gets_the_body_and_its_code_decides() {
    let server = Server::with(Vec::new());
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let dead = Queue::create(&server.client, "dead", &[]).await;
    let folder = Folder::new();
    let text = roles(
        &server.endpoint(),
        r#"
dead_letter: dead
visibility_timeout: 10s
wait_time: 1s
concurrency: 3
backoff: { initial: 1s }
handler:
  command: [sh, -c, 'read -r word code; echo "$word $QUEUE_MESSAGE_ID $QUEUE_RECEIVE_COUNT" >> handled; [ "$word" != again ] || [ "$QUEUE_RECEIVE_COUNT" -gt 1 ] || exit 7; exit $code']
"#,
    );
    let good = queue.send("good 0\n").await;
    let bad = queue.send("bad 65").await;
    let again = queue.send("again 0").await;
    let mut runner = Runner::start(&folder, &text, &[]);
    runner.tells("message-done", 2).await;
    runner.tells("message-rejected", 1).await;
    queue.reaches((0, 0, 0)).await;
    let mut handled = folder.lines("handled");
    handled.sort();
    assert_eq!(
        handled,
        [
            format!("again {again} 1"),
            format!("again {again} 2"),
            format!("bad {bad} 1"),
            format!("good {good} 1"),
        ]
    );
    let letter = dead.take().await.expect("a dead letter");
    assert_eq!(letter.body.as_deref(), Some("bad 65"));
    let attributes = letter.message_attributes.expect("attributes");
    assert_eq!(
        attributes["OriginalMessageId"].string_value.as_deref(),
        Some(bad.as_str())
    );
    assert_eq!(
        attributes["RejectReason"].string_value.as_deref(),
        Some("`sh` exited with 65")
    );
    let (code, log) = runner.stop().await;
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("good 0") && !log.contains("bad 65"), "{log}");
}

const WORKER: &str = r#"
dead_letter: dead
visibility_timeout: 10s
wait_time: 1s
backoff: { initial: 1s }
handler:
  timeout: 2s
  environment: { TOKEN: "${TOKEN}" }
  worker: [python3, PROGRAM]
"#;

/// The roles with the test's worker, and a secret that it knows.
fn with_worker(server: &Server, keys: &str) -> String {
    let keys = keys.replace("PROGRAM", &program("worker.py"));
    let settings = "settings:\n  sources: [environment]\n  keys:\n    TOKEN: { default: CANARY-CANARY, secret: true }\nroles:";
    roles(&server.endpoint(), &keys).replacen("roles:", settings, 1)
}

fn order(name: &str, what: &str) -> String {
    format!("{{\"name\": \"{name}\", \"do\": \"{what}\"}}")
}

#[tokio::test]
async fn a_worker_stays_warm_and_is_believed_only_where_it_answers_well() {
    let server = Server::with(Vec::new());
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let dead = Queue::create(&server.client, "dead", &[]).await;
    let folder = Folder::new();
    let mut runner = Runner::start(&folder, &with_worker(&server, WORKER), &[]);
    for (at, what) in [
        "done", "nonsense", "twice", "done", "reject", "retry", "die", "garbage", "other", "never",
        "done",
    ]
    .iter()
    .enumerate()
    {
        queue.send(&order(&format!("m{at}"), what)).await;
    }
    runner.tells("message-done", 10).await;
    queue.reaches((0, 0, 0)).await;
    assert_eq!(dead.counts().await, (1, 0, 0));
    let handled = folder.lines("handled");
    let times = |name: &str| {
        handled
            .iter()
            .filter(|line| line.starts_with(&format!("{name} ")))
            .count()
    };
    for (at, expected) in [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 1].into_iter().enumerate() {
        assert_eq!(times(&format!("m{at}")), expected, "m{at}: {handled:?}");
    }
    // One worker for all, but for the four that died or were ended.
    assert_eq!(times("start"), 5, "{handled:?}");
    let reasons: Vec<String> = runner.events("message-retried");
    for reason in [
        "as told",
        "the worker was killed by SIGKILL (9)",
        "the worker gave an answer whose outcome is not",
        "the worker answered for a message that it does not have",
        "the worker did not answer within 2s",
    ] {
        assert!(
            reasons.iter().any(|line| line.contains(reason)),
            "{reason}: {reasons:?}"
        );
    }
    assert_eq!(runner.events("queue-trouble").len(), 1);
    let (code, log) = runner.stop().await;
    assert_eq!(code, 0);
    assert!(
        log.contains("ready as output") && log.contains("no JSON at all"),
        "{log}"
    );
    assert_eq!(log.matches("***").count(), 2, "{log}");
    assert!(!log.contains("CANARY"), "{log}");
    assert!(
        folder
            .lines("handled")
            .last()
            .is_some_and(|line| line.starts_with("end "))
    );
}

#[tokio::test]
async fn workers_side_by_side_have_one_message_each() {
    let server = Server::with(Vec::new());
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    Queue::create(&server.client, "dead", &[]).await;
    let folder = Folder::new();
    for at in 0..20 {
        let body = format!("{{\"name\": \"m{at}\", \"do\": \"slow\", \"seconds\": 0.05}}");
        queue.send(&body).await;
    }
    let keys = format!("{WORKER}concurrency: 4\n");
    let mut runner = Runner::start(&folder, &with_worker(&server, &keys), &[]);
    runner.tells("message-done", 20).await;
    queue.reaches((0, 0, 0)).await;
    let handled = folder.lines("handled");
    let pids: std::collections::BTreeSet<&str> = handled
        .iter()
        .filter(|line| line.starts_with('m'))
        .filter_map(|line| line.rsplit(' ').next())
        .collect();
    assert!(pids.len() > 1, "{handled:?}");
    assert_eq!(
        handled
            .iter()
            .filter(|line| line.starts_with("start"))
            .count(),
        4
    );
    assert_eq!(runner.stop().await.0, 0);
}

#[tokio::test]
async fn a_worker_that_cannot_start_costs_no_message_a_receive_and_ends_the_role() {
    let server = Server::with(Vec::new());
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    Queue::create(&server.client, "dead", &[]).await;
    let folder = Folder::new();
    queue.send("a").await;
    let keys = WORKER.replace(
        "worker: [python3, PROGRAM]",
        "worker: [sh, -c, 'echo no database >&2; exit 3']",
    );
    let mut runner = Runner::start(&folder, &with_worker(&server, &keys), &[]);
    assert_eq!(runner.ends().await.code(), Some(1), "{}", runner.log());
    assert!(
        runner
            .log()
            .contains("5 times in a row it exited with 3 before it read a message")
    );
    let back = queue.take().await.expect("given back");
    let count = back.attributes.expect("attributes")
        [&aws_sdk_sqs::types::MessageSystemAttributeName::ApproximateReceiveCount]
        .clone();
    assert_eq!(count, "2");
    let keys = WORKER.replace("[python3, PROGRAM]", "[no-such-program]");
    queue.send("b").await;
    let mut runner = Runner::start(&folder, &with_worker(&server, &keys), &[]);
    assert_eq!(runner.ends().await.code(), Some(127), "{}", runner.log());
}

#[tokio::test]
async fn a_service_gets_messages_as_from_the_worker_daemon() {
    let server = Server::with(Vec::new());
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let dead = Queue::create(&server.client, "dead", &[]).await;
    let folder = Folder::new();
    let service = scripted::Endpoint::new([
        scripted::Act::answer(503, "busy"),
        scripted::Act::answer(204, ""),
        scripted::Act::answer(422, "never"),
    ])
    .await;
    let keys = format!(
        "dead_letter: dead\nwait_time: 1s\nbackoff: {{ initial: 1s, jitter: 0 }}\nhandler: {{ http: \"{}\" }}",
        service.url("/ingest")
    );
    let send = server
        .client
        .send_message()
        .queue_url(&queue.url)
        .message_body("{\"uuid\": 1}");
    let attribute = |text: &str| {
        aws_sdk_sqs::types::MessageAttributeValue::builder()
            .data_type("String")
            .string_value(text)
            .build()
            .expect("an attribute")
    };
    send.message_attributes("Kind", attribute("vcf"))
        .message_attributes("Odd", attribute("no\nheader"))
        .send()
        .await
        .expect("sent");
    let mut runner = Runner::start(&folder, &roles(&server.endpoint(), &keys), &[]);
    runner.tells("message-done", 1).await;
    queue.send("b").await;
    runner.tells("message-rejected", 1).await;
    assert_eq!(dead.counts().await, (1, 0, 0));
    let requests = service.requests();
    assert_eq!(requests.len(), 3);
    let second = requests[1].to_lowercase();
    assert!(
        second.starts_with("post /ingest http/1.1\r\n")
            && second.ends_with("\r\n\r\n{\"uuid\": 1}"),
        "{second}"
    );
    for header in [
        "x-aws-sqsd-msgid: ",
        "x-aws-sqsd-queue: tasks\r\n",
        "x-aws-sqsd-receive-count: 2\r\n",
        "x-aws-sqsd-first-received-at: 20",
        "x-aws-sqsd-attr-kind: vcf\r\n",
        "user-agent: aws-sqsd/1.1",
        "content-type: application/json\r\n",
    ] {
        assert!(second.contains(header), "{header}: {second}");
    }
    assert!(!second.contains("attr-odd"));
    assert_eq!(runner.stop().await.0, 0);
}

#[tokio::test]
async fn a_message_that_does_not_fit_is_rejected_with_the_reason_and_never_handled() {
    let server = Server::with(Vec::new());
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let dead = Queue::create(&server.client, "dead", &[]).await;
    let folder = Folder::new();
    let keys = "dead_letter: dead\nwait_time: 1s\nmessage_schema: { type: object, required: [uuid] }\nhandler: { command: [sh, -c, 'cat >> handled'] }";
    for body in ["{\"secret\": \"CANARY\"}", "CANARY, not JSON", " "] {
        queue.send(body).await;
    }
    let big = format!("{{\"uuid\": \"{}\"}}", "x".repeat((1 << 20) - 12));
    queue.send(&big).await;
    let mut runner = Runner::start(&folder, &roles(&server.endpoint(), keys), &[]);
    runner.tells("message-done", 1).await;
    runner.tells("message-rejected", 3).await;
    queue.reaches((0, 0, 0)).await;
    assert_eq!(folder.lines("handled").concat().len(), 1 << 20);
    let mut reasons: Vec<String> = dead
        .drain()
        .await
        .into_iter()
        .map(|letter| {
            letter.message_attributes.expect("attributes")["RejectReason"]
                .string_value
                .clone()
                .expect("a text")
        })
        .collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [
            "the message does not fit its schema at `/required`: \"uuid\" is a required property",
            "the message is not JSON: line 1, column 1",
            "the message is not JSON: line 1, column 1",
        ]
    );
    let (_, log) = runner.stop().await;
    assert!(!log.contains("CANARY"), "{log}");
}

#[tokio::test]
async fn after_its_last_receive_a_message_is_put_among_the_dead_letters() {
    let server = Server::with(Vec::new());
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let dead = Queue::create(&server.client, "dead", &[]).await;
    let folder = Folder::new();
    let keys = "dead_letter: dead\nmax_receives: 2\nwait_time: 1s\nbackoff: { initial: 1s }\nhandler: { command: [sh, -c, 'echo x >> handled; exit 1'] }";
    queue.send("a").await;
    // Received often by others: not handled at all.
    let worn = queue.send("b").await;
    for _ in 0..2 {
        let receive = server
            .client
            .receive_message()
            .queue_url(&queue.url)
            .max_number_of_messages(10);
        for message in receive
            .visibility_timeout(0)
            .send()
            .await
            .expect("an answer")
            .messages
            .unwrap_or_default()
        {
            assert!(message.message_id.is_some());
        }
    }
    queue.send("c").await;
    let mut runner = Runner::start(&folder, &roles(&server.endpoint(), keys), &[]);
    let told = runner.tells("message-rejected", 3).await;
    queue.reaches((0, 0, 0)).await;
    assert_eq!(dead.counts().await, (3, 0, 0));
    assert_eq!(folder.lines("handled").len(), 2, "c, twice");
    assert!(
        told.iter()
            .any(|line| line.contains(&worn) && line.contains("received 2 times and never done"))
    );
    assert!(
        told.iter()
            .any(|line| line.contains("receive 2 was the last: `sh` exited with 1"))
    );
    assert_eq!(runner.stop().await.0, 0);
}

#[tokio::test]
async fn without_dead_letters_a_rejected_message_is_retried_until_the_queue_s_own_policy_acts() {
    let server = Server::with(Vec::new());
    let dead = Queue::create(&server.client, "dead", &[]).await;
    let policy = "{\"deadLetterTargetArn\": \"arn:aws:sqs:us-east-1:000000000000:dead\", \"maxReceiveCount\": 2}";
    let policy = [(
        aws_sdk_sqs::types::QueueAttributeName::RedrivePolicy,
        policy,
    )];
    let queue = Queue::create(&server.client, "tasks", &policy).await;
    let folder = Folder::new();
    let keys = "wait_time: 1s\nbackoff: { initial: 1s }\nhandler: { command: [sh, -c, 'echo x >> handled; exit 65'] }";
    queue.send("a").await;
    let mut runner = Runner::start(&folder, &roles(&server.endpoint(), keys), &[]);
    let told = runner.tells("message-retried", 2).await;
    assert!(told[0].contains("and there is no dead_letter"), "{told:?}");
    dead.reaches((1, 0, 0)).await;
    assert_eq!(folder.lines("handled").len(), 2);
    assert!(
        runner.events("queue-opened")[0]
            .contains("after 2 receives it moves a message to dead by itself")
    );
    assert_eq!(runner.stop().await.0, 0);
}

#[tokio::test]
async fn a_fifo_queue_keeps_the_order_of_each_group_over_retries() {
    let server = Server::with(Vec::new());
    let create = server.client.create_queue().queue_name("tasks.fifo");
    let create = create.attributes(aws_sdk_sqs::types::QueueAttributeName::FifoQueue, "true");
    let url = create
        .attributes(
            aws_sdk_sqs::types::QueueAttributeName::ContentBasedDeduplication,
            "true",
        )
        .send()
        .await
        .expect("a queue")
        .queue_url
        .expect("its URL");
    for at in 0..4 {
        for group in ["a", "b"] {
            let send = server
                .client
                .send_message()
                .queue_url(&url)
                .message_group_id(group);
            send.message_body(format!("{group} {at}"))
                .send()
                .await
                .expect("sent");
        }
    }
    let folder = Folder::new();
    // The second message of group a fails once.
    let keys = r#"
wait_time: 1s
concurrency: 10
backoff: { initial: 1s }
handler:
  command: [sh, -c, 'read -r body; if [ "$body" = "a 1" ] && [ ! -e failed ]; then touch failed; exit 1; fi; echo "$body $QUEUE_MESSAGE_GROUP_ID" >> handled']
"#;
    let text = roles(&server.endpoint(), keys).replace("queue: tasks", "queue: tasks.fifo");
    let text = text.replace("read -r body", "body=$(cat)");
    let mut runner = Runner::start(&folder, &text, &[]);
    runner.tells("message-done", 8).await;
    let handled = folder.lines("handled");
    for group in ["a", "b"] {
        let order: Vec<&str> = handled
            .iter()
            .filter(|line| line.ends_with(group))
            .map(|line| &line[2..3])
            .collect();
        assert_eq!(order, ["0", "1", "2", "3"], "{handled:?}");
    }
    assert_eq!(runner.stop().await.0, 0);
}

#[tokio::test]
async fn a_queue_that_is_not_there_or_does_not_fit_ends_the_role_with_a_sentence() {
    let server = Server::with(Vec::new());
    Queue::create(&server.client, "tasks", &[]).await;
    let folder = Folder::new();
    let play = async |queue: &str, dead: &str| {
        let keys = format!("dead_letter: {dead}\nhandler: {{ command: [cat] }}");
        let text =
            roles(&server.endpoint(), &keys).replace("queue: tasks", &format!("queue: {queue}"));
        let mut runner = Runner::start(&folder, &text, &[]);
        (runner.ends().await.code(), runner.log())
    };
    for (queue, dead, expected) in [
        (
            "nowhere",
            "tasks",
            "cannot find queue `nowhere` at 127.0.0.1",
        ),
        (
            "tasks",
            "nowhere",
            "cannot find queue `nowhere` at 127.0.0.1",
        ),
        (
            "tasks",
            "tasks",
            "a queue cannot be its own dead-letter queue",
        ),
        ("tasks", "a b", "`a b` is not a queue's name"),
    ] {
        let (code, log) = play(queue, dead).await;
        assert_eq!(code, Some(78), "{log}");
        assert!(log.contains(expected), "{expected}: {log}");
    }
    let create = server.client.create_queue().queue_name("dead.fifo");
    let create = create.attributes(aws_sdk_sqs::types::QueueAttributeName::FifoQueue, "true");
    create.send().await.expect("a queue");
    // Where the name is written it is seen before anything begins, else when the queue is opened.
    for (dead, expected) in [
        (
            "dead.fifo",
            "the dead-letter queue is FIFO and the queue is not",
        ),
        (
            "\"${'dead.' ~ 'fifo'}\"",
            "cannot use `dead.fifo` as dead_letter of `tasks`: this is FIFO and the queue is not",
        ),
    ] {
        let (code, log) = play("tasks", dead).await;
        assert_eq!(code, Some(78));
        assert!(log.contains(expected), "{log}");
    }
}

#[tokio::test]
async fn a_refused_permission_ends_the_role_at_the_start_and_is_tried_again_later() {
    let refused = |action: &str, nth| runner::queue_server::Fault {
        action: action.to_owned(),
        nth,
        kind: runner::queue_server::FaultKind::Error(
            runner::queue_server::model::refusal::Code::AccessDenied,
        ),
    };
    let server = Server::with(vec![
        refused("GetQueueUrl", 1),
        refused("ReceiveMessage", 1),
    ]);
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let folder = Folder::new();
    let keys = "wait_time: 1s\nhandler: { command: [cat] }";
    let text = roles(&server.endpoint(), keys);
    let mut runner = Runner::start(&folder, &text, &[]);
    assert_eq!(runner.ends().await.code(), Some(77), "{}", runner.log());
    assert!(
        runner
            .log()
            .contains("allow `sqs:GetQueueUrl` on it to the task role or user in use"),
        "{}",
        runner.log()
    );
    queue.send("a").await;
    let mut runner = Runner::start(&folder, &text, &[]);
    runner.tells("message-done", 1).await;
    let told = runner.events("queue-unreachable");
    assert!(
        told.len() == 1 && told[0].contains("sqs:ReceiveMessage"),
        "{told:?}"
    );
    assert_eq!(runner.stop().await.0, 0);
}

/// A log driver that takes nothing more must not keep a worker from its end.
#[tokio::test]
async fn a_worker_whose_output_nobody_takes_is_still_ended_in_time() {
    let server = Server::with(Vec::new());
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let folder = Folder::new();
    let keys = "visibility_timeout: 30s\nwait_time: 1s\nbackoff: { initial: 1s }\n\
        handler: { timeout: 2s, worker: [sh, -c, 'read -r task; echo handled >> handled; exec yes flood'] }";
    queue.send("a").await;
    let (_never_read, full) = std::io::pipe().expect("a pipe");
    let roles = roles(&server.endpoint(), keys);
    let runner = Runner::start_with(&folder, &roles, &[], Some(full.into()));
    folder.has_lines("handled", 2).await;
    drop(runner);
}

/// What stands behind a message that is retried is not received with it: with `max_receives` it would die unseen.
#[tokio::test]
async fn a_retry_costs_the_rest_of_its_group_no_receive() {
    let server = Server::with(Vec::new());
    let fifo = [
        (aws_sdk_sqs::types::QueueAttributeName::FifoQueue, "true"),
        (
            aws_sdk_sqs::types::QueueAttributeName::ContentBasedDeduplication,
            "true",
        ),
    ];
    let queue = Queue::create(&server.client, "tasks.fifo", &fifo).await;
    let dead = Queue::create(&server.client, "dead.fifo", &fifo).await;
    for at in 0..4 {
        let send = server.client.send_message().queue_url(&queue.url);
        let send = send.message_group_id("g").message_body(format!("n{at}"));
        send.send().await.expect("sent");
    }
    let folder = Folder::new();
    let keys = r#"
dead_letter: dead.fifo
max_receives: 2
wait_time: 1s
concurrency: 10
backoff: { initial: 1s }
handler:
  command: [sh, -c, 'body=$(cat); echo "$body $QUEUE_RECEIVE_COUNT" >> handled; [ $body != n0 ] && [ $body != n1 ]']
"#;
    let text = roles(&server.endpoint(), keys).replace("queue: tasks", "queue: tasks.fifo");
    let mut runner = Runner::start(&folder, &text, &[]);
    runner.tells("message-done", 2).await;
    assert_eq!(
        folder.lines("handled"),
        ["n0 1", "n0 2", "n1 1", "n1 2", "n2 1", "n3 1"]
    );
    assert_eq!(dead.counts().await, (2, 0, 0));
    assert_eq!(runner.stop().await.0, 0);
}
