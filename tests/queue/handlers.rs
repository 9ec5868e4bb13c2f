//! What becomes of a message by what its handler says.

use crate::stage::{Folder, Queue, Runner, Server, roles};

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
    runner.tells("message-done", 2);
    runner.tells("message-rejected", 1);
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
    let (code, log) = runner.stop();
    assert_eq!(code, 0, "{log}");
    assert!(!log.contains("good 0") && !log.contains("bad 65"), "{log}");
}
