//! The AWS JSON 1.0 protocol: an action's name and a JSON text in, a JSON text or a [`Refusal`] out.
//!
//! Every action but ReceiveMessage is answered here in one go; a receive may wait, so it is only read and written
//! here, and the waiting is `http`'s.

mod batch;
mod shapes;

use super::model::Broker;
use super::model::exchange::{Delivery, Receive};
use super::model::message::{self, Attribute, Message};
use super::model::moves::Status;
use super::model::refusal::{Code, Refusal};
use serde::{Serialize, de::DeserializeOwned};
use shapes::*;
use std::collections::BTreeMap;

/// What a request needs beside its text.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// `http://HOST:PORT/ACCOUNT` as the client sees it.
    pub base: &'a str,
    /// Milliseconds since 1970.
    pub now: u64,
    /// Entries of a batch that are refused, counted from 0, and with what: a fault of the test's making.
    pub refuse: Option<(Code, &'a [usize])>,
}

impl Context<'_> {
    fn url(&self, queue: &str) -> String {
        format!("{}/{queue}", self.base)
    }
}

/// Answers any action but ReceiveMessage.
pub fn answer(
    broker: &mut Broker,
    action: &str,
    body: &[u8],
    cx: Context,
) -> Result<Vec<u8>, Refusal> {
    match action {
        "SendMessage" => send(broker, &read(body)?, cx),
        "SendMessageBatch" => batch::send(broker, read(body)?, cx),
        "DeleteMessage" => delete(broker, &read(body)?, cx),
        "DeleteMessageBatch" => batch::delete(broker, &read(body)?, cx),
        "ChangeMessageVisibility" => change_visibility(broker, &read(body)?, cx),
        "ChangeMessageVisibilityBatch" => batch::change_visibility(broker, &read(body)?, cx),
        "CreateQueue" => create(broker, read(body)?, cx),
        "GetQueueUrl" => get_url(broker, read(body)?, cx),
        "DeleteQueue" => {
            broker.remove(&queue_of(&read(body)?)?, cx.now)?;
            nothing()
        }
        "PurgeQueue" => {
            broker.purge(&queue_of(&read(body)?)?, cx.now)?;
            nothing()
        }
        "GetQueueAttributes" => get_attributes(broker, &read(body)?, cx),
        "SetQueueAttributes" => {
            let asked: SetQueueAttributes = read(body)?;
            broker.set_attributes(&name_in_url(asked.queue_url)?, &asked.attributes, cx.now)?;
            nothing()
        }
        "ListQueues" => list_queues(broker, &read(body)?, cx),
        "ListDeadLetterSourceQueues" => list_sources(broker, &read(body)?, cx),
        "StartMessageMoveTask" => start_move(broker, read(body)?, cx),
        "ListMessageMoveTasks" => list_moves(broker, read(body)?),
        "CancelMessageMoveTask" => {
            let asked: CancelMove = read(body)?;
            let moved = broker.cancel_move(&need("TaskHandle", asked.task_handle)?)?;
            write(&CancelledMove {
                approximate_number_of_messages_moved: moved,
            })
        }
        "" => Err(Refusal::new(
            Code::InvalidAction,
            "The header X-Amz-Target must name an action: this endpoint speaks the AWS JSON 1.0 protocol alone.",
        )),
        _ => Err(Refusal::new(
            Code::InvalidAction,
            format!("The action {action} is not known to this endpoint."),
        )),
    }
}

fn create(broker: &mut Broker, asked: CreateQueue, cx: Context) -> Result<Vec<u8>, Refusal> {
    let name = need("QueueName", asked.queue_name)?;
    broker.create(&name, &asked.attributes, cx.now)?;
    let queue_url = cx.url(&name);
    write(&QueueUrl { queue_url })
}

fn get_url(broker: &mut Broker, asked: CreateQueue, cx: Context) -> Result<Vec<u8>, Refusal> {
    let name = need("QueueName", asked.queue_name)?;
    broker.touch(&name, cx.now);
    broker.queue(&name, cx.now)?;
    let queue_url = cx.url(&name);
    write(&QueueUrl { queue_url })
}

fn get_attributes(broker: &mut Broker, asked: &Asked, cx: Context) -> Result<Vec<u8>, Refusal> {
    let name = queue_of(asked)?;
    broker.touch(&name, cx.now);
    let attributes = broker.get_attributes(&name, &asked.attribute_names, cx.now)?;
    write(&QueueAttributes { attributes })
}

fn start_move(broker: &mut Broker, asked: StartMove, cx: Context) -> Result<Vec<u8>, Refusal> {
    let source = need("SourceArn", asked.source_arn)?;
    let rate = asked.max_number_of_messages_per_second;
    let to = asked.destination_arn.as_deref();
    let task_handle = broker.start_move(&source, to, rate, cx.now)?;
    write(&TaskHandle { task_handle })
}

/// A ReceiveMessage that was read and checked.
#[derive(Debug)]
pub struct ReceiveCall {
    /// The queue's name.
    pub queue: String,
    /// What to ask the broker.
    pub receive: Receive,
    /// Seconds to wait for a message at most.
    pub wait: u64,
    asked: Asked,
}

