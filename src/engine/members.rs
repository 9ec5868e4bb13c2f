//! Members side by side: who may start, who must stop first, and when the role is over.
//!
//! One loop owns every replica's state and is alone in changing it. Ends of processes, answers of probes and ends of
//! loops come in as messages from small tasks; what the pure machine of [`super::service`] answers is performed
//! in `replica`. `start` decides who may begin, `stop` who must end and what the role's end means.

mod loops;
mod replica;
mod start;
mod stop;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::service::Event as Happening;
use super::steps::Cx;
use crate::order::Order;
use crate::outcome::{Exit, Outcome, RunError};
use crate::plan::{Member, Plan};
use loops::{LoopState, Running};
use replica::Replica;

/// How long output of an ended process is still read where something keeps its pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// One replica, by its place in the list.
type Id = usize;

/// What the small tasks tell.
enum Message {
    /// Something happened to a replica.
    Replica(Id, Happening),
    /// A loop ended: by the stop, or because it gave up.
    Loop(String, Result<(), RunError>),
}

/// All members of the role.
struct Members<'a> {
    plan: &'a Plan,
    cx: Cx,
    order: Order<'a>,
    replicas: Vec<Replica<'a>>,
    loops: BTreeMap<&'a str, Running<'a>>,
    tasks: JoinSet<()>,
    inbox: mpsc::UnboundedReceiver<Message>,
    tell: mpsc::UnboundedSender<Message>,
    /// Why the role ends, once it does by itself.
    outcome: Option<Outcome>,
    /// Said once for each member that waits.
    waiting: Vec<&'a str>,
    killed: bool,
}

/// Keeps the members going until the stop, and stops them in order.
pub async fn run(cx: &Cx) -> Outcome {
    let plan = cx.plan.clone();
    let Some(order) = plan.order() else {
        return Outcome {
            exit: Exit::CONFIG,
            why: "the members wait for one another".to_owned(),
        };
    };
    Members::new(&plan, cx, order).run().await
}

impl<'a> Members<'a> {
    pub(super) fn new(plan: &'a Plan, cx: &Cx, order: Order<'a>) -> Self {
        // Unbounded: a few messages a process, and nobody may wait while he tells an end.
        let (tell, inbox) = mpsc::unbounded_channel();
        let mut members = Self {
            plan,
            cx: cx.clone(),
            order,
            replicas: Vec::new(),
            loops: BTreeMap::new(),
            tasks: JoinSet::new(),
            inbox,
            tell,
            outcome: None,
            waiting: Vec::new(),
            killed: false,
        };
        for (name, member) in &plan.members {
            match member {
                Member::Service(spec) => members.add_service(name, spec),
                Member::Loop(spec) => members.add_loop(name, spec),
                Member::Queue(spec) => members.add_queue(name, spec),
            }
        }
        members
    }

    pub(super) async fn run(mut self) -> Outcome {
        let mut stopping = false;
        loop {
            if self.cx.shutdown.is_requested() && !stopping {
                stopping = true;
                self.say_stop();
            }
            self.settle(stopping);
            if self.all_over() {
                break;
            }
            let wakes_at = self.wakes_at(stopping);
            tokio::select! {
                biased;
                message = self.inbox.recv() => {
                    if let Some(message) = message {
                        self.hear(message);
                    }
                }
                () = self.cx.shutdown.requested(), if !stopping => {}
                () = self.cx.shutdown.kill_requested(), if !self.killed => self.kill("asked twice"),
                () = sleep_until(wakes_at) => self.clock(stopping),
                _ = self.tasks.join_next(), if !self.tasks.is_empty() => {}
            }
        }
        self.last_words().await;
        self.verdict()
    }

    /// The time since the run began: the machine's clock.
    pub(super) fn now(&self) -> Duration {
        self.cx.world.started.elapsed()
    }

    pub(super) fn hear(&mut self, message: Message) {
        match message {
            Message::Replica(id, happening) => self.happen(id, happening),
            Message::Loop(name, end) => {
                if let Some(running) = self.loops.get_mut(name.as_str()) {
                    running.state = LoopState::Ended;
                }
                if let Err(error) = end {
                    self.end_role(error.exit, error.to_string());
                }
            }
        }
    }

    /// When the next replica wants to be woken, or the stop's time is up.
    pub(super) fn wakes_at(&self, stopping: bool) -> Option<Instant> {
        let started = self.cx.world.started;
        let replicas = self
            .replicas
            .iter()
            .filter_map(|replica| replica.service.wakes_at());
        let next = replicas.min().map(|at| started + at);
        let deadline = (stopping && !self.killed)
            .then(|| self.cx.world.stop_deadline())
            .flatten();
        [next, deadline, self.start_period_over()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Starts what may start, or stops what may stop.
    pub(super) fn settle(&mut self, stopping: bool) {
        if stopping {
            self.stop_some();
        } else {
            self.start_some();
        }
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
