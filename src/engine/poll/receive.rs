//! Opening a queue and receiving from it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::desk::Hold;
use super::fact::Fact;
use super::progress::Progress;
use super::{Poll, Schedule, note_failure, wanted};
use crate::engine::backoff::Dice;
use crate::engine::steps::{self, Cx};
use crate::outcome::{Exit, RunError};
use crate::roles::spec;
use crate::sys::queue::{Again, Ask, Attributes, BATCH, Queue, QueueError, Received};

/// How many messages beyond `concurrency` may be in hand while they are being deleted.
const LEAVING: usize = 20;

/// The queue and its dead letters; none when a stop comes first. What may pass is waited for, the rest is an error.
pub(super) async fn open(
    spec: &spec::Queue,
    cx: &Cx,
    progress: &RefCell<Progress>,
    tell: &Rc<dyn Fn(Fact)>,
) -> Result<Option<(Queue, Option<Queue>)>, RunError> {
    let mut dice = Dice::new(steps::seed());
    loop {
        let opened = tokio::select! {
            biased;
            () = cx.shutdown.requested() => return Ok(None),
            opened = open_once(spec, cx, tell) => opened,
        };
        let error = match opened {
            Ok(queues) => {
                let mut progress = progress.borrow_mut();
                (progress.failures, progress.error) = (0, None);
                progress.opened = Some(Instant::now());
                return Ok(Some(queues));
            }
            Err(error) if error.again == Again::No => return Err(error.error),
            Err(error) => error,
        };
        let pause = note_failure(&error, progress, tell, &mut dice);
        if !cx.shutdown.sleep(pause).await {
            return Ok(None);
        }
    }
}

async fn open_once(
    spec: &spec::Queue,
    cx: &Cx,
    tell: &Rc<dyn Fn(Fact)>,
) -> Result<(Queue, Option<Queue>), QueueError> {
    let last = |error| QueueError {
        error,
        again: Again::No,
    };
    let name = cx.text(&spec.queue).map_err(last)?;
    let queue = Queue::open(&wanted(&name, spec, cx).map_err(last)?).await?;
    let dead_letter = match &spec.dead_letter {
        Some(text) => {
            let name = cx.text(text).map_err(last)?;
            Some(Queue::open(&wanted(&name, spec, cx).map_err(last)?).await?)
        }
        None => None,
    };
    if let Some(dead) = &dead_letter {
        fits(&queue, dead).map_err(last)?;
    }
    // May be forbidden; receiving need not be.
    let policy = match queue.attributes().await {
        Ok(attributes) => policy(&attributes, spec),
        Err(error) => format!("its own policy is not known: {}", error.error.cause),
    };
    tell(Fact::Opened {
        queue: queue.name().to_owned(),
        dead_letter: dead_letter.as_ref().map(|queue| queue.name().to_owned()),
        policy,
    });
    Ok((queue, dead_letter))
}

/// Dead letters are of the queue's own kind, and elsewhere.
fn fits(queue: &Queue, dead: &Queue) -> Result<(), RunError> {
    let wrong = |cause: &str, help: &str| {
        let doing = format!(
            "cannot use `{}` as dead_letter of `{}`",
            dead.name(),
            queue.name()
        );
        Err(RunError::new(Exit::CONFIG, doing, cause).with_help(help))
    };
    if queue.name() == dead.name() {
        return wrong("it is the queue itself", "name another queue");
    }
    match (queue.is_fifo(), dead.is_fifo()) {
        (true, false) => wrong(
            "the queue is FIFO and this is not",
            "name a queue that ends in .fifo",
        ),
        (false, true) => wrong("this is FIFO and the queue is not", "name a standard queue"),
        _ => Ok(()),
    }
}

/// The queue's own rule in words.
fn policy(attributes: &Attributes, spec: &spec::Queue) -> String {
    let Some(redrive) = &attributes.redrive else {
        return "it has no redrive policy of its own".to_owned();
    };
    let own = redrive.max_receives;
    let target = redrive.target.rsplit(':').next().unwrap_or_default();
    let late = match spec.max_receives {
        Some(ours) if ours.0 > own => ", before max_receives is reached",
        _ => "",
    };
    format!("after {own} receives it moves a message to {target} by itself{late}")
}

