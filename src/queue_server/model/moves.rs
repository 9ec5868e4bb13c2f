//! Moving dead letters back: StartMessageMoveTask and its relatives.
//!
//! A task moves what was in the dead-letter queue when it began, and nothing that is in flight; a message that comes
//! back dead while the task runs is not moved again by it. The server calls [`Broker::step_moves`] while tasks run.

use super::Broker;
use super::message::Seq;
use super::record::Record;
use super::refusal::{Code, Refusal};
use serde::{Deserialize, Serialize};

/// A task, running or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// `TaskHandle`.
    pub id: String,
    /// The dead-letter queue.
    pub source: String,
    /// The queue to move to; none for the one that each message came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Messages a second at most, 1 to 500; none for as fast as it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// When it began, in milliseconds since 1970.
    pub began: u64,
    /// How many messages it moved.
    pub moved: u64,
    /// How many messages there were when it began.
    pub to_move: u64,
    /// No message at or past this place is moved.
    pub before: Seq,
    /// How it stands.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "SQS's own names")]
pub enum Status {
    Running,
    Completed,
    Cancelled,
    Failed,
}

/// How many messages one step moves at most, so that requests are answered between steps.
const STEP: u64 = 100;
/// How many ended tasks of one queue are remembered, as on AWS.
const REMEMBERED: usize = 10;

impl Broker {
    /// Begins a task; returns its handle. One queue has one running task.
    pub fn start_move(
        &mut self,
        source: &str,
        destination: Option<&str>,
        rate: Option<i64>,
        now: u64,
    ) -> Result<String, Refusal> {
        let not_there = || {
            Refusal::new(
                Code::ResourceNotFoundException,
                "The resource that you specified for the SourceArn or DestinationArn parameter doesn't exist.",
            )
        };
        let name = self.name_in_arn(source).ok_or_else(not_there)?;
        let to = destination
            .map(|arn| self.name_in_arn(arn).ok_or_else(not_there))
            .transpose()?;
        self.may_move(&name, to.as_deref())?;
        let rate = rate.map(move_rate).transpose()?;
        let to_move = self.queue(&name, now)?.counts().visible as u64;
        let task = Move {
            id: self.uuid(),
            source: name,
            destination: to,
            rate,
            began: self.clock,
            moved: 0,
            to_move,
            before: self.next_place(),
            status: Status::Running,
            reason: None,
        };
        let id = task.id.clone();
        self.commit(Record::MoveBegan(task));
        Ok(id)
    }

    /// What AWS says against a move.
    fn may_move(&self, name: &str, to: Option<&str>) -> Result<(), Refusal> {
        let wrong = |message| Err(Refusal::new(Code::InvalidParameterValue, message));
        if self.sources_of(name).is_empty() {
            return wrong("Source queue must be configured as a Dead Letter Queue.");
        }
        let is_fifo = |name: &str| self.queues[name].attributes.fifo;
        if to.is_some_and(|to| to == name || is_fifo(to) != is_fifo(name)) {
            return wrong(
                "Destination queue must be another queue of the same type as the source.",
            );
        }
        let runs = |task: &Move| task.source == name && task.status == Status::Running;
        if self.moves.iter().any(runs) {
            return Err(Refusal::new(
                Code::UnsupportedOperation,
                "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
            ));
        }
        Ok(())
    }

    /// The tasks of a dead-letter queue, the latest first.
    pub fn list_moves(&self, source: &str, max: usize) -> Result<Vec<&Move>, Refusal> {
        let name = self.name_in_arn(source).ok_or_else(|| {
            Refusal::new(
                Code::ResourceNotFoundException,
                "The resource that you specified for the SourceArn parameter doesn't exist.",
            )
        })?;
        let of_queue = self.moves.iter().rev().filter(|task| task.source == name);
        Ok(of_queue.take(max).collect())
    }

    /// Ends a running task; returns how many messages it moved. They stay where they are.
    pub fn cancel_move(&mut self, id: &str) -> Result<u64, Refusal> {
        let Some(task) = self.moves.iter().find(|task| task.id == id) else {
            return Err(Refusal::new(
                Code::ResourceNotFoundException,
                "Task does not exist.",
            ));
        };
        if task.status != Status::Running {
            return Err(Refusal::new(
                Code::UnsupportedOperation,
                "Only active tasks can be cancelled.",
            ));
        }
        let moved = task.moved;
        self.end(id, Status::Cancelled, None);
        Ok(moved)
    }

    /// Moves what is due now; the time of the next step, none when no task runs.
    pub fn step_moves(&mut self, now: u64) -> Option<u64> {
        self.clock = self.clock.max(now);
        let running = self
            .moves
            .iter()
            .filter(|task| task.status == Status::Running);
        let running: Vec<Move> = running.cloned().collect();
        running.into_iter().filter_map(|task| self.step(task)).min()
    }

    /// One task's step; the time of its next one.
    fn step(&mut self, task: Move) -> Option<u64> {
        let elapsed = self.clock.saturating_sub(task.began);
        // The first message is due at once, each next one a fraction of a second later.
        let due = task
            .rate
            .map_or(u64::MAX, |rate| elapsed * u64::from(rate) / 1000 + 1);
        let mut moved = task.moved;
        while moved < task.moved + STEP {
            if moved >= due {
                let rate = u64::from(task.rate.unwrap_or(1));
                return Some(task.began + (moved * 1000).div_ceil(rate));
            }
            let next = match self.queue(&task.source, self.clock) {
                Ok(queue) => queue.first_visible().filter(|seq| *seq < task.before),
                Err(_) => None,
            };
            let Some(seq) = next else {
                self.end(&task.id, Status::Completed, None);
                return None;
            };
            let Some(to) = self.destination(&task, seq) else {
                self.end(
                    &task.id,
                    Status::Failed,
                    Some("CouldNotDetermineMessageSource".to_owned()),
                );
                return None;
            };
            let id = self.uuid();
            self.commit(Record::Moved {
                task: task.id.clone(),
                message: seq,
                to,
                place: self.next_place(),
                id,
                at: self.clock,
            });
            moved += 1;
        }
        Some(self.clock)
    }

    fn destination(&self, task: &Move, seq: Seq) -> Option<String> {
        let to = match &task.destination {
            Some(to) => to.clone(),
            None => {
                let message = self.queues.get(&task.source)?.message(seq)?;
                self.name_in_arn(message.dead_from.as_deref()?)?
            }
        };
        self.queues.contains_key(&to).then_some(to)
    }

    fn end(&mut self, id: &str, status: Status, reason: Option<String>) {
        self.commit(Record::MoveEnded {
            task: id.to_owned(),
            status,
            reason,
        });
    }

    /// Forgets the oldest ended tasks of a queue that has too many.
    pub(super) fn forget_moves(&mut self, source: &str) {
        let mut left = self
            .moves
            .iter()
            .filter(|task| task.source == source)
            .count();
        self.moves.retain(|task| {
            let forget =
                left > REMEMBERED && task.source == source && task.status != Status::Running;
            left -= usize::from(forget);
            !forget
        });
    }
}

/// Messages a second, as AWS allows them.
fn move_rate(rate: i64) -> Result<u32, Refusal> {
    let fits = u32::try_from(rate).ok();
    fits.filter(|rate| (1..=500).contains(rate)).ok_or_else(|| {
        let expected = "Must be between 1 and 500, if provided.";
        Refusal::parameter("MaxNumberOfMessagesPerSecond", rate, expected)
    })
}
