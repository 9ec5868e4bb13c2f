//! One replica of a service, as a pure function: [`on`] takes what happened and answers with what to do.
//!
//! Nothing here reads a clock, starts a process or rolls true dice: `now` is passed in, pauses come from a seed.
//! The one who performs the [`Effect`]s (the supervisor) promises: every `Spawn` is answered once, by `Spawned` or
//! `SpawnFailed`; `Spawned` is told before the `Exited` of the same process; every process's end is told once.
//! In return, in whatever order events come:
//! - there is never a second process while one is known or asked for, and none is asked for after a stop;
//! - every state that waits for time says until when ([`Service::wakes_at`]), so a stop always ends;
//! - an event that does not belong to the state, or to its process, changes nothing, or kills the stranger.
//!
//! `service/machine.rs` answers every pair of state and event by name; the table of all of them is
//! `service/table.txt`, held by a test.
//!
//! Two choices worth knowing. A program that is missing or may not be executed is a failure like any other, retried
//! with backoff under `always` and `on-failure` and reported each time: `max_restarts` or `restart: never` make it
//! final. And a process that dies while it drains or stops is never replaced.

mod machine;
mod policy;
mod view;

#[cfg(test)]
mod table;
#[cfg(test)]
mod world;

pub use machine::on;
pub use policy::{Policy, Restart, RestartBudget};
pub use view::View;

use crate::engine::backoff::Dice;
use crate::outcome::{Exit, RunError};
use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// A process, by the kernel's number. A service's process leads a process group of the same number.
pub type Pid = i32;

/// A moment: the time since the engine's start.
pub type Moment = Duration;

/// How a process ended, as the kernel told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It exited with this code.
    Code(u8),
    /// This signal ended it.
    Signal(i32),
    /// It is gone, and its status is lost: somebody else waited for it. Never a success.
    Lost,
}

impl Ended {
    /// The code that a shell would give: the child's own, or 128 + n.
    pub const fn exit(self) -> Exit {
        match self {
            Ended::Code(code) => Exit(code),
            Ended::Signal(signal) => Exit::of_signal(signal),
            Ended::Lost => Exit::SOFTWARE,
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Code(code) => write!(f, "exited with {code}"),
            Ended::Signal(signal) => {
                let name = crate::signal::name(*signal);
                write!(f, "was killed by {name} ({signal})")
            }
            Ended::Lost => f.write_str("ended, and its exit status is lost"),
        }
    }
}

/// One replica: where it stands, since when, and what of its past still matters.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Where it stands.
    pub state: State,
    /// When it came there.
    pub since: Moment,
    /// What it went through.
    pub history: History,
}

/// Where a replica stands, with the data that are valid there.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Waits until what it depends on is there.
    Pending,
    /// A process was asked for.
    Starting,
    /// A process was asked for, and before it came a stop overtook it.
    Recalled { by: Recall },
    /// The process runs and is wanted.
    Running { process: Process, ready: Ready },
    /// Told to stop, and still serving until the load balancer has noticed (`drain_delay`).
    Draining {
        process: Process,
        until: Moment,
        deadline: Moment,
    },
    /// The stop signal was sent; the group is killed at `kill_at`.
    Stopping {
        process: Process,
        kill_at: Moment,
        then: Then,
    },
    /// SIGKILL was sent; only the kernel's word is missing.
    Killing { process: Process, fate: Fate },
    /// There is no process; the next one is started at `until`.
    Backoff { until: Moment },
    /// There is no process, and none will come unless an operator asks for it.
    Ended { end: End },
}

/// A process that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its number, which is its group's too.
    pub pid: Pid,
    /// When it was started.
    pub started: Moment,
}

/// What the readiness probe last said of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// Nothing yet, or there is no readiness probe.
    Unknown,
    Yes,
    No,
}

/// Which stop overtook a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recall {
    /// An orderly one, which must be over at `deadline`.
    Stop { deadline: Moment },
    /// An immediate one.
    Kill,
}

