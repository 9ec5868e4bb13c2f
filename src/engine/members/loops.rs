//! Loops among the members: each is a task with a switch of its own.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::time::Instant;

use super::{Members, Message};
use crate::engine::repeat::{self, Progress};
use crate::engine::steps::Cx;
use crate::roles::spec;
use crate::shutdown::{self, Reason, Switch};

/// A loop and the way to stop it.
pub(super) struct Running<'a> {
    pub(super) spec: &'a spec::Loop,
    pub(super) cx: Cx,
    pub(super) switch: Switch,
    pub(super) progress: Rc<RefCell<Progress>>,
    pub(super) state: LoopState,
    /// When it was started.
    pub(super) since: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoopState {
    Pending,
    Running,
    Ended,
}

impl<'a> Members<'a> {
    pub(super) fn add_loop(&mut self, name: &'a str, spec: &'a spec::Loop) {
        let (switch, shutdown) = shutdown::channel();
        let cx = Cx {
            shutdown,
            member: Some(name.to_owned()),
            ..self.cx.clone()
        };
        let running = Running {
            spec,
            cx,
            switch,
            progress: Rc::default(),
            state: LoopState::Pending,
            since: None,
        };
        self.loops.insert(name, running);
    }

    /// Starts a loop's task.
    pub(super) fn start_loop(&mut self, name: &str) {
        let Some(running) = self.loops.get_mut(name) else {
            return;
        };
        running.state = LoopState::Running;
        running.since = Some(Instant::now());
        let (spec, cx) = (running.spec.clone(), running.cx.clone());
        let (progress, tell) = (running.progress.clone(), self.tell.clone());
        let name = name.to_owned();
        self.tasks.spawn_local(async move {
            let end = repeat::run(&name, &spec, &cx, &progress).await;
            let _ = tell.send(Message::Loop(name, end));
        });
    }
}

impl Running<'_> {
    /// The orderly stop: the run under way gets its signal, a pause ends at once.
    pub(super) fn stop(&mut self) {
        match self.state {
            LoopState::Pending => self.state = LoopState::Ended,
            LoopState::Running => self.switch.begin(Reason::Asked),
            LoopState::Ended => {}
        }
    }

    /// The immediate stop.
    pub(super) fn kill(&mut self) {
        self.switch.request(Reason::Asked);
        self.switch.request(Reason::Asked);
        if self.state == LoopState::Pending {
            self.state = LoopState::Ended;
        }
    }
}