/// Reads a ReceiveMessage; looks into the queue for its own wait time.
pub fn read_receive(broker: &mut Broker, body: &[u8], cx: Context) -> Result<ReceiveCall, Refusal> {
    let asked: Asked = read(body)?;
    let queue = queue_of(&asked)?;
    broker.touch(&queue, cx.now);
    let own_wait = broker.queue(&queue, cx.now)?.attributes.wait;
    let wait = asked.wait_time_seconds.unwrap_or(i64::from(own_wait));
    if !(0..=20).contains(&wait) {
        let reason = "Must be >= 0 and <= 20, if provided.";
        return Err(Refusal::parameter("WaitTimeSeconds", wait, reason));
    }
    let max = asked.max_number_of_messages.unwrap_or(1);
    if !(1..=10).contains(&max) {
        let reason = "Must be between 1 and 10, if provided.";
        return Err(Refusal::parameter("MaxNumberOfMessages", max, reason));
    }
    Ok(ReceiveCall {
        receive: Receive {
            max: max as usize,
            visibility: asked.visibility_timeout,
            attempt: asked.receive_request_attempt_id.clone(),
        },
        wait: wait as u64,
        queue,
        asked,
    })
}

/// The answer to a ReceiveMessage.
pub fn write_receive(
    broker: &mut Broker,
    call: &ReceiveCall,
    found: Vec<Delivery>,
    cx: Context,
) -> Result<Vec<u8>, Refusal> {
    let sender = broker.account().to_owned();
    let queue = broker.queue(&call.queue, cx.now)?;
    let fifo = queue.attributes.fifo;
    let messages = found
        .into_iter()
        .filter_map(|delivery| Some((queue.message(delivery.seq)?, delivery.handle)))
        .map(|(message, receipt_handle)| {
            let wanted = |name: &str| wants_attribute(&call.asked.message_attribute_names, name);
            let picked = message.attributes.iter().filter(|(name, _)| wanted(name));
            let picked: BTreeMap<&str, &Attribute> = picked.map(|(n, a)| (n.as_str(), a)).collect();
            ReceivedMessage {
                message_id: &message.id,
                receipt_handle,
                md5_of_body: message::md5_of_body(&message.body),
                body: &message.body,
                attributes: system_attributes(message, &call.asked, fifo, &sender),
                md5_of_message_attributes: message::md5_of_attributes(
                    picked.iter().map(|(n, a)| (*n, *a)),
                ),
                message_attributes: picked,
            }
        })
        .collect();
    write(&Received { messages })
}

/// `All`, `.*`, a whole name, or a prefix with `.*` behind it.
fn wants_attribute(wanted: &[String], name: &str) -> bool {
    wanted.iter().any(|wanted| match wanted.strip_suffix(".*") {
        Some(prefix) => name.starts_with(prefix),
        None => wanted == "All" || wanted == name,
    })
}

/// The message's system attributes, those that were asked for by either of the two names of the list.
fn system_attributes(
    message: &Message,
    asked: &Asked,
    fifo: bool,
    sender: &str,
) -> BTreeMap<&'static str, String> {
    let known = [
        ("SenderId", Some(sender.to_owned())),
        ("SentTimestamp", Some(message.sent.to_string())),
        (
            "ApproximateReceiveCount",
            Some(message.receives.to_string()),
        ),
        (
            "ApproximateFirstReceiveTimestamp",
            message.first_received.map(|at| at.to_string()),
        ),
        ("SequenceNumber", fifo.then(|| sequence_number(message.seq))),
        ("MessageGroupId", message.group.clone()),
        ("MessageDeduplicationId", message.deduplication.clone()),
        (
            "AWSTraceHeader",
            message
                .trace
                .as_ref()
                .and_then(|trace| trace.string_value.clone()),
        ),
        ("DeadLetterQueueSourceArn", message.dead_from.clone()),
    ];
    let wanted = |name: &str| {
        let mut lists = asked
            .attribute_names
            .iter()
            .chain(&asked.message_system_attribute_names);
        lists.any(|wanted| wanted == "All" || wanted == name)
    };
    let known = known.into_iter().filter(|(name, _)| wanted(name));
    known
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

/// 20 digits, as on AWS.
fn sequence_number(seq: u64) -> String {
    format!("{seq:020}")
}

fn send(broker: &mut Broker, asked: &SendMessage, cx: Context) -> Result<Vec<u8>, Refusal> {
    let name = name_in_url(asked.queue_url.clone())?;
    broker.touch(&name, cx.now);
    let sent = send_one(broker, &name, asked, cx)?;
    write(&sent)
}

