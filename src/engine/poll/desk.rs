//! The messages in hand and all that is told to the queue about them: heartbeats, deletions, returns.
//!
//! Two small tasks do the calls. The keeper alone changes visibilities: a message is given back while no heartbeat is
//! under way, and gets none any more, so that none can overtake its return. Returns do not hold up the next heartbeat.
//! The clerk deletes, as many at once as have gathered. Only the entries that failed are tried again, and only while
//! the lease lasts.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::fact::{Fact, Fate};
use super::progress::Progress;
use super::{GATHER, GATHER_MOST};
use crate::engine::backoff::Backoff;
use crate::engine::lease::{Beat, Leases, Number};
use crate::shutdown::{self, Reason, Shutdown, Switch};
use crate::sys::queue::{BATCH, Entry, EntryEnd, Queue, QueueError, Received, SLACK};

/// How often the giving back of a message is tried; after that it comes back by itself.
const TRIES: u32 = 5;

/// The pauses between calls that failed.
const PAUSES: Backoff = Backoff {
    initial: Duration::from_millis(200),
    factor: 2.0,
    max: Duration::from_secs(5),
    jitter: 0.2,
};

/// The messages in hand.
pub struct Desk {
    queue: Queue,
    visibility: Duration,
    leases: RefCell<Leases>,
    holds: RefCell<BTreeMap<Number, Held>>,
    deletions: RefCell<VecDeque<Deletion>>,
    returns: RefCell<VecDeque<Return>>,
    keeper: Notify,
    /// After each heartbeat, granted or not.
    beaten: Notify,
    clerk: Notify,
    progress: Rc<RefCell<Progress>>,
    tell: Rc<dyn Fn(Fact)>,
}

/// A message in hand, as the desk knows it.
struct Held {
    id: String,
    switch: Switch,
    /// Its deletion is under way: a refused heartbeat may mean that it is deleted already.
    is_leaving: bool,
}

/// A message in hand, as its handler knows it.
#[derive(Debug)]
pub struct Hold {
    /// The lease.
    pub number: Number,
    /// The message.
    pub message: Received,
    /// Tells the handler to stop; at once where the lease is lost.
    pub stop: Shutdown,
}

/// What became of a deletion or a return.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ack {
    /// Done.
    Done,
    /// The message is not ours any more.
    Lost(String),
    /// The same, and told already.
    Gone,
    /// Not done: the message comes back when its visibility has run out.
    Left(String),
}

struct Deletion {
    number: Number,
    tries: u32,
    answer: oneshot::Sender<Ack>,
}

struct Return {
    number: Number,
    time: Duration,
    answer: oneshot::Sender<Ack>,
}

impl Desk {
    /// Nothing in hand.
    pub fn new(
        queue: Queue,
        visibility: Duration,
        progress: Rc<RefCell<Progress>>,
        tell: Rc<dyn Fn(Fact)>,
    ) -> Rc<Self> {
        Rc::new(Self {
            queue,
            visibility,
            leases: RefCell::new(Leases::new(visibility, crate::engine::steps::seed())),
            holds: RefCell::default(),
            deletions: RefCell::default(),
            returns: RefCell::default(),
            keeper: Notify::new(),
            beaten: Notify::new(),
            clerk: Notify::new(),
            progress,
            tell,
        })
    }

    /// Takes messages in hand that were received just now by a call that began at `asked`. Where the receive took so
    /// long that they may be old, they are confirmed first; what is not confirmed is not ours.
    pub async fn take(&self, messages: Vec<Received>, asked: Instant) -> Vec<Hold> {
        let now = Instant::now();
        let mut holds: Vec<Hold> = messages
            .into_iter()
            .map(|message| self.hold(message, asked, now))
            .collect();
        self.note();
        self.keeper.notify_one();
        loop {
            let beaten = self.beaten.notified();
            holds.retain(|hold| self.has(hold.number));
            let is_sure = |hold: &Hold| self.leases.borrow().is_sure(hold.number);
            if holds.iter().all(is_sure) {
                return holds;
            }
            // The first heartbeat is due at once; where it fails, the end of the lease is near.
            beaten.await;
        }
    }

    fn hold(&self, message: Received, asked: Instant, now: Instant) -> Hold {
        let number = self
            .leases
            .borrow_mut()
            .take(message.handle.clone(), asked, now);
        let (switch, stop) = shutdown::channel();
        let held = Held {
            id: message.id.clone(),
            switch,
            is_leaving: false,
        };
        self.holds.borrow_mut().insert(number, held);
        self.progress.borrow_mut().counts.received += 1;
        Hold {
            number,
            message,
            stop,
        }
    }

    /// Whether a message is still ours.
    pub fn has(&self, number: Number) -> bool {
        self.leases.borrow().get(number).is_some()
    }

    /// How many messages are in hand.
    pub fn len(&self) -> usize {
        self.leases.borrow().len()
    }

