//! What is known of a queue while its messages are handled: the numbers of `runner status`.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::engine::event::shown;
use crate::engine::health::{Finding, Weight};
use crate::roles::spec::Queue;
use crate::sys::queue::SLACK;

/// How long a queue may fail to answer before health says so: a moment's trouble is not the container's fault.
const PATIENCE: Duration = Duration::from_secs(120);

/// Counts since the start, and how things stand.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The counts.
    pub counts: Counts,
    /// When the queue was found.
    pub opened: Option<Instant>,
    /// How many messages are in hand.
    pub in_hand: usize,
    /// Since when the oldest of them is.
    pub oldest: Option<Instant>,
    /// By how much the latest heartbeat was late.
    pub lag: Duration,
    /// The worst of all.
    pub worst_lag: Duration,
    /// When a receive was last answered, with messages or without.
    pub answered: Option<Instant>,
    /// When a message was last done.
    pub succeeded: Option<Instant>,
    /// Calls that failed since the last one that did not.
    pub failures: u32,
    /// Why the last of them failed.
    pub error: Option<String>,
}

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Messages received.
    pub received: u64,
    /// Messages done and deleted.
    pub done: u64,
    /// Messages given back for a later try.
    pub retried: u64,
    /// Messages put among the dead letters.
    pub rejected: u64,
    /// Messages that the queue gave to somebody else while they were in hand.
    pub lost: u64,
    /// Messages given back at once: the role stops, or may not handle them now.
    pub released: u64,
    /// Receives that came back with nothing.
    pub empty_receives: u64,
    /// Heartbeats sent, one a call.
    pub heartbeats: u64,
}

/// What `runner status` shows of it; times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// The counts.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many messages are in hand.
    pub in_hand: usize,
    /// How long the oldest of them is.
    pub oldest_in_hand_ms: Option<u64>,
    /// By how much the latest heartbeat was late.
    pub heartbeat_lag_ms: u64,
    /// The worst of all.
    pub worst_heartbeat_lag_ms: u64,
}

impl Progress {
    /// How things stand now.
    pub fn metrics(&self) -> Metrics {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Metrics {
            counts: self.counts,
            in_hand: self.in_hand,
            oldest_in_hand_ms: self.oldest.map(|since| millis(since.elapsed())),
            heartbeat_lag_ms: millis(self.lag),
            worst_heartbeat_lag_ms: millis(self.worst_lag),
        }
    }

    /// What is to be said of a queue's health. An empty queue is healthy, and so is one whose places are all taken:
    /// what counts is that receives are answered.
    pub fn finding(
        &self,
        name: &str,
        spec: &Queue,
        begun: Instant,
        now: Instant,
    ) -> Option<Finding> {
        let finding = |weight, text: String| {
            Some(Finding {
                weight,
                text: format!("{name} {text}"),
            })
        };
        let why = || match &self.error {
            Some(error) => format!(": {error}"),
            None => String::new(),
        };
        let silent = |since: Instant| now.saturating_duration_since(since);
        let limit = spec.wait_time.0 + SLACK + PATIENCE;
        match (self.opened, self.answered) {
            (None, _) if silent(begun) < limit => finding(
                Weight::Starting,
                format!("has not found its queue yet{}", why()),
            ),
            (None, _) => finding(Weight::Unhealthy, format!("cannot find its queue{}", why())),
            (Some(_), _) if self.in_hand >= spec.concurrency.0 as usize => None,
            (Some(opened), answered) => {
                let silent = silent(answered.unwrap_or(opened).max(opened));
                if silent >= limit {
                    let text = format!(
                        "has had no answer of its queue for {}{}",
                        shown(silent),
                        why()
                    );
                    return finding(Weight::Unhealthy, text);
                }
                match self.failures {
                    0 => None,
                    n => finding(
                        Weight::Note,
                        format!("has failed to receive {n} times in a row{}", why()),
                    ),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Diagnostics;
    use crate::roles;
    use crate::source::Source;

    fn spec() -> Queue {
        let text = "version: 1\nroles:\n  r:\n    queues:\n      q: { queue: q, handler: { command: [x] } }\n";
        let read = roles::read(&Source::new("roles.yaml", text), &mut Diagnostics::new());
        read.expect("roles").role("r").expect("r").queues["q"].clone()
    }

    #[tokio::test(start_paused = true)]
    async fn health_asks_whether_receives_are_answered_and_nothing_else() {
        let (spec, begun) = (spec(), Instant::now());
        let mut progress = Progress::default();
        let at = |progress: &Progress, seconds| {
            let now = begun + Duration::from_secs(seconds);
            progress
                .finding("q", &spec, begun, now)
                .map(|finding| (finding.weight, finding.text))
        };
        let starting = (Weight::Starting, "q has not found its queue yet".to_owned());
        assert_eq!(at(&progress, 149), Some(starting));
        assert!(matches!(at(&progress, 150), Some((Weight::Unhealthy, _))));
        progress.opened = Some(begun);
        assert_eq!(at(&progress, 149), None);
        (progress.failures, progress.error) = (2, Some("no".to_owned()));
        let note = (
            Weight::Note,
            "q has failed to receive 2 times in a row: no".to_owned(),
        );
        assert_eq!(at(&progress, 149), Some(note));
        let silent = (
            Weight::Unhealthy,
            "q has had no answer of its queue for 2m30s: no".to_owned(),
        );
        assert_eq!(at(&progress, 150), Some(silent));
        progress.answered = Some(begun + Duration::from_secs(100));
        assert!(matches!(at(&progress, 150), Some((Weight::Note, _))));
        // All places taken: nobody asks.
        progress.in_hand = 1;
        assert_eq!(at(&progress, 100_000), None);
    }
}
