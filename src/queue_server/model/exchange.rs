//! Sending, receiving, and what may be done with a received message.

use super::attributes::{MAX_SIZE, MAX_VISIBILITY};
use super::message::{self, Attribute, Handle, Message, Seq};
use super::queue::{MEMORY, Queue};
use super::record::{Change, Record, Sent};
use super::refusal::{Code, Refusal};
use super::{Broker, Stale};
use std::collections::BTreeMap;

/// A message to send.
#[derive(Debug, Clone, Default)]
pub struct Send {
    /// The text.
    pub body: String,
    /// `DelaySeconds`; none for the queue's own.
    pub delay: Option<i64>,
    /// `MessageAttributes`.
    pub attributes: BTreeMap<String, Attribute>,
    /// `AWSTraceHeader`.
    pub trace: Option<Attribute>,
    /// `MessageGroupId`.
    pub group: Option<String>,
    /// `MessageDeduplicationId`.
    pub deduplication: Option<String>,
}

/// A receive.
#[derive(Debug, Clone, Default)]
pub struct Receive {
    /// How many messages at most, 1 to 10.
    pub max: usize,
    /// `VisibilityTimeout` in seconds; none for the queue's own.
    pub visibility: Option<i64>,
    /// `ReceiveRequestAttemptId`; only a FIFO queue looks at it.
    pub attempt: Option<String>,
}

/// A message that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its place in the queue.
    pub seq: Seq,
    /// The handle of this receive.
    pub handle: String,
}

impl Broker {
    /// Sends a message; a FIFO queue that saw its deduplication id within five minutes answers as it did then.
    pub fn send(&mut self, name: &str, send: Send, now: u64) -> Result<Sent, Refusal> {
        let size = message::check(&send.body, &send.attributes)?;
        let (id, seq) = (self.uuid(), self.next_place());
        let queue = self.queue(name, now)?;
        if size > queue.attributes.max_size as usize {
            return Err(Refusal::new(
                Code::InvalidParameterValue,
                format!(
                    "One or more parameters are invalid. Reason: Message must be shorter than {} bytes.",
                    queue.attributes.max_size
                ),
            ));
        }
        let (delay, deduplication) = check_for_type(queue, &send)?;
        let now = self.clock;
        let message = Message {
            seq,
            id,
            body: send.body,
            attributes: send.attributes,
            trace: send.trace,
            group: send.group,
            deduplication,
            sent: now,
            aged_from: now,
            until: now + u64::from(delay) * 1000,
            receives: 0,
            first_received: None,
            lease: None,
            dead_from: None,
        };
        let queue = self.queue(name, now)?;
        if let Some(first) = queue
            .deduplication_key(&message)
            .and_then(|key| queue.seen(&key))
        {
            return Ok(first.clone());
        }
        let sent = Sent {
            id: message.id.clone(),
            seq,
        };
        self.commit_in(name, Change::Sent(message));
        Ok(sent)
    }

