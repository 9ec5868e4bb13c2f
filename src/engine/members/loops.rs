//! Loops and queues among the members: each is a task with a switch of its own.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::time::Instant;

use super::{Members, Message};
use crate::engine::poll;
use crate::engine::repeat::{self, Progress};
use crate::engine::steps::Cx;
use crate::roles::spec;
use crate::shutdown::{self, Reason, Switch};

/// A loop or a queue, and the way to stop it.
pub(super) struct Running<'a> {
    pub(super) work: Work<'a>,
    pub(super) cx: Cx,
    pub(super) switch: Switch,
    pub(super) state: LoopState,
    /// When it was started.
    pub(super) since: Option<Instant>,
}

/// What a task does, and how far it is.
pub(super) enum Work<'a> {
    Loop(&'a spec::Loop, Rc<RefCell<Progress>>),
    Queue(&'a spec::Queue, Rc<RefCell<poll::progress::Progress>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LoopState {
    Pending,
    Running,
    Ended,
}

impl<'a> Members<'a> {
    pub(super) fn add_loop(&mut self, name: &'a str, spec: &'a spec::Loop) {
        self.add_work(name, Work::Loop(spec, Rc::default()));
    }

    pub(super) fn add_queue(&mut self, name: &'a str, spec: &'a spec::Queue) {
        self.add_work(name, Work::Queue(spec, Rc::default()));
    }

    fn add_work(&mut self, name: &'a str, work: Work<'a>) {
        let (switch, shutdown) = shutdown::channel();
        let cx = Cx {
            shutdown,
            member: Some(name.to_owned()),
            ..self.cx.clone()
        };
        let running = Running {
            work,
            cx,
            switch,
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
        let (cx, tell, name) = (running.cx.clone(), self.tell.clone(), name.to_owned());
        match &running.work {
            Work::Loop(spec, progress) => {
                let (spec, progress) = ((*spec).clone(), progress.clone());
                self.tasks.spawn_local(async move {
                    let end = repeat::run(&name, &spec, &cx, &progress).await;
                    let _ = tell.send(Message::Loop(name, end));
                });
            }
            Work::Queue(spec, progress) => {
                let (spec, progress) = ((*spec).clone(), progress.clone());
                self.tasks.spawn_local(async move {
                    let end = poll::run(&name, &spec, &cx, &progress).await;
                    let _ = tell.send(Message::Loop(name, end));
                });
            }
        }
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
