//! What the control socket is asked and what it answers: health, status, restart and stop.
//!
//! One line of JSON each way: `{"request": "restart", "service": "app", "replica": 2}` is answered by `{"ok": …}` or by
//! `{"error": {"message": …, "exit": …}}`. Until the members run, the [`Desk`] answers from the events that it hears;
//! then the members do, who alone know.

use std::cell::RefCell;
use std::rc::Rc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::event::{Event, shown};
use super::status::{Condition, Health, Phase, Status, StepStatus, StopStatus, When};
use super::world::World;
use crate::outcome::{Exit, RunError};
use crate::plan::Plan;
use crate::shutdown::{Reason, Stage};
use crate::sys::control::Door;

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// How the role is; answered by a [`Health`].
    Health,
    /// Everything that is known; answered by a [`Status`].
    Status,
    /// New processes for a service, one replica after the other, or for one replica alone. Answered when it is done,
    /// by `{"restarted": ["app/0", …]}`.
    Restart {
        /// The service's name.
        service: String,
        /// The replica; all by default.
        #[serde(default)]
        replica: Option<u32>,
    },
    /// The orderly stop; answered at once.
    Stop,
}

/// What is answered.
pub type Answer = Result<Value, RunError>;

/// A question to the members.
pub struct Ask {
    /// What is asked.
    pub request: Request,
    /// Where the answer goes; the one who asked may be gone by then.
    pub answer: oneshot::Sender<Answer>,
}

/// Takes the questions, and answers those that come before there are members.
#[derive(Default)]
pub struct Desk(RefCell<Progress>);

/// What is known before the members run.
#[derive(Default)]
struct Progress {
    role: Option<String>,
    steps: usize,
    members: usize,
    /// Steps that have begun or were skipped.
    begun: usize,
    step: Option<(String, String, Instant)>,
    asks: Option<mpsc::UnboundedSender<Ask>>,
}

impl Desk {
    /// A role begins.
    pub fn begin(&self, plan: &Plan) {
        let mut progress = self.0.borrow_mut();
        progress.role = Some(plan.role.clone());
        progress.steps = plan.steps.len();
        progress.members = plan.members.len();
    }

    /// Learns from an event how far the steps are.
    pub fn hear(&self, event: &Event) {
        let mut progress = self.0.borrow_mut();
        match event {
            Event::StepStarted { step, doing } => {
                progress.begun += 1;
                progress.step = Some((step.clone(), doing.clone(), Instant::now()));
            }
            Event::StepSkipped { .. } => progress.begun += 1,
            Event::StepDone { .. } | Event::StepForgiven { .. } | Event::StepFailed { .. } => {
                progress.step = None;
            }
            // Nothing else is about steps; a closed list here would have to be kept for every new event.
            _ => {}
        }
    }

    /// From now on, the holder of the receiver answers; once it is dropped, the desk does again.
    pub fn hand_over(&self) -> mpsc::UnboundedReceiver<Ask> {
        let (asks, receiver) = mpsc::unbounded_channel();
        self.0.borrow_mut().asks = Some(asks);
        receiver
    }

    /// What is known of the role without its members.
    pub fn status(&self, world: &World) -> Status {
        let progress = self.0.borrow();
        let step = progress.step.as_ref().map(|(name, doing, since)| {
            let (name, doing, since) = (name.clone(), doing.clone(), When::of(*since));
            StepStatus {
                name,
                doing,
                number: progress.begun,
                of: progress.steps,
                since,
            }
        });
        let stop = stop_status(world);
        let phase = match (&stop, &progress.role) {
            (Some(_), _) => Phase::Stopping,
            (None, None) => Phase::Settings,
            (None, Some(_)) if progress.begun == 0 && progress.steps > 0 => Phase::Settings,
            (None, Some(_)) => Phase::Steps,
        };
        let health = early_health(&progress, stop.as_ref(), step.as_ref());
        Status {
            role: progress.role.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: When::of(world.started),
            phase,
            health,
            step,
            stop,
            members: Vec::new(),
        }
    }

    fn asks(&self) -> Option<mpsc::UnboundedSender<Ask>> {
        self.0.borrow().asks.clone()
    }
}

