//! The shapes of requests and answers, with SQS's own names. A request's unknown members are not looked at, as on AWS.

use super::super::model::exchange::Send;
use super::super::model::message::Attribute;
use super::super::model::moves::Status;
use super::super::model::refusal::{Code, Refusal};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

macro_rules! request {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Default, Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        pub struct $name { $(pub $field: $type,)* }
    )*};
}

request! {
    /// CreateQueue, GetQueueUrl.
    CreateQueue { queue_name: Option<String>, attributes: BTreeMap<String, String>, }
    /// ReceiveMessage, GetQueueAttributes, and every action that takes only a queue.
    Asked {
        queue_url: Option<String>,
        attribute_names: Vec<String>,
        message_system_attribute_names: Vec<String>,
        message_attribute_names: Vec<String>,
        max_number_of_messages: Option<i64>,
        visibility_timeout: Option<i64>,
        wait_time_seconds: Option<i64>,
        receive_request_attempt_id: Option<String>,
    }
    /// SetQueueAttributes.
    SetQueueAttributes { queue_url: Option<String>, attributes: BTreeMap<String, String>, }
    /// SendMessage, and an entry of its batch.
    SendMessage {
        id: Option<String>,
        queue_url: Option<String>,
        message_body: Option<String>,
        delay_seconds: Option<i64>,
        message_attributes: BTreeMap<String, Attribute>,
        message_system_attributes: BTreeMap<String, Attribute>,
        message_deduplication_id: Option<String>,
        message_group_id: Option<String>,
    }
    /// DeleteMessage, ChangeMessageVisibility, and an entry of their batches.
    Held {
        id: Option<String>,
        queue_url: Option<String>,
        receipt_handle: Option<String>,
        visibility_timeout: Option<i64>,
    }
    /// ListQueues, ListDeadLetterSourceQueues.
    ListQueues {
        queue_url: Option<String>,
        queue_name_prefix: Option<String>,
        next_token: Option<String>,
        max_results: Option<i64>,
    }
    /// StartMessageMoveTask, ListMessageMoveTasks.
    StartMove {
        source_arn: Option<String>,
        destination_arn: Option<String>,
        max_number_of_messages_per_second: Option<i64>,
        max_results: Option<i64>,
    }
    /// CancelMessageMoveTask.
    CancelMove { task_handle: Option<String>, }
}

/// A batch of sends, deletes or changes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Batch<T> {
    pub queue_url: Option<String>,
    #[serde(default = "Vec::new")]
    pub entries: Vec<T>,
}

impl SendMessage {
    /// What the broker takes.
    pub fn to_send(&self) -> Result<Send, Refusal> {
        let mut system = self.message_system_attributes.clone();
        let trace = system.remove("AWSTraceHeader");
        if let Some(name) = system.keys().next() {
            return Err(Refusal::new(
                Code::InvalidParameterValue,
                format!("Message system attribute name '{name}' is invalid."),
            ));
        }
        if trace
            .as_ref()
            .is_some_and(|trace| trace.data_type != "String" || trace.string_value.is_none())
        {
            return Err(Refusal::new(
                Code::InvalidParameterValue,
                "The message system attribute 'AWSTraceHeader' must be a String.",
            ));
        }
        Ok(Send {
            body: self.message_body.clone().unwrap_or_default(),
            delay: self.delay_seconds,
            attributes: self.message_attributes.clone(),
            trace,
            group: self.message_group_id.clone(),
            deduplication: self.message_deduplication_id.clone(),
        })
    }
}

/// CreateQueue, GetQueueUrl.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueUrl {
    pub queue_url: String,
}

/// ListQueues.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueUrls {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub queue_urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// ListDeadLetterSourceQueues: SQS writes this one's list with a small letter.
#[derive(Debug, Serialize)]
pub struct SourceQueueUrls {
    #[serde(rename = "queueUrls")]
    pub queue_urls: Vec<String>,
    #[serde(rename = "NextToken", skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// GetQueueAttributes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct QueueAttributes {
    pub attributes: BTreeMap<String, String>,
}

/// SendMessage, and a successful entry of its batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SentMessage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub message_id: String,
    #[serde(rename = "MD5OfMessageBody")]
    pub md5_of_message_body: String,
    #[serde(
        rename = "MD5OfMessageAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    pub md5_of_message_attributes: Option<String>,
    #[serde(
        rename = "MD5OfMessageSystemAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    pub md5_of_message_system_attributes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence_number: Option<String>,
}

/// ReceiveMessage; without a message there is no list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Received<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<ReceivedMessage<'a>>,
}

/// One received message.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ReceivedMessage<'a> {
    pub message_id: &'a str,
    pub receipt_handle: String,
    #[serde(rename = "MD5OfBody")]
    pub md5_of_body: String,
    pub body: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<&'static str, String>,
    #[serde(
        rename = "MD5OfMessageAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    pub md5_of_message_attributes: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub message_attributes: BTreeMap<&'a str, &'a Attribute>,
}

/// The answer to a batch: it is a success even when every entry failed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct BatchAnswer<T> {
    pub successful: Vec<T>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<FailedEntry>,
}

/// A successful entry that says nothing more.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DoneEntry {
    pub id: String,
}

/// A failed entry of a batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FailedEntry {
    pub id: String,
    pub sender_fault: bool,
    pub code: &'static str,
    pub message: String,
}

/// StartMessageMoveTask.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TaskHandle {
    pub task_handle: String,
}

/// CancelMessageMoveTask.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CancelledMove {
    pub approximate_number_of_messages_moved: u64,
}

/// ListMessageMoveTasks.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MoveTasks<'a> {
    pub results: Vec<MoveTask<'a>>,
}

/// One task.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MoveTask<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_handle: Option<&'a String>,
    pub status: Status,
    pub source_arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_number_of_messages_per_second: Option<u32>,
    pub approximate_number_of_messages_moved: u64,
    pub approximate_number_of_messages_to_move: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_reason: Option<&'a String>,
    pub started_timestamp: u64,
}
