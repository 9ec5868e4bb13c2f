//! The shipped ingester's worker, with stand-ins for the few names of the application that it uses.

use crate::stage::{Folder, Queue, Runner, Server, program, roles};

fn keys() -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let application = program("application");
    format!(
        r#"
dead_letter: dead
wait_time: 1s
max_receives: 2
backoff: {{ initial: 1s }}
message_schema: {{ type: object, required: [uuid] }}
handler:
  environment: {{ PYTHONPATH: "{application}" }}
  worker: [python3, "{root}/docker/ingest_worker.py", production.ini, --app-name, app]
"#
    )
}

#[tokio::test]
async fn the_ingester_hands_tasks_to_the_application_and_loses_none() {
    let server = Server::with(Vec::new());
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let dead = Queue::create(&server.client, "dead", &[]).await;
    let folder = Folder::new();
    for (uuid, kind) in [
        ("\"u-done\"", ""),
        ("null", ", \"ingestion_type\": \" VCF \""),
        (
            "\"u-nobody\"",
            ", \"ingestion_type\": \"nobody\", \"note\": \"CANARY\"",
        ),
        ("\"u-declined\"", ", \"ingestion_type\": \"declined\""),
        ("\"u-broken\"", ", \"ingestion_type\": \"broken\""),
        ("\"u-crash\"", ", \"ingestion_type\": \"crash\""),
    ] {
        queue.send(&format!("{{\"uuid\": {uuid}{kind}}}")).await;
    }
    let mut runner = Runner::start(&folder, &roles(&server.endpoint(), &keys()), &[]);
    runner.tells("message-done", 2).await;
    runner.tells("message-rejected", 4).await;
    queue.reaches((0, 0, 0)).await;
    let handled = folder.lines("handled");
    let times = |uuid: &str| handled.iter().filter(|line| line.starts_with(uuid)).count();
    let expected = [
        ("u-done", 1),
        (" vcf", 1),
        ("u-nobody", 1),
        ("u-declined", 1),
        ("u-broken", 2),
        ("u-crash", 2),
    ];
    for (uuid, count) in expected {
        assert_eq!(times(uuid), count, "{uuid}: {handled:?}");
    }
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
            "receive 2 was the last: the handler failed: KeyError",
            "receive 2 was the last: the submission failed: ConnectionError",
            "the application has no handler for this type",
            "the application's handler did not take it",
        ]
    );
    // Loaded once at first, and once after each of the two crashes.
    assert_eq!(runner.events("worker-started").len(), 3);
    let (code, log) = runner.stop().await;
    assert_eq!(code, 0, "{log}");
    assert!(
        log.contains("a program of the application prints too"),
        "{log}"
    );
    assert!(!log.contains("CANARY") && !log.contains("u-done"), "{log}");
}
