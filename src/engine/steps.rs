//! Steps in their order: condition, tries, time, and what a failure means.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use indexmap::IndexMap;
use tokio::time::Instant;

use super::backoff::{Backoff, Dice};
use super::event::Event;
use super::world::World;
use crate::outcome::{Exit, RunError};
use crate::plan::Plan;
use crate::roles::scalar::{Command, Text};
use crate::roles::spec;
use crate::secret::Secret;
use crate::settings::Resolved;
use crate::shutdown::Shutdown;
use crate::steps::{Failure, Step};
use crate::sys::process::{Launch, Output};
use crate::sys::relay::frame::Label;
use crate::sys::user::User;
use crate::template::{Fault, Item};

/// What a step or a member is carried out with.
#[derive(Clone)]
pub struct Cx {
    /// The doors.
    pub world: Rc<World>,
    /// Values.
    pub settings: Rc<Resolved>,
    /// What the role does.
    pub plan: Rc<Plan>,
    /// The wish to stop that this part of the role listens to.
    pub shutdown: Shutdown,
    /// The loop that the steps belong to, if they do.
    pub member: Option<String>,
    /// `${port}` and `${replica}`, inside a service.
    pub numbers: Vec<(&'static str, i64)>,
}

/// How a list of steps ended.
#[derive(Debug)]
pub enum StepEnd {
    /// All are done.
    Done,
    /// One failed, and no later one was run.
    Failed(RunError),
    /// The role stops.
    Stopped,
}

impl Cx {
    /// For a plan whose settings are resolved.
    pub fn of(world: &Rc<World>, plan: Plan, settings: Resolved) -> Self {
        Self {
            world: world.clone(),
            settings: Rc::new(settings),
            plan: Rc::new(plan),
            shutdown: world.shutdown.clone(),
            member: None,
            numbers: Vec::new(),
        }
    }

    /// What a name stands for.
    pub fn item(&self, name: &str) -> Option<Item> {
        if name == "runner" {
            return Some(Item::Text(Secret::new(
                self.world.program.to_string_lossy(),
            )));
        }
        let number = self.numbers.iter().find(|(known, _)| *known == name);
        number
            .map(|(_, number)| Item::Number(*number))
            .or_else(|| self.settings.item(name))
    }

    /// A text's value.
    pub fn secret(&self, text: &Text) -> Result<Secret, RunError> {
        text.template
            .render(&|name| self.item(name))
            .map_err(|fault| fault_error(&format!("`{}`", text.raw), &fault))
    }

    /// A text's value where it may be seen: `validate` has made sure that no secret stands there.
    pub fn text(&self, text: &Text) -> Result<String, RunError> {
        self.secret(text).map(|value| value.expose().to_owned())
    }

    /// How output of a step is labelled: by its loop, by its name, or by its program.
    pub fn label(&self, program: &str) -> Label {
        let program = Path::new(program)
            .file_name()
            .map_or(program.into(), |name| name.to_string_lossy());
        Label {
            member: self.member.clone().unwrap_or_else(|| program.into_owned()),
            replica: None,
        }
    }