    /// Refuses a batch that is too long as a whole: 1 MiB.
    pub fn check_batch<'a>(&self, sends: impl Iterator<Item = &'a Send>) -> Result<(), Refusal> {
        let size: usize = sends
            .map(|send| message::check(&send.body, &send.attributes).unwrap_or(send.body.len()))
            .sum();
        if size <= MAX_SIZE as usize {
            return Ok(());
        }
        Err(Refusal::new(
            Code::BatchRequestTooLong,
            format!(
                "Batch requests cannot be longer than {MAX_SIZE} bytes. You have sent {size} bytes."
            ),
        ))
    }

    /// Hands out what is visible, at most `max` messages. What was received too often goes to the dead-letter queue
    /// instead, where there is one. `OverLimit` when too much is in flight; a long poll takes that for nothing.
    pub fn receive(
        &mut self,
        name: &str,
        receive: &Receive,
        now: u64,
    ) -> Result<Vec<Delivery>, Refusal> {
        let queue = self.queue(name, now)?;
        let fifo = queue.attributes.fifo;
        let visibility = seconds(
            receive
                .visibility
                .unwrap_or(i64::from(queue.attributes.visibility)),
        )?;
        let until = self.clock + visibility * 1000;
        let attempt = receive.attempt.clone().filter(|_| fifo);
        if let Some(again) = attempt
            .as_deref()
            .and_then(|id| self.receive_again(name, id, until))
        {
            return Ok(again);
        }
        let leases = loop {
            let in_flight = self.queue(name, now)?.counts().in_flight;
            let room = self.options.in_flight_limit.saturating_sub(in_flight);
            if room == 0 && !fifo {
                return Err(Refusal::new(
                    Code::OverLimit,
                    "Too many messages are in flight: delete some before receiving more.",
                ));
            }
            let found = self.queues[name].candidates(receive.max.min(room));
            if !self.give_up(name, &found) {
                break found;
            }
        };
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        let leases: Vec<_> = leases.into_iter().map(|seq| (seq, self.draw())).collect();
        let deliveries = self.deliveries(name, &leases);
        let received = Change::Received {
            at: self.clock,
            until,
            leases,
            attempt,
        };
        self.commit_in(name, received);
        Ok(deliveries)
    }

    /// The same messages and handles for the same attempt id, hidden anew, unless one was touched since.
    fn receive_again(&mut self, name: &str, id: &str, until: u64) -> Option<Vec<Delivery>> {
        let queue = self.queues.get(name)?;
        let attempt = queue
            .attempt(id)
            .filter(|attempt| attempt.at + MEMORY > self.clock)?;
        let leases = attempt.leases.clone();
        let untouched = |&(seq, token): &(Seq, u64)| {
            let lease = queue
                .message(seq)
                .and_then(|message| message.lease.as_ref());
            queue.is_in_flight(seq) && lease.is_some_and(|l| l.token == token && !l.changed)
        };
        if !leases.iter().all(untouched) {
            return None;
        }
        let hidden = Change::Hidden {
            messages: leases.iter().map(|(seq, _)| *seq).collect(),
            until,
            asked: false,
        };
        self.commit_in(name, hidden);
        Some(self.deliveries(name, &leases))
    }

    fn deliveries(&self, name: &str, leases: &[(Seq, u64)]) -> Vec<Delivery> {
        let number = self.queues[name].number;
        let deliver = |&(seq, token): &(Seq, u64)| Delivery {
            seq,
            handle: Handle {
                queue: number,
                seq,
                token,
            }
            .text(),
        };
        leases.iter().map(deliver).collect()
    }

    /// Moves those of `found` that were received too often; whether there were any.
    fn give_up(&mut self, name: &str, found: &[Seq]) -> bool {
        let queue = &self.queues[name];
        let Some(redrive) = &queue.attributes.redrive else {
            return false;
        };
        let Some(to) = self.name_in_arn(&redrive.target) else {
            return false;
        };
        let too_often = |seq: &&Seq| {
            queue
                .message(**seq)
                .is_some_and(|message| message.receives >= redrive.max_receives)
        };
        let dead: Vec<Seq> = found.iter().filter(too_often).copied().collect();
        for &message in &dead {
            self.commit(Record::Dead {
                queue: name.to_owned(),
                message,
                to: to.clone(),
                place: self.next_place(),
                at: self.clock,
            });
        }
        !dead.is_empty()
    }

    /// Deletes a message. One that is gone already is deleted; an old handle does as [`Stale`] says.
    pub fn delete(&mut self, name: &str, handle: &str, now: u64) -> Result<(), Refusal> {
        let expired = || {
            let reason = "The receipt handle has expired.";
            Refusal::parameter("ReceiptHandle", handle, reason)
        };
        let found = self.find(name, handle, now)?;
        let queue = &self.queues[name];
        // A FIFO queue does not let the holder of an ended lease delete: the group has moved on.
        let fifo = queue.attributes.fifo;
        let seq = match found {
            Found::Gone => return Ok(()),
            Found::Stale(_) if self.options.stale == Stale::Keep && fifo => return Err(expired()),
            Found::Stale(_) if self.options.stale == Stale::Keep => return Ok(()),
            Found::Stale(seq) | Found::Held(seq) => seq,
        };
        if fifo && !queue.is_in_flight(seq) {
            return Err(expired());
        }
        self.commit_in(name, Change::Deleted(seq));
        Ok(())
    }

    /// Sets how long from now a message stays hidden, in seconds; 0 gives it back. Refused when the message is not in
    /// flight, and when it would be held for more than 12 hours from its receive.
    pub fn change_visibility(
        &mut self,
        name: &str,
        handle: &str,
        timeout: i64,
        now: u64,
    ) -> Result<(), Refusal> {
        let timeout = seconds(timeout)?;
        let gone = || {
            Refusal::parameter(
                "ReceiptHandle",
                handle,
                "Message does not exist or is not available for visibility timeout change.",
            )
        };
        let seq = match self.find(name, handle, now)? {
            Found::Gone => return Err(gone()),
            Found::Stale(..) if self.options.stale == Stale::Keep => return Err(gone()),
            Found::Stale(seq) | Found::Held(seq) => seq,
        };
        let message = self.queues[name].message(seq).ok_or_else(gone)?;
        let lease = message.lease.as_ref().ok_or_else(gone)?;
        if message.until <= self.clock {
            return Err(Refusal::new(
                Code::MessageNotInflight,
                "The specified message isn't in flight.",
            ));
        }
        // The wall clock may have gone back between two lives.
        let held = self.clock.saturating_sub(lease.received) / 1000;
        if held + timeout > u64::from(MAX_VISIBILITY) {
            return Err(Refusal::parameter(
                "VisibilityTimeout",
                timeout,
                "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]",
            ));
        }
        let hidden = Change::Hidden {
            messages: vec![seq],
            until: self.clock + timeout * 1000,
            asked: true,
        };
        self.commit_in(name, hidden);
        Ok(())
    }

    fn find(&mut self, name: &str, text: &str, now: u64) -> Result<Found, Refusal> {
        let stale = self.options.stale;
        let queue = self.queue(name, now)?;
        let invalid = || {
            Refusal::new(
                Code::ReceiptHandleIsInvalid,
                format!("The input receipt handle \"{text}\" is not a valid receipt handle."),
            )
        };
        let handle = Handle::parse(text)
            .filter(|handle| handle.queue == queue.number)
            .ok_or_else(invalid)?;
        let Some(message) = queue.message(handle.seq) else {
            return Ok(Found::Gone);
        };
        match &message.lease {
            Some(lease) if lease.token == handle.token => Ok(Found::Held(handle.seq)),
            Some(_) if stale == Stale::Error => Err(invalid()),
            Some(_) => Ok(Found::Stale(handle.seq)),
            None => Ok(Found::Gone),
        }
    }
}

