//! What takes time or goes wrong over the socket: polls, leases, dead letters, faults, another life.

use super::*;
use crate::queue_server::model::Stale;

#[tokio::test]
async fn a_long_poll_wakes_on_a_send_on_a_delay_and_on_a_stop() {
    on_stage(Config::default(), async |stage| {
        let url = stage.create("q", &[]).await;
        let begin = Instant::now();
        let (found, _) = tokio::join!(stage.receive(&url, 20), async {
            // The poll is under way when the server has counted its queue as asked for.
            stage
                .count(&url, QueueAttributeName::ApproximateNumberOfMessages)
                .await;
            stage.send(&url, "a").await
        });
        assert_eq!(found.messages.unwrap().len(), 1);
        let delayed = stage
            .client
            .send_message()
            .queue_url(&url)
            .message_body("b")
            .delay_seconds(1);
        delayed.send().await.unwrap();
        assert_eq!(
            stage.receive(&url, 20).await.messages.unwrap()[0].body(),
            Some("b")
        );
        assert!(
            begin.elapsed() < Duration::from_secs(10) && begin.elapsed() >= Duration::from_secs(1)
        );
        let (found, ()) = tokio::join!(stage.receive(&url, 20), async {
            stage
                .count(&url, QueueAttributeName::ApproximateNumberOfMessages)
                .await;
            stage.switch.begin(Reason::Asked);
        });
        assert_eq!(found.messages, None);
        assert!(begin.elapsed() < Duration::from_secs(10));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_went_away_is_handed_nothing() {
    on_stage(Config::default(), async |stage| {
        let url = stage.create("q", &[]).await;
        for round in 0..20 {
            let body = format!(r#"{{"QueueUrl":"{url}","WaitTimeSeconds":20}}"#);
            let mut gone = TcpStream::connect(stage.address).await.unwrap();
            let request = format!(
                "POST / HTTP/1.1\r\nhost: h\r\nx-amz-target: AmazonSQS.ReceiveMessage\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            gone.write_all(request.as_bytes()).await.unwrap();
            // On the same server, after the poll: it is waiting by the time this is answered.
            stage.count(&url, QueueAttributeName::ApproximateNumberOfMessages).await;
            drop(gone);
            stage.send(&url, &format!("{round}")).await;
            let found = stage.receive(&url, 0).await.messages.unwrap_or_default();
            assert_eq!(found.len(), 1, "round {round}");
        }
    })
    .await;
}

#[tokio::test]
async fn fifo_groups_go_over_the_wire() {
    on_stage(Config::default(), async |stage| {
        let url = stage
            .create("q.fifo", &[(QueueAttributeName::FifoQueue, "true")])
            .await;
        let send = |body: &str| {
            let send = stage
                .client
                .send_message()
                .queue_url(&url)
                .message_body(body);
            send.message_group_id("g")
                .message_deduplication_id(body)
                .send()
        };
        let (a, again) = (send("a").await.unwrap(), send("a").await.unwrap());
        assert_eq!(
            (&a.message_id, &a.sequence_number),
            (&again.message_id, &again.sequence_number)
        );
        assert!(send("b").await.unwrap().sequence_number > a.sequence_number);
        let first = stage
            .client
            .receive_message()
            .queue_url(&url)
            .send()
            .await
            .unwrap()
            .messages
            .unwrap();
        assert_eq!(first[0].body(), Some("a"));
        // The group is free for the waiting poll as soon as the first is deleted.
        let (next, _) = tokio::join!(stage.receive(&url, 20), async {
            let delete = stage.client.delete_message().queue_url(&url);
            delete
                .set_receipt_handle(first[0].receipt_handle.clone())
                .send()
                .await
                .unwrap()
        });
        assert_eq!(next.messages.unwrap()[0].body(), Some("b"));
    })
    .await;
}

#[tokio::test]
async fn dead_letters_are_moved_back_over_the_wire() {
    on_stage(Config::default(), async |stage| {
        let dead = stage.create("dead", &[]).await;
        let arn = stage.count(&dead, QueueAttributeName::QueueArn).await;
        let policy = format!(r#"{{"deadLetterTargetArn":"{arn}","maxReceiveCount":1}}"#);
        let attributes = [
            (QueueAttributeName::RedrivePolicy, policy.as_str()),
            (QueueAttributeName::VisibilityTimeout, "0"),
        ];
        let url = stage.create("q", &attributes).await;
        let id = stage.send(&url, "a").await;
        stage.receive(&url, 0).await;
        assert_eq!(stage.receive(&url, 0).await.messages, None);
        let sources = stage
            .client
            .list_dead_letter_source_queues()
            .queue_url(&dead)
            .send()
            .await
            .unwrap();
        assert_eq!(sources.queue_urls, [url.as_str()]);
        stage
            .client
            .start_message_move_task()
            .source_arn(&arn)
            .send()
            .await
            .unwrap();
        let back = stage.receive(&url, 20).await.messages.unwrap().remove(0);
        assert_ne!(back.message_id.as_deref(), Some(id.as_str()));
        let tasks = stage
            .client
            .list_message_move_tasks()
            .source_arn(&arn)
            .send()
            .await
            .unwrap();
        let task = &tasks.results.unwrap()[0];
        assert_eq!(
            (task.status(), task.approximate_number_of_messages_moved()),
            (Some("COMPLETED"), 1)
        );
    })
    .await;
}

#[tokio::test]
async fn a_stale_handle_over_the_wire_does_as_told() {
    for (stale, expected, left) in [
        (Stale::Keep, "", "1"),
        (Stale::Delete, "", "0"),
        (Stale::Error, "ReceiptHandleIsInvalid", "1"),
    ] {
        on_stage(
            Config {
                stale,
                ..Config::default()
            },
            async |stage| {
                let url = stage.create("q", &[]).await;
                stage.send(&url, "a").await;
                let receive = stage
                    .client
                    .receive_message()
                    .queue_url(&url)
                    .visibility_timeout(0);
                let old = receive.send().await.unwrap().messages.unwrap().remove(0);
                stage.receive(&url, 0).await;
                let delete = stage.client.delete_message().queue_url(&url);
                let deleted = delete.set_receipt_handle(old.receipt_handle).send().await;
                assert_eq!(code(deleted), expected);
                let count = stage
                    .count(
                        &url,
                        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
                    )
                    .await;
                assert_eq!(count, left, "{stale:?}");
            },
        )
        .await;
    }
}

#[tokio::test]
async fn faults_come_once_and_as_asked() {
    let fault = |nth, kind| Fault {
        action: "SendMessage".into(),
        nth,
        kind,
    };
    let faults = vec![
        fault(1, FaultKind::Error(Code::RequestThrottled)),
        fault(2, FaultKind::Drop),
        fault(3, FaultKind::Delay(Duration::from_millis(300))),
        fault(4, FaultKind::Hang),
    ];
    on_stage(
        Config {
            faults,
            ..Config::default()
        },
        async |stage| {
            let url = stage.create("q", &[]).await;
            let send = || {
                stage
                    .client
                    .send_message()
                    .queue_url(&url)
                    .message_body("a")
                    .send()
            };
            let throttled = send().await.unwrap_err();
            assert!(throttled.as_service_error().unwrap().is_request_throttled());
            assert!(send().await.unwrap_err().as_service_error().is_none());
            let begin = Instant::now();
            send().await.unwrap();
            assert!(begin.elapsed() >= Duration::from_millis(300));
            assert!(
                tokio::time::timeout(Duration::from_millis(300), send())
                    .await
                    .is_err()
            );
            send().await.unwrap();
            // The dropped one was done, the hung one was not.
            assert_eq!(
                stage
                    .count(&url, QueueAttributeName::ApproximateNumberOfMessages)
                    .await,
                "3"
            );
        },
    )
    .await;
}

#[tokio::test]
async fn a_server_in_the_place_of_another_knows_its_queues_and_leases() {
    let folder = std::env::temp_dir().join(format!("queue-server-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let journal = Some(folder.join("queue.jsonl"));
    let config = || Config {
        journal: journal.clone(),
        ..Config::default()
    };
    let mut handle = None;
    on_stage(config(), async |stage| {
        let url = stage.create("q", &[]).await;
        stage.send(&url, "a").await;
        handle = stage
            .receive(&url, 0)
            .await
            .messages
            .unwrap()
            .remove(0)
            .receipt_handle;
        stage.send(&url, "b").await;
        let other = serve(config(), shutdown::channel().1, |_| ())
            .await
            .unwrap_err();
        assert_eq!(other.exit, Exit::IO);
    })
    .await;
    on_stage(config(), async |stage| {
        let url = format!("http://elsewhere/000000000000/{}", "q");
        let found = stage.receive(&url, 0).await.messages.unwrap();
        assert_eq!(
            found.iter().map(|m| m.body().unwrap()).collect::<Vec<_>>(),
            ["b"]
        );
        let change = stage
            .client
            .change_message_visibility()
            .queue_url(&url)
            .visibility_timeout(60);
        change
            .set_receipt_handle(handle.clone())
            .send()
            .await
            .unwrap();
        stage
            .client
            .delete_message()
            .queue_url(&url)
            .set_receipt_handle(handle)
            .send()
            .await
            .unwrap();
        assert_eq!(
            stage
                .count(
                    &url,
                    QueueAttributeName::ApproximateNumberOfMessagesNotVisible
                )
                .await,
            "1"
        );
    })
    .await;
    std::fs::remove_dir_all(&folder).unwrap();
}