fn send_one(
    broker: &mut Broker,
    name: &str,
    asked: &SendMessage,
    cx: Context,
) -> Result<SentMessage, Refusal> {
    let send = asked.to_send()?;
    let md5_of_message_system_attributes =
        message::md5_of_attributes(send.trace.iter().map(|trace| ("AWSTraceHeader", trace)));
    let md5_of_message_attributes =
        message::md5_of_attributes(send.attributes.iter().map(|(name, a)| (name.as_str(), a)));
    let md5_of_message_body = message::md5_of_body(&send.body);
    let sent = broker.send(name, send, cx.now)?;
    let fifo = broker.queue(name, cx.now)?.attributes.fifo;
    Ok(SentMessage {
        id: None,
        message_id: sent.id,
        md5_of_message_body,
        md5_of_message_attributes,
        md5_of_message_system_attributes,
        sequence_number: fifo.then(|| sequence_number(sent.seq)),
    })
}

fn delete(broker: &mut Broker, asked: &Held, cx: Context) -> Result<Vec<u8>, Refusal> {
    let name = name_in_url(asked.queue_url.clone())?;
    let handle = need("ReceiptHandle", asked.receipt_handle.as_deref())?;
    broker.delete(&name, handle, cx.now)?;
    nothing()
}

fn change_visibility(broker: &mut Broker, asked: &Held, cx: Context) -> Result<Vec<u8>, Refusal> {
    let name = name_in_url(asked.queue_url.clone())?;
    let handle = need("ReceiptHandle", asked.receipt_handle.as_deref())?;
    let timeout = need("VisibilityTimeout", asked.visibility_timeout)?;
    broker.change_visibility(&name, handle, timeout, cx.now)?;
    nothing()
}

fn list_queues(broker: &Broker, asked: &ListQueues, cx: Context) -> Result<Vec<u8>, Refusal> {
    let names = broker.names(asked.queue_name_prefix.as_deref().unwrap_or_default());
    let (names, next_token) = page(names, asked)?;
    let queue_urls = names.iter().map(|name| cx.url(name)).collect();
    write(&QueueUrls {
        queue_urls,
        next_token,
    })
}

fn list_sources(broker: &mut Broker, asked: &ListQueues, cx: Context) -> Result<Vec<u8>, Refusal> {
    let name = name_in_url(asked.queue_url.clone())?;
    let (names, next_token) = page(broker.dead_letter_sources(&name, cx.now)?, asked)?;
    let queue_urls = names.iter().map(|name| cx.url(name)).collect();
    write(&SourceQueueUrls {
        queue_urls,
        next_token,
    })
}

/// One page of names; its token is the last name on it. Without `MaxResults` there is no paging, but 1000 at most.
fn page(
    mut names: Vec<String>,
    asked: &ListQueues,
) -> Result<(Vec<String>, Option<String>), Refusal> {
    let max = asked.max_results.unwrap_or(1000);
    if !(1..=1000).contains(&max) {
        return Err(Refusal::parameter(
            "MaxResults",
            max,
            "Must be between 1 and 1000, if provided.",
        ));
    }
    if let Some(last) = &asked.next_token {
        names.retain(|name| name > last);
    }
    let more = names.len() > max as usize;
    names.truncate(max as usize);
    let next = names
        .last()
        .filter(|_| more && asked.max_results.is_some())
        .cloned();
    Ok((names, next))
}

fn list_moves(broker: &Broker, asked: StartMove) -> Result<Vec<u8>, Refusal> {
    let max = asked.max_results.unwrap_or(1);
    if !(1..=10).contains(&max) {
        return Err(Refusal::parameter(
            "MaxResults",
            max,
            "Must be between 1 and 10, if provided.",
        ));
    }
    let source = need("SourceArn", asked.source_arn)?;
    let results = broker
        .list_moves(&source, max as usize)?
        .into_iter()
        .map(|task| MoveTask {
            // As on AWS, an ended task has no handle: there is nothing to cancel.
            task_handle: (task.status == Status::Running).then_some(&task.id),
            status: task.status,
            source_arn: broker.arn(&task.source),
            destination_arn: task.destination.as_ref().map(|name| broker.arn(name)),
            max_number_of_messages_per_second: task.rate,
            approximate_number_of_messages_moved: task.moved,
            approximate_number_of_messages_to_move: task.to_move,
            failure_reason: task.reason.as_ref(),
            started_timestamp: task.began,
        })
        .collect();
    write(&MoveTasks { results })
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    // serde's own message may quote the body, which is never shown.
    serde_json::from_slice(body).map_err(|error| {
        Refusal::new(
            Code::SerializationException,
            format!(
                "The request is not what the action takes (line {}, column {}).",
                error.line(),
                error.column()
            ),
        )
    })
}

fn write(answer: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(answer)
        .map_err(|_| Refusal::new(Code::InternalFailure, "The answer cannot be written."))
}

fn nothing() -> Result<Vec<u8>, Refusal> {
    Ok(b"{}".to_vec())
}

fn need<T>(name: &str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or_else(|| Refusal::missing(name))
}

fn queue_of(asked: &Asked) -> Result<String, Refusal> {
    name_in_url(asked.queue_url.clone())
}

/// The last part of a queue's URL, whatever host stands before it: a container may know the endpoint by another
/// name than its peer.
fn name_in_url(url: Option<String>) -> Result<String, Refusal> {
    let url = need("QueueUrl", url)?;
    let name = url
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    Ok(name.to_owned())
}
