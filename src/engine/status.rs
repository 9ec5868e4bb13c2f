//! What `runner status` and `runner health` say, as values: made by the engine, sent as JSON, drawn by the command.
//!
//! Fields are only ever added, so that a newer command can ask an older runner and the other way round.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::sys::relay::frame::rfc3339;

/// A moment, and how far it is from now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct When {
    /// RFC 3339, in UTC.
    pub at: String,
    /// Seconds between now and then; never negative.
    pub seconds: f64,
}

impl When {
    /// A moment of the runtime's clock as people read it.
    pub fn of(moment: Instant) -> Self {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let (past, future) = (
            now.saturating_duration_since(moment),
            moment.saturating_duration_since(now),
        );
        let at = wall.checked_sub(past).unwrap_or(wall);
        let at = at.checked_add(future).unwrap_or(at);
        let distance = past.max(future);
        Self {
            at: rfc3339(at),
            seconds: (distance.as_secs_f64() * 1000.0).round() / 1000.0,
        }
    }

    /// How far it is from now.
    pub fn distance(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }
}

/// How a role is, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// All is as it should be.
    Healthy,
    /// It is not there yet.
    Starting,
    /// Something is wrong that does not look as if it would right itself.
    Unhealthy,
    /// The role stops.
    Stopping,
}

impl Condition {
    /// The word, the same in text and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Condition::Healthy => "healthy",
            Condition::Starting => "starting",
            Condition::Unhealthy => "unhealthy",
            Condition::Stopping => "stopping",
        }
    }
}

/// How a role is, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// In a word.
    pub state: Condition,
    /// Why it is not healthy, one sentence each.
    pub reasons: Vec<String>,
    /// What is worth knowing and does not count: a replica that restarts while others serve, say.
    pub notes: Vec<String>,
}

/// How far a role has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its settings are being resolved.
    Settings,
    /// Its steps run.
    Steps,
    /// Its members are kept going.
    Members,
    /// It stops.
    Stopping,
}

/// Everything that `runner status` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The role's name; none before it was chosen.
    pub role: Option<String>,
    /// The runner's version.
    pub version: String,
    /// The runner's own process.
    pub pid: u32,
    /// When it began.
    pub started: When,
    /// How far it has come.
    pub phase: Phase,
    /// How it is.
    pub health: Health,
    /// The step that runs.
    pub step: Option<StepStatus>,
    /// The stop, once there is one.
    pub stop: Option<StopStatus>,
    /// Every member, a service once for each of its replicas.
    pub members: Vec<MemberStatus>,
}

/// The step that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepStatus {
    /// Its name.
    pub name: String,
    /// What it does.
    pub doing: String,
    /// Its place, from 1.
    pub number: usize,
    /// How many there are.
    pub of: usize,
    /// When it began.
    pub since: When,
}

/// A stop under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StopStatus {
    /// Who asked for it.
    pub why: String,
    /// When.
    pub since: When,
    /// When what is left is killed.
    pub until: When,
    /// The members that were told to end and have not yet.
    pub waiting_for: Vec<String>,
}

/// One member, or one replica of a service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The member's name.
    pub name: String,
    /// The replica, of a service.
    pub replica: Option<u32>,
    /// `service`, `loop` or `queue`.
    pub kind: String,
    /// Of a service: `pending`, `starting`, `running`, `draining`, `stopping`, `killing`, `backoff`, `succeeded`,
    /// `failed` or `stopped`. Of a loop: `pending`, `running` (a run goes on), `waiting` (for the next) or `stopped`.
    pub state: String,
    /// What the readiness probe last said; none when it has said nothing, or there is none.
    pub ready: Option<bool>,
    /// The main process, while there is one.
    pub pid: Option<i32>,
    /// Since when it is in this state.
    pub since: Option<When>,
    /// Of a service: restarts by `restart`, ever.
    pub restarts: Option<u32>,
    /// Of a service: how the last process ended, or why it could not be started. Of a loop: why the last run failed.
    pub last_exit: Option<String>,
    /// When that was.
    pub last_exit_at: Option<When>,
    /// What comes next.
    pub next: String,
    /// Of a loop: runs that ended.
    pub runs: Option<u64>,
    /// Of a loop: runs that failed since the last good one.
    pub failures: Option<u32>,
    /// Of a loop: when a run last succeeded.
    pub last_success: Option<When>,
    /// Of a loop: when the next run begins.
    pub next_run: Option<When>,
    /// Numbers that a member counts for itself.
    pub metrics: Option<serde_json::Value>,
}

impl MemberStatus {
    /// `app/2`, or `app` where there is one.
    pub fn label(&self) -> String {
        label(&self.name, self.replica)
    }
}

/// `app/2`, or `app` where there is one.
pub fn label(name: &str, replica: Option<u32>) -> String {
    match replica {
        Some(replica) => format!("{name}/{replica}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_moment_lies_behind_or_ahead_and_its_distance_is_never_negative() {
        let then = Instant::now();
        tokio::time::advance(Duration::from_millis(1500)).await;
        let past = When::of(then);
        let future = When::of(Instant::now() + Duration::from_secs(2));
        assert_eq!((past.seconds, future.seconds), (1.5, 2.0));
        assert!(past.at < future.at, "{past:?} {future:?}");
        assert_eq!(past.distance(), Duration::from_millis(1500));
    }

    #[test]
    fn a_status_survives_its_journey() {
        let member = MemberStatus {
            name: "app".to_owned(),
            replica: Some(2),
            metrics: Some(serde_json::json!({"in_hand": 2, "oldest": 1.5})),
            next_run: Some(When {
                at: "2026-11-23T00:00:00.000Z".to_owned(),
                seconds: 0.25,
            }),
            ..MemberStatus::default()
        };
        let text = serde_json::to_string(&member).expect("JSON");
        let back: MemberStatus = serde_json::from_str(&text).expect("the same");
        assert_eq!(back, member);
        assert_eq!(back.label(), "app/2");
        // An older runner says less.
        let old = r#"{"name":"app","kind":"service","state":"running","next":""}"#;
        assert!(serde_json::from_str::<MemberStatus>(old).is_ok());
    }
}
