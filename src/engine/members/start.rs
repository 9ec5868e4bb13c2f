//! Who may start: a member whose dependencies have come as far as it wants them.

use std::time::Duration;

use tokio::time::Instant;

use super::Members;
use super::loops::LoopState;
use super::replica::Replica;
use crate::engine::event::Event;
use crate::engine::service::{End, Event as Happening, State};
use crate::roles::spec::DependencyCondition;

impl<'a> Members<'a> {
    pub(super) fn start_some(&mut self) {
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

    pub(super) fn start(&mut self, name: &'a str) {
        if self.loops.contains_key(name) {
            self.start_loop(name);
            return;
        }
        for id in 0..self.replicas.len() {
            if self.replicas[id].name == name {
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
        let periods = self.replicas.iter().filter_map(|replica| {
            let process = replica.service.process()?;
            Some(process.started + replica.spec.readiness.as_ref()?.start_period.0)
        });
        periods
            .filter(|at| *at > now)
            .min()
            .map(|at| self.cx.world.started + at)
    }
}
