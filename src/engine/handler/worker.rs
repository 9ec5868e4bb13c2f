//! `worker`: warm processes, each with one message at a time; a JSON object a line in, a JSON answer a line out.
//!
//! As many processes run as messages may be in hand. Each belongs to a small task that starts it, gives it messages,
//! notices its death and starts the next one. A message that a dead worker never read is given to the next one: it
//! was not handled, so no receive is spent on it. What a worker says wrong (an answer that is none, or one for a
//! message that it does not have) ends it, since nobody knows any more what it does; its message is retried.

mod keeper;
mod process;
mod words;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::{Task, Verdict};
use crate::engine::poll::fact::Fact;
use crate::engine::steps::Cx;
use crate::outcome::RunError;
use crate::roles::spec;
use crate::shutdown::Shutdown;
use crate::sys::relay::frame::Label;
use keeper::Keeper;

/// How long workers may take to end once nothing is asked of them any more, at most.
const LAST: Duration = Duration::from_secs(5);

/// Warm processes.
pub struct Workers {
    idle: RefCell<Vec<mpsc::Sender<Job>>>,
    tasks: RefCell<JoinSet<()>>,
}

/// A message for a worker.
struct Job {
    /// The message's id, as it stands in the line and in the answer.
    id: String,
    /// The line.
    line: Vec<u8>,
    /// How long it may take.
    limit: Option<Duration>,
    stop: Shutdown,
    answer: oneshot::Sender<Verdict>,
}

impl Workers {
    /// Starts them all.
    pub(super) fn start(
        spec: &spec::Queue,
        member: &str,
        cx: &Cx,
        tell: &Rc<dyn Fn(Fact)>,
    ) -> Result<Self, RunError> {
        let count = spec.concurrency.0;
        let mut tasks = JoinSet::new();
        let mut idle = Vec::new();
        for number in 0..count {
            let label = Label {
                member: member.to_owned(),
                replica: (count > 1).then_some(number),
            };
            let (give, jobs) = mpsc::channel(1);
            let keeper = Keeper::new(
                spec.handler.clone(),
                label,
                number,
                cx.clone(),
                tell.clone(),
            )?;
            tasks.spawn_local(keeper.run(jobs));
            idle.push(give);
        }
        Ok(Self {
            idle: RefCell::new(idle),
            tasks: RefCell::new(tasks),
        })
    }

    /// Gives a message to a worker and waits for what it says.
    pub(super) async fn handle(&self, task: &Task<'_>, limit: Option<Duration>) -> Verdict {
        // There are as many workers as places for messages.
        let Some(worker) = self.idle.borrow_mut().pop() else {
            return Verdict::retry("no worker is idle");
        };
        let (answer, answered) = oneshot::channel();
        let job = Job {
            id: task.message.id.clone(),
            line: words::line(task.message, task.queue),
            limit,
            stop: task.stop.clone(),
            answer,
        };
        let given = worker.send(job).await;
        let verdict = match given {
            Ok(()) => answered.await.unwrap_or(Verdict::Stopped),
            Err(_) => Verdict::Stopped,
        };
        self.idle.borrow_mut().push(worker);
        verdict
    }

    /// Ends them: their stdin is closed, then they get SIGTERM, then SIGKILL.
    pub(super) async fn end(&self) {
        self.idle.borrow_mut().clear();
        let mut tasks = self.tasks.take();
        let all = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST, all).await;
        tasks.shutdown().await;
    }
}
