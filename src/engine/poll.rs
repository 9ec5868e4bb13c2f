//! Queues: receive, hand over, acknowledge; one poller a queue, as many messages in hand as `concurrency` says.
//!
//! A message is a lease ([`super::lease`]). Nothing is deleted that was not handled or put among the dead letters. A
//! stop begins no receive and lets the one under way finish, since a receive that is broken off may still hand out
//! messages that nobody has; what it brings is given back. What is in hand goes on until shortly before the budget
//! ends; then handlers are stopped, and only when they are gone are their messages given back.

mod api;
mod desk;
pub mod fact;
mod message;
pub mod progress;
mod receive;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backoff::{Backoff, Dice};
use super::event::Event;
use super::handler::Handler;
use super::protection::Protection;
use super::steps::{self, Cx};
use crate::outcome::{Exit, RunError};
use crate::roles::schema::MessageSchema;
use crate::roles::spec;
use crate::settings::spec::SourceSpec;
use crate::sys::queue::{Again, Queue, QueueError, Wanted};
use desk::Desk;
use fact::Fact;
use progress::Progress;

/// The pauses between calls that failed.
const PAUSES: Backoff = Backoff {
    initial: Duration::from_secs(1),
    factor: 2.0,
    max: Duration::from_secs(30),
    jitter: 0.2,
};

/// The pauses of messages that are to be retried, where the queue says nothing else.
const RETRIES: Backoff = Backoff {
    initial: Duration::from_secs(10),
    factor: 2.0,
    max: Duration::from_secs(900),
    jitter: 0.2,
};

/// How soon after one free place, or one deletion, another one must come to be in the same call, and how long the first
/// one waits for others at most: a call for ten messages costs hardly more than a call for one.
const GATHER: Duration = Duration::from_millis(1);
const GATHER_MOST: Duration = Duration::from_millis(5);

/// What the parts of a queue's work share.
struct Poll {
    spec: spec::Queue,
    cx: Cx,
    queue: Queue,
    dead_letter: Option<Queue>,
    schema: Option<MessageSchema>,
    retries: Backoff,
    handler: Handler,
    desk: Rc<Desk>,
    protection: Rc<Protection>,
    progress: Rc<RefCell<Progress>>,
    room: std::sync::Arc<Semaphore>,
    dice: RefCell<Dice>,
    /// Why no message can be handled any more.
    broken: RefCell<Option<RunError>>,
    breaks: Notify,
    tell: Rc<dyn Fn(Fact)>,
}

/// When what happens in a stop.
#[derive(Debug, Clone, Copy)]
struct Schedule {
    /// Handlers are told to stop.
    interrupt: Instant,
    /// Handlers are killed, and a receive that still hangs is left alone.
    kill: Instant,
    /// Everything must be told to the queue.
    end: Instant,
}

impl Schedule {
    fn of(cx: &Cx) -> Self {
        let budget = cx.world.stop_timeout.get();
        let end = cx
            .world
            .stop_deadline()
            .unwrap_or_else(|| Instant::now() + budget);
        let before = |time: Duration| end.checked_sub(time).unwrap_or(end);
        Self {
            interrupt: before((budget / 4).min(Duration::from_secs(6))),
            kill: before((budget / 8).min(Duration::from_secs(3))),
            end,
        }
    }
}

/// Handles messages until the stop. An error ends the role: the queue is not there, or its handler.
pub async fn run(
    member: &str,
    spec: &spec::Queue,
    cx: &Cx,
    progress: &Rc<RefCell<Progress>>,
) -> Result<(), RunError> {
    let tell = teller(member, cx);
    let Some((queue, dead_letter)) = receive::open(spec, cx, progress, &tell).await? else {
        return Ok(());
    };
    let mut doors = JoinSet::new();
    if let Some(api) = &spec.api {
        let api = api::Api::open(spec, api, queue.clone(), cx, &tell).await?;
        doors.spawn_local(api.serve(cx.shutdown.clone()));
    }
    let poll = Rc::new(Poll::ready(member, spec, cx, progress, queue, dead_letter)?);
    let mut chores = JoinSet::new();
    chores.spawn_local(poll.desk.clone().keep());
    chores.spawn_local(poll.desk.clone().clear());
    chores.spawn_local(poll.protection.clone().renew());
    let mut messages = JoinSet::new();
    poll.clone().receive_until_stop(&mut messages).await;
    poll.clone().finish(&mut messages).await;
    // A task that stops is in nobody's way; the agent need not be waited for.
    let _ = tokio::time::timeout(Duration::from_millis(500), poll.protection.release()).await;
    // Who adds tasks at this moment is answered.
    tokio::select! {
        () = drain(&mut doors) => {}
        () = tokio::time::sleep(api::GRACE) => {}
        () = cx.shutdown.kill_requested() => {}
    }
    chores.shutdown().await;
    messages.shutdown().await;
    let broken = poll.broken.take();
    if let Some(poll) = Rc::into_inner(poll) {
        poll.handler.end().await;
    }
    broken.map_or(Ok(()), Err)
}

fn schema(spec: &spec::Queue, member: &str) -> Result<Option<MessageSchema>, RunError> {
    let schema = spec.message_schema.as_ref();
    let compiled = schema.map(|schema| MessageSchema::compile(&schema.0));
    compiled.transpose().map_err(|why| {
        let doing = format!("cannot use the message_schema of `{member}`");
        RunError::new(Exit::CONFIG, doing, why)
    })
}

fn teller(member: &str, cx: &Cx) -> Rc<dyn Fn(Fact)> {
    let (world, member) = (cx.world.clone(), member.to_owned());
    Rc::new(move |fact| {
        let member = member.clone();
        world.tell(Event::Queue { member, fact });
    })
}

