//! The server over its socket: by the real client of AWS, and by hand where that client will not misbehave.

mod waiting;

use super::*;
use crate::shutdown::{self, Reason, Switch};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::operation::receive_message::ReceiveMessageOutput;
use aws_sdk_sqs::types::{
    DeleteMessageBatchRequestEntry, MessageAttributeValue, MessageSystemAttributeName,
    QueueAttributeName, SendMessageBatchRequestEntry,
};
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running server and a client of it.
struct Stage {
    client: Client,
    address: SocketAddr,
    switch: Switch,
    server: JoinHandle<Result<(), RunError>>,
}

/// Plays a test against a server; the server must end well when it is asked to.
async fn on_stage<F: AsyncFnOnce(&Stage)>(config: Config, play: F) {
    LocalSet::new()
        .run_until(async {
            let (switch, shutdown) = shutdown::channel();
            let (tell, told) = oneshot::channel();
            let config = Config {
                listen: (Ipv4Addr::LOCALHOST, 0).into(),
                ..config
            };
            let server = tokio::task::spawn_local(serve(config, shutdown, |address| {
                tell.send(address).unwrap();
            }));
            let address = told.await.unwrap();
            let stage = Stage {
                client: client(address),
                address,
                switch,
                server,
            };
            play(&stage).await;
            stage.switch.request(Reason::Asked);
            let ended = tokio::time::timeout(Duration::from_secs(5), stage.server).await;
            assert_eq!(ended.unwrap().unwrap(), Ok(()));
        })
        .await;
}

fn client(address: SocketAddr) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("id", "key", None, None, "test"))
        .endpoint_url(format!("http://{address}"))
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http());
    Client::from_conf(config.build())
}

fn code<T: std::fmt::Debug, E: ProvideErrorMetadata>(result: Result<T, E>) -> String {
    result
        .err()
        .and_then(|e| e.code().map(str::to_owned))
        .unwrap_or_default()
}

impl Stage {
    async fn create(&self, name: &str, attributes: &[(QueueAttributeName, &str)]) -> String {
        let mut create = self.client.create_queue().queue_name(name);
        for (name, value) in attributes {
            create = create.attributes(name.clone(), *value);
        }
        create.send().await.unwrap().queue_url.unwrap()
    }

    async fn send(&self, url: &str, body: &str) -> String {
        let sent = self
            .client
            .send_message()
            .queue_url(url)
            .message_body(body)
            .send()
            .await;
        sent.unwrap().message_id.unwrap()
    }

    async fn receive(&self, url: &str, wait: i32) -> ReceiveMessageOutput {
        let receive = self
            .client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(10);
        receive.wait_time_seconds(wait).send().await.unwrap()
    }

    async fn count(&self, url: &str, name: QueueAttributeName) -> String {
        let get = self
            .client
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(name.clone());
        get.send()
            .await
            .unwrap()
            .attributes
            .unwrap()
            .remove(&name)
            .unwrap()
    }

