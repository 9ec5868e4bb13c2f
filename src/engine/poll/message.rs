//! The way of one message: checked, handled, and then deleted, given back, or put among the dead letters.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::Poll;
use super::desk::{Ack, Hold};
use super::fact::{Fact, Fate};
use crate::engine::event::shown;
use crate::engine::handler::{Task, Verdict};
use crate::roles::spec::OnInterrupt;
use crate::sys::queue::{Attribute, EntryEnd, MOST_BYTES, Outgoing, Received, Value};

/// The names of what a dead letter carries beside what it had.
const REASON: &str = "RejectReason";
const ORIGIN: &str = "OriginalMessageId";

/// The most attributes that a message may have.
const MOST_ATTRIBUTES: usize = 10;

impl Poll {
    /// From hand to its end; the place becomes free when the handler is done.
    pub(super) async fn one(self: Rc<Self>, hold: Hold, place: Option<OwnedSemaphorePermit>) {
        if !self.desk.has(hold.number) {
            // Lost before it was handed over, and told so: somebody else may have it.
            return;
        }
        if self.is_ending() {
            // What a receive brought after the stop began is given back as well.
            drop(place);
            return self.release(&hold).await;
        }
        let started = Instant::now();
        let verdict = match self.refusal(&hold.message) {
            Some(reason) => Verdict::Reject { reason },
            None => {
                let task = Task {
                    message: &hold.message,
                    queue: self.queue.name(),
                    stop: &hold.stop,
                };
                self.handler.handle(&task).await
            }
        };
        // The next message may come while this one is acknowledged.
        drop(place);
        if !self.desk.has(hold.number) {
            // Lost, and told so: nothing is acknowledged.
            return;
        }
        match verdict {
            Verdict::Done => self.done(&hold, started).await,
            Verdict::Retry { reason, pause } => self.retry(&hold, reason, pause).await,
            Verdict::Reject { reason } => self.reject(&hold, reason).await,
            Verdict::Stopped => match self.spec.on_interrupt {
                OnInterrupt::Release => self.release(&hold).await,
                OnInterrupt::Hold => self.leave(&hold),
            },
            Verdict::Broken(error) => {
                // First of all nothing more is received.
                self.give_up(error);
                self.release(&hold).await;
            }
        }
    }

    /// Why a message is not even handed over.
    fn refusal(&self, message: &Received) -> Option<String> {
        // Without dead letters the limit is the queue's own matter.
        let most = self
            .spec
            .max_receives
            .filter(|_| self.dead_letter.is_some());
        if let Some(most) = most.filter(|most| message.receives > most.0) {
            let count = message.receives - 1;
            return Some(format!(
                "it was received {count} times and never done (max_receives {})",
                most.0
            ));
        }
        self.schema.as_ref()?.misfit(&message.body)
    }

    async fn done(&self, hold: &Hold, started: Instant) {
        let id = hold.message.id.clone();
        match self.desk.delete(hold.number).await {
            Ack::Done => {
                {
                    let mut progress = self.progress.borrow_mut();
                    progress.counts.done += 1;
                    progress.succeeded = Some(Instant::now());
                }
                let took = started.elapsed();
                self.tell_of(id, Fate::Done { took });
            }
            ack => self.not_acknowledged(id, ack, "it is done, but could not be deleted"),
        }
    }

    async fn retry(&self, hold: &Hold, reason: String, pause: Option<Duration>) {
        let receives = hold.message.receives;
        let is_last = self
            .spec
            .max_receives
            .is_some_and(|most| receives >= most.0);
        if is_last && self.dead_letter.is_some() && !self.is_ending() {
            return self
                .reject(hold, format!("receive {receives} was the last: {reason}"))
                .await;
        }
        self.come_back(hold, reason, pause).await
    }

    /// Gives a message back for a later try.
    async fn come_back(&self, hold: &Hold, reason: String, pause: Option<Duration>) {
        let receives = hold.message.receives;
        let chance = self.dice.borrow_mut().roll();
        let pause = pause.unwrap_or_else(|| self.retries.pause(receives.saturating_sub(1), chance));
        let pause = pause.min(crate::engine::lease::LONGEST / 2);
        let id = hold.message.id.clone();
        match self.desk.give_back(hold.number, pause).await {
            Ack::Done => {
                self.progress.borrow_mut().counts.retried += 1;
                let fate = Fate::Retried {
                    receives,
                    reason,
                    pause,
                };
                self.tell_of(id, fate);
            }
            ack => self.not_acknowledged(id, ack, &reason),
        }
    }

