//! What an operator may read in the log: a closed list, told by the engine and turned into log lines in one place.

use std::time::Duration;

use super::poll::fact::Fact as QueueFact;
use super::service::Fact;
use crate::outcome::{Outcome, RunError};
use crate::sys::init::Mode;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// What runner is among the processes.
    Mode(Mode),
    /// A role begins.
    Playing {
        role: String,
        stop_timeout: Duration,
    },
    /// The settings have their values.
    Settings { count: usize, from: String },
    /// Something that is probably not as it was meant.
    Warning(String),
    /// A step begins.
    StepStarted { step: String, doing: String },
    /// A step is not run as its condition does not hold.
    StepSkipped { step: String, condition: String },
    /// A step is done.
    StepDone { step: String, took: Duration },
    /// A try failed and another follows.
    StepRetried {
        step: String,
        error: RunError,
        pause: Duration,
        tries: u32,
        of: u32,
    },
    /// A step failed, and the role goes on.
    StepForgiven { step: String, error: RunError },
    /// A step failed.
    StepFailed { step: String, error: RunError },
    /// A loop's run is done.
    RunDone {
        member: String,
        run: u64,
        took: Duration,
    },
    /// A loop's run failed.
    RunFailed {
        member: String,
        run: u64,
        error: RunError,
        in_a_row: u32,
    },
    /// Ticks that a long run missed.
    TicksMissed { member: String, missed: u64 },
    /// Something about one process of a service.
    Service {
        member: String,
        replica: Option<u32>,
        fact: Fact,
    },
    /// Something about a queue or one of its messages.
    Queue { member: String, fact: QueueFact },
    /// A member waits for others.
    Waiting { member: String, needs: Vec<String> },
    /// Questions are answered on a socket; better places could not be had.
    Listening {
        path: String,
        passed_over: Vec<String>,
    },
    /// Somebody asked for something over the control socket.
    Asked(String),
    /// A signal reached services, or none.
    Forwarded { signal: i32, to: Vec<String> },
    /// Processes that had left their service's group were killed after its end.
    StraysEnded {
        member: String,
        replica: Option<u32>,
        pids: Vec<i32>,
    },
    /// The role stops.
    Stopping { why: String, within: Duration },
    /// Processes that are left are killed.
    Killing { why: String },
    /// Lines that could not be delivered.
    LinesLost(u64),
    /// The end.
    Ended(Outcome),
}

/// How much an event matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

/// What a log line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// The event's name, for searching.
    pub event: &'static str,
    /// The member or step that it is about.
    pub member: Option<String>,
    /// The replica, of a service with more than one.
    pub replica: Option<u32>,
    /// The sentence.
    pub message: String,
}

impl Event {
    /// The event as a log line.
    pub fn line(&self) -> Line {
        use Level::{Debug, Error, Info, Warn};
        let line = |level, event, message: String| Line {
            level,
            event,
            member: None,
            replica: None,
            message,
        };
        let of = |level, event, member: &str, message: String| Line {
            member: Some(member.to_owned()),
            ..line(level, event, message)
        };
        match self {
            Event::Mode(mode @ Mode::Plain(_)) => line(Warn, "mode", mode.to_string()),
            Event::Mode(mode) => line(Info, "mode", mode.to_string()),
            Event::Playing { role, stop_timeout } => {
                let time = shown(*stop_timeout);
                line(
                    Info,
                    "role",
                    format!("playing role {role}; a stop has {time}"),
                )
            }
            Event::Settings { count, from } => line(
                Info,
                "settings",
                format!("{count} settings resolved from {from}"),
            ),
            Event::Warning(text) => line(Warn, "warning", text.clone()),
            Event::StepStarted { step, doing } => of(Info, "step-started", step, doing.clone()),
            Event::StepSkipped { step, condition } => of(
                Info,
                "step-skipped",
                step,
                format!("skipped: `{condition}` does not hold"),
            ),
            Event::StepDone { step, took } => {
                of(Info, "step-done", step, format!("done in {}", shown(*took)))
            }
            Event::StepRetried {
                step,
                error,
                pause,
                tries,
                of: attempts,
            } => {
                let pause = shown(*pause);
                let text = format!("{error}; try {tries} of {attempts}, the next one in {pause}");
                of(Warn, "step-retried", step, text)
            }
            Event::StepForgiven { step, error } => of(
                Warn,
                "step-forgiven",
                step,
                format!("{error}; going on, as the step says"),
            ),
            Event::StepFailed { step, error } => of(Error, "step-failed", step, error.to_string()),
            Event::RunDone { member, run, took } => of(
                Debug,
                "run-done",
                member,
                format!("run {run} done in {}", shown(*took)),
            ),
            Event::RunFailed {
                member,
                run,
                error,
                in_a_row,
            } => {
                let row = if *in_a_row > 1 {
                    format!(" ({in_a_row} in a row)")
                } else {
                    String::new()
                };
                of(
                    Warn,
                    "run-failed",
                    member,
                    format!("run {run} failed{row}: {error}"),
                )
            }
            Event::TicksMissed { member, missed } => of(
                Warn,
                "ticks-missed",
                member,
                format!("{missed} ticks missed, as the run took longer"),
            ),
            Event::Service {
                member,
                replica,
                fact,
            } => {
                let (level, event, message) = fact_line(fact);
                Line {
                    replica: *replica,
                    ..of(level, event, member, message)
                }
            }
            Event::Queue { member, fact } => {
                let (level, event, message) = fact.line();
                of(level, event, member, message)
            }
            Event::Waiting { member, needs } => of(
                Info,
                "waiting",
                member,
                format!("waits for {}", needs.join(", ")),
            ),
            Event::Listening { path, passed_over } => {
                let beside = match passed_over.as_slice() {
                    [] => String::new(),
                    several => format!(" ({})", several.join("; ")),
                };
                let text =
                    format!("health, status, restart and stop are answered on {path}{beside}");
                line(Info, "listening", text)
            }
            Event::Asked(what) => line(
                Info,
                "asked",
                format!("{what} was asked for over the control socket"),
            ),
            Event::Forwarded { signal, to } => {
                let name = crate::signal::name(*signal);
                let text = match to.as_slice() {
                    [] => format!(
                        "{name} was received; no service that runs has it in its forward_signals"
                    ),
                    several => format!(
                        "{name} was received and passed on to {}",
                        several.join(", ")
                    ),
                };
                line(Info, "signal", text)
            }
            Event::StraysEnded {
                member,
                replica,
                pids,
            } => {
                let list: Vec<String> = pids.iter().map(i32::to_string).collect();
                let text = format!("left processes behind; killed pid {}", list.join(", "));
                Line {
                    replica: *replica,
                    ..of(Warn, "strays-ended", member, text)
                }
            }
            Event::Stopping { why, within } => line(
                Info,
                "stopping",
                format!("stopping within {}: {why}", shown(*within)),
            ),
            Event::Killing { why } => line(Warn, "killing", format!("killing what is left: {why}")),
            Event::LinesLost(count) => line(
                Warn,
                "lines-lost",
                format!("{count} lines of output were not delivered"),
            ),
            Event::Ended(outcome) => {
                let level = if outcome.exit.0 == 0 { Info } else { Error };
                line(
                    level,
                    "ended",
                    format!("exit {}: {}", outcome.exit, outcome.why),
                )
            }
        }
    }
}

