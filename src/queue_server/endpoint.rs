//! Requests that wait: for a message, for the journal, for a fault's pause.
//!
//! A decision and the appending of its records are never parted by an `await`: a client that goes away in between
//! cannot make the journal and the broker differ. A receive takes messages only in the moment in which it is polled:
//! when its connection is gone it is polled no more, and nothing is handed to it.

use super::journal::{Journal, Ticket, Waiter};
use super::model::Broker;
use super::model::record::Record;
use super::model::refusal::{Code, Refusal};
use super::protocol::{self, Context, ReceiveCall};
use super::{Fault, FaultKind};
use crate::shutdown::Shutdown;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The broker behind its journal, shared by all connections.
#[derive(Debug)]
pub struct Endpoint {
    state: RefCell<State>,
    moves: Notify,
    faults: Vec<Fault>,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct State {
    broker: Broker,
    journal: Option<Journal>,
    pollers: HashMap<String, Rc<Notify>>,
    counted: HashMap<String, u64>,
}

/// A request as the endpoint takes it.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The action.
    pub action: &'a str,
    /// The JSON text.
    pub body: &'a [u8],
    /// `http://HOST:PORT/ACCOUNT` as the client sees it.
    pub base: &'a str,
}

/// What is said to a request.
#[derive(Debug)]
pub enum Said {
    /// This.
    Json(Result<Vec<u8>, Refusal>),
    /// Nothing, and the connection is closed: a fault of the test's making.
    Nothing,
}

impl Endpoint {
    /// An endpoint over a broker that has read the journal.
    pub fn new(
        broker: Broker,
        journal: Option<Journal>,
        faults: Vec<Fault>,
        shutdown: Shutdown,
    ) -> Self {
        let state = State {
            broker,
            journal,
            pollers: HashMap::new(),
            counted: HashMap::new(),
        };
        Self {
            state: RefCell::new(state),
            moves: Notify::new(),
            faults,
            shutdown,
        }
    }

    /// Takes the journal out: nothing is kept any more.
    pub fn close(&self) -> Option<Journal> {
        self.state.borrow_mut().journal.take()
    }

    /// Answers a request, with the fault that is meant for it.
    pub async fn answer(&self, asked: Asked<'_>) -> Said {
        match self.fault(asked.action) {
            None => Said::Json(self.act(asked, None).await),
            Some(FaultKind::Error(code)) => {
                let why = "Refused by a fault that the test asked for.";
                Said::Json(Err(Refusal::new(*code, why)))
            }
            Some(FaultKind::Entries(code, places)) => {
                Said::Json(self.act(asked, Some((*code, places))).await)
            }
            Some(FaultKind::Delay(pause)) => {
                let done = self.act(asked, None).await;
                self.shutdown.sleep(*pause).await;
                Said::Json(done)
            }
            Some(FaultKind::Hang) => {
                self.shutdown.requested().await;
                Said::Nothing
            }
            Some(FaultKind::Drop) => {
                let _ = self.act(asked, None).await;
                Said::Nothing
            }
        }
    }

    fn fault(&self, action: &str) -> Option<&FaultKind> {
        if self.faults.is_empty() {
            return None;
        }
        let mut state = self.state.borrow_mut();
        let count = state.counted.entry(action.to_owned()).or_default();
        *count += 1;
        let due = |fault: &&Fault| fault.action == action && fault.nth == *count;
        self.faults.iter().find(due).map(|fault| &fault.kind)
    }

    async fn act(
        &self,
        asked: Asked<'_>,
        refuse: Option<(Code, &[usize])>,
    ) -> Result<Vec<u8>, Refusal> {
        let cx = Context {
            base: asked.base,
            now: now(),
            refuse,
        };
        if asked.action == "ReceiveMessage" {
            return self.receive(asked.body, cx).await;
        }
        let (answer, kept) = {
            let mut state = self.state.borrow_mut();
            let answer = protocol::answer(&mut state.broker, asked.action, asked.body, cx);
            // A send that a FIFO queue knew already has no record, and promises what the first one promised.
            (answer, state.keep(asked.action.starts_with("SendMessage")))
        };
        if asked.action == "StartMessageMoveTask" {
            self.moves.notify_one();
        }
        kept.wait().await?;
        answer
    }

