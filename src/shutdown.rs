//! The wish to stop, as a value that every long wait looks at.
//!
//! One [`Switch`] is held by the owner of the signals; everybody else holds a [`Shutdown`].

use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How far the wish to stop has gone; it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nobody asked.
    Running,
    /// Stop in order; `reason` says who asked.
    Stopping(Reason),
    /// A second request: kill what is left, now.
    Killing(Reason),
}

/// Who asked for the stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// A signal of this number.
    Signal(i32),
    /// `runner stop`, or the engine itself: a member ended, a step failed.
    Asked,
}

/// The sending side.
#[derive(Debug)]
pub struct Switch(watch::Sender<State>);

/// The receiving side: cheap to clone, kept in every long wait.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<State>);

/// The stage, and when the stop was first asked for.
#[derive(Debug, Clone, Copy)]
struct State {
    stage: Stage,
    since: Option<Instant>,
}

/// A connected pair.
pub fn channel() -> (Switch, Shutdown) {
    let (sender, receiver) = watch::channel(State {
        stage: Stage::Running,
        since: None,
    });
    (Switch(sender), Shutdown(receiver))
}

impl Switch {
    /// Asks for an orderly stop, or, when one is under way, for the immediate one.
    pub fn request(&self, reason: Reason) {
        self.change(|stage| match stage {
            Stage::Running => Stage::Stopping(reason),
            Stage::Stopping(_) | Stage::Killing(_) => Stage::Killing(reason),
        });
    }

    /// Asks for an orderly stop; does nothing when one is under way.
    pub fn begin(&self, reason: Reason) {
        self.change(|stage| match stage {
            Stage::Running => Stage::Stopping(reason),
            under_way => under_way,
        });
    }

    fn change(&self, next: impl FnOnce(Stage) -> Stage) {
        self.0.send_modify(|state| {
            state.stage = next(state.stage);
            state.since.get_or_insert_with(Instant::now);
        });
    }
}

impl Shutdown {
    /// Where things stand now.
    pub fn stage(&self) -> Stage {
        self.0.borrow().stage
    }

    /// When the stop was first asked for.
    pub fn since(&self) -> Option<Instant> {
        self.0.borrow().since
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.stage() != Stage::Running
    }

    /// Returns as soon as a stop is asked for, at once when it was before.
    pub async fn requested(&self) {
        self.until(|stage| stage != Stage::Running).await;
    }

    /// Returns as soon as the immediate stop is asked for.
    pub async fn kill_requested(&self) {
        self.until(|stage| matches!(stage, Stage::Killing(_))).await;
    }

    async fn until(&self, reached: impl Fn(Stage) -> bool) {
        let mut receiver = self.0.clone();
        if receiver
            .wait_for(|state| reached(state.stage))
            .await
            .is_err()
        {
            // The switch is gone: nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }

    /// Sleeps for `pause`; true when it was not cut short by a stop.
    pub async fn sleep(&self, pause: Duration) -> bool {
        self.sleep_until(Instant::now() + pause).await
    }

    /// Sleeps until `when`; true when it was not cut short by a stop.
    pub async fn sleep_until(&self, when: Instant) -> bool {
        tokio::select! {
            biased;
            () = self.requested() => false,
            () = tokio::time::sleep_until(when) => true,
        }
    }
}
