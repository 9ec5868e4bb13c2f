//! On `moto_server`, which was not written by us.
//!
//! What is known to differ from AWS (and is not relied on here): it hands messages out twice under concurrency by
//! itself, so "at least once" is all that may be asked of it; an old handle deletes; a visibility can be changed after
//! it ran out; its 12 hours count from the sending; it has no StartMessageMoveTask and knows no attempt ids.

use std::collections::BTreeSet;

use aws_sdk_sqs::types::QueueAttributeName as Name;

use crate::common::moto::Moto;
use crate::stage::{Folder, Queue, Runner, client, program, wait_for};

/// The queue is found by the environment alone, as on AWS.
const ROLES: &str = "version: 1\nplatform: { stop_timeout: 9s }\nroles:\n  r:\n    queues:\n      tasks:\n        queue: QUEUE\n        region: us-east-1\n        KEYS";

fn played(moto: &Moto, folder: &Folder, queue: &str, keys: &str) -> Runner {
    let keys = keys.trim().replace('\n', "\n        ");
    let text = ROLES.replace("QUEUE", queue).replace("KEYS", &keys);
    let environment = [
        ("AWS_ENDPOINT_URL_SQS", moto.url.as_str()),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "key"),
    ];
    Runner::start(folder, &text, &environment)
}

#[tokio::test]
async fn every_message_is_done_at_least_once_by_several_runners() {
    let Some(moto) = Moto::start("every_message_is_done_at_least_once_by_several_runners") else {
        return;
    };
    let client = client(&moto.url);
    let queue = Queue::create(&client, "tasks", &[(Name::VisibilityTimeout, "3600")]).await;
    let dead = Queue::create(&client, "dead", &[]).await;
    for number in 0..60 {
        let what = if number % 10 == 3 { "reject" } else { "done" };
        queue
            .send(&format!("{{\"name\": \"m{number}\", \"do\": \"{what}\"}}"))
            .await;
    }
    let folder = Folder::new();
    let keys = format!(
        "dead_letter: dead\nvisibility_timeout: 4s\nwait_time: 1s\nconcurrency: 4\nbackoff: {{ initial: 1s }}\nhandler: {{ worker: [python3, \"{}\"] }}",
        program("worker.py")
    );
    let runners = [0, 1].map(|_| played(&moto, &folder, "tasks", &keys));
    queue.reaches((0, 0, 0)).await;
    let handled = wait_for("all of them", || {
        let lines = folder.lines("handled");
        let names: BTreeSet<String> = lines
            .iter()
            .filter(|line| line.starts_with('m'))
            .filter_map(|line| line.split(' ').next().map(str::to_owned))
            .collect();
        (names.len() == 60).then_some(names)
    })
    .await;
    assert_eq!(handled.len(), 60);
    let letters = dead.drain().await;
    let buried: BTreeSet<&str> = letters
        .iter()
        .filter_map(|letter| letter.body.as_deref())
        .collect();
    assert_eq!(buried.len(), 6);
    for runner in runners {
        let (code, log) = runner.stop().await;
        assert_eq!(code, 0, "{log}");
    }
}

#[tokio::test]
async fn a_lease_is_kept_and_given_back_and_a_group_keeps_its_order() {
    let Some(moto) = Moto::start("a_lease_is_kept_and_given_back_and_a_group_keeps_its_order")
    else {
        return;
    };
    let client = client(&moto.url);
    let queue = Queue::create(&client, "tasks", &[]).await;
    let folder = Folder::new();
    let keys = "visibility_timeout: 2s\nwait_time: 1s\nhandler: { command: [sh, -c, 'echo start >> handled; sleep 4; echo end >> handled'] }";
    queue.send("a").await;
    let mut runner = played(&moto, &folder, "tasks", keys);
    runner.tells("message-done", 1).await;
    assert_eq!(folder.lines("handled"), ["start", "end"]);
    queue.send("b").await;
    folder.has_lines("handled", 3).await;
    runner.signal(libc::SIGTERM);
    assert_eq!(runner.ends().await.code(), Some(0), "{}", runner.log());
    assert_eq!(folder.lines("handled").len(), 4, "a stop lets it finish");
    assert_eq!(queue.counts().await, (0, 0, 0));

    let fifo = [
        (Name::FifoQueue, "true"),
        (Name::ContentBasedDeduplication, "true"),
    ];
    let fifo = Queue::create(&client, "tasks.fifo", &fifo).await;
    for number in 0..6 {
        let send = client
            .send_message()
            .queue_url(&fifo.url)
            .message_group_id("g");
        send.message_body(format!("n{number}"))
            .send()
            .await
            .expect("sent");
    }
    let folder = Folder::new();
    let keys = "wait_time: 1s\nconcurrency: 10\nhandler: { command: [sh, -c, 'cat >> handled; echo >> handled'] }";
    let runner = played(&moto, &folder, "tasks.fifo", keys);
    let handled = folder.has_lines("handled", 6).await;
    assert_eq!(handled[..6], ["n0", "n1", "n2", "n3", "n4", "n5"]);
    assert_eq!(runner.stop().await.0, 0);
}
