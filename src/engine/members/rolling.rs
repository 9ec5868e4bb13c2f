//! What is asked of the members over the control socket: health, status, and restarts, one replica after the other.
//!
//! A restart of several replicas goes on to the next only when the one before is back: ready again, or started where
//! there is no readiness. One that does not come back ends it, so that a new fault takes one replica and not all.

use std::collections::VecDeque;

use serde_json::json;
use tokio::sync::oneshot;

use super::{Id, Members};
use crate::diag::nearest;
use crate::engine::control::{Answer, Ask, Request};
use crate::engine::event::Event;
use crate::engine::health::last_end;
use crate::engine::service::{Event as Happening, Fate, Moment, Ready, State, Then};
use crate::engine::status::label;
use crate::outcome::{Exit, RunError};

/// A restart under way.
pub(super) struct Rolling {
    service: String,
    left: VecDeque<Id>,
    /// The replica that is not back yet, and when it was told.
    current: Option<(Id, Moment)>,
    restarted: Vec<String>,
    answer: oneshot::Sender<Answer>,
}

/// How far a replica is on its way back.
enum Way {
    Under,
    Back,
    Lost(String),
}

impl Members<'_> {
    /// Answers, or begins what will be answered when it is done.
    pub(super) fn asked(&mut self, ask: Ask) {
        let answer = match ask.request {
            Request::Health => Ok(json!(self.health())),
            Request::Status | Request::Stop => Ok(json!(self.status())),
            Request::Restart { service, replica } => match self.to_restart(&service, replica) {
                Ok(left) => {
                    let what = format!("restart of {}", label(&service, replica));
                    self.cx.world.tell(Event::Asked(what));
                    self.rolling.push(Rolling {
                        service,
                        left,
                        current: None,
                        restarted: Vec::new(),
                        answer: ask.answer,
                    });
                    return;
                }
                Err(error) => Err(error),
            },
        };
        // Who asked may have gone.
        let _ = ask.answer.send(answer);
    }

    /// The replicas that a request means.
    fn to_restart(&self, service: &str, replica: Option<u32>) -> Result<VecDeque<Id>, RunError> {
        let doing = || format!("cannot restart `{}`", label(service, replica));
        let ids: Vec<Id> = (0..self.replicas.len())
            .filter(|id| self.replicas[*id].name == service)
            .collect();
        if ids.is_empty() {
            let cause = match self.plan.members.get(service) {
                Some(_) => "it is no service, and only services can be restarted",
                None => "there is no such service",
            };
            let services: Vec<&str> = self.plan.services().collect();
            let near = nearest(service, services.iter().copied());
            let help = match (near, services.as_slice()) {
                (Some(near), _) => format!("did you mean `{near}`?"),
                (None, []) => "this role has no services".to_owned(),
                (None, several) => format!("the services are {}", several.join(", ")),
            };
            return Err(RunError::new(Exit::USAGE, doing(), cause).with_help(help));
        }
        if self.cx.shutdown.is_requested() {
            return Err(RunError::new(Exit::FAILED, doing(), "the role stops"));
        }
        if self
            .rolling
            .iter()
            .any(|rolling| rolling.service == service)
        {
            let cause = "a restart of this service is under way";
            return Err(RunError::new(Exit::FAILED, doing(), cause));
        }
        let Some(number) = replica else {
            return Ok(ids.into());
        };
        let id = usize::try_from(number).ok().and_then(|at| ids.get(at));
        id.map(|id| VecDeque::from([*id])).ok_or_else(|| {
            let cause = match ids.len() {
                1 => "it has one replica, 0".to_owned(),
                several => format!("it has replicas 0 to {}", several - 1),
            };
            RunError::new(Exit::USAGE, doing(), cause)
        })
    }

    /// Goes on with every restart as far as it can.
    pub(super) fn roll(&mut self) {
        for mut rolling in std::mem::take(&mut self.rolling) {
            match self.advance(&mut rolling) {
                None => self.rolling.push(rolling),
                Some(answer) => _ = rolling.answer.send(answer),
            }
        }
    }

    /// One restart as far as it can go; its answer once it is over.
    fn advance(&mut self, rolling: &mut Rolling) -> Option<Answer> {
        if self.cx.shutdown.is_requested() {
            let doing = format!("cannot restart `{}`", rolling.service);
            return Some(Err(RunError::new(Exit::FAILED, doing, "the role stops")));
        }
        loop {
            let Some((id, asked)) = rolling.current else {
                let Some(id) = rolling.left.pop_front() else {
                    return Some(Ok(json!({ "restarted": rolling.restarted })));
                };
                rolling.current = Some((id, self.now()));
                self.happen(id, Happening::RestartRequested);
                continue;
            };
            match self.way_back(id, asked) {
                Way::Under => return None,
                Way::Back => {
                    rolling.restarted.push(self.replicas[id].who());
                    rolling.current = None;
                }
                Way::Lost(why) => return Some(Err(self.lost(rolling, id, &why))),
            }
        }
    }

    /// How far a replica is that was told to restart at `asked`.
    fn way_back(&self, id: Id, asked: Moment) -> Way {
        let replica = &self.replicas[id];
        match &replica.service.state {
            // A first start under way is as fresh as a restart could make it.
            State::Pending => Way::Lost("has not been started yet".to_owned()),
            State::Starting => Way::Under,
            State::Running { process, ready } if process.started >= asked => {
                match (&replica.spec.readiness, ready) {
                    (None, _) | (Some(_), Ready::Yes) => Way::Back,
                    (Some(_), Ready::Unknown) => Way::Under,
                    (Some(_), Ready::No) => Way::Lost("runs again but is not ready".to_owned()),
                }
            }
            State::Running { .. } => Way::Under,
            State::Stopping { then, .. }
            | State::Killing {
                fate: Fate::Then(then),
                ..
            } => match then {
                Then::Restart => Way::Under,
                Then::Fail { .. } => Way::Lost("does not answer its liveness".to_owned()),
                Then::Stop => Way::Lost("stops with its role".to_owned()),
            },
            State::Draining { .. } | State::Recalled { .. } | State::Killing { .. } => {
                Way::Lost("stops with its role".to_owned())
            }
            State::Backoff { .. } | State::Ended { .. } => {
                Way::Lost(format!("did not come back: {}", last_end(&replica.service)))
            }
        }
    }

    fn lost(&self, rolling: &Rolling, id: Id, why: &str) -> RunError {
        let list = |names: Vec<String>| names.join(", ");
        let mut cause = format!("{} {why}", self.replicas[id].who());
        if !rolling.restarted.is_empty() {
            cause.push_str(&format!("; restarted: {}", list(rolling.restarted.clone())));
        }
        if !rolling.left.is_empty() {
            let left = rolling.left.iter().map(|id| self.replicas[*id].who());
            cause.push_str(&format!("; left alone: {}", list(left.collect())));
        }
        RunError::new(
            Exit::FAILED,
            format!("cannot restart `{}`", rolling.service),
            cause,
        )
    }
}
