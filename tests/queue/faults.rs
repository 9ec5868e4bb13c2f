//! What goes wrong between a runner and its queue, and what must not come of it.

use std::time::{Duration, Instant};

use runner::queue_server::model::Stale;
use runner::queue_server::model::refusal::Code;
use runner::queue_server::{Config, Fault, FaultKind};

use crate::stage::{Folder, Queue, Runner, Server, roles};

fn fault(action: &str, nth: u64, kind: FaultKind) -> Fault {
    Fault {
        action: action.to_owned(),
        nth,
        kind,
    }
}

const BEAT: &str = "ChangeMessageVisibilityBatch";
const DELETE: &str = "DeleteMessageBatch";
const RECEIVE: &str = "ReceiveMessage";

/// A handler that notes its start, takes `$1` seconds, and notes its end.
fn keys(visibility: &str, seconds: &str) -> String {
    format!(
        "visibility_timeout: {visibility}\nwait_time: 1s\nbackoff: {{ initial: 1s }}\nhandler: {{ command: [sh, -c, 'echo start >> handled; sleep {seconds}; echo end >> handled'] }}"
    )
}

async fn played(server: &Server, keys: &str) -> (Queue, Folder, Runner) {
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    let folder = Folder::new();
    let runner = Runner::start(&folder, &roles(&server.endpoint(), keys), &[]);
    (queue, folder, runner)
}

#[tokio::test]
async fn a_lease_is_kept_for_as_long_as_the_handler_needs() {
    let server = Server::with(Vec::new());
    let (queue, folder, mut runner) = played(&server, &keys("2s", "5")).await;
    queue.send("a").await;
    runner.tells("message-done", 1).await;
    assert_eq!(folder.lines("handled"), ["start", "end"]);
    queue.reaches((0, 0, 0)).await;
    assert_eq!(runner.stop().await.0, 0);
}

#[tokio::test]
async fn a_refused_heartbeat_is_a_lost_lease_its_handler_is_killed_and_nothing_is_acknowledged() {
    for code in [
        Code::InvalidParameterValue,
        Code::ReceiptHandleIsInvalid,
        Code::MessageNotInflight,
    ] {
        let server = Server::with(vec![fault(BEAT, 1, FaultKind::Entries(code, vec![0]))]);
        let (queue, folder, mut runner) = played(&server, &keys("2s", "1.6")).await;
        queue.send("a").await;
        runner.tells("message-lost", 1).await;
        // It comes back by itself, and is done then.
        runner.tells("message-done", 1).await;
        assert_eq!(
            folder.lines("handled"),
            ["start", "start", "end"],
            "{code:?}"
        );
        assert_eq!(runner.stop().await.0, 0);
    }
}

#[tokio::test]
async fn a_heartbeat_that_fails_for_a_moment_is_tried_again_in_time() {
    let server = Server::with(vec![
        fault(BEAT, 1, FaultKind::Error(Code::RequestThrottled)),
        fault(BEAT, 2, FaultKind::Error(Code::InternalFailure)),
        fault(BEAT, 3, FaultKind::Drop),
        fault(BEAT, 4, FaultKind::Entries(Code::InternalFailure, vec![0])),
    ]);
    let (queue, folder, mut runner) = played(&server, &keys("4s", "6")).await;
    queue.send("a").await;
    runner.tells("message-done", 1).await;
    assert_eq!(folder.lines("handled"), ["start", "end"]);
    assert_eq!(runner.events("message-lost").len(), 0);
    assert_eq!(runner.stop().await.0, 0);
}

#[tokio::test]
async fn a_receive_that_hangs_or_fails_is_followed_by_another() {
    let server = Server::with(vec![
        fault(RECEIVE, 1, FaultKind::Hang),
        fault(RECEIVE, 2, FaultKind::Error(Code::RequestThrottled)),
    ]);
    let (queue, _folder, mut runner) = played(&server, &keys("5s", "0")).await;
    queue.send("a").await;
    runner.tells("message-done", 1).await;
    let told = runner.events("queue-unreachable");
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("no answer within 11.0 s"), "{told:?}");
    assert!(runner.events("queue-reachable")[0].contains("after 2 failed calls"));
    assert_eq!(runner.stop().await.0, 0);
}