/// Where a queue of the role is, from its texts.
pub fn wanted(name: &str, spec: &spec::Queue, cx: &Cx) -> Result<Wanted, RunError> {
    let text = |text: &Option<_>| text.as_ref().map(|text| cx.text(text)).transpose();
    // The region of the secret source is the last resort.
    let secret = cx.plan.sources.iter().find_map(|source| match source {
        SourceSpec::Secret(source) => source.region.as_ref(),
        _ => None,
    });
    Ok(Wanted {
        name: name.to_owned(),
        region: text(&spec.region)?,
        endpoint: text(&spec.endpoint)?,
        fallback_region: secret.and_then(|region| cx.text(region).ok()),
    })
}

impl Poll {
    /// Everything ready for the first message; workers begin to start.
    fn ready(
        member: &str,
        spec: &spec::Queue,
        cx: &Cx,
        progress: &Rc<RefCell<Progress>>,
        queue: Queue,
        dead_letter: Option<Queue>,
    ) -> Result<Self, RunError> {
        let tell = teller(member, cx);
        let visibility = spec.visibility_timeout.0;
        Ok(Self {
            schema: schema(spec, member)?,
            protection: Protection::new(spec.task_protection, &cx.world, tell.clone())?,
            handler: Handler::start(spec, member, cx, &tell)?,
            desk: Desk::new(queue.clone(), visibility, progress.clone(), tell.clone()),
            spec: spec.clone(),
            cx: cx.clone(),
            queue,
            dead_letter,
            retries: spec.backoff.as_ref().map_or(RETRIES, steps::backoff),
            progress: progress.clone(),
            room: std::sync::Arc::new(Semaphore::new(spec.concurrency.0 as usize)),
            dice: RefCell::new(Dice::new(steps::seed())),
            broken: RefCell::default(),
            breaks: Notify::new(),
            tell,
        })
    }

    /// The handler is not there: the role ends, and what is in hand is given back.
    fn give_up(&self, error: RunError) {
        self.broken.borrow_mut().get_or_insert(error);
        self.breaks.notify_one();
    }

    fn is_ending(&self) -> bool {
        self.cx.shutdown.is_requested() || self.broken.borrow().is_some()
    }

    /// Lets what is in hand go on, then stops it, as the stop's schedule has it.
    async fn finish(self: Rc<Self>, messages: &mut JoinSet<()>) {
        let broken = self.broken.borrow().is_some();
        let schedule = if self.cx.shutdown.is_requested() {
            Schedule::of(&self.cx)
        } else {
            // Nobody asked for a stop yet: what else is in hand has the time that a stop would give it.
            let budget = self.cx.world.stop_timeout.get();
            let end = Instant::now() + budget;
            Schedule {
                interrupt: end,
                kill: end,
                end,
            }
        };
        if broken {
            self.desk.interrupt(false);
        }
        let killed = self.cx.shutdown.kill_requested();
        tokio::pin!(killed);
        let (mut interrupted, mut at_once) = (false, false);
        loop {
            tokio::select! {
                biased;
                () = &mut killed => {
                    self.desk.interrupt(true);
                    // A second signal: no more calls, only the end of the handlers.
                    let _ = tokio::time::timeout(Duration::from_millis(500), drain(messages)).await;
                    return;
                }
                joined = messages.join_next() => if joined.is_none() { return },
                () = tokio::time::sleep_until(schedule.interrupt), if !interrupted => {
                    interrupted = true;
                    self.desk.interrupt(false);
                }
                () = tokio::time::sleep_until(schedule.kill), if !at_once => {
                    at_once = true;
                    self.desk.interrupt(true);
                }
                () = tokio::time::sleep_until(schedule.end) => return,
            }
        }
    }

    /// As many places as are free or are so in a moment, at most `most`; none where the stop comes first.
    async fn places(&self, most: usize) -> Vec<OwnedSemaphorePermit> {
        let mut places = Vec::new();
        tokio::select! {
            biased;
            () = self.cx.shutdown.requested() => return places,
            () = self.breaks.notified() => return places,
            first = self.room.clone().acquire_owned() => places.extend(first),
        }
        let most = most.min(self.spec.concurrency.0 as usize);
        let limit = Instant::now() + GATHER_MOST;
        while places.len() < most {
            let soon = limit.min(Instant::now() + GATHER);
            let next = self.room.clone().acquire_owned();
            match tokio::time::timeout_at(soon, next).await {
                Ok(place) => places.extend(place),
                Err(_) => break,
            }
        }
        places
    }

    fn failed(&self, error: &QueueError) -> Duration {
        note_failure(
            error,
            &self.progress,
            &self.tell,
            &mut self.dice.borrow_mut(),
        )
    }
}

/// Notes a call that failed; the pause before the next.
fn note_failure(
    error: &QueueError,
    progress: &RefCell<Progress>,
    tell: &Rc<dyn Fn(Fact)>,
    dice: &mut Dice,
) -> Duration {
    let in_a_row = {
        let mut progress = progress.borrow_mut();
        progress.failures = progress.failures.saturating_add(1);
        progress.error = Some(error.error.to_string());
        progress.failures
    };
    let step = match error.again {
        Again::Soon => in_a_row - 1,
        Again::Later | Again::No => in_a_row,
    };
    let pause = PAUSES.pause(step, dice.roll());
    tell(Fact::Unreachable {
        error: error.error.clone(),
        in_a_row,
        pause,
    });
    pause
}

async fn drain(tasks: &mut JoinSet<()>) {
    while tasks.join_next().await.is_some() {}
}
