//! Making, finding, changing and emptying queues.

use super::attributes::Attributes;
use super::record::{Change, Record};
use super::refusal::{Code, Refusal};
use super::{Broker, OnUse};
use std::collections::BTreeMap;

/// How long a deleted queue's name stays taken, and how long after a purge there is no other, in milliseconds.
pub(super) const MINUTE: u64 = 60_000;

impl Broker {
    /// Creates a queue, or finds it when the given attributes are those it has.
    pub fn create(
        &mut self,
        name: &str,
        attributes: &BTreeMap<String, String>,
        now: u64,
    ) -> Result<(), Refusal> {
        self.clock = self.clock.max(now);
        check_name(name, attributes)?;
        let mut wanted = Attributes {
            fifo: name.ends_with(".fifo"),
            ..Attributes::default()
        };
        for (key, value) in attributes {
            wanted.set(key, value)?;
        }
        if let Some(queue) = self.queues.get(name) {
            let differs = |key: &&String| wanted.get(key) != queue.attributes.get(key);
            return match attributes.keys().find(differs) {
                None => Ok(()),
                Some(key) => Err(Refusal::new(
                    Code::QueueNameExists,
                    format!(
                        "A queue already exists with the same name and a different value for attribute {key}"
                    ),
                )),
            };
        }
        if self
            .gone
            .get(name)
            .is_some_and(|at| at + MINUTE > self.clock)
        {
            return Err(Refusal::new(
                Code::QueueDeletedRecently,
                "You must wait 60 seconds after deleting a queue before you can create another with the same name.",
            ));
        }
        self.check_redrive(name, &wanted)?;
        self.commit(Record::Created {
            queue: name.to_owned(),
            number: self.next,
            at: self.clock,
            attributes: wanted,
        });
        Ok(())
    }

    /// Creates a queue that is used and not there, where the options say so. A refusal is the user's later one.
    pub fn touch(&mut self, name: &str, now: u64) {
        let max_receives = match self.options.on_use {
            _ if self.queues.contains_key(name) => return,
            OnUse::Refuse => return,
            OnUse::Create => None,
            OnUse::CreateWithDeadLetters { max_receives } => Some(max_receives),
        };
        let (stem, fifo) = match name.strip_suffix(".fifo") {
            Some(stem) => (stem, true),
            None => (name, false),
        };
        let mut attributes = BTreeMap::new();
        if fifo {
            attributes.insert("FifoQueue".to_owned(), "true".to_owned());
            attributes.insert("ContentBasedDeduplication".to_owned(), "true".to_owned());
        }
        if let Some(max_receives) = max_receives.filter(|_| !stem.ends_with("-dlq")) {
            let dead = format!("{stem}-dlq{}", if fifo { ".fifo" } else { "" });
            if self.create(&dead, &attributes, now).is_ok() {
                let policy = format!(
                    r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":{max_receives}}}"#,
                    self.arn(&dead)
                );
                attributes.insert("RedrivePolicy".to_owned(), policy);
            }
        }
        // What is wrong with the name is said when the queue is then not found.
        let _ = self.create(name, &attributes, now);
    }

    /// Whether there is a queue of this name.
    pub fn has(&self, name: &str) -> bool {
        self.queues.contains_key(name)
    }