#[tokio::test]
async fn entries_that_could_not_be_deleted_are_tried_again_and_no_others() {
    let server = Server::with(vec![
        fault(
            DELETE,
            1,
            FaultKind::Entries(Code::InternalFailure, vec![0]),
        ),
        fault(DELETE, 2, FaultKind::Error(Code::ServiceUnavailable)),
        fault(DELETE, 3, FaultKind::Drop),
    ]);
    let more = format!("concurrency: 4\n{}", keys("5s", "0.1"));
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    for at in 0..4 {
        queue.send(&at.to_string()).await;
    }
    let folder = Folder::new();
    let mut runner = Runner::start(&folder, &roles(&server.endpoint(), &more), &[]);
    queue.reaches((0, 0, 0)).await;
    assert_eq!(folder.lines("handled").len(), 8);
    runner.tells("queue-trouble", 1).await;
    assert_eq!(runner.stop().await.0, 0);
}

#[tokio::test]
async fn a_slow_deletion_is_kept_under_its_lease() {
    let server = Server::with(vec![fault(
        DELETE,
        1,
        FaultKind::Delay(Duration::from_secs(5)),
    )]);
    let (queue, folder, mut runner) = played(&server, &keys("2s", "0")).await;
    queue.send("a").await;
    runner.tells("message-done", 1).await;
    assert_eq!(folder.lines("handled"), ["start", "end"]);
    assert_eq!(runner.stop().await.0, 0);
}

#[tokio::test]
async fn a_deletion_that_is_refused_is_told_as_lost() {
    let kind = FaultKind::Entries(Code::ReceiptHandleIsInvalid, vec![0]);
    let server = Server::with(vec![fault(DELETE, 1, kind)]);
    let (queue, folder, mut runner) = played(&server, &keys("2s", "0")).await;
    queue.send("a").await;
    let told = runner.tells("message-lost", 1).await;
    assert!(
        told[0].contains("it is done, but could not be deleted: ReceiptHandleIsInvalid"),
        "{told:?}"
    );
    runner.tells("message-done", 1).await;
    assert_eq!(folder.lines("handled").len(), 4);
    assert_eq!(runner.stop().await.0, 0);
}

/// A runner that stood still for longer than the visibility must not touch what is somebody else's by now, whatever
/// the queue does with its old handle.
#[tokio::test]
async fn what_was_lost_while_we_stood_still_is_not_acknowledged() {
    for stale in [Stale::Keep, Stale::Delete, Stale::Error] {
        let server = Server::start(Config {
            listen: ([127, 0, 0, 1], 0).into(),
            stale,
            ..Config::default()
        });
        let (queue, folder, mut runner) = played(&server, &keys("2s", "3")).await;
        queue.send("a").await;
        folder.has_lines("handled", 1).await;
        runner.signal(libc::SIGSTOP);
        let other = loop {
            if let Some(message) = queue.take().await {
                break message;
            }
        };
        // By the time that it wakes its handler has ended, and would have it deleted.
        folder.has_lines("handled", 2).await;
        runner.signal(libc::SIGCONT);
        let told = runner.tells("message-lost", 1).await;
        assert!(told[0].contains("its visibility ran out"), "{told:?}");
        assert_eq!(runner.events("message-done").len(), 0);
        assert_eq!(queue.counts().await, (0, 1, 0), "{stale:?}");
        let delete = server.client.delete_message().queue_url(&queue.url);
        delete
            .set_receipt_handle(other.receipt_handle)
            .send()
            .await
            .expect("deleted");
        assert_eq!(runner.stop().await.0, 0);
    }
}