    /// Dead letters first, then the deletion: in between it stands in both, never in none.
    async fn reject(&self, hold: &Hold, reason: String) {
        let Some(dead) = &self.dead_letter else {
            let reason = format!("rejected ({reason}), and there is no dead_letter");
            return self.come_back(hold, reason, None).await;
        };
        let letter = dead_letter(&hold.message, &reason, dead.is_fifo());
        let mut tries = 0;
        loop {
            let why = match dead.send(std::slice::from_ref(&letter)).await {
                Ok(ends) => match ends.into_iter().next() {
                    Some(EntryEnd::Done) => break,
                    Some(EntryEnd::Refused(why)) => {
                        let reason = format!(
                            "rejected ({reason}), and {} does not take it: {why}",
                            dead.name()
                        );
                        return self.come_back(hold, reason, None).await;
                    }
                    Some(EntryEnd::Failed(why)) => why,
                    None => "no answer".to_owned(),
                },
                Err(error) => error.error.to_string(),
            };
            let pause = super::PAUSES.pause(tries, self.dice.borrow_mut().roll());
            tries += 1;
            let what = format!(
                "a rejected message waits for {}: {why}; the next try in {}",
                dead.name(),
                shown(pause)
            );
            (self.tell)(Fact::Trouble { what });
            if !hold.stop.sleep(pause).await {
                if self.desk.has(hold.number) {
                    self.release(hold).await;
                }
                return;
            }
        }
        let id = hold.message.id.clone();
        match self.desk.delete(hold.number).await {
            Ack::Done => {
                self.progress.borrow_mut().counts.rejected += 1;
                self.tell_of(id, Fate::Rejected { reason });
            }
            ack => {
                self.not_acknowledged(
                    id,
                    ack,
                    "it is among the dead letters, but could not be deleted",
                );
            }
        }
    }

    /// Gives a message back at once.
    pub(super) async fn release(&self, hold: &Hold) {
        let id = hold.message.id.clone();
        if !self.desk.has(hold.number) {
            return;
        }
        match self.desk.give_back(hold.number, Duration::ZERO).await {
            Ack::Done => {
                self.progress.borrow_mut().counts.released += 1;
                self.tell_of(id, Fate::Released);
            }
            ack => self.not_acknowledged(id, ack, "it could not be given back"),
        }
    }

    fn leave(&self, hold: &Hold) {
        self.desk.leave(hold.number);
        let why = "on_interrupt says hold".to_owned();
        self.tell_of(hold.message.id.clone(), Fate::Left { why });
    }

    fn tell_of(&self, id: String, fate: Fate) {
        (self.tell)(Fact::Message { id, fate });
    }

    fn not_acknowledged(&self, id: String, ack: Ack, what: &str) {
        match ack {
            Ack::Done | Ack::Gone => {}
            Ack::Lost(why) => {
                self.progress.borrow_mut().counts.lost += 1;
                let why = format!("{what}: {why}");
                self.tell_of(id, Fate::Lost { why });
            }
            Ack::Left(why) => {
                let why = format!("{what}: {why}");
                self.tell_of(id, Fate::Left { why });
            }
        }
    }
}

/// The message as the dead-letter queue gets it: body and attributes as they were, and, where there is room for them,
/// why and which it was.
fn dead_letter(message: &Received, reason: &str, is_fifo: bool) -> Outgoing {
    let mut letter = Outgoing {
        body: message.body.clone(),
        attributes: message.attributes.clone(),
        ..Outgoing::default()
    };
    if is_fifo {
        letter.group = Some(message.group.clone().unwrap_or_else(|| message.id.clone()));
        letter.deduplication = Some(message.id.clone());
    }
    let reason: String = reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(500)
        .collect();
    for (name, text) in [(REASON, reason), (ORIGIN, message.id.clone())] {
        let attribute = Attribute {
            name: name.to_owned(),
            kind: "String".to_owned(),
            value: Value::Text(text),
        };
        // Rejected once before and redriven: the newer words count.
        letter.attributes.retain(|known| known.name != name);
        letter.attributes.push(attribute);
        if letter.attributes.len() > MOST_ATTRIBUTES || letter.bytes() > MOST_BYTES {
            letter.attributes.pop();
        }
    }
    letter
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: usize, body: usize) -> Received {
        let attribute = |n| Attribute {
            name: format!("a{n}"),
            kind: "Number".to_owned(),
            value: Value::Text("1".to_owned()),
        };
        Received {
            id: "m-1".to_owned(),
            body: "x".repeat(body),
            attributes: (0..attributes).map(attribute).collect(),
            ..Received::default()
        }
    }

    fn names(letter: &Outgoing) -> Vec<&str> {
        letter
            .attributes
            .iter()
            .map(|attribute| &*attribute.name)
            .collect()
    }

    #[test]
    fn a_dead_letter_keeps_what_it_had_and_says_why_where_there_is_room() {
        let letter = dead_letter(&message(1, 3), "line\nbreak", false);
        assert_eq!(
            (letter.body.as_str(), names(&letter)),
            ("xxx", vec!["a0", REASON, ORIGIN])
        );
        assert!(letter.attributes[1].value == Value::Text("line break".to_owned()));
        assert_eq!((&letter.group, &letter.deduplication), (&None, &None));
        let full = dead_letter(&message(9, 3), "why", false);
        assert_eq!(names(&full).last(), Some(&REASON));
        assert_eq!(
            dead_letter(&message(10, 3), "why", false).attributes.len(),
            10
        );
        assert_eq!(
            dead_letter(&message(0, MOST_BYTES), "why", false)
                .attributes
                .len(),
            0
        );
        let fifo = dead_letter(&message(0, 1), "why", true);
        assert_eq!(
            (fifo.group.as_deref(), fifo.deduplication.as_deref()),
            (Some("m-1"), Some("m-1"))
        );
    }

    #[test]
    fn a_letter_that_died_twice_says_why_it_died_last() {
        let first = dead_letter(&message(0, 1), "first", false);
        let again = Received {
            attributes: first.attributes,
            ..message(0, 1)
        };
        let second = dead_letter(&again, "second", false);
        assert_eq!(names(&second), [REASON, ORIGIN]);
        assert!(second.attributes[0].value == Value::Text("second".to_owned()));
    }
}
