//! ECS task protection, with a stand-in for the agent.

use crate::common::scripted::{Act, Endpoint};
use crate::stage::{Folder, Queue, Runner, Server, roles};

const GRANTED: &str = r#"{"protection": {"ProtectionEnabled": true, "TaskArn": "x"}}"#;
const BLOCKED: &str =
    r#"{"failure": {"Arn": "x", "Reason": "DEPLOYMENT_BLOCKED", "Detail": "it deploys"}}"#;

async fn played(agent: &Endpoint, wish: &str) -> (Server, Queue, Folder, Runner) {
    let server = Server::with(Vec::new());
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let folder = Folder::new();
    let keys = format!(
        "task_protection: {wish}\nwait_time: 1s\nhandler: {{ command: [sh, -c, 'cat >> handled'] }}"
    );
    queue.send("a\n").await;
    let uri = agent.url("/api/1/");
    let environment = [("ECS_AGENT_URI", uri.as_str())];
    let runner = Runner::start(&folder, &roles(&server.endpoint(), &keys), &environment);
    (server, queue, folder, runner)
}

#[tokio::test]
async fn a_task_is_protected_while_a_message_is_in_hand() {
    let agent = Endpoint::new([Act::answer(200, GRANTED)]).await;
    let (_server, _queue, _folder, mut runner) = played(&agent, "auto").await;
    runner.tells("message-done", 1).await;
    agent.asked(2).await;
    let asked = agent.requests();
    assert!(
        asked[0].starts_with("PUT /api/1/task-protection/v1/state HTTP/1.1\r\n"),
        "{}",
        asked[0]
    );
    assert!(
        asked[0].ends_with(r#"{"ProtectionEnabled":true,"ExpiresInMinutes":20}"#),
        "{}",
        asked[0]
    );
    assert!(
        asked[1].ends_with(r#"{"ProtectionEnabled":false}"#),
        "{}",
        asked[1]
    );
    assert_eq!(runner.stop().await.0, 0);
    assert_eq!(agent.tries(), 2);
}

#[tokio::test]
async fn a_refusal_is_warned_of_once_or_gives_the_message_back() {
    let agent = Endpoint::new([Act::answer(200, BLOCKED)]).await;
    let (_server, queue, folder, mut runner) = played(&agent, "auto").await;
    runner.tells("message-done", 1).await;
    queue.send("b\n").await;
    runner.tells("message-done", 2).await;
    let told = runner.events("queue-trouble");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("DEPLOYMENT_BLOCKED: it deploys"),
        "{told:?}"
    );
    assert_eq!(folder.lines("handled"), ["a", "b"]);
    assert_eq!(runner.stop().await.0, 0);

    let agent = Endpoint::new([Act::answer(200, BLOCKED)]).await;
    let (_server, queue, folder, mut runner) = played(&agent, "required").await;
    runner.tells("message-released", 1).await;
    queue.reaches((1, 0, 0)).await;
    assert_eq!(folder.lines("handled").len(), 0);
    assert_eq!(runner.stop().await.0, 0);
}

#[tokio::test]
async fn off_asks_nobody_and_required_needs_an_agent() {
    let agent = Endpoint::new([Act::answer(200, GRANTED)]).await;
    let (server, _queue, folder, mut runner) = played(&agent, "off").await;
    runner.tells("message-done", 1).await;
    assert_eq!(runner.stop().await.0, 0);
    assert_eq!(agent.tries(), 0);
    let keys = "task_protection: required\nhandler: { command: [cat] }";
    let mut runner = Runner::start(&folder, &roles(&server.endpoint(), keys), &[]);
    assert_eq!(runner.ends().await.code(), Some(78));
    assert!(
        runner.log().contains("ECS_AGENT_URI is not set"),
        "{}",
        runner.log()
    );
}

#[tokio::test]
async fn the_protection_lasts_while_any_queue_of_the_task_has_a_message() {
    let agent = Endpoint::new([Act::answer(200, GRANTED)]).await;
    let server = Server::with(Vec::new());
    let long = Queue::create(&server.client, "long", &[]).await;
    let short = Queue::create(&server.client, "short", &[]).await;
    let folder = Folder::new();
    let queue = |name: &str, script: &str| {
        format!(
            "      {name}:\n        queue: {name}\n        endpoint: \"{}\"\n        wait_time: 1s\n        handler: {{ command: [sh, -c, '{script}'] }}\n",
            server.endpoint()
        )
    };
    let text = format!(
        "version: 1\nplatform: {{ stop_timeout: 9s }}\nroles:\n  r:\n    queues:\n{}{}",
        queue(
            "long",
            "echo long >> handled; until [ -e go ]; do sleep 0.05; done"
        ),
        queue("short", "echo short >> handled")
    );
    let uri = agent.url("/api/1/");
    let mut runner = Runner::start(&folder, &text, &[("ECS_AGENT_URI", uri.as_str())]);
    long.send("a").await;
    folder.has_lines("handled", 1).await;
    // Between two of these the other queue has nothing in hand.
    for number in 1..=3 {
        short.send("b").await;
        runner.tells("message-done", number).await;
        short.reaches((0, 0, 0)).await;
    }
    let released = || {
        let asked = agent.requests();
        asked
            .iter()
            .filter(|request| request.ends_with(r#"{"ProtectionEnabled":false}"#))
            .count()
    };
    assert_eq!(released(), 0);
    folder.write("go", "");
    runner.tells("message-done", 4).await;
    crate::stage::wait_for("the release", || (released() == 1).then_some(())).await;
    assert_eq!(runner.stop().await.0, 0);
    assert_eq!(released(), 1);
}
