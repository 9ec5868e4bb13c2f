//! Loops: a run, a pause, the next run; never two at a time, and a stop ends the pause at once.

use std::cell::RefCell;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{Dice, jittered};
use super::event::{Event, shown};
use super::steps::{self, Cx, StepEnd};
use crate::outcome::{Exit, RunError};
use crate::roles::spec::{Loop, OnMaxFailures};
use crate::shutdown::Stage;

/// What is known of a loop while it goes on.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// Runs that ended.
    pub runs: u64,
    /// Runs that failed since the last good one.
    pub failures: u32,
    /// When the last good run ended.
    pub succeeded: Option<Instant>,
    /// Why the last failed run failed.
    pub error: Option<String>,
    /// When the run under way began; none between runs.
    pub running: Option<Instant>,
    /// When the last run ended.
    pub ended: Option<Instant>,
    /// When the next run begins; none while one is under way.
    pub next: Option<Instant>,
}

/// Goes on until the stop; an error is what `on_max_failures: exit` ends the role with.
pub async fn run(
    name: &str,
    spec: &Loop,
    cx: &Cx,
    progress: &RefCell<Progress>,
) -> Result<(), RunError> {
    let mut beat = Beat::new(spec);
    if !spec.run_on_start && !pause(beat.first(), cx, progress).await {
        return Ok(());
    }
    loop {
        let started = Instant::now();
        progress.borrow_mut().running = Some(started);
        let end = one(name, spec, cx).await;
        let number = {
            let mut progress = progress.borrow_mut();
            progress.running = None;
            progress.ended = Some(Instant::now());
            progress.runs += 1;
            progress.runs
        };
        match end {
            StepEnd::Stopped => return Ok(()),
            StepEnd::Done => succeeded(progress, cx, name, number, started.elapsed()),
            StepEnd::Failed(error) => {
                let in_a_row = failed(progress, cx, name, number, &error);
                let too_many = spec.max_failures > 0 && in_a_row >= spec.max_failures;
                if too_many && spec.on_max_failures == OnMaxFailures::Exit {
                    return Err(given_up(name, in_a_row, &error));
                }
            }
        }
        let (next, missed) = beat.next();
        if missed > 0 {
            cx.world.tell(Event::TicksMissed {
                member: name.to_owned(),
                missed,
            });
        }
        if !pause(next, cx, progress).await {
            return Ok(());
        }
    }
}

/// Waits for the next run; false when a stop came first.
async fn pause(until: Instant, cx: &Cx, progress: &RefCell<Progress>) -> bool {
    progress.borrow_mut().next = Some(until);
    let slept = cx.shutdown.sleep_until(until).await;
    progress.borrow_mut().next = None;
    slept
}

fn succeeded(progress: &RefCell<Progress>, cx: &Cx, name: &str, run: u64, took: Duration) {
    let mut progress = progress.borrow_mut();
    progress.failures = 0;
    progress.error = None;
    progress.succeeded = progress.ended;
    let member = name.to_owned();
    cx.world.tell(Event::RunDone { member, run, took });
}

/// How many runs have now failed in a row.
fn failed(progress: &RefCell<Progress>, cx: &Cx, name: &str, run: u64, error: &RunError) -> u32 {
    let mut progress = progress.borrow_mut();
    progress.failures = progress.failures.saturating_add(1);
    progress.error = Some(error.to_string());
    cx.world.tell(Event::RunFailed {
        member: name.to_owned(),
        run,
        error: error.clone(),
        in_a_row: progress.failures,
    });
    progress.failures
}

