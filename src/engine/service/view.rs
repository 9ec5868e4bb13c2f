//! What `runner status` says of a replica: the state in a word, and what comes next in a sentence.

use super::{
    End, Fate, LastEnd, Moment, Pid, Policy, Ready, Recall, Restart, Service, State, Then,
};
use std::time::Duration;

/// One replica as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct View {
    /// The state: `pending`, `starting`, `running`, `draining`, `stopping`, `killing`, `backoff`, `succeeded`,
    /// `failed` or `stopped`.
    pub state: &'static str,
    /// The main process, while there is one.
    pub pid: Option<Pid>,
    /// Since when it is in this state.
    pub since: Moment,
    /// What the readiness probe last said; `None` when it has said nothing, or there is none.
    pub ready: Option<bool>,
    /// Restarts by `restart`, ever; those that an operator asked for are not counted.
    pub restarts: u32,
    /// Restarts in a row with no stable run between them: more than a few are a restart storm.
    pub streak: u32,
    /// "exited with 3", "cannot start …"; `None` before the first end.
    pub last_exit: Option<String>,
    /// When that was.
    pub last_exit_at: Option<Moment>,
    /// What comes next, or what is being waited for.
    pub next: String,
}

impl Service {
    /// How it looks at `now`.
    pub fn view(&self, policy: &Policy, now: Moment) -> View {
        let last = self.history.last.as_ref();
        View {
            state: self.state_name(),
            pid: self.process().map(|process| process.pid),
            since: self.since,
            ready: self.ready(),
            restarts: self.history.restarts,
            streak: self.history.streak,
            last_exit: last.map(|last| match &last.how {
                LastEnd::Ended(ended) => ended.to_string(),
                LastEnd::NotStarted(error) => error.to_string(),
            }),
            last_exit_at: last.map(|last| last.at),
            next: self.next_action(policy, now),
        }
    }

    /// The state in a word, the same in the log, in `status` and in the docs.
    pub fn state_name(&self) -> &'static str {
        match &self.state {
            State::Pending => "pending",
            State::Starting => "starting",
            State::Running { .. } => "running",
            State::Draining { .. } => "draining",
            State::Recalled { .. } | State::Stopping { .. } => "stopping",
            State::Killing { .. } => "killing",
            State::Backoff { .. } => "backoff",
            State::Ended { end } => match end {
                End::Succeeded(_) => "succeeded",
                End::Failed(_) => "failed",
                End::Stopped(_) | End::Overran(_) => "stopped",
            },
        }
    }

    fn ready(&self) -> Option<bool> {
        match self.state {
            State::Running { ready, .. } => match ready {
                Ready::Unknown => None,
                Ready::Yes => Some(true),
                Ready::No => Some(false),
            },
            State::Pending
            | State::Starting
            | State::Recalled { .. }
            | State::Draining { .. }
            | State::Stopping { .. }
            | State::Killing { .. }
            | State::Backoff { .. }
            | State::Ended { .. } => None,
        }
    }

    fn next_action(&self, policy: &Policy, now: Moment) -> String {
        match &self.state {
            State::Pending => "starts when its dependencies are met".to_owned(),
            State::Starting => "runs as soon as its process is there".to_owned(),
            State::Recalled { by } => match by {
                Recall::Stop { .. } => "stops as soon as its process is there".to_owned(),
                Recall::Kill => "is killed as soon as its process is there".to_owned(),
            },
            State::Running { .. } => match policy.restart {
                Restart::Always => "restarts when it ends".to_owned(),
                Restart::OnFailure => "restarts if it fails".to_owned(),
                Restart::Never => "ends with its process".to_owned(),
            },
            State::Draining { until, .. } => {
                format!("gets its stop signal in {}", left(*until, now))
            }
            State::Stopping { kill_at, then, .. } => format!(
                "is killed in {} unless its process ends, then {}",
                left(*kill_at, now),
                what_follows(*then, policy)
            ),
            State::Killing { fate, .. } => {
                let then = match fate {
                    Fate::Then(then) => *then,
                    Fate::Overrun => Then::Stop,
                };
                format!(
                    "waits for the kernel to end its process, then {}",
                    what_follows(then, policy)
                )
            }
            State::Backoff { until } => format!("restarts in {}", left(*until, now)),
            State::Ended { end } => match end {
                End::Succeeded(_) | End::Failed(_) => {
                    "stays ended unless an operator restarts it".to_owned()
                }
                End::Stopped(_) | End::Overran(_) => "stays ended".to_owned(),
            },
        }
    }
}

fn what_follows(then: Then, policy: &Policy) -> &'static str {
    match then {
        Then::Stop => "stays ended",
        Then::Restart => "starts anew as an operator asked",
        Then::Fail { .. } => match policy.restart {
            Restart::Always | Restart::OnFailure => "restarts, as its liveness failed",
            Restart::Never => "stays ended, as its liveness failed",
        },
    }
}

/// The time from `now` to `at`, to a tenth of a second.
fn left(at: Moment, now: Moment) -> String {
    let left: Duration = at.saturating_sub(now);
    format!("{:.1} s", left.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::service::{Ended, Event, on};

    #[test]
    fn a_stranger_can_read_what_goes_on() {
        let policy = Policy::default();
        let at = Duration::from_millis;
        let mut service = Service::new(at(0), 1);
        let mut seen = Vec::new();
        let told = [
            (0, Event::DependenciesMet),
            (10, Event::Spawned { pid: 7 }),
            (400, Event::Ready { pid: 7 }),
            (
                500,
                Event::Exited {
                    pid: 7,
                    ended: Ended::Code(3),
                },
            ),
            (700, Event::TimerElapsed),
            (710, Event::Spawned { pid: 8 }),
            (
                900,
                Event::StopRequested {
                    deadline: at(4_900),
                },
            ),
            (4_900, Event::TimerElapsed),
            (
                4_905,
                Event::Exited {
                    pid: 8,
                    ended: Ended::Signal(9),
                },
            ),
        ];
        for (millis, event) in told {
            service = on(service, event, &policy, at(millis)).0;
            let view = service.view(&policy, at(millis));
            seen.push(format!("{}: {}", view.state, view.next));
        }
        assert_eq!(
            seen,
            [
                "starting: runs as soon as its process is there",
                "running: restarts when it ends",
                "running: restarts when it ends",
                "backoff: restarts in 0.1 s",
                "starting: runs as soon as its process is there",
                "running: restarts when it ends",
                "stopping: is killed in 4.0 s unless its process ends, then stays ended",
                "killing: waits for the kernel to end its process, then stays ended",
                "stopped: stays ended",
            ]
        );
        let view = service.view(&policy, at(5_000));
        assert_eq!(view.restarts, 1);
        assert_eq!(view.pid, None);
        assert_eq!(view.since, at(4_905));
        assert_eq!(view.last_exit.as_deref(), Some("was killed by SIGKILL (9)"));
        assert_eq!(service.history.first_ready, Some(at(400)));
    }
}
