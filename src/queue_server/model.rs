//! The queues as arithmetic: a [`Broker`] that is told the time and does no I/O.
//!
//! Every method takes `now` (milliseconds since 1970; the broker's clock never goes back) and either refuses, and
//! then nothing has changed, or decides, writes its decision down as a [`Record`] and applies that. `apply` is the
//! only way the state changes, live and in a replay alike: what the records say is what the broker is. The caller
//! takes the records with [`Broker::drain`] and keeps them before it answers.

pub mod admin;
pub mod attributes;
pub mod exchange;
pub mod message;
pub mod moves;
#[cfg(test)]
mod properties;
pub mod queue;
pub mod record;
pub mod refusal;
#[cfg(test)]
mod tables;

use message::Seq;
use moves::Move;
use queue::Queue;
use record::{Change, Record};
use refusal::Refusal;
use std::collections::{BTreeMap, BTreeSet};

/// What a handle from before the latest receive does. AWS documents `Keep`; it was seen to do `Delete`, and other
/// endpoints answer `Error` (getmoto/moto#4655): a consumer must be right under all three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stale {
    /// A delete succeeds and the message stays; a change of visibility is refused as `InvalidParameterValue`.
    #[default]
    Keep,
    /// It works as the latest handle does.
    Delete,
    /// Both are refused as `ReceiptHandleIsInvalid`.
    Error,
}

/// What using a queue that is not there does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUse {
    /// It is refused, as on AWS.
    #[default]
    Refuse,
    /// The queue is created with default attributes; a name that ends in `.fifo` makes a FIFO queue with
    /// content-based deduplication.
    Create,
    /// The same, with a dead-letter queue `NAME-dlq` beside it.
    CreateWithDeadLetters {
        /// `maxReceiveCount`, 1 to 1000.
        max_receives: u32,
    },
}

/// What a broker is told once.
#[derive(Debug, Clone)]
pub struct Options {
    /// The region in ARNs.
    pub region: String,
    /// The account in ARNs.
    pub account: String,
    /// What an old handle does.
    pub stale: Stale,
    /// What using an unknown queue does.
    pub on_use: OnUse,
    /// How many messages of one queue may be in flight; 120 000 on AWS.
    pub in_flight_limit: usize,
    /// What ids and handles are drawn from; another one for every start.
    pub seed: u64,
}

/// All queues and moves.
#[derive(Debug)]
pub struct Broker {
    options: Options,
    clock: u64,
    queues: BTreeMap<String, Queue>,
    /// Queues deleted within the last minute.
    gone: BTreeMap<String, u64>,
    moves: Vec<Move>,
    /// The next place, and the next queue's number.
    next: Seq,
    dice: u64,
    records: Vec<Record>,
    stirred: BTreeSet<String>,
}

impl Broker {
    /// A broker without queues.
    pub fn new(options: Options) -> Self {
        Self {
            clock: 0,
            queues: BTreeMap::new(),
            gone: BTreeMap::new(),
            moves: Vec::new(),
            next: 1,
            dice: options.seed,
            records: Vec::new(),
            stirred: BTreeSet::new(),
            options,
        }
    }

    /// The records since the last call, in order. They must be kept before the client is answered.
    pub fn drain(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    /// The queues in which something may have become receivable since the last call: their pollers look again.
    pub fn stirred(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.stirred)
    }

    /// Applies a record: a fresh one, or one of an earlier life. One about a queue that is not there is nothing.
    pub fn apply(&mut self, record: Record) {
        match record {
            Record::Next(next) => self.next = self.next.max(next),
            Record::Created {
                queue,
                number,
                at,
                attributes,
            } => {
                self.next = self.next.max(number + 1);
                self.gone.remove(&queue);
                self.queues
                    .insert(queue, Queue::new(number, at, attributes));
            }
            Record::Removed { queue, at } => {
                self.queues.remove(&queue);
                self.stirred.insert(queue.clone());
                self.gone.insert(queue, at);
            }
            Record::In(queue, change) => self.apply_in(&queue, change),
            Record::Dead {
                queue,
                message,
                to,
                place,
                at,
            } => self.apply_dead(&queue, message, &to, place, at),
            Record::MoveBegan(task) => {
                let source = task.source.clone();
                self.moves.push(task);
                self.forget_moves(&source);
            }
            Record::Moved {
                task,
                message,
                to,
                place,
                id,
                at,
            } => self.apply_moved(&task, message, &to, place, id, at),
            Record::MoveEnded {
                task,
                status,
                reason,
            } => {
                if let Some(task) = self.moves.iter_mut().find(|t| t.id == task) {
                    task.status = status;
                    task.reason = reason;
                }
            }
        }
    }

