//! What the engine has in its hands: the doors to the world, the wish to stop, and the ear for events.

use std::cell::Cell;
use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::control::Desk;
use super::event::Event;
use super::protection;
use crate::plan::Plan;
use crate::roles::spec::STOP_RESERVE;
use crate::shutdown::{Shutdown, Switch};
use crate::sys::reaper::Processes;
use crate::sys::relay::Outlet;
use crate::sys::signals::Signals;

/// One for the whole run.
pub struct World {
    /// Children.
    pub processes: Processes,
    /// Where output goes.
    pub outlet: Outlet,
    /// Looks at the wish to stop.
    pub shutdown: Shutdown,
    /// Utters it.
    pub switch: Rc<Switch>,
    /// The container's environment.
    pub environment: Vec<(OsString, OsString)>,
    /// `--set KEY=VALUE`.
    pub set: Vec<(String, String)>,
    /// This program's own path: `${runner}`.
    pub program: PathBuf,
    /// When the run began.
    pub started: Instant,
    /// Hears every event.
    pub ear: Box<dyn Fn(&Event)>,
    /// The role's whole stop budget.
    pub stop_timeout: Cell<Duration>,
    /// Signals that come to us.
    pub signals: Rc<Signals>,
    /// Where questions to this runner are taken.
    pub desk: Desk,
    /// What the queues know of this task's protection.
    pub protection: Rc<protection::Shared>,
}

impl World {
    /// Tells what happened.
    pub fn tell(&self, event: Event) {
        self.desk.hear(&event);
        (self.ear)(&event);
    }

    /// A role begins: from now on a stop has its budget.
    pub fn begin(&self, plan: &Plan) {
        self.stop_timeout.set(plan.stop_timeout.0);
        self.desk.begin(plan);
        self.tell(Event::Playing {
            role: plan.role.clone(),
            stop_timeout: plan.stop_timeout.0,
        });
    }

    /// When the processes must be gone, once a stop was asked for; what is left of the budget is runner's own.
    pub fn stop_deadline(&self) -> Option<Instant> {
        let since = self.shutdown.since()?;
        Some(since + self.stop_timeout.get().saturating_sub(STOP_RESERVE))
    }
}
