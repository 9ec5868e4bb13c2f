//! One queue: its messages, and which of them may be handed out.
//!
//! Every message is in exactly one of three states, told apart by its `until`, its lease and the queue's clock:
//! delayed (hidden, never received), in flight (hidden by a lease), visible. The sets beside the messages follow
//! from that and are kept by `index` and `unindex` alone; `change` is the only way to alter a message in place.
//!
//! A FIFO queue offers only the first message of a group, and only while nothing of the group is in flight.

use super::attributes::Attributes;
use super::message::{Lease, Message, Seq};
use super::record::{Change, Sent};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How long a FIFO queue knows a deduplication id and a receive's attempt id, in milliseconds.
pub const MEMORY: u64 = 5 * 60 * 1000;

/// A queue. Times are milliseconds since 1970.
#[derive(Debug)]
pub struct Queue {
    /// What handles know it by; a queue created again has another.
    pub number: u64,
    /// When it was created.
    pub created: u64,
    /// When its attributes were last set.
    pub modified: u64,
    /// When it was last emptied.
    pub purged: Option<u64>,
    /// What it does.
    pub attributes: Attributes,
    clock: u64,
    messages: BTreeMap<Seq, Message>,
    /// Delayed and in flight, by the end of it.
    hidden: BTreeSet<(u64, Seq)>,
    in_flight: usize,
    /// What a receive may take, first come first: every visible message, or the first of each free FIFO group.
    offered: BTreeSet<Seq>,
    /// By what retention counts from.
    ages: BTreeSet<(u64, Seq)>,
    groups: HashMap<String, Group>,
    seen: HashMap<String, (u64, Sent)>,
    seen_by_age: BTreeSet<(u64, String)>,
    attempts: HashMap<String, Attempt>,
    attempts_by_age: BTreeSet<(u64, String)>,
}

/// The messages of one FIFO group.
#[derive(Debug, Default)]
struct Group {
    members: BTreeSet<Seq>,
    in_flight: usize,
    offered: Option<Seq>,
}

/// A FIFO receive that can be asked for again.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// When it was made.
    pub at: u64,
    /// What it gave out.
    pub leases: Vec<(Seq, u64)>,
}

/// The three approximate numbers, which are exact here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// `ApproximateNumberOfMessages`.
    pub visible: usize,
    /// `ApproximateNumberOfMessagesNotVisible`.
    pub in_flight: usize,
    /// `ApproximateNumberOfMessagesDelayed`.
    pub delayed: usize,
}

impl Queue {
    /// An empty queue.
    pub fn new(number: u64, created: u64, attributes: Attributes) -> Self {
        Self {
            number,
            created,
            modified: created,
            purged: None,
            attributes,
            clock: 0,
            messages: BTreeMap::new(),
            hidden: BTreeSet::new(),
            in_flight: 0,
            offered: BTreeSet::new(),
            ages: BTreeSet::new(),
            groups: HashMap::new(),
            seen: HashMap::new(),
            seen_by_age: BTreeSet::new(),
            attempts: HashMap::new(),
            attempts_by_age: BTreeSet::new(),
        }
    }

    /// Lets time pass: ends leases and delays, drops what is too old, forgets old deduplication ids.
    pub fn advance(&mut self, now: u64) {
        if now <= self.clock {
            return;
        }
        let mut due = Vec::new();
        while let Some(&(until, seq)) = self.hidden.first() {
            if until > now {
                break;
            }
            // Taken out under the old clock, put back under the new one.
            due.push(self.unindex(seq));
        }
        self.clock = now;
        for message in due.into_iter().flatten() {
            self.index(message);
        }
        let retention = u64::from(self.attributes.retention) * 1000;
        while let Some(&(from, seq)) = self.ages.first() {
            if from + retention > now {
                break;
            }
            self.unindex(seq);
        }
        while let Some((at, key)) = self.seen_by_age.first() {
            if at + MEMORY > now {
                break;
            }
            self.seen.remove(key);
            self.seen_by_age.pop_first();
        }
        while let Some((at, id)) = self.attempts_by_age.first() {
            if at + MEMORY > now {
                break;
            }
            self.attempts.remove(id);
            self.attempts_by_age.pop_first();
        }
    }

