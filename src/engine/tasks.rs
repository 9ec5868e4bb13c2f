//! What is done with a queue from outside: tasks added, counted, looked at, brought back from the dead letters.
//!
//! The command line and the queue's own HTTP endpoint are two doors to the same functions. Every message is looked at
//! before the first is sent, and none is shown in an error.

use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Deserializer, Map, Value as Json, json};

use super::poll;
use super::steps::Cx;
use crate::outcome::{Exit, RunError};
use crate::roles::scalar::Period;
use crate::roles::schema::MessageSchema;
use crate::roles::spec;
use crate::sys::queue::{
    Again, Ask, Attributes, BATCH, Entry, EntryEnd, MOST_BYTES, Outgoing, Queue, Received, SLACK,
    Value, Wanted,
};
use crate::sys::relay::frame::rfc3339;

/// How long messages that are looked at are hidden while more are asked for.
pub const LOOK: Duration = Duration::from_secs(10);

/// The longest that SQS delays a message.
const LONGEST_DELAY: Duration = Duration::from_secs(900);

/// The longest id that SQS takes for a group or for deduplication, in characters.
const LONGEST_ID: usize = 128;

/// A queue and what belongs to it, as roles.yaml or a command names them; nothing is opened yet.
pub struct Tasks {
    wanted: Wanted,
    dead: Option<Wanted>,
    /// What its messages must fit.
    pub schema: Option<MessageSchema>,
    /// A member of roles.yaml that may have been meant.
    near: Option<String>,
}

/// How messages are sent, as it was asked for.
#[derive(Debug, Clone, Default)]
pub struct Manner {
    /// A duration, such as `30s`.
    pub delay: Option<String>,
    /// Whose order they keep, in a FIFO queue.
    pub group: Option<String>,
    /// Of a FIFO queue: a message of the same text within 5 minutes is not taken again.
    pub deduplication: Option<String>,
}

/// A manner that the queue or SQS does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong.
    pub cause: String,
    /// Which part of the manner it is: `delay`, `group`, `deduplication`.
    pub part: &'static str,
    /// Whether that part is missing; otherwise it is not wanted, or not as it is.
    pub is_missing: bool,
}

/// What became of messages that were to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// The queue.
    pub queue: String,
    /// How many it took.
    pub sent: usize,
    /// How many it did not take.
    #[serde(skip_serializing_if = "is_none")]
    pub missing: usize,
    /// "message 3: why" or "messages 3 to 7: why", for those that it did not take.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_none(count: &usize) -> bool {
    *count == 0
}

/// How many messages there are, as SQS estimates them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Depth {
    /// The queue.
    pub queue: String,
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that somebody has received.
    pub in_flight: u64,
    /// Messages that wait for their delay.
    pub delayed: u64,
    /// Messages among the dead letters, where there is a place for them.
    pub dead: Option<u64>,
    /// That place.
    pub dead_letter: Option<String>,
}

/// Messages that were looked at.
pub struct Peeked {
    /// The queue that was looked into.
    pub queue: String,
    /// The messages.
    pub messages: Vec<Received>,
    /// Whether they could be given back at once; otherwise they come back after [`LOOK`].
    pub are_back: bool,
}

/// A move of dead letters that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Redriven {
    /// From where.
    pub from: String,
    /// To where.
    pub to: String,
    /// How many can be moved, as SQS estimates them.
    pub messages: u64,
}

impl Tasks {
    /// A queue that no member of a role is; `near` is one that has almost its name.
    pub fn named(wanted: Wanted, near: Option<String>) -> Self {
        Self {
            wanted,
            dead: None,
            schema: None,
            near,
        }
    }

    /// The queue of a member.
    pub fn of(spec: &spec::Queue, cx: &Cx) -> Result<Self, RunError> {
        let dead = spec.dead_letter.as_ref();
        let dead = dead.map(|text| cx.text(text)).transpose()?;
        let schema = spec.message_schema.as_ref();
        let schema = schema.map(|schema| MessageSchema::compile(&schema.0));
        Ok(Self {
            wanted: poll::wanted(&cx.text(&spec.queue)?, spec, cx)?,
            dead: dead.map(|name| poll::wanted(&name, spec, cx)).transpose()?,
            schema: schema
                .transpose()
                .map_err(|why| RunError::new(Exit::CONFIG, "cannot use the message_schema", why))?,
            near: None,
        })
    }