    /// One request by hand; the status, the head and the body of the answer.
    async fn raw(&self, head: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{head}\r\nhost: here:1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    async fn act(&self, action: &str, body: &str) -> (u16, String, String) {
        self.raw(&format!("POST / HTTP/1.1\r\nx-amz-target: AmazonSQS.{action}\r\ncontent-type: application/x-amz-json-1.0"), body)
            .await
    }
}

#[tokio::test]
async fn the_sdk_sends_receives_and_deletes() {
    on_stage(Config::default(), async |stage| {
        let url = stage.create("ingestion", &[]).await;
        assert_eq!(
            url,
            format!("http://{}/000000000000/ingestion", stage.address)
        );
        let found = stage
            .client
            .get_queue_url()
            .queue_name("ingestion")
            .send()
            .await
            .unwrap();
        assert_eq!(found.queue_url.as_deref(), Some(url.as_str()));
        let text = MessageAttributeValue::builder()
            .data_type("String")
            .string_value("v")
            .build()
            .unwrap();
        let bytes = MessageAttributeValue::builder()
            .data_type("Binary")
            .binary_value(aws_sdk_sqs::primitives::Blob::new([0, 1]))
            .build()
            .unwrap();
        let sent = stage
            .client
            .send_message()
            .queue_url(&url)
            .message_body("{\"uuid\": \"ü\"}");
        let sent = sent
            .message_attributes("a", text)
            .message_attributes("b", bytes.clone());
        let sent = sent.send().await.unwrap();
        let receive = stage
            .client
            .receive_message()
            .queue_url(&url)
            .message_attribute_names("All");
        let receive = receive.message_system_attribute_names(MessageSystemAttributeName::All);
        let message = receive.send().await.unwrap().messages.unwrap().remove(0);
        assert_eq!(message.message_id, sent.message_id);
        assert_eq!(message.md5_of_body, sent.md5_of_message_body);
        assert_eq!(
            message.md5_of_message_attributes,
            sent.md5_of_message_attributes
        );
        assert_eq!(message.body.as_deref(), Some("{\"uuid\": \"ü\"}"));
        assert_eq!(message.message_attributes.unwrap()["b"], bytes);
        let system = message.attributes.unwrap();
        assert_eq!(
            system[&MessageSystemAttributeName::ApproximateReceiveCount],
            "1"
        );
        assert!(system.contains_key(&MessageSystemAttributeName::SentTimestamp));
        assert_eq!(
            stage
                .count(
                    &url,
                    QueueAttributeName::ApproximateNumberOfMessagesNotVisible
                )
                .await,
            "1"
        );
        let delete = stage.client.delete_message().queue_url(&url);
        delete
            .receipt_handle(message.receipt_handle.unwrap())
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
            "0"
        );
        assert_eq!(stage.receive(&url, 0).await.messages, None);
        let listed = stage
            .client
            .list_queues()
            .queue_name_prefix("ing")
            .send()
            .await
            .unwrap();
        assert_eq!(listed.queue_urls.unwrap(), [url]);
    })
    .await;
}

