//! Whether a role is healthy: a pure judgement on what is known of its members.
//!
//! | it is | where |
//! |---|---|
//! | stopping | a stop was asked for |
//! | starting | settings or steps are not done (of a role with members), a member waits for another, or a service is not ready yet within its `start_period` |
//! | unhealthy | a liveness failed, and no process has answered since; a service is not ready after its `start_period`, or no longer; it ended before its `reset_after` and waits for its restart, or has been restarted [`STORM`] times in a row; a loop reached its `max_failures` under `on_max_failures: unhealthy`, or one with a `timeout` has had no success for two rounds; a member waits for what can never come |
//!
//! What does not count but is told as a note: whatever concerns a service that is not `essential`, and a replica that
//! served before and is away or not ready while another of its service serves, so that neither a crash of one worker
//! of five nor a rolling restart makes the platform replace the container. Failed runs of a loop without
//! `max_failures` are notes too: it goes on for ever, as its author wished.

use std::time::Duration;

use tokio::time::Instant;

use super::event::shown;
use super::repeat::Progress;
use super::service::{End, Fate, LastEnd, Moment, Ready, Service, State, Then};
use super::status::{Condition, Health};
use crate::roles::spec::{self, OnMaxFailures};

/// So many restarts in a row without a stable run are a storm.
pub const STORM: u32 = 5;

/// Something about a member, and how much it weighs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it weighs.
    pub weight: Weight,
    /// One sentence that begins with the member's name.
    pub text: String,
}

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Worth knowing.
    Note,
    /// Not there yet.
    Starting,
    /// Wrong.
    Unhealthy,
}

/// What a member that was not started waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// "app to be ready"
    pub needs: String,
    /// Whether that can still come.
    pub may_come: bool,
}

impl Wait {
    /// The wait as a finding.
    pub fn finding(&self, who: &str) -> Finding {
        let (weight, never) = if self.may_come {
            (Weight::Starting, "")
        } else {
            (Weight::Unhealthy, ", which can never be")
        };
        Finding {
            weight,
            text: format!("{who} waits for {}{never}", self.needs),
        }
    }
}

/// One replica as its health sees it.
pub struct Replica<'a> {
    /// `app/2`
    pub who: String,
    /// Where it stands.
    pub service: &'a Service,
    /// What the liveness probe last said; kept over a restart until the next process has answered.
    pub alive: Option<bool>,
}

/// The judgement on the whole.
pub fn judge(findings: Vec<Finding>) -> Health {
    let worst = findings.iter().map(|finding| finding.weight).max();
    let state = match worst {
        Some(Weight::Unhealthy) => Condition::Unhealthy,
        Some(Weight::Starting) => Condition::Starting,
        Some(Weight::Note) | None => Condition::Healthy,
    };
    let mut health = Health {
        state,
        reasons: Vec::new(),
        notes: Vec::new(),
    };
    for finding in findings {
        let list = match finding.weight {
            Weight::Note => &mut health.notes,
            Weight::Starting | Weight::Unhealthy => &mut health.reasons,
        };
        list.push(finding.text);
    }
    health
}

