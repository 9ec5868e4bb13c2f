//! The entries of batch calls, and what became of each.
//!
//! A batch is answered with 200 though entries of it failed, so every entry has an end of its own. One that the
//! answer does not mention at all counts as failed.

use super::{Attribute, Value};
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
    DeleteMessageBatchRequestEntry, MessageAttributeValue, SendMessageBatchRequestEntry,
};
use std::fmt;
use std::time::Duration;

/// The most bytes of a message with its attributes, and of a batch of them; SQS's own limit since August 2025.
pub const MOST_BYTES: usize = 1 << 20;

/// For how long a message stays hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Of the latest receive.
    pub handle: String,
    /// From now, in whole seconds; 0 gives it back.
    pub time: Duration,
}

/// A message to send. Its `Debug` does not show the body.
#[derive(Clone, Default)]
pub struct Outgoing {
    /// The text.
    pub body: String,
    /// Up to ten.
    pub attributes: Vec<Attribute>,
    /// Of a FIFO queue.
    pub group: Option<String>,
    /// Of a FIFO queue: a second message with the same one within 5 minutes is not taken.
    pub deduplication: Option<String>,
    /// How long it cannot be received; not in a FIFO queue.
    pub delay: Option<Duration>,
}

/// What became of one entry of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryEnd {
    /// Done.
    Done,
    /// Refused for good (4xx): the handle is stale, the message gone, the text not allowed. With SQS's words.
    Refused(String),
    /// Not done, and another try may help.
    Failed(String),
}

impl Outgoing {
    /// What SQS counts: body, and name, type and value of each attribute.
    pub fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|attribute| {
            let value = match &attribute.value {
                Value::Text(text) => text.len(),
                Value::Bytes(bytes) => bytes.len(),
            };
            attribute.name.len() + attribute.kind.len() + value
        });
        self.body.len() + attributes.sum::<usize>()
    }

    /// How many of the first of `messages` fit one batch; at least one, where there is one.
    pub fn fitting(messages: &[Outgoing]) -> usize {
        let mut bytes = 0;
        let fitting = messages.iter().take(super::BATCH).take_while(|message| {
            bytes += message.bytes();
            bytes <= MOST_BYTES
        });
        fitting.count().max(usize::from(!messages.is_empty()))
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outgoing({} bytes)", self.bytes())
    }
}

/// The end of each of `count` entries, whose ids are their places.
pub(super) fn ends(count: usize, failed: &[BatchResultErrorEntry]) -> Vec<EntryEnd> {
    // The SDK keeps the list of those that went well too; what failed says all.
    let end = |place: usize| {
        let id = place.to_string();
        let Some(entry) = failed.iter().find(|entry| entry.id == id) else {
            return EntryEnd::Done;
        };
        let message = super::aws::brief(entry.message().unwrap_or_default());
        let text = match message.as_str() {
            "" => entry.code.clone(),
            message => format!("{}: {message}", entry.code),
        };
        let passing = !entry.sender_fault || super::refusal::is_passing(&entry.code);
        if passing {
            EntryEnd::Failed(text)
        } else {
            EntryEnd::Refused(text)
        }
    };
    (0..count).map(end).collect()
}

// The builders fail only where a required field is missing, and none is: an entry that cannot be built is left out.

pub(super) fn deletions(handles: &[String]) -> Vec<DeleteMessageBatchRequestEntry> {
    let entries = handles.iter().enumerate().map(|(place, handle)| {
        DeleteMessageBatchRequestEntry::builder()
            .id(place.to_string())
            .receipt_handle(handle)
            .build()
    });
    entries.filter_map(Result::ok).collect()
}

pub(super) fn changes(entries: &[Entry]) -> Vec<ChangeMessageVisibilityBatchRequestEntry> {
    let entries = entries.iter().enumerate().map(|(place, entry)| {
        ChangeMessageVisibilityBatchRequestEntry::builder()
            .id(place.to_string())
            .receipt_handle(&entry.handle)
            .visibility_timeout(super::whole(entry.time.as_secs()))
            .build()
    });
    entries.filter_map(Result::ok).collect()
}

pub(super) fn sends(messages: &[Outgoing]) -> Vec<SendMessageBatchRequestEntry> {
    let entries = messages.iter().enumerate().map(|(place, message)| {
        let mut entry = SendMessageBatchRequestEntry::builder()
            .id(place.to_string())
            .message_body(&message.body)
            .set_message_group_id(message.group.clone())
            .set_message_deduplication_id(message.deduplication.clone())
            .set_delay_seconds(message.delay.map(|delay| super::whole(delay.as_secs())));
        for attribute in &message.attributes {
            entry = entry.message_attributes(&attribute.name, value(attribute)?);
        }
        entry.build().ok()
    });
    entries.flatten().collect()
}

fn value(attribute: &Attribute) -> Option<MessageAttributeValue> {
    let value = MessageAttributeValue::builder().data_type(&attribute.kind);
    let value = match &attribute.value {
        Value::Text(text) => value.string_value(text),
        Value::Bytes(bytes) => value.binary_value(Blob::new(bytes.clone())),
    };
    value.build().ok()
}
