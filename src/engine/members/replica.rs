//! One replica: its process, the tasks that watch it, and what its end means for the role.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::{Id, LAST_WORDS, Members, Message};
use crate::engine::child;
use crate::engine::event::Event;
use crate::engine::health;
use crate::engine::probe::{self, Answer};
use crate::engine::service::{self, Effect, End, Ended, Event as Happening, Fact, Moment, Service};
use crate::engine::status;
use crate::engine::steps::{self, Cx};
use crate::outcome::{Exit, Outcome};
use crate::roles::spec;
use crate::sys::process::Output;
use crate::sys::reaper::Process;
use crate::sys::relay::Relaying;
use crate::sys::relay::frame::Label;

/// The variable by which a service's processes are known, wherever they go.
const MARKER: &str = "RUNNER_MEMBER";

/// How long what a service left behind may take to die of SIGKILL.
const STRAYS: Duration = Duration::from_secs(1);

/// One replica of a service, with what belongs to its present process.
pub(super) struct Replica<'a> {
    pub(super) name: &'a str,
    pub(super) spec: &'a spec::Service,
    pub(super) policy: service::Policy,
    pub(super) label: Label,
    pub(super) cx: Cx,
    pub(super) service: Service,
    pub(super) process: Option<Process>,
    pub(super) probes: Vec<JoinHandle<()>>,
    /// When it was first told to start.
    pub(super) begun: Option<Moment>,
    /// What its liveness last said; kept over a restart until the next process has answered.
    pub(super) alive: Option<bool>,
}

impl Replica<'_> {
    /// `app/2`, or `app` where there is one.
    pub(super) fn who(&self) -> String {
        status::label(&self.label.member, self.label.replica)
    }

    /// As its health sees it.
    pub(super) fn seen(&self) -> health::Replica<'_> {
        health::Replica {
            who: self.who(),
            service: &self.service,
            alive: self.alive,
        }
    }
}

impl<'a> Members<'a> {
    pub(super) fn add_service(&mut self, name: &'a str, spec: &'a spec::Service) {
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
                service: Service::new(self.now(), steps::seed()),
                process: None,
                probes: Vec::new(),
                begun: None,
                alive: None,
            });
        }
    }

    /// Tells a replica what happened, and does what it answers.
    pub(super) fn happen(&mut self, id: Id, happening: Happening) {
        let now = self.now();
        let replica = &mut self.replicas[id];
        let service = replica.service.clone();
        let (service, effects) = service::on(service, happening, &replica.policy, now);
        replica.service = service;
        for effect in effects {
            self.perform(id, effect);
        }
    }

    pub(super) fn perform(&mut self, id: Id, effect: Effect) {
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

    pub(super) fn process(&self, id: Id, pid: i32) -> Option<&Process> {
        self.replicas[id]
            .process
            .as_ref()
            .filter(|process| process.pid() == pid)
    }

    pub(super) fn report(&self, id: Id, fact: Fact) {
        let label = &self.replicas[id].label;
        self.cx.world.tell(Event::Service {
            member: label.member.clone(),
            replica: label.replica,
            fact,
        });
    }

    /// Starts a replica's process and the tasks that watch it.
    pub(super) fn spawn(&mut self, id: Id) -> Happening {
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
                let marker = (MARKER.into(), replica.who().into());
                launch.environment = child::with_variables(&launch.environment, [marker]);
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

    /// Waits for a process's end beside the loop, ends what it left behind, and tells it.
    ///
    /// A program that daemonizes (fork, setsid, and the parent exits) has ended with its main process: what `restart`
    /// says follows, and the daemon, which has left the process group, is killed as a stray. So the ports and files of
    /// one process are free before the next is started.
    pub(super) fn watch(&mut self, id: Id, process: Process, relays: Vec<Relaying>) {
        let (tell, world) = (self.tell.clone(), self.cx.world.clone());
        let (who, label) = (self.replicas[id].who(), self.replicas[id].label.clone());
        self.tasks.spawn_local(async move {
            let ended = match process.wait().await {
                end if end.code.is_some() => Ended::Code(end.exit().0),
                end => end.signal.map_or(Ended::Lost, Ended::Signal),
            };
            let strays = world.processes.strays(MARKER, &who);
            if !strays.is_empty() {
                let deadline = Instant::now() + STRAYS;
                world.processes.end_strays(MARKER, &who, deadline).await;
                world.tell(Event::StraysEnded {
                    member: label.member,
                    replica: label.replica,
                    pids: strays,
                });
            }
            let pid = process.pid();
            let _ = tell.send(Message::Replica(id, Happening::Exited { pid, ended }));
            for relay in relays {
                relay.finish(LAST_WORDS).await;
            }
        });
    }

    pub(super) fn start_probes(&mut self, id: Id, pid: i32) {
        let replica = &self.replicas[id];
        let spec = replica.spec;
        let mut started = Vec::new();
        for (probe, is_readiness) in [(&spec.readiness, true), (&spec.liveness, false)] {
            let Some(probe) = probe else { continue };
            let (probe, spec) = (probe.clone(), spec.clone());
            let (cx, tell) = (replica.cx.clone(), self.tell.clone());
            started.push(tokio::task::spawn_local(async move {
                let told = |answer| {
                    let message = match (is_readiness, answer) {
                        (true, Answer::Yes) => Message::Replica(id, Happening::Ready { pid }),
                        (true, Answer::No) => Message::Replica(id, Happening::Unready { pid }),
                        (false, Answer::Yes) => Message::Alive(id, true),
                        (false, Answer::No) => Message::Alive(id, false),
                    };
                    let _ = tell.send(message);
                    if (is_readiness, answer) == (false, Answer::No) {
                        let failed = Happening::LivenessFailed { pid };
                        let _ = tell.send(Message::Replica(id, failed));
                    }
                };
                probe::ask(&probe, &spec, &cx, told).await;
            }));
        }
        self.replicas[id].probes.extend(started);
    }

    pub(super) fn ended_for_good(&mut self, id: Id, end: &End) {
        let replica = &self.replicas[id];
        let (who, essential) = (replica.who(), replica.spec.essential);
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
}

/// The language's rules of a service as the machine has them.
fn policy(spec: &spec::Service) -> service::Policy {
    service::Policy {
        restart: match spec.restart {
            spec::Restart::Always => service::Restart::Always,
            spec::Restart::OnFailure => service::Restart::OnFailure,
            spec::Restart::Never => service::Restart::Never,
        },
        backoff: steps::backoff(&spec.backoff),
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