impl Poll {
    /// Receives until the stop; what a receive brings after that is given back.
    pub(super) async fn receive_until_stop(self: Rc<Self>, messages: &mut JoinSet<()>) {
        let mut attempt = self.queue.is_fifo().then(fresh);
        while !self.is_ending() {
            while messages.try_join_next().is_some() {}
            let places = self.places(self.most()).await;
            if places.is_empty() {
                return;
            }
            if self.most() == 0 {
                // All that is in hand is being deleted, and that does not work.
                drop(places);
                self.cx.shutdown.sleep(Duration::from_millis(200)).await;
                continue;
            }
            self.make_a_gap(messages).await;
            if self.is_ending() {
                return;
            }
            let asked = Instant::now();
            match self.receive_once(places.len(), attempt.as_deref()).await {
                None => return,
                Some(Ok(received)) => {
                    attempt = attempt.map(|_| fresh());
                    self.answered(&received);
                    let holds = self.desk.take(received, asked).await;
                    if !holds.is_empty() && !self.protection.hold().await {
                        drop(places);
                        self.refuse(holds).await;
                        continue;
                    }
                    self.hand_over(holds, places, messages);
                }
                Some(Err(error)) => {
                    drop(places);
                    let pause = self.failed(&error);
                    tokio::select! {
                        _ = self.cx.shutdown.sleep(pause) => {}
                        () = self.breaks.notified() => {}
                    }
                }
            }
        }
    }

    /// Takes the task's protection back before the next receive where nothing is in hand, and sees to it that nothing
    /// is now and then.
    async fn make_a_gap(&self, messages: &mut JoinSet<()>) {
        while self.protection.is_due_for_a_gap() && !messages.is_empty() && !self.is_ending() {
            tokio::select! {
                _ = messages.join_next() => {}
                () = self.cx.shutdown.requested() => {}
                () = self.breaks.notified() => {}
            }
        }
        if self.desk.len() == 0 {
            self.protection.release().await;
        }
    }

    /// The task could not be protected, and must be: the messages are given back, and others are left alone for a
    /// while.
    async fn refuse(&self, holds: Vec<Hold>) {
        for hold in &holds {
            self.release(hold).await;
        }
        self.progress.borrow_mut().error = Some(self.protection.error());
        // Some 16 s: a deployment that is under way takes longer, and will end this task.
        let pause = super::PAUSES.pause(4, self.dice.borrow_mut().roll());
        self.cx.shutdown.sleep(pause).await;
    }

    /// How many messages may be asked for. Of a FIFO queue it is one: a receive of several may bring several of one
    /// group, and each retry of the first would cost the others a receive that nobody saw, up to their last.
    fn most(&self) -> usize {
        let limit = self.spec.concurrency.0 as usize + LEAVING;
        let batch = if self.queue.is_fifo() { 1 } else { BATCH };
        limit.saturating_sub(self.desk.len()).min(batch)
    }

    /// One receive; a stop does not break it off before it must. None when it did.
    async fn receive_once(
        &self,
        most: usize,
        attempt: Option<&str>,
    ) -> Option<Result<Vec<Received>, QueueError>> {
        let receive = self.queue.receive(Ask {
            most,
            wait: self.spec.wait_time.0,
            visibility: Some(self.spec.visibility_timeout.0),
            attempt,
        });
        let out_of_time = async {
            self.cx.shutdown.requested().await;
            let schedule = Schedule::of(&self.cx);
            tokio::select! {
                () = tokio::time::sleep_until(schedule.kill) => {}
                () = self.cx.shutdown.kill_requested() => {}
            }
        };
        tokio::select! {
            biased;
            received = receive => Some(received),
            () = out_of_time => {
                let what = "the receive under way did not end in time; a message that it may still get comes back when its visibility has run out";
                (self.tell)(Fact::Trouble { what: what.to_owned() });
                None
            }
        }
    }

    fn answered(&self, received: &[Received]) {
        let after = {
            let mut progress = self.progress.borrow_mut();
            progress.answered = Some(Instant::now());
            progress.counts.empty_receives += u64::from(received.is_empty());
            progress.error = None;
            std::mem::take(&mut progress.failures)
        };
        if after > 0 {
            (self.tell)(Fact::Reachable { after });
        }
    }

    /// Gives each message to a task.
    fn hand_over(
        self: &Rc<Self>,
        holds: Vec<Hold>,
        mut places: Vec<OwnedSemaphorePermit>,
        messages: &mut JoinSet<()>,
    ) {
        for hold in holds {
            messages.spawn_local(self.clone().one(hold, places.pop()));
        }
    }
}

/// A text for a receive that can be asked for again.
fn fresh() -> String {
    let bytes = crate::sys::files::random(16).unwrap_or_default();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
