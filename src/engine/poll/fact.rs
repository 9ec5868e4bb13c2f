//! What happened at a queue, as an operator reads it. Message ids are told, bodies never.

use std::net::SocketAddr;
use std::time::Duration;

use crate::engine::event::{Level, shown};
use crate::outcome::RunError;

/// Something that happened at a queue.
#[derive(Debug, Clone)]
pub enum Fact {
    /// The queue is there, and messages are asked for.
    Opened {
        queue: String,
        dead_letter: Option<String>,
        /// The queue's own rule for what is received too often, in words.
        policy: String,
    },
    /// It could not be opened or asked; another try follows.
    Unreachable {
        error: RunError,
        in_a_row: u32,
        pause: Duration,
    },
    /// It answers again.
    Reachable { after: u32 },
    /// Tasks can be added by HTTP.
    Listening { address: SocketAddr },
    /// Somebody added tasks by HTTP.
    Added {
        count: usize,
        failed: usize,
        peer: SocketAddr,
    },
    /// What became of a message.
    Message { id: String, fate: Fate },
    /// Something did not work that will be tried again, or that something else makes up for.
    Trouble { what: String },
    /// A worker process runs.
    WorkerStarted { pid: i32, number: u32 },
    /// A worker process is gone.
    WorkerEnded {
        pid: i32,
        number: u32,
        how: String,
        pause: Duration,
    },
}

/// What became of a message.
#[derive(Debug, Clone)]
pub enum Fate {
    /// It is done and deleted.
    Done { took: Duration },
    /// It will come back later.
    Retried {
        receives: u32,
        reason: String,
        pause: Duration,
    },
    /// It was put among the dead letters and deleted.
    Rejected { reason: String },
    /// It was given back at once: the role stops, or may not handle it now.
    Released,
    /// It stays hidden until its visibility runs out.
    Left { why: String },
    /// The queue gave it to somebody else, or will.
    Lost { why: String },
}

impl Fact {
    /// Level, event's name and sentence.
    pub fn line(&self) -> (Level, &'static str, String) {
        use Level::{Info, Warn};
        match self {
            Fact::Opened {
                queue,
                dead_letter,
                policy,
            } => {
                let dead = match dead_letter {
                    Some(name) => format!("rejected messages go to {name}"),
                    None => "rejected messages are retried, as there is no dead_letter".to_owned(),
                };
                let text = format!("takes messages of {queue}; {dead}; {policy}");
                (Info, "queue-opened", text)
            }
            Fact::Unreachable {
                error,
                in_a_row,
                pause,
            } => {
                let row = match in_a_row {
                    0 | 1 => String::new(),
                    n => format!(" ({n} in a row)"),
                };
                let text = format!("{error}{row}; the next try in {}", shown(*pause));
                (Warn, "queue-unreachable", text)
            }
            Fact::Reachable { after } => {
                let text = format!("the queue answers again, after {after} failed calls");
                (Info, "queue-reachable", text)
            }
            Fact::Listening { address } => {
                let text = format!("tasks can be added on http://{address}, with the token");
                (Info, "queue-listening", text)
            }
            Fact::Added {
                count,
                failed,
                peer,
            } => {
                let messages = if *count == 1 { "message" } else { "messages" };
                let text = match failed {
                    0 => format!("{peer} added {count} {messages}"),
                    n => format!("{peer} added {count} {messages}; {n} could not be sent"),
                };
                (Info, "messages-added", text)
            }
            Fact::Message { id, fate } => fate.line(id),
            Fact::Trouble { what } => (Warn, "queue-trouble", what.clone()),
            Fact::WorkerStarted { pid, number } => {
                let text = format!("worker {number} started (pid {pid})");
                (Info, "worker-started", text)
            }
            Fact::WorkerEnded {
                pid,
                number,
                how,
                pause,
            } => {
                let pause = match pause.is_zero() {
                    true => "at once".to_owned(),
                    false => format!("in {}", shown(*pause)),
                };
                let text =
                    format!("worker {number} {how} (pid {pid}); the next one starts {pause}");
                (Warn, "worker-ended", text)
            }
        }
    }
}

impl Fate {
    fn line(&self, id: &str) -> (Level, &'static str, String) {
        use Level::{Debug, Error, Info, Warn};
        match self {
            Fate::Done { took } => {
                let text = format!("message {id} done in {}", shown(*took));
                (Debug, "message-done", text)
            }
            Fate::Retried {
                receives,
                reason,
                pause,
            } => {
                let pause = shown(*pause);
                let text =
                    format!("message {id} comes back in {pause} (receive {receives}): {reason}");
                (Warn, "message-retried", text)
            }
            Fate::Rejected { reason } => {
                let text = format!("message {id} is now among the dead letters: {reason}");
                (Error, "message-rejected", text)
            }
            Fate::Released => {
                let text = format!("message {id} given back at once");
                (Info, "message-released", text)
            }
            Fate::Left { why } => {
                let text =
                    format!("message {id} comes back when its visibility has run out: {why}");
                (Info, "message-left", text)
            }
            Fate::Lost { why } => {
                let text =
                    format!("message {id} is not ours any more: {why}; its handler is stopped");
                (Warn, "message-lost", text)
            }
        }
    }
}