/// What a handle points to: nothing, a message that was received again since, or the message as last received.
enum Found {
    Gone,
    Stale(Seq),
    Held(Seq),
}

/// A visibility timeout in seconds, checked: 0 to 43200.
fn seconds(value: i64) -> Result<u64, Refusal> {
    u64::try_from(value)
        .ok()
        .filter(|seconds| *seconds <= u64::from(MAX_VISIBILITY))
        .ok_or_else(|| {
            Refusal::parameter(
                "VisibilityTimeout",
                value,
                "Must be between 0 and 43200, if provided.",
            )
        })
}

/// What a FIFO queue asks for and a standard queue refuses, and the other way round. Returns the delay in seconds
/// and the deduplication id.
fn check_for_type(queue: &Queue, send: &Send) -> Result<(u32, Option<String>), Refusal> {
    const NOT_HERE: &str =
        "The request includes a parameter that is not valid for this queue type.";
    let attributes = &queue.attributes;
    for (name, id) in [
        ("MessageGroupId", &send.group),
        ("MessageDeduplicationId", &send.deduplication),
    ] {
        let well =
            |id: &str| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        if let Some(id) = id.as_deref().filter(|id| !well(id)) {
            return Err(Refusal::parameter(
                name,
                id,
                &format!(
                    "{name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
                ),
            ));
        }
    }
    let delay = match send.delay {
        None => attributes.delay,
        Some(0) if attributes.fifo => attributes.delay,
        Some(delay) if attributes.fifo => {
            return Err(Refusal::parameter("DelaySeconds", delay, NOT_HERE));
        }
        Some(delay) => u32::try_from(delay)
            .ok()
            .filter(|delay| *delay <= 900)
            .ok_or_else(|| {
                Refusal::parameter(
                    "DelaySeconds",
                    delay,
                    "DelaySeconds must be >= 0 and <= 900.",
                )
            })?,
    };
    if !attributes.fifo {
        return match &send.deduplication {
            Some(id) => Err(Refusal::parameter("MessageDeduplicationId", id, NOT_HERE)),
            None => Ok((delay, None)),
        };
    }
    if send.group.is_none() {
        return Err(Refusal::missing("MessageGroupId"));
    }
    let deduplication = match &send.deduplication {
        Some(id) => id.clone(),
        None if attributes.content_deduplication => message::sha256_of_body(&send.body),
        None => {
            return Err(Refusal::new(
                Code::InvalidParameterValue,
                "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
            ));
        }
    };
    Ok((delay, Some(deduplication)))
}
