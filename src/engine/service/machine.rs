//! The transitions: one function a state, each of which answers every event by name.
//!
//! What follows for the timer is not said in any of them: [`on`] arms it wherever the new state waits for time.

use super::{
    Effect, End, Ended, Event, Fact, Failure, Fate, History, Last, LastEnd, Moment, Pid, Policy,
    Process, Ready, Recall, Restart, Service, State, Then,
};
use crate::outcome::RunError;
use std::mem::discriminant;
use std::time::Duration;

/// What becomes of `service` when `event` happens at `now`, and what is to be done about it, in order.
pub fn on(service: Service, event: Event, policy: &Policy, now: Moment) -> (Service, Vec<Effect>) {
    let armed_for = if event == Event::TimerElapsed {
        None
    } else {
        service.wakes_at()
    };
    let before = discriminant(&service.state);
    let mut turn = Turn {
        policy,
        now,
        history: service.history,
        effects: Vec::new(),
    };
    let state = turn.next(service.state, event);
    let since = if discriminant(&state) == before {
        service.since
    } else {
        now
    };
    let Turn {
        history,
        mut effects,
        ..
    } = turn;
    let service = Service {
        state,
        since,
        history,
    };
    if let Some(at) = service.wakes_at()
        && armed_for != Some(at)
    {
        effects.push(Effect::ArmTimer { at });
    }
    (service, effects)
}

/// One event being answered.
struct Turn<'a> {
    policy: &'a Policy,
    now: Moment,
    history: History,
    effects: Vec<Effect>,
}

