//! Who may start: a member whose dependencies have come as far as it wants them.

use tokio::time::Instant;

use super::Members;
use super::loops::LoopState;
use super::replica::Replica;
use crate::engine::event::Event;
use crate::engine::health::Wait;
use crate::engine::service::{End, Event as Happening, LastEnd, Moment, State};
use crate::outcome::Exit;
use crate::plan::Member;
use crate::roles::spec::DependencyCondition;

impl<'a> Members<'a> {
    pub(super) fn start_some(&mut self) {
        let plan = self.plan;
        for name in plan.members.keys() {
            if !self.is_pending(name) {
                continue;
            }
            let Some(wait) = self.wait(name) else {
                self.start(name);
                continue;
            };
            if !wait.may_come && self.is_essential(name) {
                let why = format!("{name} waits for {}, which can never be", wait.needs);
                self.end_role(Exit::FAILED, why);
            } else if !self.waiting.contains(&name.as_str()) {
                self.waiting.push(name);
                self.cx.world.tell(Event::Waiting {
                    member: name.clone(),
                    needs: vec![wait.needs],
                });
            }
        }
    }

    /// What a member that was not started waits for; none where nothing is missing, or it was started.
    pub(super) fn wait(&self, name: &str) -> Option<Wait> {
        if !self.is_pending(name) {
            return None;
        }
        let missing: Vec<_> = self.plan.members[name]
            .depends_on()
            .iter()
            .filter(|(needed, dependency)| !self.is_met(needed, dependency.condition))
            .collect();
        if missing.is_empty() {
            return None;
        }
        let needs = missing
            .iter()
            .map(|(needed, dependency)| format!("{needed} to be {}", dependency.condition.word()));
        Some(Wait {
            needs: needs.collect::<Vec<_>>().join(", "),
            may_come: missing
                .iter()
                .all(|(needed, dependency)| self.may_be_met(needed, dependency.condition)),
        })
    }

    /// Whether the role cannot do without a member.
    fn is_essential(&self, name: &str) -> bool {
        match &self.plan.members[name] {
            Member::Service(spec) => spec.essential,
            Member::Loop(_) | Member::Queue(_) => true,
        }
    }

    /// Whether a condition that is not met still can be without an operator: not when one has ended for good before.
    fn may_be_met(&self, name: &str, condition: DependencyCondition) -> bool {
        let mut replicas = self.replicas_of(name);
        match condition {
            DependencyCondition::Started => true,
            // Ready counts once and for all; those that never were and have ended will not be.
            DependencyCondition::Ready => self.replicas_of(name).any(|replica| {
                replica.service.end().is_none() || replica.service.history.first_ready.is_some()
            }),
            DependencyCondition::Succeeded => {
                replicas.all(|replica| !matches!(replica.service.end(), Some(End::Failed(_))))
            }
        }
    }

    pub(super) fn is_pending(&self, name: &str) -> bool {
        match self.loops.get(name) {
            Some(running) => running.state == LoopState::Pending,
            None => self
                .replicas_of(name)
                .any(|replica| replica.service.state == State::Pending),
        }
    }

    pub(super) fn replicas_of(&self, name: &str) -> impl Iterator<Item = &Replica<'a>> {
        self.replicas
            .iter()
            .filter(move |replica| replica.name == name)
    }

    /// Whether a member has come as far as another wants.
    pub(super) fn is_met(&self, name: &str, condition: DependencyCondition) -> bool {
        if let Some(running) = self.loops.get(name) {
            return condition == DependencyCondition::Started
                && running.state != LoopState::Pending;
        }
        let mut replicas = self.replicas_of(name);
        match condition {
            DependencyCondition::Started => replicas.all(Replica::was_started),
            DependencyCondition::Ready => {
                let ready = |replica: &Replica<'_>| replica.service.history.first_ready.is_some();
                let late = || {
                    let mut late = self.replicas_of(name).map(Replica::late_at);
                    late.all(|at| at.is_some_and(|at| at <= self.now()))
                };
                replicas.all(ready) || (self.replicas_of(name).any(ready) && late())
            }
            DependencyCondition::Succeeded => {
                replicas.all(|replica| matches!(replica.service.end(), Some(End::Succeeded(_))))
            }
        }
    }

    pub(super) fn start(&mut self, name: &'a str) {
        if self.loops.contains_key(name) {
            self.start_loop(name);
            return;
        }
        for id in 0..self.replicas.len() {
            if self.replicas[id].name == name {
                self.replicas[id].begun = Some(self.now());
                self.happen(id, Happening::DependenciesMet);
            }
        }
    }

    /// When "all are ready" becomes "one is ready" for somebody who waits.
    pub(super) fn start_period_over(&self) -> Option<Instant> {
        if self.waiting.iter().all(|name| !self.is_pending(name)) {
            return None;
        }
        let now = self.now();
        let late = self.replicas.iter().filter_map(Replica::late_at);
        late.filter(|at| *at > now)
            .min()
            .map(|at| self.cx.world.started + at)
    }
}

impl Replica<'_> {
    /// Whether a process of it has run at all; an attempt that failed is none.
    fn was_started(&self) -> bool {
        let history = &self.service.history;
        let ended = history.last.as_ref().map(|last| &last.how);
        self.service.process().is_some()
            || matches!(ended, Some(LastEnd::Ended(_)))
            || history.first_ready.is_some()
    }

    /// When nobody who waits for all replicas waits for this one any more. Counted from its first start, so that one
    /// that keeps dying holds nobody up for ever.
    fn late_at(&self) -> Option<Moment> {
        Some(self.begun? + self.spec.readiness.as_ref()?.start_period.0)
    }
}
