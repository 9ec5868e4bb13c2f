//! The stop: dependents before what they depend on, the budget, the killing, and what is said at the end.

use tokio::time::Instant;

use super::loops::LoopState;
use super::{Id, LAST_WORDS, Members};
use crate::engine::event::{Event, shown};
use crate::engine::service::{Event as Happening, Fate, State, Then};
use crate::outcome::{Exit, Outcome};
use crate::shutdown::{Reason, Stage};

impl<'a> Members<'a> {
    /// The role ends by itself: the first reason counts.
    pub(super) fn end_role(&mut self, exit: Exit, why: String) {
        if self.outcome.is_none() && !self.cx.shutdown.is_requested() {
            self.outcome = Some(Outcome { exit, why });
            self.cx.world.switch.begin(Reason::Asked);
        }
    }

    pub(super) fn say_stop(&self) {
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

    /// Tells those to stop on whom nobody depends any more.
    pub(super) fn stop_some(&mut self) {
        let Some(deadline) = self.cx.world.stop_deadline() else {
            return;
        };
        let deadline = deadline.saturating_duration_since(self.cx.world.started);
        let mut ended = false;
        for name in self.order.may_stop(|name| self.lives(name)) {
            if let Some(running) = self.loops.get_mut(name) {
                running.stop();
                ended |= running.state == LoopState::Ended;
                continue;
            }
            for id in 0..self.replicas.len() {
                let wanted = self.replicas[id].name == name && self.is_untold(id);
                if wanted {
                    self.happen(id, Happening::StopRequested { deadline });
                }
            }
        }
        // One that never ran ends without a word that would have us look again.
        if ended {
            self.stop_some();
        }
    }

    /// Whether a replica was not yet told to stop.
    pub(super) fn is_untold(&self, id: Id) -> bool {
        match self.replicas[id].service.state {
            State::Pending | State::Starting | State::Running { .. } | State::Backoff { .. } => {
                true
            }
            State::Stopping { then, .. }
            | State::Killing {
                fate: Fate::Then(then),
                ..
            } => !matches!(then, Then::Stop),
            State::Recalled { .. }
            | State::Draining { .. }
            | State::Killing { .. }
            | State::Ended { .. } => false,
        }
    }

    pub(super) fn lives(&self, name: &str) -> bool {
        match self.loops.get(name) {
            Some(running) => running.state != LoopState::Ended,
            None => self
                .replicas_of(name)
                .any(|replica| replica.service.end().is_none()),
        }
    }

    pub(super) fn all_over(&self) -> bool {
        self.plan.members.keys().all(|name| !self.lives(name))
    }

    pub(super) fn clock(&mut self, stopping: bool) {
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

    pub(super) fn kill(&mut self, why: &str) {
        self.killed = true;
        self.cx.world.tell(Event::Killing {
            why: why.to_owned(),
        });
        for running in self.loops.values_mut() {
            running.kill();
        }
        for id in 0..self.replicas.len() {
            self.happen(id, Happening::KillRequested);
        }
    }

    /// Lets the relays of ended processes finish.
    pub(super) async fn last_words(&mut self) {
        while tokio::time::timeout(LAST_WORDS, self.tasks.join_next())
            .await
            .is_ok_and(|joined| joined.is_some())
        {}
        self.tasks.shutdown().await;
    }

    pub(super) fn verdict(self) -> Outcome {
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
