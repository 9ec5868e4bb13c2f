//! Members side by side: who may start, who must stop first, and when the role is over.
//!
//! One loop owns every replica's state and is alone in changing it. Ends of processes, answers of probes and ends of
//! loops come in as messages from small tasks; what the pure machine of [`super::service`] answers is performed
//! in `replica`. `start` decides who may begin, `stop` who must end and what the role's end means.

mod loops;
mod replica;
mod report;
mod rolling;
mod start;
mod stop;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::control::Ask;
use super::event::Event;
use super::service::Event as Happening;
use super::steps::Cx;
use super::world::World;
use crate::order::Order;
use crate::outcome::{Exit, Outcome, RunError};
use crate::plan::{Member, Plan};
use crate::shutdown::Reason;
use loops::{LoopState, Running};
use replica::Replica;
use rolling::Rolling;

/// How long output of an ended process is still read where something keeps its pipe open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// One replica, by its place in the list.
type Id = usize;

/// What the small tasks tell.
enum Message {
    /// Something happened to a replica.
    Replica(Id, Happening),
    /// What a replica's liveness said.
    Alive(Id, bool),
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
    /// Questions from the control socket.
    asks: mpsc::UnboundedReceiver<Ask>,
    /// Restarts under way.
    rolling: Vec<Rolling>,
}

/// Listens for every signal that a service wants; before anything is started, as a signal that cannot be had is a
/// mistake in roles.yaml.
pub fn listen(plan: &Plan, world: &World) -> Result<(), RunError> {
    for (name, member) in &plan.members {
        let Member::Service(spec) = member else {
            continue;
        };
        for signal in &spec.forward_signals {
            world.signals.listen(signal.0).map_err(|mut error| {
                error.doing = format!("{} for service `{name}`", error.doing);
                error
            })?;
        }
    }
    Ok(())
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
            asks: cx.world.desk.hand_over(),
            rolling: Vec::new(),
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
        let mut ear = self.cx.world.signals.hear();
        loop {
            if self.cx.shutdown.is_requested() && !stopping {
                stopping = true;
                self.say_stop();
            }
            self.settle(stopping);
            self.roll();
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
                Ok(signal) = ear.recv() => self.forward(signal),
                Some(ask) = self.asks.recv() => self.asked(ask),
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
            Message::Alive(id, answer) => self.replicas[id].alive = Some(answer),
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

    /// Passes a signal on to the services that want it; SIGQUIT that none wants is a stop, as [`crate::sys::signals`]
    /// says.
    fn forward(&self, signal: i32) {
        let wants = |replica: &&Replica<'_>| {
            let mut wanted = replica.spec.forward_signals.iter();
            wanted.any(|wanted| wanted.0 == signal)
        };
        let mut told = Vec::new();
        for replica in self.replicas.iter().filter(wants) {
            let process = replica.process.as_ref();
            if process.is_some_and(|process| process.signal(signal).unwrap_or(false)) {
                told.push(replica.who());
            }
        }
        let is_wanted = self.replicas.iter().any(|replica| wants(&replica));
        if signal == libc::SIGQUIT && !is_wanted {
            self.cx.world.switch.request(Reason::Signal(signal));
        } else if is_wanted || ![libc::SIGTERM, libc::SIGINT].contains(&signal) {
            self.cx.world.tell(Event::Forwarded { signal, to: told });
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