    /// Opens the queue.
    pub async fn open(&self) -> Result<Queue, RunError> {
        let opened = Queue::open(&self.wanted).await;
        opened.map_err(|refused| match &self.near {
            Some(near) => refused
                .error
                .with_help(format!("did you mean `{near}`, which roles.yaml has?")),
            None => refused.error,
        })
    }

    /// Opens its dead letters: those of roles.yaml, else the queue's own.
    async fn open_dead(&self, queue: &Attributes) -> Result<Option<Queue>, RunError> {
        let own = || {
            let arn = &queue.redrive.as_ref()?.target;
            let name = arn.rsplit(':').next()?;
            // On a server of one's own the region in the ARN is the server's; a queue named by its URL has its dead
            // letters beside it.
            Some(Wanted {
                name: match (&self.wanted.endpoint, self.wanted.name.rsplit_once('/')) {
                    (Some(_), _) => name.to_owned(),
                    (None, Some((beside, _))) if beside.starts_with("http") => {
                        format!("{beside}/{name}")
                    }
                    (None, _) => arn.clone(),
                },
                ..self.wanted.clone()
            })
        };
        match self.dead.clone().or_else(own) {
            Some(wanted) => Ok(Some(Queue::open(&wanted).await?)),
            None => Ok(None),
        }
    }

    async fn dead(&self, queue: &Queue) -> Result<Queue, RunError> {
        let dead = self.open_dead(&queue.attributes().await?).await?;
        dead.ok_or_else(|| {
            let doing = format!("cannot find the dead letters of {}", queue.name());
            let cause =
                "neither roles.yaml (`dead_letter`) nor the queue itself names a place for them";
            RunError::new(Exit::CONFIG, doing, cause)
        })
    }

    /// Counts the messages.
    pub async fn depth(&self, queue: &Queue) -> Result<Depth, RunError> {
        let counts = queue.attributes().await?;
        let (mut dead, mut dead_letter) = (None, None);
        if let Some(queue) = self.open_dead(&counts).await? {
            let counts = queue.attributes().await?;
            dead = Some(counts.visible + counts.in_flight + counts.delayed);
            dead_letter = Some(queue.name().to_owned());
        }
        Ok(Depth {
            queue: queue.name().to_owned(),
            visible: counts.visible,
            in_flight: counts.in_flight,
            delayed: counts.delayed,
            dead,
            dead_letter,
        })
    }

    /// Looks at up to `count` messages of the queue or of its dead letters; each counts as received once more.
    pub async fn peek(
        &self,
        queue: &Queue,
        count: usize,
        is_of_dead: bool,
    ) -> Result<Peeked, RunError> {
        let dead = match is_of_dead {
            true => Some(self.dead(queue).await?),
            false => None,
        };
        let queue = dead.as_ref().unwrap_or(queue);
        let mut messages = Vec::new();
        while messages.len() < count {
            let received = queue.receive(Ask {
                most: (count - messages.len()).min(BATCH),
                wait: Duration::from_secs(1),
                visibility: Some(LOOK),
                attempt: None,
            });
            let received = received.await?;
            if received.is_empty() {
                break;
            }
            messages.extend(received);
        }
        let back = |message: &Received| Entry {
            handle: message.handle.clone(),
            time: Duration::ZERO,
        };
        let back: Vec<Entry> = messages.iter().map(back).collect();
        let mut are_back = true;
        for some in back.chunks(BATCH) {
            let ends = queue.hide(some, SLACK).await;
            are_back &= ends.is_ok_and(|ends| ends.iter().all(|end| *end == EntryEnd::Done));
        }
        Ok(Peeked {
            queue: queue.name().to_owned(),
            messages,
            are_back,
        })
    }

    /// Lets SQS move the dead letters back.
    pub async fn redrive(&self, queue: &Queue) -> Result<Redriven, RunError> {
        let dead = self.dead(queue).await?;
        let to = queue.attributes().await?;
        let from = dead.attributes().await?;
        let begun = dead.redrive(&from.arn, Some(&to.arn)).await;
        let is_its_own = to.redrive.is_some_and(|own| own.target == from.arn);
        begun.map_err(|refused| match is_its_own {
            true => refused.error,
            false => refused.error.with_help(format!(
                "SQS moves only what stands in the dead-letter queue of some queue's own policy; name {} in the \
                 RedrivePolicy of {}",
                dead.name(),
                queue.name()
            )),
        })?;
        Ok(Redriven {
            from: dead.name().to_owned(),
            to: queue.name().to_owned(),
            messages: from.visible,
        })
    }
}