#[tokio::test]
async fn what_a_receive_brings_after_sigterm_is_given_back_at_once() {
    let server = Server::with(vec![fault(
        RECEIVE,
        1,
        FaultKind::Delay(Duration::from_secs(2)),
    )]);
    let (queue, folder, mut runner) = played(&server, &keys("1m", "0")).await;
    queue.send("a").await;
    runner.tells("queue-opened", 1).await;
    queue.reaches((0, 1, 0)).await;
    let (code, log) = runner.stop().await;
    assert_eq!(code, 0, "{log}");
    assert!(log.contains("message-released"), "{log}");
    assert_eq!(queue.counts().await, (1, 0, 0));
    assert_eq!(folder.lines("handled").len(), 0);
}

#[tokio::test]
async fn a_stop_lets_a_short_handler_finish() {
    let server = Server::with(Vec::new());
    let (queue, folder, runner) = played(&server, &keys("2s", "3")).await;
    queue.send("a").await;
    folder.has_lines("handled", 1).await;
    let (code, log) = runner.stop().await;
    assert_eq!(code, 0, "{log}");
    assert_eq!(folder.lines("handled"), ["start", "end"]);
    assert_eq!(queue.counts().await, (0, 0, 0));
}

#[tokio::test]
async fn a_stop_gives_back_what_is_not_done_in_time_unless_it_is_to_be_held() {
    for (on_interrupt, counts) in [("release", (1, 0, 0)), ("hold", (0, 1, 0))] {
        let server = Server::with(Vec::new());
        let more = format!("on_interrupt: {on_interrupt}\n{}", keys("1m", "300"));
        let (queue, folder, runner) = played(&server, &more).await;
        queue.send("a").await;
        folder.has_lines("handled", 1).await;
        let started = Instant::now();
        let (code, log) = runner.stop().await;
        let took = started.elapsed();
        assert_eq!(code, 0, "{log}");
        assert!(
            took > Duration::from_secs(5) && took < Duration::from_secs(9),
            "{took:?}"
        );
        assert_eq!(folder.lines("handled"), ["start"]);
        assert_eq!(queue.counts().await, counts, "{log}");
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once_and_a_killed_runner_loses_nothing() {
    let server = Server::with(Vec::new());
    let (queue, folder, mut runner) = played(&server, &keys("3s", "30")).await;
    queue.send("a").await;
    folder.has_lines("handled", 1).await;
    runner.signal(libc::SIGTERM);
    runner.tells("stopping", 1).await;
    let started = Instant::now();
    runner.signal(libc::SIGTERM);
    assert_eq!(runner.ends().await.code(), Some(137));
    assert!(started.elapsed() < Duration::from_secs(3));
    let folder = Folder::new();
    let mut runner = Runner::start(&folder, &roles(&server.endpoint(), &keys("3s", "30")), &[]);
    folder.has_lines("handled", 1).await;
    runner.signal(libc::SIGKILL);
    runner.ends().await;
    queue.reaches((1, 0, 0)).await;
}

#[tokio::test]
async fn a_return_that_hangs_does_not_hold_up_the_heartbeat_of_others() {
    // The first call is the return of what failed at once.
    let server = Server::with(vec![fault(BEAT, 1, FaultKind::Hang)]);
    let keys = "visibility_timeout: 3s\nwait_time: 1s\nconcurrency: 2\nbackoff: { initial: 900s }\n\
        handler: { command: [sh, -c, 'read -r task; [ $task != bad ] || exit 1; echo start >> handled; sleep 6; echo end >> handled'] }";
    let queue = Queue::create(&server.client, "tasks", &[]).await;
    queue.send("bad\n").await;
    let good = queue.send("good\n").await;
    let folder = Folder::new();
    let mut runner = Runner::start(&folder, &roles(&server.endpoint(), keys), &[]);
    let done = runner.tells("message-done", 1).await;
    assert!(done[0].contains(&good), "{done:?}");
    let lost = runner.events("message-lost");
    assert!(!lost.iter().any(|line| line.contains(&good)), "{lost:?}");
    assert_eq!(folder.lines("handled"), ["start", "end"]);
    assert_eq!(runner.stop().await.0, 0);
}