    /// A program ready to start: words, variables, folder and user resolved.
    pub fn launch(
        &self,
        command: &Command,
        environment: &IndexMap<String, Text>,
        working_dir: Option<&Text>,
        user: Option<&Text>,
    ) -> Result<Launch, RunError> {
        let words = command.0.iter().map(|word| self.text(word));
        let mut words = words.collect::<Result<Vec<String>, RunError>>()?;
        let mut launch = Launch::new(words.remove(0));
        launch.args = words.into_iter().map(Into::into).collect();
        launch.working_dir = working_dir
            .map(|text| self.text(text))
            .transpose()?
            .map(Into::into);
        let user = user.map(|text| self.text(text)).transpose()?;
        launch.user = user.as_deref().map(User::resolve).transpose()?;
        let mut variables: Vec<(String, String)> = Vec::new();
        if let Some(user) = &launch.user {
            let own = user.environment();
            variables.extend(own.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        for (name, text) in environment {
            variables.push((name.clone(), self.secret(text)?.expose().to_owned()));
        }
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        launch.environment = super::child::with_variables(&self.world.environment, variables);
        launch.output = Output::Pipe;
        Ok(launch)
    }
}

/// A fault of rendering as an operator reads it.
pub fn fault_error(what: &str, fault: &Fault) -> RunError {
    let error = RunError::new(
        Exit::CONFIG,
        format!("cannot render {what}"),
        fault.message.clone(),
    );
    match &fault.help {
        Some(help) => error.with_help(help.clone()),
        None => error,
    }
}

/// Runs steps in order; the first failure that is not forgiven ends them.
pub async fn run(steps: &[Step], cx: &Cx) -> StepEnd {
    for step in steps {
        match one(step, cx).await {
            Ok(()) => {}
            Err(Failure::Stopped) => return StepEnd::Stopped,
            Err(Failure::Failed(error)) => return StepEnd::Failed(error),
        }
    }
    if cx.shutdown.is_requested() {
        StepEnd::Stopped
    } else {
        StepEnd::Done
    }
}

async fn one(step: &Step, cx: &Cx) -> Result<(), Failure> {
    if cx.shutdown.is_requested() {
        return Err(Failure::Stopped);
    }
    let title = title(step, cx)?;
    // A loop tells of its runs, not of each step of each run.
    let tell = |event: Event| {
        if cx.member.is_none() {
            cx.world.tell(event);
        }
    };
    if let Some(condition) = &step.common.r#if {
        let source = condition.condition.source();
        let holds = condition
            .condition
            .holds(&|name| cx.item(name))
            .map_err(|fault| {
                fault_error(&format!("the condition `{source}` of `{title}`"), &fault)
            })?;
        if !holds {
            tell(Event::StepSkipped {
                step: title,
                condition: source.to_owned(),
            });
            return Ok(());
        }
    }
    tell(Event::StepStarted {
        step: title.clone(),
        doing: step.kind.line(),
    });
    let started = Instant::now();
    match tries(step, &title, cx).await {
        Ok(()) => {
            tell(Event::StepDone {
                step: title,
                took: started.elapsed(),
            });
            Ok(())
        }
        Err(Failure::Failed(error)) if step.common.continue_on_error => {
            cx.world.tell(Event::StepForgiven { step: title, error });
            Ok(())
        }
        Err(Failure::Failed(mut error)) => {
            tell(Event::StepFailed {
                step: title.clone(),
                error: error.clone(),
            });
            // Of a step without a name the title may be the very thing that could not be done.
            error.doing = match error.doing == format!("`{title}` failed") {
                true => format!("step {}", error.doing),
                false => format!("step `{title}` failed: {}", error.doing),
            };
            Err(Failure::Failed(error))
        }
        Err(Failure::Stopped) => Err(Failure::Stopped),
    }
}

fn title(step: &Step, cx: &Cx) -> Result<String, RunError> {
    match &step.common.name {
        Some(name) => cx.text(name),
        None => Ok(step.kind.line()),
    }
}

/// As many tries as the step has, with pauses between them.
async fn tries(step: &Step, title: &str, cx: &Cx) -> Result<(), Failure> {
    let retry = step.common.retry.as_ref();
    let attempts = retry.map_or(1, |retry| retry.attempts.0);
    let backoff = retry
        .map(|retry| backoff(&retry.backoff))
        .unwrap_or_default();
    let mut dice = Dice::new(seed());
    let limit = step.common.timeout.map(|timeout| timeout.0);
    for tries in 1.. {
        let error = match step.kind.exec(cx, limit).await {
            Ok(()) => return Ok(()),
            Err(Failure::Stopped) => return Err(Failure::Stopped),
            Err(Failure::Failed(error)) => error,
        };
        if tries >= attempts {
            return Err(Failure::Failed(error));
        }
        let pause = backoff.pause(tries - 1, dice.roll());
        cx.world.tell(Event::StepRetried {
            step: title.to_owned(),
            error,
            pause,
            tries,
            of: attempts,
        });
        if !cx.shutdown.sleep(pause).await {
            return Err(Failure::Stopped);
        }
    }
    Ok(())
}

/// The language's backoff as the engine has it.
pub fn backoff(spec: &spec::Backoff) -> Backoff {
    Backoff {
        initial: spec.initial.0,
        factor: spec.factor.0,
        max: spec.max.0,
        jitter: spec.jitter.0,
    }
}

/// A seed for pauses: containers that start together must not move in step.
pub fn seed() -> u64 {
    let bytes = crate::sys::files::random(8).unwrap_or_default();
    bytes
        .iter()
        .fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
}

/// Something that is done within a limit, unless the role stops first.
pub async fn within<T>(
    cx: &Cx,
    limit: Option<Duration>,
    doing: impl FnOnce() -> String,
    work: impl Future<Output = Result<T, RunError>>,
) -> Result<T, Failure> {
    let deadline = limit.map(|limit| Instant::now() + limit);
    let time_up = async {
        match deadline {
            Some(deadline) => tokio::time::sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = cx.shutdown.requested() => Err(Failure::Stopped),
        done = work => done.map_err(Failure::Failed),
        () = time_up => {
            let limit = super::event::shown(limit.unwrap_or_default());
            Err(Failure::Failed(RunError::new(Exit::TIMEOUT, doing(), format!("it took longer than {limit}"))))
        }
    }
}
