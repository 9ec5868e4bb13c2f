//! What handles a message: a process for each, a warm worker, or an HTTP service.

mod command;
mod http;
mod worker;

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::poll::fact::Fact;
use super::steps::Cx;
use crate::outcome::{Exit, RunError};
use crate::roles::spec;
use crate::shutdown::Shutdown;
use crate::sys::queue::Received;
use crate::sys::relay::frame::rfc3339;

/// What a handler says of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done,
    /// Not this time.
    Retry {
        reason: String,
        /// Instead of the queue's own growing pause.
        pause: Option<Duration>,
    },
    /// Never.
    Reject { reason: String },
    /// The handler was stopped before it could say.
    Stopped,
    /// The handler itself is not there: no message is to blame, and no other one would fare better.
    Broken(RunError),
}

impl Verdict {
    fn retry(reason: impl Into<String>) -> Self {
        Verdict::Retry {
            reason: reason.into(),
            pause: None,
        }
    }
}

/// A message on its way through a handler.
pub struct Task<'a> {
    /// The message.
    pub message: &'a Received,
    /// The queue's name.
    pub queue: &'a str,
    /// Tells the handler to stop.
    pub stop: &'a Shutdown,
}

/// A handler, ready.
pub enum Handler {
    /// One process a message.
    Command(Box<command::Command>),
    /// Warm processes, and how long each message may take them.
    Worker(worker::Workers, Option<Duration>),
    /// A service.
    Http(http::Http),
}

impl Handler {
    /// Makes it ready; workers begin to start.
    pub fn start(
        spec: &spec::Queue,
        member: &str,
        cx: &Cx,
        tell: &Rc<dyn Fn(Fact)>,
    ) -> Result<Self, RunError> {
        let handler = &spec.handler;
        if handler.worker.is_some() {
            let workers = worker::Workers::start(spec, member, cx, tell)?;
            return Ok(Handler::Worker(workers, handler.timeout.map(|time| time.0)));
        }
        match &handler.http {
            Some(url) => Ok(Handler::Http(http::Http {
                url: cx.text(url)?,
                limit: handler.timeout.map(|time| time.0),
            })),
            None => Ok(Handler::Command(Box::new(command::Command {
                spec: handler.clone(),
                member: member.to_owned(),
                cx: cx.clone(),
            }))),
        }
    }

    /// Handles one message to its end.
    pub async fn handle(&self, task: &Task<'_>) -> Verdict {
        match self {
            Handler::Command(command) => command.handle(task).await,
            Handler::Worker(workers, limit) => workers.handle(task, *limit).await,
            Handler::Http(http) => http.handle(task).await,
        }
    }

    /// Ends what is still there; no message is in hand any more.
    pub async fn end(self) {
        if let Handler::Worker(workers, _) = self {
            workers.end().await;
        }
    }
}

/// Whether a program cannot be started because it is not there or is no program.
fn is_missing(error: &RunError) -> bool {
    matches!(
        error.exit,
        Exit::NOT_FOUND | Exit::NOT_EXECUTABLE | Exit::CONFIG
    )
}

/// A time as the queue tells it.
fn time(time: Option<SystemTime>) -> Option<String> {
    time.map(rfc3339)
}

/// A time in whole milliseconds since 1970.
fn millis(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().to_string()
}