    /// Tells every handler to stop: in order, or, said again, at once.
    pub fn interrupt(&self, at_once: bool) {
        for held in self.holds.borrow().values() {
            if at_once {
                held.switch.request(Reason::Asked);
                held.switch.request(Reason::Asked);
            } else {
                held.switch.begin(Reason::Asked);
            }
        }
    }

    /// Deletes a message that was done or put elsewhere.
    pub async fn delete(&self, number: Number) -> Ack {
        if let Some(held) = self.holds.borrow_mut().get_mut(&number) {
            held.is_leaving = true;
        }
        let (answer, answered) = oneshot::channel();
        self.deletions.borrow_mut().push_back(Deletion {
            number,
            tries: 0,
            answer,
        });
        self.clerk.notify_one();
        answered
            .await
            .unwrap_or_else(|_| Ack::Left("the role has ended".to_owned()))
    }

    /// Gives a message back: others can have it after `time`, which is rounded up to whole seconds.
    pub async fn give_back(&self, number: Number, time: Duration) -> Ack {
        self.leases.borrow_mut().let_go(number);
        let (answer, answered) = oneshot::channel();
        self.returns.borrow_mut().push_back(Return {
            number,
            time: Duration::from_secs(time.as_millis().div_ceil(1000) as u64),
            answer,
        });
        self.keeper.notify_one();
        answered
            .await
            .unwrap_or_else(|_| Ack::Left("the role has ended".to_owned()))
    }

    /// Lets a message be: it comes back when its visibility has run out.
    pub fn leave(&self, number: Number) {
        self.end(number);
    }

    fn end(&self, number: Number) {
        self.leases.borrow_mut().end(number);
        self.holds.borrow_mut().remove(&number);
        self.note();
    }

    fn note(&self) {
        let mut progress = self.progress.borrow_mut();
        progress.in_hand = self.leases.borrow().len();
        progress.oldest = self.leases.borrow().oldest();
    }

    /// The message is not ours any more: its handler stops at once.
    fn lose(&self, number: Number, why: &str) {
        let held = self.holds.borrow_mut().remove(&number);
        self.leases.borrow_mut().end(number);
        if let Some(held) = held {
            held.switch.request(Reason::Asked);
            held.switch.request(Reason::Asked);
            self.progress.borrow_mut().counts.lost += 1;
            let why = why.to_owned();
            let fate = Fate::Lost { why };
            (self.tell)(Fact::Message { id: held.id, fate });
        }
        self.note();
    }

    /// Keeps leases up and gives messages back; never returns.
    pub async fn keep(self: Rc<Self>) {
        let mut returns = JoinSet::new();
        loop {
            let wakes_at = self.leases.borrow().wakes_at();
            let due = async {
                match wakes_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = due => {
                    self.beat().await;
                    self.beaten.notify_waiters();
                }
                () = self.keeper.notified() => {}
                Some(_) = returns.join_next() => {}
            }
            loop {
                let some: Vec<Return> = take_some(&self.returns);
                if some.is_empty() {
                    break;
                }
                returns.spawn_local(self.clone().put_back(some));
            }
        }
    }

    /// One heartbeat for all, where it is due, and the end of what could not be kept up.
    async fn beat(&self) {
        let now = Instant::now();
        let Some(lag) = self.leases.borrow().lag(now) else {
            return self.expire();
        };
        let beats = self.leases.borrow_mut().beat(now);
        {
            let mut progress = self.progress.borrow_mut();
            progress.lag = lag;
            progress.worst_lag = progress.worst_lag.max(lag);
        }
        // A call that hangs must leave time for another one.
        let limit = (self.visibility / 5).clamp(Duration::from_secs(1), SLACK);
        let mut calls = JoinSet::new();
        for some in beats.chunks(BATCH) {
            let (queue, some) = (self.queue.clone(), some.to_vec());
            self.progress.borrow_mut().counts.heartbeats += 1;
            calls.spawn_local(async move {
                let entries: Vec<Entry> = some
                    .iter()
                    .map(|beat| Entry {
                        handle: beat.handle.clone(),
                        time: beat.time,
                    })
                    .collect();
                let ends = queue.hide(&entries, limit).await;
                (some, ends)
            });
        }
        while let Some(Ok((beats, ends))) = calls.join_next().await {
            self.settle_beats(&beats, ends, now);
        }
        self.expire();
    }

    fn settle_beats(
        &self,
        beats: &[Beat],
        ends: Result<Vec<EntryEnd>, QueueError>,
        asked: Instant,
    ) {
        let ends = match ends {
            Ok(ends) => ends,
            Err(error) => {
                let what = format!("{}; the heartbeat will be tried again", error.error);
                (self.tell)(Fact::Trouble { what });
                return self.leases.borrow_mut().failed(Instant::now());
            }
        };
        for (beat, end) in beats.iter().zip(ends) {
            match end {
                EntryEnd::Done => self.leases.borrow_mut().granted(beat, asked),
                EntryEnd::Failed(_) => self.leases.borrow_mut().failed(Instant::now()),
                EntryEnd::Refused(why) => {
                    let is_leaving = self
                        .holds
                        .borrow()
                        .get(&beat.number)
                        .is_none_or(|held| held.is_leaving);
                    if !is_leaving {
                        self.lose(beat.number, &format!("its heartbeat was refused ({why})"));
                    }
                }
            }
        }
    }

