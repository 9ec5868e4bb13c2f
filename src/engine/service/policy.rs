//! What roles.yaml says of how a service is kept going and how it is stopped.

use super::Ended;
use crate::engine::backoff::Backoff;
use std::time::Duration;

/// The rules of one service, the same for all its replicas.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Policy {
    /// When a process that ended is followed by a new one. Default: always.
    pub restart: Restart,
    /// The pause before a restart.
    pub backoff: Backoff,
    /// After a run of this length the next restart is immediate and the backoff begins anew. Default: 10 s.
    pub reset_after: Duration,
    /// How many restarts in what time are too many. Default: there is no such number.
    pub budget: Option<RestartBudget>,
    /// The exit codes that are no failure. Default: 0.
    pub success_exit_codes: Vec<u8>,
    /// What asks the main process to end. Default: SIGTERM.
    pub stop_signal: i32,
    /// How long it may take over that before its group is killed. Default: 10 s.
    pub stop_timeout: Duration,
    /// How long it still serves when the role stops, before the stop signal. Default: 0.
    pub drain_delay: Duration,
}

/// When a process that ended by itself is followed by a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Whatever its exit code.
    Always,
    /// When it failed: a code that is no success, a signal, a liveness that failed, or no start at all.
    OnFailure,
    /// Never.
    Never,
}

/// `max_restarts` within `restart_window`: one restart more within it, and the service has failed for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct RestartBudget {
    /// So many restarts are still made. 0: the first end is the last.
    pub max_restarts: u32,
    /// The time they are counted in, back from the moment of decision.
    pub window: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            restart: Restart::Always,
            backoff: Backoff::default(),
            reset_after: Duration::from_secs(10),
            budget: None,
            success_exit_codes: vec![0],
            stop_signal: libc::SIGTERM,
            stop_timeout: Duration::from_secs(10),
            drain_delay: Duration::ZERO,
        }
    }
}

impl Policy {
    /// Whether an end that nobody asked for is a success.
    pub fn is_success(&self, ended: Ended) -> bool {
        match ended {
            Ended::Code(code) => self.success_exit_codes.contains(&code),
            Ended::Signal(_) | Ended::Lost => false,
        }
    }
}
