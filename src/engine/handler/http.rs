//! `http`: one POST a message, in the way of the Elastic Beanstalk worker daemon (aws-sqsd).

use std::time::Duration;

use tokio::time::Instant;

use super::{Task, Verdict, time};
use crate::engine::backoff::Backoff;
use crate::sys::http::{self, Fault, Request};
use crate::sys::queue::Value;

/// A service that gets each message.
pub struct Http {
    pub(super) url: String,
    /// How long an answer may take; none: as long as SQS lets a message be hidden.
    pub(super) limit: Option<Duration>,
}

/// How long a service that cannot be reached is waited for with the message in hand: a receive that nobody saw must not
/// count among those that failed.
const PATIENCE: Duration = Duration::from_secs(60);

const PAUSES: Backoff = Backoff {
    initial: Duration::from_millis(250),
    factor: 2.0,
    max: Duration::from_secs(5),
    jitter: 0.2,
};

impl Http {
    pub(super) async fn handle(&self, task: &Task<'_>) -> Verdict {
        let request = Request {
            method: "POST".to_owned(),
            url: self.url.clone(),
            headers: headers(task),
            body: Some(task.message.body.clone().into_bytes()),
            timeout: self.limit.unwrap_or(crate::engine::lease::LONGEST),
        };
        let patience = Instant::now() + PATIENCE;
        for tries in 0.. {
            let sent = tokio::select! {
                biased;
                sent = http::send_in_stream(&request) => sent,
                // A service cannot be told to stop, so it has the time that others get for stopping.
                () = task.stop.kill_requested() => return Verdict::Stopped,
            };
            let error = match sent {
                Ok(answer) => return verdict(answer.status),
                Err(error) => error,
            };
            let untouched = matches!(
                error.fault,
                Fault::Refused | Fault::Dns | Fault::Unreachable
            );
            if !untouched || Instant::now() >= patience {
                return Verdict::retry(error.to_string());
            }
            if !task.stop.sleep(PAUSES.pause(tries, 0.5)).await {
                return Verdict::Stopped;
            }
        }
        Verdict::Stopped
    }
}

fn verdict(status: u16) -> Verdict {
    match status {
        200..300 => Verdict::Done,
        422 => Verdict::Reject {
            reason: format!("the service answered {status}"),
        },
        _ => Verdict::retry(format!("the service answered {status}")),
    }
}

/// The daemon's headers; an attribute whose value no header can hold is left out.
fn headers(task: &Task<'_>) -> Vec<(String, String)> {
    let message = task.message;
    let named = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let mut all = vec![
        named("User-Agent", "aws-sqsd/1.1 (runner)"),
        named("Content-Type", "application/json"),
        named("X-Aws-Sqsd-Msgid", &message.id),
        named("X-Aws-Sqsd-Queue", task.queue),
        named("X-Aws-Sqsd-Receive-Count", &message.receives.to_string()),
    ];
    if let Some(first) = time(message.first_received_at) {
        all.push(named("X-Aws-Sqsd-First-Received-At", &first));
    }
    if let Some(sender) = &message.sender {
        all.push(named("X-Aws-Sqsd-Sender-Id", sender));
    }
    for attribute in &message.attributes {
        if let Value::Text(text) = &attribute.value {
            all.push(named(&format!("X-Aws-Sqsd-Attr-{}", attribute.name), text));
        }
    }
    let fits = |text: &str| text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    all.retain(|(_, value)| fits(value));
    all
}