    fn expire(&self) {
        let gone = self.leases.borrow_mut().expired(Instant::now());
        for number in gone {
            self.lose(number, "its visibility ran out");
        }
    }

    /// Gives some messages back.
    async fn put_back(self: Rc<Self>, mut some: Vec<Return>) {
        for tries in 0.. {
            let (left, gone): (Vec<_>, Vec<_>) =
                some.into_iter().partition(|one| self.has(one.number));
            for one in gone {
                let _ = one.answer.send(Ack::Gone);
            }
            if left.is_empty() {
                return;
            }
            let entries: Vec<Entry> = left
                .iter()
                .filter_map(|one| {
                    let handle = self.leases.borrow().get(one.number)?.handle.clone();
                    Some(Entry {
                        handle,
                        time: one.time,
                    })
                })
                .collect();
            let ends = spread(self.queue.hide(&entries, SLACK / 2).await, left.len());
            some = Vec::new();
            for (one, end) in left.into_iter().zip(ends) {
                let ack = match end {
                    EntryEnd::Done => Ack::Done,
                    EntryEnd::Refused(why) => Ack::Lost(why),
                    EntryEnd::Failed(_) if tries + 1 < TRIES => {
                        some.push(one);
                        continue;
                    }
                    EntryEnd::Failed(why) => Ack::Left(why),
                };
                self.end(one.number);
                let _ = one.answer.send(ack);
            }
            if some.is_empty() {
                return;
            }
            tokio::time::sleep(PAUSES.pause(tries, 0.5)).await;
        }
    }

    /// Deletes what is to be deleted; never returns.
    pub async fn clear(self: Rc<Self>) {
        loop {
            if self.deletions.borrow().is_empty() {
                self.clerk.notified().await;
            }
            self.gather().await;
            let some: Vec<Deletion> = take_some(&self.deletions);
            let (some, gone): (Vec<_>, Vec<_>) =
                some.into_iter().partition(|one| self.has(one.number));
            for one in gone {
                let _ = one.answer.send(Ack::Gone);
            }
            if let Some(pause) = self.delete_some(some).await {
                tokio::time::sleep(pause).await;
            }
        }
    }

    /// Waits a moment for more to delete, unless there is enough for a call.
    async fn gather(&self) {
        let limit = Instant::now() + GATHER_MOST;
        while self.deletions.borrow().len() < BATCH {
            let soon = limit.min(Instant::now() + GATHER);
            if tokio::time::timeout_at(soon, self.clerk.notified())
                .await
                .is_err()
            {
                return;
            }
        }
    }

    /// One call; the pause before the next one where entries failed.
    async fn delete_some(&self, some: Vec<Deletion>) -> Option<Duration> {
        let handles: Vec<String> = some
            .iter()
            .filter_map(|one| Some(self.leases.borrow().get(one.number)?.handle.clone()))
            .collect();
        if handles.is_empty() {
            return None;
        }
        let ends = spread(self.queue.delete(&handles, SLACK).await, some.len());
        let (mut pause, mut first, mut reason) = (None, 0, String::new());
        for (mut one, end) in some.into_iter().zip(ends) {
            let ack = match end {
                EntryEnd::Done => Ack::Done,
                EntryEnd::Refused(why) => Ack::Lost(why),
                EntryEnd::Failed(why) => {
                    first += usize::from(one.tries == 0);
                    pause = Some(PAUSES.pause(one.tries, 0.5));
                    one.tries += 1;
                    self.deletions.borrow_mut().push_back(one);
                    reason = why;
                    continue;
                }
            };
            self.end(one.number);
            let _ = one.answer.send(ack);
        }
        // Told once for each message, and once for all that failed together.
        if first > 0 {
            let which = match first {
                1 => "a message that is done".to_owned(),
                n => format!("{n} messages that are done"),
            };
            let what = format!("{which} could not be deleted yet: {reason}");
            (self.tell)(Fact::Trouble { what });
        }
        pause
    }
}

/// The first of what waits, as many as one call takes.
fn take_some<T>(waiting: &RefCell<VecDeque<T>>) -> Vec<T> {
    let mut waiting = waiting.borrow_mut();
    let count = waiting.len().min(BATCH);
    waiting.drain(..count).collect()
}

/// A call that failed as a whole failed for each of its entries.
fn spread(ends: Result<Vec<EntryEnd>, QueueError>, count: usize) -> Vec<EntryEnd> {
    match ends {
        Ok(ends) => ends,
        Err(error) => vec![EntryEnd::Failed(error.error.to_string()); count],
    }
}