/// What follows when a stopping process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing: the role stops.
    Stop,
    /// A new process at once: an operator asked.
    Restart,
    /// What `restart` says of a failure: liveness failed after the process had run for `ran_for`.
    Fail { ran_for: Duration },
}

/// What follows when a killed process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// As if it had stopped by itself.
    Then(Then),
    /// The service ends, and its stop took longer than it was given.
    Overrun,
}

/// How a replica ended for good.
#[derive(Debug, Clone, PartialEq)]
pub enum End {
    /// By itself with a success code, and `restart` lets it rest.
    Succeeded(Ended),
    /// By a failure that `restart` or `max_restarts` does not forgive.
    Failed(Failure),
    /// As told, in time. `None`: there was no process at that moment.
    Stopped(Option<Ended>),
    /// As told, but it had to be killed at the deadline.
    Overran(Ended),
}

/// What counts as a failure.
#[derive(Debug, Clone, PartialEq)]
pub enum Failure {
    /// It ended by itself: with a code that is no success, by a foreign signal, or once too often.
    Exit(Ended),
    /// There was no process: it could not be started.
    Spawn(RunError),
    /// Its liveness failed, and we stopped it.
    Liveness(Ended),
}

impl End {
    /// What the role exits with when this was an essential member.
    ///
    /// 1 where the process itself said 0: nobody had asked it to end. A liveness failure is never 0 either.
    pub fn exit(&self) -> Exit {
        let own = match self {
            End::Stopped(_) => return Exit::OK,
            End::Overran(_) => return Exit::TIMEOUT,
            End::Failed(Failure::Spawn(error)) => error.exit,
            End::Succeeded(ended) => ended.exit(),
            End::Failed(Failure::Exit(ended) | Failure::Liveness(ended)) => ended.exit(),
        };
        if own == Exit::OK { Exit::FAILED } else { own }
    }
}

/// What a replica's past means for its future, and for `runner status`.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Restarts by `restart`, ever; those that an operator asked for are not counted.
    pub restarts: u32,
    /// When the latest of them were, as far as `max_restarts` must know.
    recent: VecDeque<Moment>,
    /// Restarts in a row with no stable run between them: 0 while all is well; the step of the backoff.
    pub streak: u32,
    /// How the last process ended, or why there was none.
    pub last: Option<Last>,
    /// When a readiness probe first succeeded, for those who depend on it.
    pub first_ready: Option<Moment>,
    dice: Dice,
}

/// The end of the last process, or of the last attempt to start one.
#[derive(Debug, Clone, PartialEq)]
pub struct Last {
    pub how: LastEnd,
    pub at: Moment,
}

/// What the last attempt came to.
#[derive(Debug, Clone, PartialEq)]
pub enum LastEnd {
    Ended(Ended),
    NotStarted(RunError),
}

/// What happened to a replica, or is wished of it.
///
/// Whatever concerns one process names it, so that what is told late of a former process cannot hurt the next.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// All that it depends on is there.
    DependenciesMet,
    /// The process asked for is there.
    Spawned { pid: Pid },
    /// The process asked for cannot be had.
    SpawnFailed { error: RunError },
    /// The main process ended and was reaped.
    Exited { pid: Pid, ended: Ended },
    /// The readiness probe succeeded.
    Ready { pid: Pid },
    /// The readiness probe failed as often as it may.
    Unready { pid: Pid },
    /// The liveness probe failed as often as it may.
    LivenessFailed { pid: Pid },
    /// The moment of the last `ArmTimer` has come; one that comes early is asked for again.
    TimerElapsed,
    /// The role stops; this replica must be gone at `deadline`, and its own `stop_timeout` may be shorter.
    /// One that has ended already ([`Service::end`]) says no more, and cannot be restarted from then on.
    StopRequested { deadline: Moment },
    /// The role stops at once.
    KillRequested,
    /// An operator wants a new process (`runner restart`).
    RestartRequested,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start the process, in a group of its own; answer with `Spawned` or `SpawnFailed`.
    Spawn,
    /// Send `signal` to the main process, if it was not reaped yet.
    Signal { pid: Pid, signal: i32 },
    /// Send SIGKILL to the whole group; that nobody is left in it is fine.
    KillGroup { pid: Pid },
    /// Answer with `TimerElapsed` at `at`. There is one timer a replica: this replaces an earlier one.
    ArmTimer { at: Moment },
    /// Begin the probes of this process, if the service has any.
    StartProbes { pid: Pid },
    /// End them.
    StopProbes,
    /// A fact for the event log.
    Report(Fact),
    /// The replica came to `State::Ended`; told once each time it does.
    EndedForGood { end: End },
}