/// JSON values, one after the other, each in its own words; the error says line and column of what is none.
pub fn values(text: &str) -> Result<Vec<String>, String> {
    let values = Deserializer::from_str(text).into_iter::<&RawValue>();
    let bodies: Result<Vec<String>, _> = values
        .map(|value| value.map(|raw| raw.get().to_owned()))
        .collect();
    bodies.map_err(|error| {
        // The parser's own words can repeat the text, which may be long or secret.
        let (line, column) = (error.line(), error.column());
        format!("what stands at line {line}, column {column} is not JSON")
    })
}

/// Those that cannot be sent, each with the reason.
pub fn misfits(bodies: &[String], schema: Option<&MessageSchema>) -> Vec<String> {
    let why = |body: &String| match schema.and_then(|schema| schema.misfit(body)) {
        Some(why) => Some(why),
        None if body.is_empty() => Some("the message is empty".to_owned()),
        None if body.len() > MOST_BYTES => Some(format!(
            "it has {} bytes, and SQS takes {MOST_BYTES}",
            body.len()
        )),
        None => None,
    };
    let all = bodies.iter().enumerate();
    all.filter_map(|(at, body)| why(body).map(|why| format!("message {}: {why}", at + 1)))
        .collect()
}

/// The messages as SQS takes them.
pub fn outgoing(
    bodies: Vec<String>,
    manner: &Manner,
    queue: &Queue,
) -> Result<Vec<Outgoing>, Unfit> {
    let delay = manner.delay()?;
    manner.fits(queue.is_fifo(), bodies.len())?;
    let message = |body| Outgoing {
        body,
        group: manner.group.clone(),
        deduplication: manner.deduplication.clone(),
        delay,
        ..Outgoing::default()
    };
    Ok(bodies.into_iter().map(message).collect())
}

impl Manner {
    fn delay(&self) -> Result<Option<Duration>, Unfit> {
        match self.delay.as_deref().map(Period::parse) {
            None => Ok(None),
            Some(Some(delay)) if delay.0 <= LONGEST_DELAY => Ok(Some(delay.0)),
            Some(_) => {
                let cause = "the delay is not a time of at most 15m, such as 30s";
                Err(Unfit::wrong("delay", cause))
            }
        }
    }

    fn fits(&self, is_fifo: bool, messages: usize) -> Result<(), Unfit> {
        let ids = [
            ("group", &self.group),
            ("deduplication", &self.deduplication),
        ];
        for (part, id) in ids {
            let Some(id) = id else { continue };
            if !is_fifo {
                return Err(Unfit::wrong(part, "the queue is not FIFO"));
            }
            let is_plain = id.chars().all(|c| c.is_ascii_graphic());
            if id.is_empty() || id.len() > LONGEST_ID || !is_plain {
                let cause = format!("the {part} is not 1 to 128 letters, digits and signs");
                return Err(Unfit::wrong(part, cause));
            }
        }
        if is_fifo && self.delay.is_some() {
            let cause = "the queue is FIFO, which delays no single message";
            return Err(Unfit::wrong("delay", cause));
        }
        if is_fifo && self.group.is_none() {
            let cause = "the queue is FIFO, and must know whose order the messages keep";
            return Err(Unfit {
                is_missing: true,
                ..Unfit::wrong("group", cause)
            });
        }
        if self.deduplication.is_some() && messages > 1 {
            let cause = "one text for several messages lets the queue take only the first";
            return Err(Unfit::wrong("deduplication", cause));
        }
        Ok(())
    }
}

impl Unfit {
    fn wrong(part: &'static str, cause: impl Into<String>) -> Self {
        Self {
            cause: cause.into(),
            part,
            is_missing: false,
        }
    }
}

/// Sends all messages; what failed for a moment is tried a second and a third time. Where the queue itself cannot be
/// asked, that ends it: the rest is not tried.
pub async fn send(queue: &Queue, messages: &[Outgoing]) -> Sent {
    let mut all = Sent {
        queue: queue.name().to_owned(),
        ..Sent::default()
    };
    let mut rest = messages;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(Outgoing::fitting(rest));
        let first = messages.len() - rest.len();
        let (ends, is_away) = send_some(queue, now).await;
        let failed = ends.into_iter().enumerate().filter_map(|(at, end)| {
            let number = first + at + 1;
            match end {
                EntryEnd::Done => None,
                EntryEnd::Refused(why) | EntryEnd::Failed(why) => Some((number, why)),
            }
        });
        let failed: Vec<(usize, String)> = failed.collect();
        all.sent += now.len() - failed.len();
        all.failed.extend(in_rows(failed));
        rest = later;
        if is_away && !rest.is_empty() {
            let (from, to) = (messages.len() - rest.len() + 1, messages.len());
            let which = numbers(from, to);
            all.failed.push(format!("{which}: not tried after that"));
            break;
        }
    }
    all.missing = messages.len() - all.sent;
    all
}

