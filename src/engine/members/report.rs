//! What the members say of themselves: health and status.

use tokio::time::Instant;

use super::Members;
use super::loops::{LoopState, Running, Work};
use super::replica::Replica;
use crate::engine::control::{stop_status, stopping};
use crate::engine::event::shown;
use crate::engine::health::{self, Finding};
use crate::engine::poll::progress::Progress as QueueProgress;
use crate::engine::repeat::Progress;
use crate::engine::service::{Moment, State, Then};
use crate::engine::status::{Condition, Health, MemberStatus, Phase, Status, StopStatus, When};
use crate::plan::Member;

impl Members<'_> {
    /// How the role is.
    pub(super) fn health(&self) -> Health {
        let health = health::judge(self.findings());
        match self.stop() {
            None => health,
            Some(stop) => Health {
                state: Condition::Stopping,
                reasons: vec![stopping(&stop)],
                notes: Vec::new(),
            },
        }
    }

    /// Everything that is known.
    pub(super) fn status(&self) -> Status {
        let stop = self.stop();
        Status {
            phase: match stop {
                Some(_) => Phase::Stopping,
                None => Phase::Members,
            },
            health: self.health(),
            step: None,
            members: self.each(),
            stop,
            ..self.cx.world.desk.status(&self.cx.world)
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (name, member) in &self.plan.members {
            match member {
                Member::Service(spec) => {
                    let wait = self.wait(name);
                    let replicas: Vec<_> = self.replicas_of(name).map(Replica::seen).collect();
                    findings.extend(health::service(spec, &replicas, wait.as_ref(), self.now()));
                }
                Member::Loop(_) | Member::Queue(_) => findings.extend(self.task_findings(name)),
            }
        }
        findings
    }

    fn task_findings(&self, name: &str) -> Vec<Finding> {
        if let Some(wait) = self.wait(name) {
            return vec![wait.finding(name)];
        }
        match self.loops.get(name) {
            Some(running) => {
                let now = Instant::now();
                let begun = running.since.unwrap_or(now);
                match &running.work {
                    Work::Loop(spec, progress) => {
                        health::a_loop(name, spec, &progress.borrow(), begun, now)
                    }
                    Work::Queue(spec, progress) => {
                        let finding = progress.borrow().finding(name, spec, begun, now);
                        finding.into_iter().collect()
                    }
                }
            }
            None => Vec::new(),
        }
    }

    fn each(&self) -> Vec<MemberStatus> {
        let mut all = Vec::new();
        for (name, member) in &self.plan.members {
            match member {
                Member::Service(_) => {
                    all.extend(self.replicas_of(name).map(|it| self.replica_status(it)));
                }
                Member::Loop(_) | Member::Queue(_) => {
                    all.extend(self.loops.get(name.as_str()).map(|running| {
                        let next = self.wait(name).map(|wait| wait_text(&wait.needs));
                        running.status(name, next)
                    }))
                }
            }
        }
        all
    }

    fn replica_status(&self, replica: &Replica<'_>) -> MemberStatus {
        let view = replica.service.view(&replica.policy, self.now());
        let next = match (&replica.service.state, self.wait(replica.name)) {
            (State::Pending, Some(wait)) => wait_text(&wait.needs),
            _ => view.next,
        };
        MemberStatus {
            name: replica.name.to_owned(),
            replica: replica.label.replica,
            kind: "service".to_owned(),
            state: view.state.to_owned(),
            ready: view.ready,
            pid: view.pid,
            since: Some(self.when(view.since)),
            restarts: Some(view.restarts),
            last_exit: view.last_exit,
            last_exit_at: view.last_exit_at.map(|at| self.when(at)),
            next,
            ..MemberStatus::default()
        }
    }

    fn when(&self, moment: Moment) -> When {
        When::of(self.cx.world.started + moment)
    }

    /// The stop, with those that were told to end and have not yet.
    fn stop(&self) -> Option<StopStatus> {
        let mut stop = stop_status(&self.cx.world)?;
        if let Some(outcome) = &self.outcome {
            stop.why = outcome.why.clone();
        }
        let told = |replica: &&Replica<'_>| match &replica.service.state {
            State::Draining { .. } | State::Killing { .. } | State::Recalled { .. } => true,
            State::Stopping { then, .. } => matches!(then, Then::Stop),
            State::Pending
            | State::Starting
            | State::Running { .. }
            | State::Backoff { .. }
            | State::Ended { .. } => false,
        };
        let loops = self.loops.iter().filter(|(_, running)| running.is_ending());
        stop.waiting_for = self
            .replicas
            .iter()
            .filter(told)
            .map(Replica::who)
            .chain(loops.map(|(name, _)| (*name).to_owned()))
            .collect();
        Some(stop)
    }
}

