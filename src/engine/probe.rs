//! Probes: the same question again and again, and how many wrong answers in a row count.

use std::time::Duration;

use tokio::time::Instant;

use super::child::{self, Run};
use super::steps::Cx;
use crate::outcome::RunError;
use crate::roles::spec::{Probe, Service};
use crate::shutdown;
use crate::sys::http::{self, Request};

/// What a probe found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A right answer, after none or after wrong ones.
    Yes,
    /// As many wrong answers in a row as count.
    No,
}

/// Asks until it is dropped; tells only changes. A program that asks runs as its service does: with its environment, in
/// its folder, as its user.
pub async fn ask(probe: &Probe, service: &Service, cx: &Cx, mut tell: impl FnMut(Answer)) {
    let begun = Instant::now();
    let mut last = None;
    let mut wrong = 0;
    loop {
        match once(probe, service, cx).await {
            Ok(()) => {
                wrong = 0;
                if last != Some(Answer::Yes) {
                    last = Some(Answer::Yes);
                    tell(Answer::Yes);
                }
            }
            // A program that is still starting may say anything.
            Err(_) if last.is_none() && begun.elapsed() < probe.start_period.0 => {}
            Err(_) => {
                wrong += 1;
                if wrong >= probe.retries.0 && last != Some(Answer::No) {
                    last = Some(Answer::No);
                    tell(Answer::No);
                }
            }
        }
        tokio::time::sleep(probe.interval.0).await;
    }
}

/// One question; the error says what was wrong with the answer.
async fn once(probe: &Probe, service: &Service, cx: &Cx) -> Result<(), String> {
    let limit: Duration = probe.timeout.0;
    let text = |error: RunError| error.to_string();
    if let Some(url) = &probe.http {
        let url = cx.text(url).map_err(text)?;
        let answer = http::send(&Request::get(url, limit))
            .await
            .map_err(|error| error.to_string())?;
        if !(200..400).contains(&answer.status) {
            return Err(format!("the answer was {}", answer.status));
        }
    }
    if let Some(address) = &probe.tcp {
        let address = cx.text(address).map_err(text)?;
        http::connect(&address, limit)
            .await
            .map_err(|error| error.to_string())?;
    }
    if let Some(command) = &probe.exec {
        let (dir, user) = (service.working_dir.as_ref(), service.user.as_ref());
        let launch = cx
            .launch(command, &service.environment, dir, user)
            .map_err(text)?;
        // A stopping role still asks: its dependents stop first, and what they stand on must not be taken for dead.
        let (_switch, never) = shutdown::channel();
        let (run, _) = child::capture(&cx.world, launch, Some(limit), &never)
            .await
            .map_err(text)?;
        match run {
            Run::Ended(ended) if ended.is_success() => {}
            Run::Ended(ended) => return Err(ended.to_string()),
            Run::TimedOut => return Err("it took too long".to_owned()),
            Run::Stopped => return Err("the role stops".to_owned()),
        }
    }
    Ok(())
}