    fn apply_in(&mut self, name: &str, change: Change) {
        if let Some(place) = change.place() {
            self.next = self.next.max(place + 1);
        }
        if let Some(queue) = self.queues.get_mut(name) {
            // A receive leaves nothing for others to look at.
            if !matches!(change, Change::Received { .. }) {
                self.stirred.insert(name.to_owned());
            }
            queue.apply(change);
        }
    }

    fn apply_dead(&mut self, queue: &str, message: Seq, to: &str, place: Seq, at: u64) {
        self.next = self.next.max(place + 1);
        let from = self.arn(queue);
        let Some(mut message) = self.queues.get_mut(queue).and_then(|q| q.remove(message)) else {
            return;
        };
        self.stir(to, |q| {
            message.seq = place;
            message.receives = 0;
            message.first_received = None;
            message.lease = None;
            message.until = 0;
            message.dead_from = Some(from);
            if q.attributes.fifo {
                message.aged_from = at;
            }
            q.insert(message);
        });
    }

    fn apply_moved(&mut self, task: &str, seq: Seq, to: &str, place: Seq, id: String, at: u64) {
        self.next = self.next.max(place + 1);
        let Some(task) = self.moves.iter_mut().find(|t| t.id == task) else {
            return;
        };
        let Some(mut message) = self
            .queues
            .get_mut(&task.source)
            .and_then(|q| q.remove(seq))
        else {
            return;
        };
        task.moved += 1;
        self.stir(to, |q| {
            message.seq = place;
            message.id = id;
            message.sent = at;
            message.aged_from = at;
            message.receives = 0;
            message.first_received = None;
            message.lease = None;
            message.until = 0;
            message.dead_from = None;
            q.insert(message);
        });
    }

    /// The records that lead an empty broker to this state: a compacted journal. Attempt ids of FIFO receives are
    /// not among them: a replay of a receive after that is a receive.
    pub fn snapshot(&self) -> Vec<Record> {
        let mut records = vec![Record::Next(self.next)];
        let lately = |at: &u64| at + admin::MINUTE > self.clock;
        for (queue, &at) in self.gone.iter().filter(|(_, at)| lately(at)) {
            let queue = queue.clone();
            records.push(Record::Removed { queue, at });
        }
        for (name, q) in &self.queues {
            records.push(Record::Created {
                queue: name.clone(),
                number: q.number,
                at: q.created,
                attributes: q.attributes.clone(),
            });
            let set = Change::Set {
                at: q.modified,
                attributes: q.attributes.clone(),
            };
            let set = (q.modified != q.created).then_some(set);
            let seen = q.all_seen().map(|(key, at, first)| Change::Seen {
                key: key.to_owned(),
                first: first.clone(),
                at,
            });
            let changes = set
                .into_iter()
                .chain(q.purged.map(Change::Purged))
                .chain(q.messages().cloned().map(Change::Held))
                .chain(seen);
            records.extend(changes.map(|change| Record::In(name.clone(), change)));
        }
        records.extend(self.moves.iter().cloned().map(Record::MoveBegan));
        records
    }

    /// A queue by name, brought to the present.
    pub fn queue(&mut self, name: &str, now: u64) -> Result<&mut Queue, Refusal> {
        self.clock = self.clock.max(now);
        let queue = self.queues.get_mut(name).ok_or_else(Refusal::no_queue)?;
        queue.advance(self.clock);
        Ok(queue)
    }

    /// The account, which is also the sender of every message.
    pub fn account(&self) -> &str {
        &self.options.account
    }

    /// The ARN of a queue of this name.
    pub fn arn(&self, name: &str) -> String {
        format!(
            "arn:aws:sqs:{}:{}:{name}",
            self.options.region, self.options.account
        )
    }

    /// The name in an ARN of a queue that is here; none for another's. Region and account are not looked at: an
    /// application's own may differ from those of a laptop's endpoint.
    fn name_in_arn(&self, arn: &str) -> Option<String> {
        let name = arn.strip_prefix("arn:")?.rsplit(':').next()?;
        self.queues.contains_key(name).then(|| name.to_owned())
    }

    /// Writes a decision about one queue down and applies it.
    fn commit_in(&mut self, queue: &str, change: Change) {
        self.commit(Record::In(queue.to_owned(), change));
    }

    /// Writes a decision down and applies it.
    fn commit(&mut self, record: Record) {
        self.records.push(record.clone());
        self.apply(record);
    }

    /// Alters a queue so that its pollers should look again.
    fn stir(&mut self, name: &str, alter: impl FnOnce(&mut Queue)) {
        if let Some(queue) = self.queues.get_mut(name) {
            alter(queue);
            self.stirred.insert(name.to_owned());
        }
    }

    fn next_place(&self) -> Seq {
        self.next
    }

    /// 64 bits that were not drawn before (splitmix64).
    fn draw(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A UUID of version 4.
    fn uuid(&mut self) -> String {
        let (high, low) = (self.draw(), self.draw());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | (low >> 48) & 0x3fff,
            low & 0xffff_ffff_ffff
        )
    }
}