fn fact_line(fact: &Fact) -> (Level, &'static str, String) {
    use Level::{Error, Info, Warn};
    match fact {
        Fact::Started { pid } => (Info, "started", format!("started (pid {pid})")),
        Fact::NotStarted {
            error,
            again: false,
        } => (Error, "not-started", error.to_string()),
        Fact::NotStarted { again: true, .. } => {
            let text = "still cannot be started, for the same reason as before";
            (Error, "not-started", text.to_owned())
        }
        Fact::Ready { pid } => (Info, "ready", format!("ready (pid {pid})")),
        Fact::Unready { pid, was_ready } => {
            let since = if *was_ready { "no longer" } else { "still not" };
            (Warn, "unready", format!("{since} ready (pid {pid})"))
        }
        Fact::LivenessFailed { pid } => (
            Warn,
            "liveness-failed",
            format!("does not answer its liveness; stopping pid {pid}"),
        ),
        Fact::Exited {
            pid,
            ended,
            ran_for,
            asked,
        } => {
            let level = if *asked { Info } else { Warn };
            let after = shown(*ran_for);
            (
                level,
                "exited",
                format!("{ended} after {after} (pid {pid})"),
            )
        }
        Fact::BackingOff { pause, streak } => {
            let pause = if pause.is_zero() {
                "at once".to_owned()
            } else {
                format!("in {}", shown(*pause))
            };
            (
                Info,
                "restarting",
                format!("starting again {pause} (restart {streak} in a row)"),
            )
        }
        Fact::Draining { pid, .. } => (
            Info,
            "draining",
            format!("still serving for its drain delay (pid {pid})"),
        ),
        Fact::Stopping { pid, signal, .. } => (
            Info,
            "stopping-process",
            format!("sent {} to pid {pid}", crate::signal::name(*signal)),
        ),
        Fact::Killing { pid, late: true } => (
            Warn,
            "killed",
            format!("did not stop in time; killed the group of pid {pid}"),
        ),
        Fact::Killing { pid, late: false } => {
            (Warn, "killed", format!("killed the group of pid {pid}"))
        }
        Fact::GaveUp { budget } => {
            let window = shown(budget.window);
            let text = format!(
                "has failed for good: over {} restarts within {window}",
                budget.max_restarts
            );
            (Error, "gave-up", text)
        }
        Fact::Stranger { pid } => (
            Error,
            "stranger",
            format!("a process that belongs to nobody ended (pid {pid})"),
        ),
    }
}

/// A duration as people read it: `850ms`, `2.4s`, `3m10s`.
pub fn shown(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 if millis.is_multiple_of(1000) => format!("{}s", millis / 1000),
        1000..60_000 => format!("{:.1}s", duration.as_secs_f64()),
        _ => {
            let seconds = duration.as_secs();
            match (seconds / 60, seconds % 60) {
                (minutes, 0) => format!("{minutes}m"),
                (minutes, seconds) => format!("{minutes}m{seconds}s"),
            }
        }
    }
}
