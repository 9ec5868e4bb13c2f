//! Members side by side: who may start, who must stop first, and when the role is over.
//!
//! One loop owns every replica's state and is alone in changing it. Ends of processes, answers of probes and ends of
//! loops come in as messages from small tasks; what the pure machine of [`super::service`] answers is performed
//! here.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use super::child;
use super::event::{Event, shown};
use super::probe::{self, Answer};
use super::repeat::{self, Progress};
use super::service::{self, Effect, End, Ended, Event as Happening, Fact, Service, State};
use super::steps::Cx;
use crate::order::Order;
use crate::outcome::{Exit, Outcome, RunError};
use crate::plan::{Member, Plan};
use crate::roles::spec::{self, DependencyCondition};
use crate::shutdown::{self, Reason, Stage, Switch};
use crate::sys::process::Output;
use crate::sys::reaper::Process;
use crate::sys::relay::Relaying;
use crate::sys::relay::frame::Label;

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

/// One replica of a service, with what belongs to its present process.
struct Replica<'a> {
    name: &'a str,
    spec: &'a spec::Service,
    policy: service::Policy,
    label: Label,
    cx: Cx,
    service: Service,
    process: Option<Process>,
    probes: Vec<JoinHandle<()>>,
}

/// A loop and the way to stop it.
struct Running<'a> {
    spec: &'a spec::Loop,
    cx: Cx,
    switch: Switch,
    progress: Rc<RefCell<Progress>>,
    state: LoopState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoopState {
    Pending,
    Running,
    Ended,
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
    fn new(plan: &'a Plan, cx: &Cx, order: Order<'a>) -> Self {
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
                Member::Queue(_) => {}
            }
        }
        members
    }

    fn add_service(&mut self, name: &'a str, spec: &'a spec::Service) {
        let several = spec.replicas.0 > 1;
        for number in 0..spec.replicas.0 {
            let mut cx = self.cx.clone();
            cx.numbers.push(("replica", i64::from(number)));
            if let Some(port) = spec.port {
                cx.numbers
                    .push(("port", i64::from(port.0) + i64::from(number)));
            }
            self.replicas.push(Replica {
                name,
                spec,
                policy: policy(spec),
                label: Label {
                    member: name.to_owned(),
                    replica: several.then_some(number),
                },
                cx,
                service: Service::new(self.now(), super::steps::seed()),
                process: None,
                probes: Vec::new(),
            });
        }
    }

    fn add_loop(&mut self, name: &'a str, spec: &'a spec::Loop) {
        let (switch, shutdown) = shutdown::channel();
        let cx = Cx {
            shutdown,
            member: Some(name.to_owned()),
            ..self.cx.clone()
        };
        let running = Running {
            spec,
            cx,
            switch,
            progress: Rc::default(),
            state: LoopState::Pending,
        };
        self.loops.insert(name, running);
    }

    async fn run(mut self) -> Outcome {
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
    fn now(&self) -> Duration {
        self.cx.world.started.elapsed()
    }

    fn hear(&mut self, message: Message) {
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

    /// Tells a replica what happened, and does what it answers.
    fn happen(&mut self, id: Id, happening: Happening) {
        let now = self.now();
        let replica = &mut self.replicas[id];
        let service = replica.service.clone();
        let (service, effects) = service::on(service, happening, &replica.policy, now);
        replica.service = service;
        for effect in effects {
            self.perform(id, effect);
        }
    }

    fn perform(&mut self, id: Id, effect: Effect) {
        match effect {
            Effect::Spawn => {
                let answer = self.spawn(id);
                self.happen(id, answer);
            }
            Effect::Signal { pid, signal } => {
                if let Some(process) = self.process(id, pid) {
                    let _ = process.signal(signal);
                }
            }
            Effect::KillGroup { pid } => {
                if let Some(process) = self.process(id, pid) {
                    let _ = process.kill_group(libc::SIGKILL);
                }
            }
            // The loop asks every replica when it wants to be woken.
            Effect::ArmTimer { at: _ } => {}
            Effect::StartProbes { pid } => self.start_probes(id, pid),
            Effect::StopProbes => {
                for probe in self.replicas[id].probes.drain(..) {
                    probe.abort();
                }
            }
            Effect::Report(fact) => self.report(id, fact),
            Effect::EndedForGood { end } => self.ended_for_good(id, &end),
        }
    }

    fn process(&self, id: Id, pid: i32) -> Option<&Process> {
        self.replicas[id]
            .process
            .as_ref()
            .filter(|process| process.pid() == pid)
    }

    fn report(&self, id: Id, fact: Fact) {
        let label = &self.replicas[id].label;
        self.cx.world.tell(Event::Service {
            member: label.member.clone(),
            replica: label.replica,
            fact,
        });
    }

    /// Starts a replica's process and the tasks that watch it.
    fn spawn(&mut self, id: Id) -> Happening {
        let replica = &self.replicas[id];
        let spec = replica.spec;
        let (dir, user) = (spec.working_dir.as_ref(), spec.user.as_ref());
        let launched = replica
            .cx
            .launch(&spec.command, &spec.environment, dir, user)
            .and_then(|mut launch| {
                if spec.output == spec::Output::Inherit {
                    launch.output = Output::Inherit;
                }
                let spawned = self.cx.world.processes.spawn(&launch);
                spawned.map_err(|error| child::start_error(&launch, &error))
            });
        match launched {
            Err(error) => Happening::SpawnFailed { error },
            Ok(spawned) => {
                let (process, relays) = child::relay(&self.cx.world, spawned, &replica.label);
                let pid = process.pid();
                self.watch(id, process.clone(), relays);
                self.replicas[id].process = Some(process);
                Happening::Spawned { pid }
            }
        }
    }

    /// Waits for a process's end beside the loop, and lets its last words through before it is told.
    fn watch(&mut self, id: Id, process: Process, relays: Vec<Relaying>) {
        let tell = self.tell.clone();
        self.tasks.spawn_local(async move {
            let ended = match process.wait().await {
                end if end.code.is_some() => Ended::Code(end.exit().0),
                end => end.signal.map_or(Ended::Lost, Ended::Signal),
            };
            let pid = process.pid();
            let _ = tell.send(Message::Replica(id, Happening::Exited { pid, ended }));
            for relay in relays {
                relay.finish(LAST_WORDS).await;
            }
        });
    }

    fn start_probes(&mut self, id: Id, pid: i32) {
        let replica = &self.replicas[id];
        let spec = replica.spec;
        let mut started = Vec::new();
        for (probe, is_readiness) in [(&spec.readiness, true), (&spec.liveness, false)] {
            let Some(probe) = probe else { continue };
            let (probe, cx, tell) = (probe.clone(), replica.cx.clone(), self.tell.clone());
            started.push(tokio::task::spawn_local(async move {
                let told = |answer| {
                    let happening = match (is_readiness, answer) {
                        (true, Answer::Yes) => Happening::Ready { pid },
                        (true, Answer::No) => Happening::Unready { pid },
                        (false, Answer::Yes) => return,
                        (false, Answer::No) => Happening::LivenessFailed { pid },
                    };
                    let _ = tell.send(Message::Replica(id, happening));
                };
                probe::ask(&probe, &cx, told).await;
            }));
        }
        self.replicas[id].probes.extend(started);
    }

    fn ended_for_good(&mut self, id: Id, end: &End) {
        let replica = &self.replicas[id];
        let (name, essential) = (replica.label.clone(), replica.spec.essential);
        let who = match name.replica {
            Some(number) => format!("{}/{number}", name.member),
            None => name.member,
        };
        let why = match end {
            End::Stopped(_) => return,
            End::Overran(_) => {
                // Nobody's own fault decides any more: the stop took too long.
                let why = format!("service {who} did not stop in time and was killed");
                self.outcome.get_or_insert(Outcome {
                    exit: Exit::TIMEOUT,
                    why,
                });
                return;
            }
            End::Succeeded(ended) => format!("service {who} ended by itself: it {ended}"),
            End::Failed(service::Failure::Exit(ended)) => {
                format!("service {who} failed: it {ended}")
            }
            End::Failed(service::Failure::Spawn(error)) => format!("service {who} failed: {error}"),
            End::Failed(service::Failure::Liveness(_)) => {
                format!("service {who} failed: it did not answer its liveness")
            }
        };
        if essential {
            self.end_role(end.exit(), why);
        }
    }

    /// The role ends by itself: the first reason counts.
    fn end_role(&mut self, exit: Exit, why: String) {
        if self.outcome.is_none() && !self.cx.shutdown.is_requested() {
            self.outcome = Some(Outcome { exit, why });
            self.cx.world.switch.begin(Reason::Asked);
        }
    }

    fn say_stop(&self) {
        let why = match (self.cx.shutdown.stage(), &self.outcome) {
            (_, Some(outcome)) => outcome.why.clone(),
            (
                Stage::Stopping(Reason::Signal(number)) | Stage::Killing(Reason::Signal(number)),
                None,
            ) => {
                format!("{} was received", crate::signal::name(number))
            }
            (_, None) => "as asked".to_owned(),
        };
        let within = self.cx.world.stop_timeout.get();
        self.cx.world.tell(Event::Stopping { why, within });
    }

    /// Starts what may start, or stops what may stop.
    fn settle(&mut self, stopping: bool) {
        if stopping {
            self.stop_some();
        } else {
            self.start_some();
        }
    }

    fn start_some(&mut self) {
        let plan = self.plan;
        for (name, member) in &plan.members {
            if !self.is_pending(name) {
                continue;
            }
            let missing: Vec<String> = member
                .depends_on()
                .iter()
                .filter(|(needed, dependency)| !self.is_met(needed, dependency.condition))
                .map(|(needed, dependency)| {
                    format!("{needed} to be {}", dependency.condition.word())
                })
                .collect();
            if missing.is_empty() {
                self.start(name);
            } else if !self.waiting.contains(&name.as_str()) {
                self.waiting.push(name);
                let member = name.clone();
                self.cx.world.tell(Event::Waiting {
                    member,
                    needs: missing,
                });
            }
        }
    }

    fn is_pending(&self, name: &str) -> bool {
        match self.loops.get(name) {
            Some(running) => running.state == LoopState::Pending,
            None => self
                .replicas_of(name)
                .any(|replica| replica.service.state == State::Pending),
        }
    }

    fn replicas_of(&self, name: &str) -> impl Iterator<Item = &Replica<'a>> {
        self.replicas
            .iter()
            .filter(move |replica| replica.name == name)
    }

    /// Whether a member has come as far as another wants.
    fn is_met(&self, name: &str, condition: DependencyCondition) -> bool {
        if let Some(running) = self.loops.get(name) {
            return condition == DependencyCondition::Started
                && running.state != LoopState::Pending;
        }
        let mut replicas = self.replicas_of(name);
        match condition {
            DependencyCondition::Started => replicas.all(|replica| {
                replica.service.process().is_some() || replica.service.history.last.is_some()
            }),
            DependencyCondition::Ready => {
                let ready = |replica: &Replica<'_>| replica.service.history.first_ready.is_some();
                let late = self.replicas_of(name).all(|replica| {
                    let period = replica
                        .spec
                        .readiness
                        .as_ref()
                        .map_or(Duration::ZERO, |r| r.start_period.0);
                    replica
                        .service
                        .process()
                        .is_some_and(|p| self.now().saturating_sub(p.started) >= period)
                });
                replicas.all(ready) || (late && self.replicas_of(name).any(ready))
            }
            DependencyCondition::Succeeded => {
                replicas.all(|replica| matches!(replica.service.end(), Some(End::Succeeded(_))))
            }
        }
    }

    fn start(&mut self, name: &'a str) {
        if let Some(running) = self.loops.get_mut(name) {
            running.state = LoopState::Running;
            let (spec, cx) = (running.spec.clone(), running.cx.clone());
            let (progress, tell) = (running.progress.clone(), self.tell.clone());
            let name = name.to_owned();
            self.tasks.spawn_local(async move {
                let end = repeat::run(&name, &spec, &cx, &progress).await;
                let _ = tell.send(Message::Loop(name, end));
            });
            return;
        }
        for id in 0..self.replicas.len() {
            if self.replicas[id].name == name {
                self.happen(id, Happening::DependenciesMet);
            }
        }
    }

    /// Tells those to stop on whom nobody depends any more.
    fn stop_some(&mut self) {
        let Some(deadline) = self.cx.world.stop_deadline() else {
            return;
        };
        let deadline = deadline.saturating_duration_since(self.cx.world.started);
        for name in self.order.may_stop(|name| self.lives(name)) {
            if let Some(running) = self.loops.get_mut(name) {
                match running.state {
                    LoopState::Pending => running.state = LoopState::Ended,
                    LoopState::Running => running.switch.begin(Reason::Asked),
                    LoopState::Ended => {}
                }
                continue;
            }
            for id in 0..self.replicas.len() {
                let wanted = self.replicas[id].name == name && self.is_untold(id);
                if wanted {
                    self.happen(id, Happening::StopRequested { deadline });
                }
            }
        }
    }

    /// Whether a replica was not yet told to stop.
    fn is_untold(&self, id: Id) -> bool {
        match self.replicas[id].service.state {
            State::Pending | State::Starting | State::Running { .. } | State::Backoff { .. } => {
                true
            }
            State::Stopping { then, .. } => !matches!(then, service::Then::Stop),
            State::Recalled { .. }
            | State::Draining { .. }
            | State::Killing { .. }
            | State::Ended { .. } => false,
        }
    }

    fn lives(&self, name: &str) -> bool {
        match self.loops.get(name) {
            Some(running) => running.state != LoopState::Ended,
            None => self
                .replicas_of(name)
                .any(|replica| replica.service.end().is_none()),
        }
    }

    fn all_over(&self) -> bool {
        self.plan.members.keys().all(|name| !self.lives(name))
    }

    /// When the next replica wants to be woken, or the stop's time is up.
    fn wakes_at(&self, stopping: bool) -> Option<Instant> {
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

    /// When "all are ready" becomes "one is ready" for somebody who waits.
    fn start_period_over(&self) -> Option<Instant> {
        if self.waiting.iter().all(|name| !self.is_pending(name)) {
            return None;
        }
        let now = self.now();
        let periods = self.replicas.iter().filter_map(|replica| {
            let process = replica.service.process()?;
            Some(process.started + replica.spec.readiness.as_ref()?.start_period.0)
        });
        periods
            .filter(|at| *at > now)
            .min()
            .map(|at| self.cx.world.started + at)
    }

    fn clock(&mut self, stopping: bool) {
        let now = self.now();
        for id in 0..self.replicas.len() {
            if self.replicas[id]
                .service
                .wakes_at()
                .is_some_and(|at| at <= now)
            {
                self.happen(id, Happening::TimerElapsed);
            }
        }
        let late = self
            .cx
            .world
            .stop_deadline()
            .is_some_and(|deadline| deadline <= Instant::now());
        if stopping && late && !self.killed {
            let budget = shown(self.cx.world.stop_timeout.get());
            self.kill(&format!("the stop has used up its {budget}"));
            let why = format!("the stop took longer than its {budget}");
            self.outcome.get_or_insert(Outcome {
                exit: Exit::TIMEOUT,
                why,
            });
        }
    }

    fn kill(&mut self, why: &str) {
        self.killed = true;
        self.cx.world.tell(Event::Killing {
            why: why.to_owned(),
        });
        for running in self.loops.values_mut() {
            running.switch.request(Reason::Asked);
            running.switch.request(Reason::Asked);
            if running.state == LoopState::Pending {
                running.state = LoopState::Ended;
            }
        }
        for id in 0..self.replicas.len() {
            self.happen(id, Happening::KillRequested);
        }
    }

    /// Lets the relays of ended processes finish.
    async fn last_words(&mut self) {
        while tokio::time::timeout(LAST_WORDS, self.tasks.join_next())
            .await
            .is_ok_and(|joined| joined.is_some())
        {}
        self.tasks.shutdown().await;
    }

    fn verdict(self) -> Outcome {
        if let Some(outcome) = self.outcome {
            return outcome;
        }
        match self.cx.shutdown.stage() {
            Stage::Running => Outcome {
                exit: Exit::OK,
                why: "all members have ended".to_owned(),
            },
            Stage::Stopping(Reason::Signal(number)) => Outcome {
                exit: Exit::OK,
                why: format!("stopped in order by {}", crate::signal::name(number)),
            },
            Stage::Stopping(Reason::Asked) => Outcome {
                exit: Exit::OK,
                why: "stopped in order as asked".to_owned(),
            },
            Stage::Killing(Reason::Signal(number)) => Outcome {
                exit: Exit::of_signal(libc::SIGKILL),
                why: format!("killed by a second {}", crate::signal::name(number)),
            },
            Stage::Killing(Reason::Asked) => Outcome {
                exit: Exit::of_signal(libc::SIGKILL),
                why: "killed as asked".to_owned(),
            },
        }
    }
}

/// The language's rules of a service as the machine has them.
fn policy(spec: &spec::Service) -> service::Policy {
    service::Policy {
        restart: match spec.restart {
            spec::Restart::Always => service::Restart::Always,
            spec::Restart::OnFailure => service::Restart::OnFailure,
            spec::Restart::Never => service::Restart::Never,
        },
        backoff: super::steps::backoff(&spec.backoff),
        reset_after: spec.backoff.reset_after.0,
        budget: spec
            .max_restarts
            .map(|max_restarts| service::RestartBudget {
                max_restarts,
                window: spec.restart_window.0,
            }),
        success_exit_codes: spec.success_exit_codes.clone(),
        stop_signal: spec.stop_signal.0,
        stop_timeout: spec.stop_timeout.0,
        drain_delay: spec.drain_delay.0,
    }
}

async fn sleep_until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