    /// The names of all queues that begin with `prefix`, sorted.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let all = self.queues.keys();
        all.filter(|name| name.starts_with(prefix))
            .cloned()
            .collect()
    }

    /// Deletes a queue with all in it.
    pub fn remove(&mut self, name: &str, now: u64) -> Result<(), Refusal> {
        self.queue(name, now)?;
        self.commit(Record::Removed {
            queue: name.to_owned(),
            at: self.clock,
        });
        Ok(())
    }

    /// Empties a queue; once a minute.
    pub fn purge(&mut self, name: &str, now: u64) -> Result<(), Refusal> {
        let purged = self.queue(name, now)?.purged;
        if purged.is_some_and(|at| at + MINUTE > self.clock) {
            return Err(Refusal::new(
                Code::PurgeQueueInProgress,
                format!("Only one PurgeQueue operation on {name} is allowed every 60 seconds."),
            ));
        }
        self.commit_in(name, Change::Purged(self.clock));
        Ok(())
    }

    /// Sets attributes: all of them or, when one is refused, none.
    pub fn set_attributes(
        &mut self,
        name: &str,
        attributes: &BTreeMap<String, String>,
        now: u64,
    ) -> Result<(), Refusal> {
        let mut wanted = self.queue(name, now)?.attributes.clone();
        for (key, value) in attributes {
            wanted.set(key, value)?;
        }
        self.check_redrive(name, &wanted)?;
        let at = self.clock;
        let attributes = wanted;
        self.commit_in(name, Change::Set { at, attributes });
        Ok(())
    }

    /// The attributes asked for by name (`All` for every one that is set), as text.
    pub fn get_attributes(
        &mut self,
        name: &str,
        wanted: &[String],
        now: u64,
    ) -> Result<BTreeMap<String, String>, Refusal> {
        let arn = self.arn(name);
        let queue = self.queue(name, now)?;
        let counts = queue.counts();
        let computed = [
            ("ApproximateNumberOfMessages", counts.visible.to_string()),
            (
                "ApproximateNumberOfMessagesNotVisible",
                counts.in_flight.to_string(),
            ),
            (
                "ApproximateNumberOfMessagesDelayed",
                counts.delayed.to_string(),
            ),
            ("CreatedTimestamp", (queue.created / 1000).to_string()),
            ("LastModifiedTimestamp", (queue.modified / 1000).to_string()),
            ("QueueArn", arn),
        ];
        let all = wanted.iter().any(|name| name == "All");
        let known = |name: &str| {
            name == "All"
                || Attributes::names().contains(&name)
                || computed.iter().any(|(key, _)| *key == name)
        };
        if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
            return Err(Refusal::new(
                Code::InvalidAttributeName,
                format!("Unknown Attribute {unknown}."),
            ));
        }
        let asked = |name: &str| all || wanted.iter().any(|w| w == name);
        let mut found: BTreeMap<String, String> = Attributes::names()
            .iter()
            .filter(|name| asked(name))
            .filter_map(|name| Some(((*name).to_owned(), queue.attributes.get(name)?)))
            .collect();
        let computed = computed.into_iter().filter(|(name, _)| asked(name));
        found.extend(computed.map(|(name, value)| (name.to_owned(), value)));
        Ok(found)
    }

    /// The queues whose dead letters go to this one.
    pub fn dead_letter_sources(&mut self, name: &str, now: u64) -> Result<Vec<String>, Refusal> {
        self.queue(name, now)?;
        Ok(self.sources_of(name))
    }

    pub(super) fn sources_of(&self, name: &str) -> Vec<String> {
        let goes_here = |attributes: &Attributes| {
            let redrive = attributes.redrive.as_ref();
            redrive.is_some_and(|r| self.name_in_arn(&r.target).as_deref() == Some(name))
        };
        self.queues
            .iter()
            .filter(|(_, queue)| goes_here(&queue.attributes))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// A dead-letter queue must be there, be of the same type, be another queue and allow it.
    fn check_redrive(&self, name: &str, attributes: &Attributes) -> Result<(), Refusal> {
        let Some(redrive) = &attributes.redrive else {
            return Ok(());
        };
        let value = attributes.get("RedrivePolicy").unwrap_or_default();
        let refuse = |reason: &str| Err(Refusal::parameter("RedrivePolicy", &value, reason));
        let Some(target) = self.name_in_arn(&redrive.target) else {
            return refuse("Dead letter target does not exist.");
        };
        if target == name {
            return refuse("Dead-letter queue must be another queue than the source.");
        }
        let target = &self.queues[&target].attributes;
        if target.fifo != attributes.fifo {
            return refuse("Dead-letter queue must be same type of queue as the source.");
        }
        let allowed = target.redrive_allow.as_ref().is_none_or(|allow| {
            match allow.redrive_permission.as_str() {
                "denyAll" => false,
                "byQueue" => allow.source_queue_arns.contains(&self.arn(name)),
                _ => true,
            }
        });
        if allowed {
            Ok(())
        } else {
            refuse("The dead-letter queue's RedriveAllowPolicy does not allow it.")
        }
    }
}

fn check_name(name: &str, attributes: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let fifo = attributes
        .get("FifoQueue")
        .is_some_and(|value| value == "true");
    let stem = if fifo {
        name.strip_suffix(".fifo")
    } else {
        Some(name)
    };
    let well = stem.is_some_and(|stem| {
        !stem.is_empty()
            && name.len() <= 80
            && stem
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    });
    if well {
        return Ok(());
    }
    let message = if fifo {
        "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with .fifo suffix and be 1 to 80 in length."
    } else {
        "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length."
    };
    Err(Refusal::new(Code::InvalidParameterValue, message))
}
