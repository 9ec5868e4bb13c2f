//! What is written down: every change of the broker's state, as a fact that can be applied again.
//!
//! A record says what became so, never what was asked: applying one takes no decision, so that a replay cannot
//! come to another end than the first time. What passing time does (a lease that ends, a message too old) is in no
//! record: it follows from the times in them.

use super::attributes::Attributes;
use super::message::{Message, Seq};
use super::moves::{Move, Status};
use serde::{Deserialize, Serialize};

/// One change. Times are milliseconds since 1970. The names stand in journals, and stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// No number below this one is given out again. Begins a compacted journal.
    Next(Seq),
    /// A queue was created.
    Created {
        /// Its name.
        queue: String,
        /// The number by which handles know it.
        number: u64,
        /// When.
        at: u64,
        /// Its attributes.
        attributes: Attributes,
    },
    /// A queue was deleted with all in it.
    Removed {
        /// The queue.
        queue: String,
        /// When: its name stays taken for a minute.
        at: u64,
    },
    /// Something changed in the queue of this name.
    In(String, Change),
    /// A message was given up: it went to the dead-letter queue.
    Dead {
        /// The queue it was in.
        queue: String,
        /// The message.
        message: Seq,
        /// The dead-letter queue.
        to: String,
        /// Its place there.
        place: Seq,
        /// When.
        at: u64,
    },
    /// A move of messages out of a dead-letter queue began, or stands (in a compacted journal).
    MoveBegan(Move),
    /// A message was moved back.
    Moved {
        /// The task.
        task: String,
        /// The message's place in the dead-letter queue.
        message: Seq,
        /// The queue it went to.
        to: String,
        /// Its place there.
        place: Seq,
        /// Its new id: SQS takes it for a new message.
        id: String,
        /// When.
        at: u64,
    },
    /// A move ended.
    MoveEnded {
        /// The task.
        task: String,
        /// How.
        status: Status,
        /// Why it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// A change within one queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The queue's attributes were set: these are all of them now.
    Set {
        /// When.
        at: u64,
        /// The attributes.
        attributes: Attributes,
    },
    /// The queue was emptied at this time: there is no second purge for a minute.
    Purged(u64),
    /// A message was sent.
    Sent(Message),
    /// A message stands here with its receives and its lease; only in a compacted journal.
    Held(Message),
    /// A deduplication id was seen; only in a compacted journal.
    Seen {
        /// The id with its group where the scope is the group.
        key: String,
        /// What the first send was answered.
        first: Sent,
        /// When.
        at: u64,
    },
    /// Messages were handed out.
    Received {
        /// When.
        at: u64,
        /// Until when they are hidden.
        until: u64,
        /// The messages and the token of each one's handle.
        leases: Vec<(Seq, u64)>,
        /// The `ReceiveRequestAttemptId` of a FIFO queue's receive.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt: Option<String>,
    },
    /// The end of messages' invisibility was set.
    Hidden {
        /// The messages.
        messages: Vec<Seq>,
        /// The new end.
        until: u64,
        /// Whether it was a client's wish (else it is a replayed receive, which may be replayed again).
        asked: bool,
    },
    /// A message was deleted.
    Deleted(Seq),
}

impl Record {
    /// Whether the client must not be answered before this is on the disk itself. A receive or a change of
    /// visibility that a power failure takes back only makes a message visible too early, which at-least-once
    /// delivery allows; it is still written before the answer, so that a killed server knows its leases.
    pub fn must_be_synced(&self) -> bool {
        !matches!(
            self,
            Record::In(_, Change::Received { .. } | Change::Hidden { .. })
        )
    }
}

impl Change {
    /// The highest place that the change gave out.
    pub fn place(&self) -> Option<Seq> {
        match self {
            Change::Sent(message) | Change::Held(message) => Some(message.seq),
            Change::Seen { first, .. } => Some(first.seq),
            _ => None,
        }
    }
}

/// What a send is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// `MessageId`.
    pub id: String,
    /// The place, which is a FIFO queue's `SequenceNumber`.
    pub seq: Seq,
}