/// One line for messages that stand in a row and failed for the same reason.
fn in_rows(failed: Vec<(usize, String)>) -> Vec<String> {
    let mut rows: Vec<(usize, usize, String)> = Vec::new();
    for (number, why) in failed {
        match rows.last_mut() {
            Some((_, to, same)) if *to + 1 == number && *same == why => *to = number,
            _ => rows.push((number, number, why)),
        }
    }
    let line = |(from, to, why)| format!("{}: {why}", numbers(from, to));
    rows.into_iter().map(line).collect()
}

fn numbers(from: usize, to: usize) -> String {
    match from == to {
        true => format!("message {from}"),
        false => format!("messages {from} to {to}"),
    }
}

/// What became of each, and whether the queue could not be asked at all.
async fn send_some(queue: &Queue, messages: &[Outgoing]) -> (Vec<EntryEnd>, bool) {
    let mut ends = vec![EntryEnd::Failed(String::new()); messages.len()];
    let mut is_away = false;
    for pause in [0, 1, 3] {
        let left: Vec<usize> = (0..messages.len())
            .filter(|at| matches!(ends[*at], EntryEnd::Failed(_)))
            .collect();
        if left.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_secs(pause)).await;
        let some: Vec<Outgoing> = left.iter().map(|at| messages[*at].clone()).collect();
        let sent = queue.send(&some).await;
        is_away = sent.is_err();
        match sent {
            Ok(new) => left.iter().zip(new).for_each(|(at, end)| ends[*at] = end),
            Err(error) => {
                let text = error.error.to_string();
                let end = match error.again {
                    Again::No => EntryEnd::Refused(text),
                    Again::Soon | Again::Later => EntryEnd::Failed(text),
                };
                left.iter().for_each(|at| ends[*at] = end.clone());
            }
        }
    }
    (ends, is_away)
}

/// A message as JSON.
pub fn shown(message: &Received) -> Json {
    let attributes: Map<String, Json> = message
        .attributes
        .iter()
        .map(|attribute| {
            let value = match &attribute.value {
                Value::Text(text) => json!(text),
                Value::Bytes(bytes) => json!(format!("({} bytes)", bytes.len())),
            };
            (attribute.name.clone(), value)
        })
        .collect();
    json!({
        "id": message.id,
        "receive_count": message.receives,
        "sent_at": message.sent_at.map(rfc3339),
        "group": message.group,
        "attributes": attributes,
        "body": message.body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifo_queue_wants_a_group_and_no_other_queue_does() {
        let some = |text: &str| Some(text.to_owned());
        let manner = |group, deduplication| Manner {
            group,
            deduplication,
            ..Manner::default()
        };
        let part = |manner: &Manner, is_fifo, messages| {
            let fits = manner.fits(is_fifo, messages);
            fits.err().map(|unfit| (unfit.part, unfit.is_missing))
        };
        assert_eq!(part(&manner(None, None), false, 9), None);
        assert_eq!(part(&manner(None, None), true, 9), Some(("group", true)));
        assert_eq!(part(&manner(some("g"), None), true, 9), None);
        assert_eq!(
            part(&manner(some("g"), None), false, 1),
            Some(("group", false))
        );
        assert_eq!(
            part(&manner(some("a b"), None), true, 1),
            Some(("group", false))
        );
        assert_eq!(part(&manner(some("g"), some("d")), true, 1), None);
        let twice = part(&manner(some("g"), some("d")), true, 2);
        assert_eq!(twice, Some(("deduplication", false)));
        let long = some(&"x".repeat(129));
        assert_eq!(
            part(&manner(some("g"), long), true, 1),
            Some(("deduplication", false))
        );
    }

    #[test]
    fn values_stand_one_after_the_other_and_keep_their_words() {
        let text = "{\"uuid\": 1.0}\n\n[1,\n 2] \"x\"";
        assert_eq!(
            values(text).unwrap(),
            ["{\"uuid\": 1.0}", "[1,\n 2]", "\"x\""]
        );
        assert_eq!(
            values("{\"a\": 1}\n{CANARY}").unwrap_err(),
            "what stands at line 2, column 2 is not JSON"
        );
    }
}