impl Turn<'_> {
    fn next(&mut self, state: State, event: Event) -> State {
        match state {
            State::Pending => self.pending(event),
            State::Starting => self.starting(event),
            State::Recalled { by } => self.recalled(by, event),
            State::Running { process, ready } => self.running(process, ready, event),
            State::Draining {
                process,
                until,
                deadline,
            } => self.draining(process, until, deadline, event),
            State::Stopping {
                process,
                kill_at,
                then,
            } => self.stopping(process, kill_at, then, event),
            State::Killing { process, fate } => self.killing(process, fate, event),
            State::Backoff { until } => self.backoff(until, event),
            State::Ended { end } => self.ended(end, event),
        }
    }

    fn pending(&mut self, event: Event) -> State {
        match event {
            Event::DependenciesMet => self.spawn(),
            Event::StopRequested { .. } | Event::KillRequested => self.end(End::Stopped(None)),
            // Its first start is a fresh one in any case.
            Event::RestartRequested
            | Event::TimerElapsed
            | Event::Ready { .. }
            | Event::Unready { .. }
            | Event::LivenessFailed { .. }
            | Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Exited { .. } => self.stray(event, State::Pending, None),
        }
    }

    fn starting(&mut self, event: Event) -> State {
        match event {
            Event::Spawned { pid } => {
                let process = self.born(pid);
                self.effects.push(Effect::StartProbes { pid });
                let ready = Ready::Unknown;
                State::Running { process, ready }
            }
            Event::SpawnFailed { error } => {
                self.not_started(&error);
                match self.policy.restart {
                    Restart::Always | Restart::OnFailure => {
                        self.again(Duration::ZERO, Failure::Spawn(error))
                    }
                    Restart::Never => self.end(End::Failed(Failure::Spawn(error))),
                }
            }
            Event::StopRequested { deadline } => State::Recalled {
                by: Recall::Stop { deadline },
            },
            Event::KillRequested => State::Recalled { by: Recall::Kill },
            // An exit here is a former process's, told twice: ours is told as spawned before it is told as ended.
            // And what is being started is as fresh as a restart could make it.
            Event::Exited { .. }
            | Event::RestartRequested
            | Event::DependenciesMet
            | Event::TimerElapsed
            | Event::Ready { .. }
            | Event::Unready { .. }
            | Event::LivenessFailed { .. } => self.stray(event, State::Starting, None),
        }
    }

    fn recalled(&mut self, by: Recall, event: Event) -> State {
        match event {
            Event::Spawned { pid } => {
                let process = self.born(pid);
                match by {
                    Recall::Stop { deadline } => self.stop(process, Then::Stop, deadline),
                    Recall::Kill => self.kill(process, Fate::Then(Then::Stop), false),
                }
            }
            Event::SpawnFailed { error } => {
                self.not_started(&error);
                self.end(End::Stopped(None))
            }
            Event::StopRequested { deadline } => State::Recalled {
                by: match by {
                    Recall::Stop { deadline: first } => Recall::Stop {
                        deadline: first.min(deadline),
                    },
                    Recall::Kill => Recall::Kill,
                },
            },
            Event::KillRequested => State::Recalled { by: Recall::Kill },
            Event::RestartRequested
            | Event::DependenciesMet
            | Event::TimerElapsed
            | Event::Ready { .. }
            | Event::Unready { .. }
            | Event::LivenessFailed { .. }
            | Event::Exited { .. } => self.stray(event, State::Recalled { by }, None),
        }
    }

    fn running(&mut self, process: Process, ready: Ready, event: Event) -> State {
        let own = process.pid;
        match event {
            Event::Exited { pid, ended } if pid == own => {
                self.effects.push(Effect::StopProbes);
                self.buried(process, ended, false);
                self.ended_unasked(process, ended)
            }
            Event::Ready { pid } if pid == own => {
                self.history.first_ready.get_or_insert(self.now);
                if ready != Ready::Yes {
                    self.report(Fact::Ready { pid });
                }
                let ready = Ready::Yes;
                State::Running { process, ready }
            }
            Event::Unready { pid } if pid == own => {
                if ready != Ready::No {
                    let was_ready = ready == Ready::Yes;
                    self.report(Fact::Unready { pid, was_ready });
                }
                let ready = Ready::No;
                State::Running { process, ready }
            }
            Event::LivenessFailed { pid } if pid == own => {
                self.effects.push(Effect::StopProbes);
                self.report(Fact::LivenessFailed { pid });
                // The time it takes to stop is no sign of stability.
                let ran_for = self.now.saturating_sub(process.started);
                self.stop(process, Then::Fail { ran_for }, Moment::MAX)
            }
            Event::StopRequested { deadline } => {
                self.effects.push(Effect::StopProbes);
                self.drain_or_stop(process, deadline)
            }
            Event::KillRequested => {
                self.effects.push(Effect::StopProbes);
                self.kill(process, Fate::Then(Then::Stop), false)
            }
            Event::RestartRequested => {
                self.effects.push(Effect::StopProbes);
                self.stop(process, Then::Restart, Moment::MAX)
            }
            Event::DependenciesMet
            | Event::TimerElapsed
            | Event::Ready { .. }
            | Event::Unready { .. }
            | Event::LivenessFailed { .. }
            | Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Exited { .. } => {
                self.stray(event, State::Running { process, ready }, Some(own))
            }
        }
    }

    fn draining(
        &mut self,
        process: Process,
        until: Moment,
        deadline: Moment,
        event: Event,
    ) -> State {
        match event {
            Event::Exited { pid, ended } if pid == process.pid => {
                self.buried(process, ended, false);
                self.end(End::Stopped(Some(ended)))
            }
            Event::TimerElapsed if self.now >= until => self.stop(process, Then::Stop, deadline),
            Event::StopRequested { deadline: other } => {
                let deadline = deadline.min(other);
                State::Draining {
                    process,
                    until: until.min(deadline),
                    deadline,
                }
            }
            Event::KillRequested => self.kill(process, Fate::Then(Then::Stop), false),
            Event::RestartRequested
            | Event::DependenciesMet
            | Event::TimerElapsed
            | Event::Ready { .. }
            | Event::Unready { .. }
            | Event::LivenessFailed { .. }
            | Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Exited { .. } => {
                let state = State::Draining {
                    process,
                    until,
                    deadline,
                };
                self.stray(event, state, Some(process.pid))
            }
        }
    }

    fn stopping(&mut self, process: Process, kill_at: Moment, then: Then, event: Event) -> State {
        let stopping = |kill_at, then| State::Stopping {
            process,
            kill_at,
            then,
        };
        match event {
            Event::Exited { pid, ended } if pid == process.pid => {
                self.buried(process, ended, true);
                self.follow(Fate::Then(then), ended)
            }
            Event::TimerElapsed if self.now >= kill_at => {
                let fate = match then {
                    Then::Stop => Fate::Overrun,
                    Then::Restart | Then::Fail { .. } => Fate::Then(then),
                };
                self.kill(process, fate, true)
            }
            // The stop signal has been sent already, for a restart or a failure: only what follows changes.
            Event::StopRequested { deadline } => stopping(kill_at.min(deadline), Then::Stop),
            Event::KillRequested => self.kill(process, Fate::Then(Then::Stop), false),
            Event::RestartRequested => match then {
                Then::Stop => stopping(kill_at, Then::Stop),
                Then::Restart | Then::Fail { .. } => stopping(kill_at, Then::Restart),
            },
            Event::DependenciesMet
            | Event::TimerElapsed
            | Event::Ready { .. }
            | Event::Unready { .. }
            | Event::LivenessFailed { .. }
            | Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Exited { .. } => self.stray(event, stopping(kill_at, then), Some(process.pid)),
        }
    }

    fn killing(&mut self, process: Process, fate: Fate, event: Event) -> State {
        let killing = |fate| State::Killing { process, fate };
        match event {
            Event::Exited { pid, ended } if pid == process.pid => {
                self.buried(process, ended, true);
                self.follow(fate, ended)
            }
            Event::StopRequested { .. } => killing(match fate {
                Fate::Then(_) => Fate::Then(Then::Stop),
                Fate::Overrun => Fate::Overrun,
            }),
            Event::KillRequested => {
                // Once more costs nothing, and reaches what a fork hid from the first.
                self.effects.push(Effect::KillGroup { pid: process.pid });
                killing(match fate {
                    Fate::Then(_) => Fate::Then(Then::Stop),
                    Fate::Overrun => Fate::Overrun,
                })
            }
            Event::RestartRequested => killing(match fate {
                Fate::Then(Then::Restart | Then::Fail { .. }) => Fate::Then(Then::Restart),
                Fate::Then(Then::Stop) | Fate::Overrun => fate,
            }),
            Event::DependenciesMet
            | Event::TimerElapsed
            | Event::Ready { .. }
            | Event::Unready { .. }
            | Event::LivenessFailed { .. }
            | Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Exited { .. } => self.stray(event, killing(fate), Some(process.pid)),
        }
    }

    fn backoff(&mut self, until: Moment, event: Event) -> State {
        match event {
            Event::TimerElapsed if self.now >= until => self.restart(),
            // The operator does not wait, and it is not one of the restarts that are counted.
            Event::RestartRequested => self.spawn(),
            Event::StopRequested { .. } | Event::KillRequested => self.end(End::Stopped(None)),
            Event::DependenciesMet
            | Event::TimerElapsed
            | Event::Ready { .. }
            | Event::Unready { .. }
            | Event::LivenessFailed { .. }
            | Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Exited { .. } => self.stray(event, State::Backoff { until }, None),
        }
    }

    fn ended(&mut self, end: End, event: Event) -> State {
        match event {
            // What ended by itself may be begun anew by an operator; what was stopped may not.
            Event::RestartRequested => match end {
                End::Succeeded(_) | End::Failed(_) => self.spawn(),
                End::Stopped(_) | End::Overran(_) => State::Ended { end },
            },
            Event::StopRequested { .. } | Event::KillRequested => State::Ended {
                end: match end {
                    End::Succeeded(ended)
                    | End::Failed(Failure::Exit(ended) | Failure::Liveness(ended)) => {
                        End::Stopped(Some(ended))
                    }
                    End::Failed(Failure::Spawn(_)) => End::Stopped(None),
                    End::Stopped(_) | End::Overran(_) => end,
                },
            },
            Event::DependenciesMet
            | Event::TimerElapsed
            | Event::Ready { .. }
            | Event::Unready { .. }
            | Event::LivenessFailed { .. }
            | Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Exited { .. } => self.stray(event, State::Ended { end }, None),
        }
    }

    /// An event that does not belong to `state`: nothing changes, but a process nobody asked for must not live.
    fn stray(&mut self, event: Event, state: State, own: Option<Pid>) -> State {
        match event {
            Event::Spawned { pid } if own != Some(pid) => {
                self.effects.push(Effect::KillGroup { pid });
                self.report(Fact::Stranger { pid });
            }
            Event::Exited { pid, .. } => self.report(Fact::Stranger { pid }),
            Event::SpawnFailed { error } => self.report(Fact::NotStarted {
                error,
                again: false,
            }),
            Event::Spawned { .. }
            | Event::DependenciesMet
            | Event::TimerElapsed
            | Event::Ready { .. }
            | Event::Unready { .. }
            | Event::LivenessFailed { .. }
            | Event::StopRequested { .. }
            | Event::KillRequested
            | Event::RestartRequested => {}
        }
        state
    }

    fn report(&mut self, fact: Fact) {
        self.effects.push(Effect::Report(fact));
    }

    fn spawn(&mut self) -> State {
        self.effects.push(Effect::Spawn);
        State::Starting
    }

    /// A start that `restart` wants, and that `max_restarts` counts.
    fn restart(&mut self) -> State {
        self.history.restarts = self.history.restarts.saturating_add(1);
        if self.policy.budget.is_some() {
            self.history.recent.push_back(self.now);
        }
        self.spawn()
    }

    fn born(&mut self, pid: Pid) -> Process {
        self.report(Fact::Started { pid });
        Process {
            pid,
            started: self.now,
        }
    }

    fn not_started(&mut self, error: &RunError) {
        let how = LastEnd::NotStarted(error.clone());
        let again = self
            .history
            .last
            .as_ref()
            .is_some_and(|last| last.how == how);
        self.history.last = Some(Last { how, at: self.now });
        self.report(Fact::NotStarted {
            error: error.clone(),
            again,
        });
    }

    /// The main process is gone: so must be what it left behind in its group.
    fn buried(&mut self, process: Process, ended: Ended, asked: bool) {
        self.effects.push(Effect::KillGroup { pid: process.pid });
        self.history.last = Some(Last {
            how: LastEnd::Ended(ended),
            at: self.now,
        });
        self.report(Fact::Exited {
            pid: process.pid,
            ended,
            ran_for: self.now.saturating_sub(process.started),
            asked,
        });
    }

    fn drain_or_stop(&mut self, process: Process, deadline: Moment) -> State {
        let until = self
            .now
            .saturating_add(self.policy.drain_delay)
            .min(deadline);
        if until <= self.now {
            return self.stop(process, Then::Stop, deadline);
        }
        let pid = process.pid;
        self.report(Fact::Draining { pid, until });
        State::Draining {
            process,
            until,
            deadline,
        }
    }

    fn stop(&mut self, process: Process, then: Then, deadline: Moment) -> State {
        let pid = process.pid;
        let signal = self.policy.stop_signal;
        let kill_at = self
            .now
            .saturating_add(self.policy.stop_timeout)
            .min(deadline);
        self.effects.push(Effect::Signal { pid, signal });
        self.report(Fact::Stopping {
            pid,
            signal,
            kill_at,
        });
        State::Stopping {
            process,
            kill_at,
            then,
        }
    }

    fn kill(&mut self, process: Process, fate: Fate, late: bool) -> State {
        let pid = process.pid;
        self.effects.push(Effect::KillGroup { pid });
        self.report(Fact::Killing { pid, late });
        State::Killing { process, fate }
    }

    /// What comes after an end that we brought about.
    fn follow(&mut self, fate: Fate, ended: Ended) -> State {
        match fate {
            Fate::Overrun => self.end(End::Overran(ended)),
            Fate::Then(Then::Stop) => self.end(End::Stopped(Some(ended))),
            Fate::Then(Then::Restart) => self.spawn(),
            Fate::Then(Then::Fail { ran_for }) => {
                let failure = Failure::Liveness(ended);
                match self.policy.restart {
                    Restart::Always | Restart::OnFailure => self.again(ran_for, failure),
                    Restart::Never => self.end(End::Failed(failure)),
                }
            }
        }
    }

    /// What comes after an end that nobody asked for.
    fn ended_unasked(&mut self, process: Process, ended: Ended) -> State {
        let ran_for = self.now.saturating_sub(process.started);
        let failure = Failure::Exit(ended);
        match (self.policy.restart, self.policy.is_success(ended)) {
            (Restart::Always, _) | (Restart::OnFailure, false) => self.again(ran_for, failure),
            (Restart::OnFailure | Restart::Never, true) => self.end(End::Succeeded(ended)),
            (Restart::Never, false) => self.end(End::Failed(failure)),
        }
    }

    /// A restart: at once after a stable run, else after a pause; none when too many have been made.
    fn again(&mut self, ran_for: Duration, failure: Failure) -> State {
        if let Some(budget) = self.policy.budget {
            let now = self.now;
            let recent = &mut self.history.recent;
            recent.retain(|at| now.saturating_sub(*at) < budget.window);
            if recent.len() >= budget.max_restarts as usize {
                self.report(Fact::GaveUp { budget });
                return self.end(End::Failed(failure));
            }
        }
        // A start that failed is never a stable run, even where `reset_after` is 0.
        if ran_for >= self.policy.reset_after && !ran_for.is_zero() {
            self.history.streak = 0;
            return self.restart();
        }
        let chance = self.history.dice.roll();
        let pause = self.policy.backoff.pause(self.history.streak, chance);
        self.history.streak = self.history.streak.saturating_add(1);
        let streak = self.history.streak;
        self.report(Fact::BackingOff { pause, streak });
        State::Backoff {
            until: self.now.saturating_add(pause),
        }
    }

    fn end(&mut self, end: End) -> State {
        self.effects.push(Effect::EndedForGood { end: end.clone() });
        State::Ended { end }
    }
}