#[tokio::test]
async fn refusals_have_the_codes_that_the_sdk_knows() {
    on_stage(Config::default(), async |stage| {
        let url = stage.create("q", &[]).await;
        let missing = stage
            .client
            .get_queue_url()
            .queue_name("none")
            .send()
            .await
            .unwrap_err();
        assert!(
            missing
                .as_service_error()
                .unwrap()
                .is_queue_does_not_exist()
        );
        let other = stage
            .client
            .create_queue()
            .queue_name("q")
            .attributes(QueueAttributeName::DelaySeconds, "1");
        let other = other.send().await.unwrap_err();
        assert!(other.as_service_error().unwrap().is_queue_name_exists());
        let garbage = stage
            .client
            .delete_message()
            .queue_url(&url)
            .receipt_handle("x")
            .send()
            .await
            .unwrap_err();
        assert!(
            garbage
                .as_service_error()
                .unwrap()
                .is_receipt_handle_is_invalid()
        );
        stage.send(&url, "a").await;
        let handle = stage
            .receive(&url, 0)
            .await
            .messages
            .unwrap()
            .remove(0)
            .receipt_handle
            .unwrap();
        let change = |seconds| {
            let change = stage.client.change_message_visibility().queue_url(&url);
            change
                .receipt_handle(&handle)
                .visibility_timeout(seconds)
                .send()
        };
        assert_eq!(code(change(43_201).await), "InvalidParameterValue");
        change(0).await.unwrap();
        let late = change(30).await.unwrap_err();
        assert!(late.as_service_error().unwrap().is_message_not_inflight());
        let receive = || stage.client.receive_message().queue_url(&url);
        assert_eq!(
            code(receive().wait_time_seconds(21).send().await),
            "InvalidParameterValue"
        );
        assert_eq!(
            code(receive().max_number_of_messages(11).send().await),
            "InvalidParameterValue"
        );
        let (status, head, body) = stage.act("GetQueueUrl", r#"{"QueueName":"none"}"#).await;
        assert_eq!(status, 400);
        assert!(
            head.contains("x-amzn-query-error: aws.simplequeueservice.nonexistentqueue;sender"),
            "{head}"
        );
        assert!(
            body.contains(r#""__type":"com.amazonaws.sqs#QueueDoesNotExist""#),
            "{body}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_batch_of_sends_fails_by_entry_or_as_a_whole() {
    on_stage(Config::default(), async |stage| {
        let url = stage.create("q", &[]).await;
        let send = async |entries: &[(&str, &str)]| {
            let mut batch = stage.client.send_message_batch().queue_url(&url);
            for (id, body) in entries {
                let entry = SendMessageBatchRequestEntry::builder().id(*id);
                batch = batch.entries(entry.message_body(*body).build().unwrap());
            }
            batch.send().await
        };
        let sent = send(&[("a", "1"), ("b", "\u{b}"), ("c", "3")])
            .await
            .unwrap();
        assert_eq!(sent.successful.len(), 2);
        let failed = &sent.failed[0];
        assert_eq!(
            (failed.id(), failed.code(), failed.sender_fault()),
            ("b", "InvalidMessageContents", true)
        );
        let half = "x".repeat(524_289);
        for (entries, expected) in [
            (vec![], "EmptyBatchRequest"),
            (vec![("a", "x"); 11], "TooManyEntriesInBatchRequest"),
            (vec![("a", "1"), ("a", "1")], "BatchEntryIdsNotDistinct"),
            (vec![("a b", "1")], "InvalidBatchEntryId"),
            (
                vec![("a", half.as_str()), ("b", &half)],
                "BatchRequestTooLong",
            ),
        ] {
            let code = code(send(&entries).await);
            assert_eq!(code, format!("AWS.SimpleQueueService.{expected}"));
        }
        stage.send(&url, &"x".repeat(1_048_576)).await;
    })
    .await;
}

#[tokio::test]
async fn the_failed_entries_of_a_batch_of_deletes_can_be_sent_again() {
    let faults = vec![Fault {
        action: "DeleteMessageBatch".into(),
        nth: 1,
        kind: FaultKind::Entries(Code::InternalFailure, vec![1]),
    }];
    let config = Config {
        faults,
        ..Config::default()
    };
    on_stage(config, async |stage| {
        let url = stage.create("q", &[]).await;
        for body in ["a", "b", "c"] {
            stage.send(&url, body).await;
        }
        let messages = stage.receive(&url, 0).await.messages.unwrap();
        for (failed, left) in [(vec!["1"], "1"), (vec![], "0")] {
            let mut batch = stage.client.delete_message_batch().queue_url(&url);
            for (id, message) in messages.iter().enumerate() {
                let entry = DeleteMessageBatchRequestEntry::builder().id(id.to_string());
                let entry = entry.receipt_handle(message.receipt_handle().unwrap());
                batch = batch.entries(entry.build().unwrap());
            }
            let deleted = batch.send().await.unwrap();
            let ids: Vec<_> = deleted.failed.iter().map(|entry| entry.id()).collect();
            assert_eq!(ids, failed);
            let count = QueueAttributeName::ApproximateNumberOfMessagesNotVisible;
            assert_eq!(stage.count(&url, count).await, left);
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_the_protocol_is_turned_away() {
    on_stage(Config::default(), async |stage| {
        let json = "content-type: application/x-amz-json-1.0";
        assert_eq!(stage.raw("GET /health HTTP/1.1", "").await.0, 200);
        assert_eq!(stage.raw("GET / HTTP/1.1", "").await.0, 400);
        let form = "POST / HTTP/1.1\r\ncontent-type: application/x-www-form-urlencoded";
        assert!(
            stage
                .raw(form, "Action=ListQueues")
                .await
                .2
                .contains("JSON 1.0")
        );
        let page = format!(
            "POST / HTTP/1.1\r\norigin: http://evil\r\nx-amz-target: AmazonSQS.ListQueues\r\n{json}"
        );
        assert_eq!(stage.raw(&page, "{}").await.0, 403);
        assert!(stage.act("Dance", "{}").await.2.contains("InvalidAction"));
        for body in ["", "[", r#"{"QueueName":5}"#] {
            let (status, _, answer) = stage.act("CreateQueue", body).await;
            assert!(
                status == 400 && answer.contains("SerializationException"),
                "{body}: {answer}"
            );
        }
        let (_, _, answer) = stage
            .act("CreateQueue", r#"{"QueueName":"q","New":{"x":[1]}}"#)
            .await;
        assert_eq!(answer, r#"{"QueueUrl":"http://here:1/000000000000/q"}"#);
    })
    .await;
}
