//! The numbers of a queue in `runner status`, over one life of everything that can happen to a message.

use runner::queue_server::model::refusal::Code;
use runner::queue_server::{Fault, FaultKind};
use serde_json::Value as Json;

use crate::stage::{Folder, Queue, Runner, Server, roles, wait_for};

/// The metrics of the only queue.
fn metrics(runner: &Runner) -> Json {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(["status", "--format", "json"])
        .env_clear()
        .env("RUNNER_SOCKET", &runner.socket)
        .output()
        .expect("it starts");
    let status: Json = serde_json::from_slice(&output.stdout).unwrap_or_default();
    status["members"][0]["metrics"].clone()
}

#[tokio::test]
async fn status_counts_what_became_of_each_message_and_how_late_the_heartbeat_is() {
    // The first heartbeat is refused: that message is lost once, and told and counted once.
    let server = Server::with(vec![Fault {
        action: "ChangeMessageVisibilityBatch".to_owned(),
        nth: 1,
        kind: FaultKind::Entries(Code::ReceiptHandleIsInvalid, vec![0]),
    }]);
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let dead = Queue::create(&server.client, "dead", &[]).await;
    let folder = Folder::new();
    let keys = r#"
dead_letter: dead
visibility_timeout: 3s
wait_time: 1s
backoff: { initial: 1s }
handler:
  command: [sh, -c, 'read -r task; case "$task $QUEUE_RECEIVE_COUNT" in "long "*) echo long >> handled; until [ -e go ]; do sleep 0.05; done;; "lost 1") sleep 60;; "again 1") exit 1;; "bad "*) exit 65;; esac']
"#;
    let mut runner = Runner::start(&folder, &roles(&server.endpoint(), keys), &[]);
    queue.send("lost\n").await;
    runner.tells("message-lost", 1).await;
    runner.tells("message-done", 1).await;
    for body in ["again\n", "bad\n", "plain\n"] {
        queue.send(body).await;
    }
    runner.tells("message-done", 3).await;
    runner.tells("message-rejected", 1).await;
    queue.reaches((0, 0, 0)).await;
    assert_eq!(dead.counts().await, (1, 0, 0));
    let idle = wait_for("an empty receive", || {
        let now = metrics(&runner);
        (now["empty_receives"].as_u64() > Some(0)).then_some(now)
    })
    .await;
    let expected = [
        ("received", 6),
        ("done", 3),
        ("retried", 1),
        ("rejected", 1),
        ("lost", 1),
        ("released", 0),
        ("in_hand", 0),
    ];
    for (name, count) in expected {
        assert_eq!(idle[name].as_u64(), Some(count), "{name}: {idle}");
    }
    assert!(idle["oldest_in_hand_ms"].is_null(), "{idle}");
    assert_eq!(runner.events("message-lost").len(), 1);

    let heartbeats = idle["heartbeats"].as_u64();
    queue.send("long\n").await;
    folder.has_lines("handled", 1).await;
    let busy = wait_for("a heartbeat", || {
        let now = metrics(&runner);
        (now["heartbeats"].as_u64() > heartbeats).then_some(now)
    })
    .await;
    assert_eq!(busy["in_hand"], 1, "{busy}");
    assert!(busy["oldest_in_hand_ms"].as_u64() >= Some(1200), "{busy}");
    assert!(busy["heartbeat_lag_ms"].is_u64(), "{busy}");
    folder.write("go", "");
    runner.tells("message-done", 4).await;
    queue.reaches((0, 0, 0)).await;
    let last = wait_for("its end", || {
        let now = metrics(&runner);
        (now["done"] == 4).then_some(now)
    })
    .await;
    assert_eq!(
        (&last["lost"], &last["received"], &last["released"]),
        (&Json::from(1), &Json::from(7), &Json::from(0)),
        "{last}"
    );
    assert!(last["worst_heartbeat_lag_ms"].as_u64() >= last["heartbeat_lag_ms"].as_u64());
    assert_eq!(runner.stop().await.0, 0);
}