fn wait_text(needs: &str) -> String {
    format!("waits for {needs}")
}

impl Running<'_> {
    /// Whether it was told to end and has not yet.
    fn is_ending(&self) -> bool {
        self.state == LoopState::Running && self.cx.shutdown.is_requested()
    }

    fn status(&self, name: &str, waits: Option<String>) -> MemberStatus {
        match &self.work {
            Work::Loop(_, progress) => self.loop_status(name, waits, &progress.borrow()),
            Work::Queue(_, progress) => self.queue_status(name, waits, &progress.borrow()),
        }
    }

    fn queue_status(
        &self,
        name: &str,
        waits: Option<String>,
        progress: &QueueProgress,
    ) -> MemberStatus {
        let in_hand = progress.in_hand;
        let (state, next) = match self.state {
            LoopState::Pending => {
                let next = waits.unwrap_or_else(|| "is about to start".to_owned());
                ("pending", next)
            }
            LoopState::Ended => ("stopped", "stays ended".to_owned()),
            LoopState::Running if self.cx.shutdown.is_requested() => (
                "stopping",
                format!("finishes or gives back {in_hand} messages"),
            ),
            LoopState::Running if progress.opened.is_none() => {
                ("starting", "finds its queue".to_owned())
            }
            LoopState::Running if in_hand > 0 => ("running", "receives and handles".to_owned()),
            LoopState::Running => ("waiting", "waits for messages".to_owned()),
        };
        MemberStatus {
            name: name.to_owned(),
            kind: "queue".to_owned(),
            state: state.to_owned(),
            since: self.since.map(When::of),
            last_exit: progress.error.clone(),
            next,
            failures: Some(progress.failures),
            last_success: progress.succeeded.map(When::of),
            metrics: serde_json::to_value(progress.metrics()).ok(),
            ..MemberStatus::default()
        }
    }

    fn loop_status(&self, name: &str, waits: Option<String>, progress: &Progress) -> MemberStatus {
        let (state, since) = match (self.state, progress.running) {
            (LoopState::Pending, _) => ("pending", None),
            (LoopState::Ended, _) => ("stopped", progress.ended),
            (LoopState::Running, Some(since)) => ("running", Some(since)),
            (LoopState::Running, None) => ("waiting", progress.ended.or(self.since)),
        };
        let number = progress.runs + 1;
        let next = match (self.state, progress.next) {
            (LoopState::Pending, _) => waits.unwrap_or_else(|| "is about to start".to_owned()),
            (LoopState::Ended, _) => "stays ended".to_owned(),
            (LoopState::Running, _) if self.cx.shutdown.is_requested() => {
                format!("ends with run {number}")
            }
            (LoopState::Running, Some(at)) => {
                let left = at.saturating_duration_since(Instant::now());
                format!("run {number} begins in {}", shown(left))
            }
            (LoopState::Running, None) => format!("run {number} goes on"),
        };
        MemberStatus {
            name: name.to_owned(),
            kind: "loop".to_owned(),
            state: state.to_owned(),
            since: since.map(When::of),
            last_exit: progress.error.clone(),
            next,
            runs: Some(progress.runs),
            failures: Some(progress.failures),
            last_success: progress.succeeded.map(When::of),
            next_run: progress.next.map(When::of),
            ..MemberStatus::default()
        }
    }
}