/// What an operator should read of a replica, once each.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    /// A process runs.
    Started { pid: Pid },
    /// A process could not be started.
    NotStarted {
        error: RunError,
        /// Whether the start before this one failed for the same reason.
        again: bool,
    },
    /// The readiness probe succeeded after it had not.
    Ready { pid: Pid },
    /// The readiness probe fails as often as it may: after it had not, or since the start.
    Unready { pid: Pid, was_ready: bool },
    /// The liveness probe failed: the process is stopped.
    LivenessFailed { pid: Pid },
    /// The main process ended; `asked` when we had stopped it.
    Exited {
        pid: Pid,
        ended: Ended,
        ran_for: Duration,
        asked: bool,
    },
    /// The next process is started after `pause`, as the `streak`th restart in a row.
    BackingOff { pause: Duration, streak: u32 },
    /// Still serving until `until`, then the stop signal.
    Draining { pid: Pid, until: Moment },
    /// The stop signal was sent.
    Stopping {
        pid: Pid,
        signal: i32,
        kill_at: Moment,
    },
    /// SIGKILL was sent; `late` when a deadline had passed, else a kill was asked for.
    Killing { pid: Pid, late: bool },
    /// `max_restarts` within `restart_window` are used up.
    GaveUp { budget: RestartBudget },
    /// The supervisor broke its promise: something was told of a process that is not this replica's.
    Stranger { pid: Pid },
}

impl Service {
    /// A replica that waits for its dependencies; `seed` decides its jitter.
    pub fn new(now: Moment, seed: u64) -> Self {
        Self {
            state: State::Pending,
            since: now,
            history: History {
                restarts: 0,
                recent: VecDeque::new(),
                streak: 0,
                last: None,
                first_ready: None,
                dice: Dice::new(seed),
            },
        }
    }

    /// Until when this state waits for time; `None` where it waits for something else.
    pub fn wakes_at(&self) -> Option<Moment> {
        match self.state {
            State::Draining { until, .. } | State::Backoff { until } => Some(until),
            State::Stopping { kill_at, .. } => Some(kill_at),
            State::Pending
            | State::Starting
            | State::Recalled { .. }
            | State::Running { .. }
            | State::Killing { .. }
            | State::Ended { .. } => None,
        }
    }

    /// The process, from when it is known until its end was told.
    pub fn process(&self) -> Option<Process> {
        match self.state {
            State::Running { process, .. }
            | State::Draining { process, .. }
            | State::Stopping { process, .. }
            | State::Killing { process, .. } => Some(process),
            State::Pending
            | State::Starting
            | State::Recalled { .. }
            | State::Backoff { .. }
            | State::Ended { .. } => None,
        }
    }

    /// How it ended for good, if it did.
    pub fn end(&self) -> Option<&End> {
        match &self.state {
            State::Ended { end } => Some(end),
            State::Pending
            | State::Starting
            | State::Recalled { .. }
            | State::Running { .. }
            | State::Draining { .. }
            | State::Stopping { .. }
            | State::Killing { .. }
            | State::Backoff { .. } => None,
        }
    }
}
