//! The life of a role: settings, steps, members side by side, the stop, and the sentence that says why it ended.

pub mod backoff;
pub mod child;
pub mod control;
pub mod event;
pub mod handler;
pub mod health;
pub mod lease;
mod members;
pub mod poll;
mod probe;
mod protection;
mod repeat;
pub mod service;
pub mod sources;
pub mod status;
pub mod steps;
pub mod tasks;
pub mod world;

use std::rc::Rc;

use crate::diag::nearest;
use crate::outcome::{Exit, Outcome, RunError};
use crate::plan::Plan;
use crate::roles::{Roles, Templates};
use crate::shutdown::{Reason, Stage};
use event::Event;
use steps::{Cx, StepEnd};
use world::World;

/// Plays a role from its first setting to its end.
pub async fn run(
    roles: &Roles,
    templates: &Templates,
    role: Option<&str>,
    world: &Rc<World>,
) -> Outcome {
    match play(roles, templates, role, world).await {
        Ok(outcome) => outcome,
        Err(Ending::Failed(error)) => Outcome {
            exit: error.exit,
            why: error.to_string(),
        },
        Err(Ending::Stopped) => stopped_early(world),
    }
}

/// Why a role ended before its members did.
#[derive(Debug)]
pub enum Ending {
    /// Something could not be done.
    Failed(RunError),
    /// A stop came first.
    Stopped,
}

impl From<RunError> for Ending {
    fn from(error: RunError) -> Self {
        Ending::Failed(error)
    }
}

async fn play(
    roles: &Roles,
    templates: &Templates,
    role: Option<&str>,
    world: &Rc<World>,
) -> Result<Outcome, Ending> {
    world.tell(Event::Mode(world.processes.mode()));
    let cx = prepare(roles, templates, role, world).await?;
    if cx.plan.members.is_empty() {
        return Ok(Outcome {
            exit: Exit::OK,
            why: format!("role {} is done: all its steps have run", cx.plan.role),
        });
    }
    Ok(members::run(&cx).await)
}

/// A role up to its members: settings resolved, steps run.
pub async fn prepare(
    roles: &Roles,
    templates: &Templates,
    role: Option<&str>,
    world: &Rc<World>,
) -> Result<Cx, Ending> {
    let open = sources::open(&roles.file.settings, world).await?;
    let role = select(roles, role, &open)?;
    let plan = plan(roles, templates, &role)?;
    world.begin(&plan);
    members::listen(&plan, world)?;
    let settings = sources::resolve(&plan, open, world).await?;
    let cx = Cx::of(world, plan, settings);
    match announced(world, steps::run(&cx.plan.steps, &cx)).await {
        StepEnd::Done => Ok(cx),
        StepEnd::Failed(error) => Err(Ending::Failed(error)),
        StepEnd::Stopped => Err(Ending::Stopped),
    }
}

/// Does the steps; a stop that they do not end at once with is told.
async fn announced(world: &World, steps: impl Future<Output = StepEnd>) -> StepEnd {
    tokio::pin!(steps);
    tokio::select! {
        biased;
        end = &mut steps => return end,
        () = world.shutdown.requested() => {}
    }
    let why = match world.shutdown.stage() {
        Stage::Stopping(Reason::Signal(number)) | Stage::Killing(Reason::Signal(number)) => {
            format!("{} was received", crate::signal::name(number))
        }
        Stage::Stopping(Reason::Asked) | Stage::Killing(Reason::Asked) | Stage::Running => {
            "as asked".to_owned()
        }
    };
    let within = world.stop_timeout.get();
    world.tell(Event::Stopping { why, within });
    steps.await
}

/// The role that was named, or that `select` names.
pub fn select(
    roles: &Roles,
    named: Option<&str>,
    open: &sources::Open,
) -> Result<String, RunError> {
    let known: Vec<&str> = roles.role_names().collect();
    let (name, exit, how) = match (named, &roles.file.select) {
        (Some(name), _) => (
            name.to_owned(),
            Exit::USAGE,
            "named on the command line".to_owned(),
        ),
        (None, Some(text)) => {
            let name = open.text(&roles.file.settings, text)?;
            (name, Exit::CONFIG, format!("from select: {}", text.raw))
        }
        (None, None) => (
            String::new(),
            Exit::USAGE,
            "and roles.yaml has no `select`".to_owned(),
        ),
    };
    if roles.role(&name).is_some() {
        return Ok(name);
    }
    let doing = if name.is_empty() {
        format!("cannot choose a role: none is named, {how}")
    } else {
        format!("cannot play the role `{name}`, {how}: there is no such role")
    };
    let advice = match (nearest(&name, known.iter().copied()), &roles.file.select) {
        (Some(near), _) => format!("did you mean `{near}`? "),
        (None, Some(text)) if name.is_empty() => {
            let names: Vec<&str> = text.template.names().map(|(name, _)| name).collect();
            match names.as_slice() {
                [] => "write `runner run ROLE`; ".to_owned(),
                names => format!("set {}, or write `runner run ROLE`; ", names.join(" and ")),
            }
        }
        _ => String::new(),
    };
    Err(RunError::new(exit, doing, "").with_help(format!(
        "{advice}the roles are {}; for a one-off command write `runner exec ROLE -- COMMAND`",
        known.join(", ")
    )))
}

fn plan(roles: &Roles, templates: &Templates, role: &str) -> Result<Plan, RunError> {
    Plan::of(roles, role, templates).ok_or_else(|| {
        RunError::new(
            Exit::CONFIG,
            format!("cannot plan the role `{role}`"),
            "its members wait for one another",
        )
    })
}

/// A stop that came before the members: 128 + n, as the role was not done.
pub fn stopped_early(world: &World) -> Outcome {
    match world.shutdown.stage() {
        Stage::Stopping(Reason::Signal(number)) | Stage::Killing(Reason::Signal(number)) => {
            Outcome {
                exit: Exit::of_signal(number),
                why: format!(
                    "stopped by {} before the role's steps were done",
                    crate::signal::name(number)
                ),
            }
        }
        Stage::Stopping(Reason::Asked) | Stage::Killing(Reason::Asked) | Stage::Running => {
            Outcome {
                exit: Exit::of_signal(libc::SIGTERM),
                why: "stopped as asked before the role's steps were done".to_owned(),
            }
        }
    }
}