    async fn receive(&self, body: &[u8], cx: Context<'_>) -> Result<Vec<u8>, Refusal> {
        let call = {
            let mut state = self.state.borrow_mut();
            let call = protocol::read_receive(&mut state.broker, body, cx);
            state.keep(false);
            call?
        };
        let deadline = Instant::now() + Duration::from_secs(call.wait);
        loop {
            let poller = self.state.borrow_mut().poller(&call.queue);
            let mut stirred = std::pin::pin!(poller.notified());
            stirred.as_mut().enable();
            let cx = Context { now: now(), ..cx };
            let last = Instant::now() >= deadline || self.shutdown.is_requested();
            let Look { answer, kept, next } = self.look(&call, cx, last);
            if let Some(answer) = answer {
                kept.wait().await?;
                return answer;
            }
            let pause = next.map_or(Duration::MAX, |at| {
                Duration::from_millis(at.saturating_sub(cx.now).max(1))
            });
            let until = Instant::now()
                .checked_add(pause)
                .map_or(deadline, |at| at.min(deadline));
            tokio::select! {
                () = stirred => {}
                () = tokio::time::sleep_until(until) => {}
                () = self.shutdown.requested() => {}
            }
        }
    }

    /// One look at the queue.
    fn look(&self, call: &ReceiveCall, cx: Context, last: bool) -> Look {
        let mut state = self.state.borrow_mut();
        let found = match state.broker.receive(&call.queue, &call.receive, cx.now) {
            // "With long polling no error, just no messages" (SQS developer guide, quotas).
            Err(refusal) if refusal.code == Code::OverLimit && call.wait > 0 => Ok(Vec::new()),
            found => found,
        };
        let answer = match found {
            Ok(found) if found.is_empty() && !last => None,
            Ok(found) => Some(protocol::write_receive(&mut state.broker, call, found, cx)),
            Err(refusal) => Some(Err(refusal)),
        };
        let queue = state.broker.queue(&call.queue, cx.now);
        let next = queue.ok().and_then(|queue| queue.next_change());
        let kept = state.keep(false);
        Look { answer, kept, next }
    }

    /// Moves dead letters back while a task runs; never returns.
    pub async fn run_moves(&self) {
        loop {
            let at = now();
            let next = {
                let mut state = self.state.borrow_mut();
                let next = state.broker.step_moves(at);
                state.keep(false);
                next
            };
            match next {
                Some(next) => {
                    let pause = Duration::from_millis(next.saturating_sub(at));
                    tokio::select! {
                        () = self.moves.notified() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    tokio::task::yield_now().await;
                }
                None => self.moves.notified().await,
            }
        }
    }
}

impl State {
    /// Hands new records to the journal and wakes the pollers of what they touch.
    fn keep(&mut self, sync: bool) -> Kept {
        for queue in self.broker.stirred() {
            if let Some(poller) = self.pollers.get(&queue) {
                poller.notify_waiters();
            }
            if !self.broker.has(&queue) {
                self.pollers.remove(&queue);
            }
        }
        let records = self.broker.drain();
        let Some(journal) = &mut self.journal else {
            return Kept(None);
        };
        if records.is_empty() && !sync {
            return Kept(None);
        }
        let sync = sync || records.iter().any(Record::must_be_synced);
        let ticket = journal.append(&records, sync);
        if journal.wants_compaction() {
            journal.compact(&self.broker.snapshot());
        }
        Kept(Some((journal.waiter(), ticket, sync)))
    }

    fn poller(&mut self, queue: &str) -> Rc<Notify> {
        if let Some(poller) = self.pollers.get(queue) {
            return Rc::clone(poller);
        }
        let poller = Rc::new(Notify::new());
        self.pollers.insert(queue.to_owned(), Rc::clone(&poller));
        poller
    }
}

/// What a look at a queue came to.
struct Look {
    /// There is something, or this is the last look.
    answer: Option<Result<Vec<u8>, Refusal>>,
    /// What it wrote down: leases, or only dead letters.
    kept: Kept,
    /// When a hidden message shows itself next.
    next: Option<u64>,
}

/// Records on their way to the disk.
#[derive(Debug)]
struct Kept(Option<(Waiter, Ticket, bool)>);

impl Kept {
    async fn wait(self) -> Result<(), Refusal> {
        let Some((waiter, ticket, sync)) = self.0 else {
            return Ok(());
        };
        // The cause is the operator's: `serve` ends with it.
        waiter.wait(ticket, sync).await.map_err(|_| {
            Refusal::new(
                Code::ServiceUnavailable,
                "The request could not be kept; the server is stopping.",
            )
        })
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