    /// The next time at which a hidden message shows itself.
    pub fn next_change(&self) -> Option<u64> {
        self.hidden.first().map(|(until, _)| *until)
    }

    /// How many messages are in which state.
    pub fn counts(&self) -> Counts {
        Counts {
            visible: self.messages.len() - self.hidden.len(),
            in_flight: self.in_flight,
            delayed: self.hidden.len() - self.in_flight,
        }
    }

    /// A message by its place.
    pub fn message(&self, seq: Seq) -> Option<&Message> {
        self.messages.get(&seq)
    }

    /// Every message, in order.
    pub fn messages(&self) -> impl Iterator<Item = &Message> {
        self.messages.values()
    }

    /// The first visible message, whether its group is free or not: what a move out of this queue takes.
    pub fn first_visible(&self) -> Option<Seq> {
        if !self.attributes.fifo {
            return self.offered.first().copied();
        }
        let visible = |message: &&Message| message.until <= self.clock;
        self.messages
            .values()
            .find(visible)
            .map(|message| message.seq)
    }

    fn is_visible(&self, seq: Seq) -> bool {
        self.messages
            .get(&seq)
            .is_some_and(|message| message.until <= self.clock)
    }

    /// Whether the message is there and its latest receive still hides it.
    pub fn is_in_flight(&self, seq: Seq) -> bool {
        let message = self.messages.get(&seq);
        message.is_some_and(|message| message.until > self.clock && message.lease.is_some())
    }

    /// Up to `max` messages that one receive may take now. Of a FIFO group as many in a row as there are.
    pub fn candidates(&self, max: usize) -> Vec<Seq> {
        if !self.attributes.fifo {
            return self.offered.iter().take(max).copied().collect();
        }
        self.offered
            .iter()
            .filter_map(|seq| self.groups.get(self.messages.get(seq)?.group.as_ref()?))
            .flat_map(|group| {
                group
                    .members
                    .iter()
                    .take_while(|seq| self.is_visible(**seq))
            })
            .take(max)
            .copied()
            .collect()
    }