/// One run within its time.
async fn one(name: &str, spec: &Loop, cx: &Cx) -> StepEnd {
    let Some(timeout) = spec.timeout else {
        return steps::run(&spec.steps, cx).await;
    };
    // The run is told to stop as a role is, so that its program gets its signal and its grace.
    let (switch, shutdown) = crate::shutdown::channel();
    let run_cx = Cx {
        shutdown,
        ..cx.clone()
    };
    let run = steps::run(&spec.steps, &run_cx);
    tokio::pin!(run);
    let time_up = tokio::time::sleep(timeout.0);
    tokio::pin!(time_up);
    let mut overran = false;
    loop {
        tokio::select! {
            biased;
            end = &mut run => {
                return match end {
                    StepEnd::Stopped if overran => StepEnd::Failed(RunError::new(
                        Exit::TIMEOUT,
                        format!("the run of `{name}` was stopped"),
                        format!("it took longer than {}", shown(timeout.0)),
                    )),
                    end => end,
                };
            }
            () = cx.shutdown.kill_requested(),
                if !matches!(run_cx.shutdown.stage(), Stage::Killing(_)) => switch.request(crate::shutdown::Reason::Asked),
            () = cx.shutdown.requested(), if !run_cx.shutdown.is_requested() => {
                switch.begin(crate::shutdown::Reason::Asked);
            }
            () = &mut time_up, if !overran && !run_cx.shutdown.is_requested() => {
                overran = true;
                switch.begin(crate::shutdown::Reason::Asked);
            }
        }
    }
}

fn given_up(name: &str, in_a_row: u32, error: &RunError) -> RunError {
    let exit = if error.exit == Exit::OK {
        Exit::FAILED
    } else {
        error.exit
    };
    RunError::new(
        exit,
        format!("loop `{name}` failed {in_a_row} times in a row"),
        error.to_string(),
    )
}

/// When runs begin.
struct Beat {
    pause: Duration,
    jitter: f64,
    dice: Dice,
    /// Of `every`: the tick that the next run belongs to.
    tick: Option<Instant>,
}

impl Beat {
    fn new(spec: &Loop) -> Self {
        let fixed = spec.interval.is_none();
        let pause = spec
            .interval
            .or(spec.every)
            .map_or(Duration::ZERO, |pause| pause.0);
        Self {
            pause,
            jitter: spec.jitter.0,
            dice: Dice::new(steps::seed()),
            tick: fixed.then(Instant::now),
        }
    }

    /// When the first run begins where it does not begin at once.
    fn first(&mut self) -> Instant {
        let now = Instant::now();
        if let Some(tick) = &mut self.tick {
            *tick = now + self.pause;
        }
        now + self.varied()
    }

    /// When the next run begins, and how many ticks the last one missed.
    fn next(&mut self) -> (Instant, u64) {
        let now = Instant::now();
        let varied = self.varied();
        let Some(tick) = self.tick else {
            return (now + varied, 0);
        };
        // A beat of 0 is refused by `validate`; here it would divide by it.
        let beat = self.pause.max(Duration::from_millis(1));
        let behind = now.saturating_duration_since(tick);
        let passed = u32::try_from(behind.as_nanos() / beat.as_nanos()).unwrap_or(u32::MAX - 1);
        let next = tick + beat * (passed + 1);
        self.tick = Some(next);
        // Jitter moves a run around its tick, and the tick stays where it is.
        let early = self.pause.saturating_sub(varied);
        let late = varied.saturating_sub(self.pause);
        (
            (next + late).checked_sub(early).unwrap_or(next).max(now),
            u64::from(passed),
        )
    }

    fn varied(&mut self) -> Duration {
        let chance = self.dice.roll();
        jittered(self.pause, self.jitter, chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(pause: u64, fixed: bool) -> Beat {
        Beat {
            pause: Duration::from_secs(pause),
            jitter: 0.0,
            dice: Dice::new(1),
            tick: fixed.then(Instant::now),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_interval_counts_from_the_end_and_a_beat_skips_what_it_missed() {
        let started = Instant::now();
        tokio::time::advance(Duration::from_secs(25)).await;
        let (next, missed) = beat(10, false).next();
        assert_eq!((next - started, missed), (Duration::from_secs(35), 0));

        let mut fixed = beat(10, true);
        let began = Instant::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        let (next, missed) = fixed.next();
        assert_eq!((next - began, missed), (Duration::from_secs(10), 0));
        tokio::time::advance(Duration::from_secs(32)).await;
        let (next, missed) = fixed.next();
        assert_eq!((next - began, missed), (Duration::from_secs(40), 2));
    }
}