/// Health before the members run: a role that has some is starting, one that is made of steps alone is doing its work.
fn early_health(
    progress: &Progress,
    stop: Option<&StopStatus>,
    step: Option<&StepStatus>,
) -> Health {
    let what = match step {
        Some(step) => format!(
            "step {} of {}, `{}`, has been running for {}",
            step.number,
            step.of,
            step.name,
            shown(step.since.distance())
        ),
        None if progress.role.is_none() => "the settings are being resolved".to_owned(),
        None => "the next step is about to start".to_owned(),
    };
    let (state, reasons, notes) = match stop {
        Some(stop) => (Condition::Stopping, vec![stopping(stop)], Vec::new()),
        None if progress.role.is_some() && progress.members == 0 => {
            (Condition::Healthy, Vec::new(), vec![what])
        }
        None => (Condition::Starting, vec![what], Vec::new()),
    };
    Health {
        state,
        reasons,
        notes,
    }
}

/// The stop as a reason of not being healthy.
pub fn stopping(stop: &StopStatus) -> String {
    let left = shown(stop.until.distance());
    if stop.waiting_for.is_empty() {
        return format!("the role stops: {}; it is killed in {left}", stop.why);
    }
    let waiting = stop.waiting_for.join(", ");
    format!(
        "the role stops: {}; waiting for {waiting}, killed in {left}",
        stop.why
    )
}

/// The stop, where one was asked for; whom it waits for, only the members know.
pub fn stop_status(world: &World) -> Option<StopStatus> {
    let why = match world.shutdown.stage() {
        Stage::Running => return None,
        Stage::Stopping(Reason::Signal(number)) | Stage::Killing(Reason::Signal(number)) => {
            format!("{} was received", crate::signal::name(number))
        }
        Stage::Stopping(Reason::Asked) | Stage::Killing(Reason::Asked) => "as asked".to_owned(),
    };
    Some(StopStatus {
        why,
        since: When::of(world.shutdown.since()?),
        until: When::of(world.stop_deadline()?),
        waiting_for: Vec::new(),
    })
}

/// Answers on a socket until the very end, when its file goes with the task; where none can be had, the role is played
/// without one.
pub fn serve(door: Result<Door, RunError>, world: &Rc<World>) {
    let door = match door {
        Ok(door) => door,
        Err(error) => {
            let text = format!("{error}; the role is played without health, status and restart");
            world.tell(Event::Warning(text));
            return;
        }
    };
    world.tell(Event::Listening {
        path: door.path().display().to_string(),
        passed_over: door.passed_over.clone(),
    });
    let world = world.clone();
    tokio::task::spawn_local(async move {
        let answers = async move |line: String| {
            let text = answer(&world, &line).await.to_string();
            // No text of ours holds a secret; the log's redaction is the second lock on the same door.
            let redactor = world.outlet.redaction.get();
            String::from_utf8_lossy(&redactor.redact(text.as_bytes())).into_owned()
        };
        door.serve(answers).await;
    });
}

/// The answer to one line.
async fn answer(world: &Rc<World>, line: &str) -> Value {
    let request = serde_json::from_str(line).map_err(|error| {
        RunError::new(
            Exit::USAGE,
            "cannot understand the request",
            error.to_string(),
        )
    });
    let answered = match request {
        Ok(request) => answer_to(world, request).await,
        Err(error) => Err(error),
    };
    match answered {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": { "message": error.to_string(), "exit": error.exit.0 } }),
    }
}

async fn answer_to(world: &Rc<World>, request: Request) -> Answer {
    if request == Request::Stop {
        world.tell(Event::Asked("stop".to_owned()));
        world.switch.begin(Reason::Asked);
        let status = world.desk.status(world);
        return Ok(json!({ "stop": status.stop }));
    }
    let (sender, receiver) = oneshot::channel();
    if let Some(asks) = world.desk.asks() {
        let ask = Ask {
            request: request.clone(),
            answer: sender,
        };
        if asks.send(ask).is_ok()
            && let Ok(answer) = receiver.await
        {
            return answer;
        }
    }
    early(world, request)
}

/// The answer where there are no members yet, or none any more.
fn early(world: &World, request: Request) -> Answer {
    let status = world.desk.status(world);
    match request {
        Request::Health => Ok(json!(status.health)),
        Request::Status | Request::Stop => Ok(json!(status)),
        Request::Restart { service, .. } => {
            let why = match status.stop {
                Some(_) => "the role stops",
                None => "its members have not been started yet",
            };
            Err(RunError::new(
                Exit::FAILED,
                format!("cannot restart `{service}`"),
                why,
            ))
        }
    }
}