    /// Applies a change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Set { at, attributes } => {
                self.attributes = attributes;
                self.modified = at;
            }
            Change::Purged(at) => self.clear(at),
            Change::Sent(message) => {
                if let Some(key) = self.deduplication_key(&message) {
                    let (id, seq) = (message.id.clone(), message.seq);
                    self.remember(key, message.sent, Sent { id, seq });
                }
                self.index(message);
            }
            Change::Held(message) => self.index(message),
            Change::Seen { key, first, at } => self.remember(key, at, first),
            Change::Received {
                at,
                until,
                leases,
                attempt,
            } => {
                for &(seq, token) in &leases {
                    self.lease(seq, token, at, until);
                }
                if let Some(id) = attempt {
                    self.remember_attempt(id, Attempt { at, leases });
                }
            }
            Change::Hidden {
                messages,
                until,
                asked,
            } => {
                for seq in messages {
                    self.change(seq, |message| {
                        message.until = until;
                        if let Some(lease) = &mut message.lease {
                            lease.changed |= asked;
                        }
                    });
                }
            }
            Change::Deleted(seq) => {
                self.unindex(seq);
            }
        }
    }

    /// Puts a message in that comes from another queue.
    pub fn insert(&mut self, message: Message) {
        self.index(message);
    }

    /// Takes a message out; none when it is not there.
    pub fn remove(&mut self, seq: Seq) -> Option<Message> {
        self.unindex(seq)
    }

    /// Alters a message in place; nothing happens when it is not there.
    fn change(&mut self, seq: Seq, alter: impl FnOnce(&mut Message)) {
        if let Some(mut message) = self.unindex(seq) {
            alter(&mut message);
            self.index(message);
        }
    }

    fn lease(&mut self, seq: Seq, token: u64, at: u64, until: u64) {
        self.change(seq, |message| {
            message.receives += 1;
            message.first_received.get_or_insert(at);
            message.until = until;
            message.lease = Some(Lease {
                token,
                received: at,
                changed: false,
            });
        });
    }

    /// Drops every message; what is known of sent ids stays.
    fn clear(&mut self, at: u64) {
        self.purged = Some(at);
        self.messages.clear();
        self.hidden.clear();
        self.in_flight = 0;
        self.offered.clear();
        self.ages.clear();
        self.groups.clear();
        self.attempts.clear();
        self.attempts_by_age.clear();
    }

    /// What a FIFO queue compares to find a message sent twice.
    pub fn deduplication_key(&self, message: &Message) -> Option<String> {
        let id = message
            .deduplication
            .as_ref()
            .filter(|_| self.attributes.fifo)?;
        let group = message
            .group
            .as_ref()
            .filter(|_| self.attributes.deduplicate_by_group);
        Some(group.map_or_else(|| id.clone(), |group| format!("{group}\0{id}")))
    }

    /// What a send with this deduplication key was answered within the last five minutes.
    pub fn seen(&self, key: &str) -> Option<&Sent> {
        self.seen.get(key).map(|(_, sent)| sent)
    }

    /// Every known deduplication key with its time and answer, oldest first.
    pub fn all_seen(&self) -> impl Iterator<Item = (&str, u64, &Sent)> {
        self.seen_by_age
            .iter()
            .filter_map(|(at, key)| Some((key.as_str(), *at, &self.seen.get(key)?.1)))
    }

    fn remember(&mut self, key: String, at: u64, sent: Sent) {
        if let Some((before, _)) = self.seen.insert(key.clone(), (at, sent)) {
            self.seen_by_age.remove(&(before, key.clone()));
        }
        self.seen_by_age.insert((at, key));
    }

    /// A receive by its attempt id.
    pub fn attempt(&self, id: &str) -> Option<&Attempt> {
        self.attempts.get(id)
    }

    fn remember_attempt(&mut self, id: String, attempt: Attempt) {
        let at = attempt.at;
        if let Some(before) = self.attempts.insert(id.clone(), attempt) {
            self.attempts_by_age.remove(&(before.at, id.clone()));
        }
        self.attempts_by_age.insert((at, id));
    }

    fn index(&mut self, message: Message) {
        let (seq, group) = (message.seq, message.group.clone());
        let hidden = message.until > self.clock;
        let in_flight = hidden && message.lease.is_some();
        if hidden {
            self.hidden.insert((message.until, seq));
        }
        self.in_flight += usize::from(in_flight);
        self.ages.insert((message.aged_from, seq));
        self.messages.insert(seq, message);
        match group.filter(|_| self.attributes.fifo) {
            None if !hidden => {
                self.offered.insert(seq);
            }
            None => {}
            Some(name) => {
                let group = self.groups.entry(name.clone()).or_default();
                group.members.insert(seq);
                group.in_flight += usize::from(in_flight);
                self.offer(&name);
            }
        }
    }

    fn unindex(&mut self, seq: Seq) -> Option<Message> {
        let message = self.messages.remove(&seq)?;
        let hidden = self.hidden.remove(&(message.until, seq));
        let in_flight = hidden && message.lease.is_some();
        self.in_flight -= usize::from(in_flight);
        self.ages.remove(&(message.aged_from, seq));
        self.offered.remove(&seq);
        if let Some(name) = message.group.clone().filter(|_| self.attributes.fifo)
            && let Some(group) = self.groups.get_mut(&name)
        {
            group.members.remove(&seq);
            group.in_flight -= usize::from(in_flight);
            self.offer(&name);
        }
        Some(message)
    }

    /// Works out anew what a FIFO group offers; forgets an empty group.
    fn offer(&mut self, name: &str) {
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        if let Some(seq) = group.offered.take() {
            self.offered.remove(&seq);
        }
        let Some(&first) = group.members.first() else {
            self.groups.remove(name);
            return;
        };
        let visible = self
            .messages
            .get(&first)
            .is_some_and(|message| message.until <= self.clock);
        if group.in_flight == 0 && visible {
            group.offered = Some(first);
            self.offered.insert(first);
        }
    }
}
