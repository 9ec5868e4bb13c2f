//! What is known of a queue while its messages are handled: the numbers of `runner status`.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::Instant;

/// Counts since the start, and how things stand.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The counts.
    pub counts: Counts,
    /// How many messages are in hand.
    pub in_hand: usize,
    /// Since when the oldest of them is.
    pub oldest: Option<Instant>,
    /// By how much the latest heartbeat was late.
    pub lag: Duration,
    /// The worst of all.
    pub worst_lag: Duration,
    /// When a receive was last answered, with messages or without.
    pub answered: Option<SystemTime>,
    /// When a message was last done.
    pub succeeded: Option<SystemTime>,
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
    /// Messages given back because the role stops.
    pub released: u64,
    /// Receives that came back with nothing.
    pub empty_receives: u64,
    /// Heartbeats sent, one a call.
    pub heartbeats: u64,
}

/// The same as `runner status` shows it; times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
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
    /// Calls that failed since the last one that did not.
    pub failures: u32,
    /// Why the last of them failed.
    pub error: Option<String>,
}

impl Progress {
    /// How things stand now.
    pub fn snapshot(&self) -> Snapshot {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Snapshot {
            counts: self.counts,
            in_hand: self.in_hand,
            oldest_in_hand_ms: self.oldest.map(|since| millis(since.elapsed())),
            heartbeat_lag_ms: millis(self.lag),
            worst_heartbeat_lag_ms: millis(self.worst_lag),
            failures: self.failures,
            error: self.error.clone(),
        }
    }
}