/// What is to be said of a service; `wait` is what it waits for before its first start.
pub fn service(
    spec: &spec::Service,
    replicas: &[Replica<'_>],
    wait: Option<&Wait>,
    now: Moment,
) -> Vec<Finding> {
    let said: Vec<Option<Finding>> = replicas
        .iter()
        .map(|replica| one(spec, replica, wait, now))
        .collect();
    let others_serve = said.iter().any(Option::is_none);
    replicas
        .iter()
        .zip(said)
        .filter_map(|(replica, finding)| {
            let mut finding = finding?;
            if !spec.essential || (others_serve && is_excused(spec, replica)) {
                finding.weight = Weight::Note;
            }
            Some(finding)
        })
        .collect()
}

/// Whether a replica's absence is forgiven while another serves: it served before, and is neither in a storm nor hung.
fn is_excused(spec: &spec::Service, replica: &Replica<'_>) -> bool {
    let history = &replica.service.history;
    let served = match spec.readiness {
        Some(_) => history.first_ready.is_some(),
        None => history.last.is_some(),
    };
    served && history.streak < STORM && replica.alive != Some(false)
}

/// What is to be said of one replica; none where it serves, or has done what it was for.
fn one(
    spec: &spec::Service,
    replica: &Replica<'_>,
    wait: Option<&Wait>,
    now: Moment,
) -> Option<Finding> {
    let Replica { who, service, .. } = replica;
    let finding = |weight, text: String| {
        Some(Finding {
            weight,
            text: format!("{who} {text}"),
        })
    };
    match &service.state {
        State::Pending => match wait {
            Some(wait) => Some(wait.finding(who)),
            None => finding(Weight::Starting, "is about to start".to_owned()),
        },
        State::Starting => finding(Weight::Starting, "is being started".to_owned()),
        State::Running { process, ready } => {
            let age = now.saturating_sub(process.started);
            running(spec, replica, *ready, age).and_then(|(weight, text)| finding(weight, text))
        }
        State::Stopping { then, .. }
        | State::Killing {
            fate: Fate::Then(then),
            ..
        } => match then {
            Then::Fail { .. } => finding(
                Weight::Unhealthy,
                "does not answer its liveness and is being stopped".to_owned(),
            ),
            Then::Restart => finding(Weight::Starting, "is being restarted as asked".to_owned()),
            Then::Stop => finding(Weight::Starting, "stops".to_owned()),
        },
        State::Draining { .. } | State::Recalled { .. } | State::Killing { .. } => {
            finding(Weight::Starting, "stops".to_owned())
        }
        State::Backoff { until } => {
            let left = shown(until.saturating_sub(now));
            let streak = service.history.streak;
            let text = format!(
                "{}; restart {streak} in a row comes in {left}",
                last_end(service)
            );
            finding(Weight::Unhealthy, text)
        }
        State::Ended { end } => match end {
            End::Succeeded(_) | End::Stopped(_) | End::Overran(_) => None,
            End::Failed(_) => finding(
                Weight::Unhealthy,
                format!("has failed for good: {}", last_end(service)),
            ),
        },
    }
}

/// What is to be said of a process that runs and is wanted.
fn running(
    spec: &spec::Service,
    replica: &Replica<'_>,
    ready: Ready,
    age: Duration,
) -> Option<(Weight, String)> {
    let history = &replica.service.history;
    if history.streak >= STORM && age < spec.backoff.reset_after.0 {
        let text = format!(
            "has been restarted {} times in a row; the last process {}",
            history.streak,
            last_end(replica.service)
        );
        return Some((Weight::Unhealthy, text));
    }
    if spec.liveness.is_some() && replica.alive == Some(false) {
        let text = "did not answer its liveness, and its successor has not answered yet";
        return Some((Weight::Unhealthy, text.to_owned()));
    }
    if let Some(readiness) = &spec.readiness {
        let period = shown(readiness.start_period.0);
        let age = shown(age);
        return match ready {
            Ready::Yes => None,
            Ready::Unknown if readiness.start_period.0.is_zero() => Some((
                Weight::Starting,
                format!("is not ready yet, {age} after its start"),
            )),
            Ready::Unknown => Some((
                Weight::Starting,
                format!("is not ready yet, {age} into its start_period of {period}"),
            )),
            Ready::No if history.first_ready.is_none() => Some((
                Weight::Unhealthy,
                format!("has not become ready in {age}; its start_period is {period}"),
            )),
            Ready::No => Some((Weight::Unhealthy, "is not ready any more".to_owned())),
        };
    }
    (spec.liveness.is_some() && replica.alive.is_none()).then(|| {
        (
            Weight::Starting,
            "has not answered its liveness yet".to_owned(),
        )
    })
}

/// How the last process ended: "exited with 3".
pub fn last_end(service: &Service) -> String {
    match service.history.last.as_ref().map(|last| &last.how) {
        Some(LastEnd::Ended(ended)) => ended.to_string(),
        Some(LastEnd::NotStarted(error)) => error.to_string(),
        None => "ended".to_owned(),
    }
}

/// How old the last success of a loop may be: two whole rounds of pause and run, so that one failed run is no alarm.
/// None for a loop without `timeout`, of which nobody knows how long a run may take.
pub fn oldest_success(spec: &spec::Loop) -> Option<Duration> {
    let pause = spec.interval.or(spec.every)?.0;
    let longest_pause = pause.mul_f64(1.0 + spec.jitter.0);
    Some((longest_pause + spec.timeout?.0) * 2)
}

/// What is to be said of a loop that goes on; `begun` is when it was started.
pub fn a_loop(
    who: &str,
    spec: &spec::Loop,
    progress: &Progress,
    begun: Instant,
    now: Instant,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |weight, text: String| {
        findings.push(Finding {
            weight,
            text: format!("{who} {text}"),
        });
    };
    let failures = progress.failures;
    if failures > 0 {
        let too_many = spec.max_failures > 0
            && failures >= spec.max_failures
            && spec.on_max_failures == OnMaxFailures::Unhealthy;
        let weight = if too_many {
            Weight::Unhealthy
        } else {
            Weight::Note
        };
        let times = match failures {
            1 => "failed in its last run".to_owned(),
            several => format!("failed {several} times in a row"),
        };
        let why = progress.error.as_deref().unwrap_or("no reason is known");
        say(weight, format!("{times}: {why}"));
    }
    if let Some(limit) = oldest_success(spec) {
        let age = now.saturating_duration_since(progress.succeeded.unwrap_or(begun));
        if age > limit {
            let (age, limit) = (shown(age), shown(limit));
            let text = match progress.succeeded {
                Some(_) => format!("last succeeded {age} ago; two rounds take at most {limit}"),
                None => format!("has not succeeded in {age}; two rounds take at most {limit}"),
            };
            say(Weight::Unhealthy, text);
        }
    }
    findings
}

#[cfg(test)]
mod tests;
