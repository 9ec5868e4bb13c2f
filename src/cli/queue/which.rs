//! Which queue a command means: a member of a role in roles.yaml, or one that is named as SQS knows it.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::super::args::{Global, Which};
use super::super::live::usable;
use super::super::load::Loaded;
use crate::diag::nearest;
use crate::engine::Ending;
use crate::engine::sources::{self, refused};
use crate::engine::steps::Cx;
use crate::engine::tasks::Tasks;
use crate::engine::world::World;
use crate::outcome::{Exit, RunError};
use crate::plan::{Plan, asserted};
use crate::roles::Roles;
use crate::roles::scalar::Text;
use crate::roles::spec;
use crate::settings::Problem;
use crate::settings::spec::SourceSpec;
use crate::sys::queue::Wanted;

/// Finds it.
pub async fn find(global: &Global, which: &Which, world: &Rc<World>) -> Result<Tasks, Ending> {
    // A queue that is named as SQS knows it needs no roles.yaml.
    if which.role.is_none() && !global.config.exists() {
        return Ok(by_name(which, None));
    }
    let loaded = usable(global)?;
    let Some(roles) = &loaded.roles else {
        return Ok(by_name(which, None));
    };
    match role(roles, which, world).await? {
        Some(role) => by_member(&loaded, roles, &role, &which.queue, world).await,
        None => Ok(by_name(which, Some(roles))),
    }
}

fn by_name(which: &Which, roles: Option<&Roles>) -> Tasks {
    let sources = roles.iter().flat_map(|roles| &roles.file.settings.sources);
    let region = sources.filter_map(|source| match source {
        SourceSpec::Secret(source) => source.region.as_ref()?.literal(),
        _ => None,
    });
    let members = roles.iter().flat_map(|roles| {
        let roles = roles.role_names().filter_map(|name| roles.role(name));
        roles.flat_map(|role| role.queues.keys().map(String::as_str))
    });
    let wanted = Wanted {
        name: which.queue.clone(),
        fallback_region: region.map(str::to_owned).next(),
        ..Wanted::default()
    };
    Tasks::named(wanted, nearest(&which.queue, members).map(str::to_owned))
}

/// The role whose queue is meant; none where no role has one of that name.
async fn role(roles: &Roles, which: &Which, world: &World) -> Result<Option<String>, Ending> {
    let name = which.queue.as_str();
    let having: Vec<&str> = roles
        .role_names()
        .filter(|role| {
            roles
                .role(role)
                .is_some_and(|role| role.queues.contains_key(name))
        })
        .collect();
    if let Some(wanted) = &which.role {
        return match roles.role(wanted) {
            Some(role) if role.queues.contains_key(name) => Ok(Some(wanted.clone())),
            Some(role) => Err(no_queue(name, wanted, role).into()),
            None => {
                let near = nearest(wanted, roles.role_names());
                let help = near.map_or(String::new(), |near| format!("did you mean `{near}`?"));
                let doing = format!("cannot look into the role `{wanted}`: there is no such role");
                Err(RunError::new(Exit::USAGE, doing, "").with_help(help).into())
            }
        };
    }
    match having.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some((*only).to_owned())),
        several => {
            let selected = match &roles.file.select {
                Some(text) => {
                    let open = sources::open(&roles.file.settings, world).await?;
                    open.text(&roles.file.settings, text).unwrap_or_default()
                }
                None => String::new(),
            };
            if several.contains(&selected.as_str()) {
                return Ok(Some(selected));
            }
            let doing = format!("cannot tell which queue `{name}` is meant");
            let cause = format!("the roles {} have one", several.join(" and "));
            Err(RunError::new(Exit::USAGE, doing, cause)
                .with_help("say which with --role")
                .into())
        }
    }
}

fn no_queue(name: &str, role: &str, spec: &spec::Role) -> RunError {
    let known: Vec<&str> = spec.queues.keys().map(String::as_str).collect();
    let help = match known.as_slice() {
        [] => "it has none at all".to_owned(),
        known => format!("it has {}", known.join(", ")),
    };
    let doing = format!("cannot find the queue `{name}`");
    RunError::new(
        Exit::USAGE,
        doing,
        format!("the role `{role}` has no such queue"),
    )
    .with_help(help)
}

/// A member of a role. Only the settings that its own texts need are asked for.
async fn by_member(
    loaded: &Loaded,
    roles: &Roles,
    role: &str,
    member: &str,
    world: &Rc<World>,
) -> Result<Tasks, Ending> {
    let broken = || RunError::new(Exit::CONFIG, format!("cannot plan the role `{role}`"), "");
    let plan = Plan::of(roles, role, &loaded.templates).ok_or_else(broken)?;
    let spec = roles
        .role(role)
        .and_then(|role| role.queues.get(member))
        .ok_or_else(broken)?;
    let settings = &roles.file.settings;
    let texts = [
        Some(&spec.queue),
        spec.dead_letter.as_ref(),
        spec.endpoint.as_ref(),
        spec.region.as_ref(),
    ];
    let mut needed: BTreeSet<String> = texts.into_iter().flatten().flat_map(names).collect();
    needed.remove("runner");
    // Without expressions nothing need be known, and no secret be read.
    let offline = needed.is_empty();
    if !offline {
        needed.extend(asserted(settings));
    }
    let (resolved, problems) = sources::look(settings, &needed, offline, world).await?;
    let errors: Vec<Problem> = problems.into_iter().filter(Problem::is_error).collect();
    if !errors.is_empty() && !offline {
        return Err(refused(&errors).into());
    }
    let cx = Cx::of(world, plan, resolved);
    Ok(Tasks::of(spec, &cx)?)
}

fn names(text: &Text) -> impl Iterator<Item = String> {
    text.template.names().map(|(name, _)| name.to_owned())
}
