//! Settings from the world: the open sources first, then the secret that they name.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Ending;
use super::child::{self, Run};
use super::event::Event;
use super::world::World;
use crate::outcome::{Exit, RunError};
use crate::plan::Plan;
use crate::roles::scalar::Text;
use crate::secret::Secret;
use crate::settings::document::{self, Format};
use crate::settings::graph::Graph;
use crate::settings::layers::{Layer, Origin};
use crate::settings::spec::{CommandSource, FileSource, SecretSource, Settings, SourceSpec};
use crate::settings::{self, Problem, Resolved};
use crate::sys::files;
use crate::sys::process::{Launch, Output};
use crate::sys::relay::redact::Redactor;
use crate::sys::vault::{self, Limits, SecretRequest};

/// What is known before the secret is read.
pub struct Open {
    graph: Graph,
    /// A layer for each source that is not a secret, in the order of the file; none for a secret.
    layers: Vec<Option<Layer>>,
    set: Layer,
}

impl Open {
    /// A text that may use only what is known so far.
    pub fn text(&self, settings: &Settings, text: &Text) -> Result<String, RunError> {
        let layers: Vec<Layer> = self
            .layers
            .iter()
            .flatten()
            .chain([&self.set])
            .cloned()
            .collect();
        let wanted: BTreeSet<String> = text
            .template
            .names()
            .map(|(name, _)| name.to_owned())
            .collect();
        let doing = || format!("cannot use `{}` ({})", text.raw, text.place);
        let bare = Settings {
            assert: Vec::new(),
            ..settings.clone()
        };
        let (resolved, problems) = settings::resolve(&bare, &self.graph, &layers, &wanted);
        if let Some(problem) = problems.first() {
            return Err(RunError::new(Exit::CONFIG, doing(), problem.to_string()));
        }
        text.template
            .render(&|name| resolved.item(name))
            .map(|text| text.expose().to_owned())
            .map_err(|fault| RunError::new(Exit::CONFIG, doing(), fault.message))
    }
}

/// Reads every source but the secrets.
pub async fn open(settings: &Settings, world: &World) -> Result<Open, Ending> {
    let mut open = Open {
        graph: Graph::of(settings),
        layers: Vec::new(),
        set: set(settings, world)?,
    };
    for source in &settings.sources {
        let layer = match source {
            SourceSpec::Environment => Some(environment(settings, world)?),
            SourceSpec::File(source) => {
                file(source, &open.text(settings, &source.file)?, world).await?
            }
            SourceSpec::Command(source) => command(source, settings, &open, world).await?,
            SourceSpec::Secret(_) => None,
        };
        open.layers.push(layer);
    }
    Ok(open)
}

/// Reads the secrets and gives every setting of the plan its value; all that is wrong is one error.
pub async fn resolve(plan: &Plan, open: Open, world: &World) -> Result<Resolved, Ending> {
    let layers = layers(&plan.declared, &open, world).await?;
    let wanted = plan.wanted();
    let (resolved, problems) = settings::resolve(&plan.declared, &plan.graph, &layers, &wanted);
    accept(resolved, problems, &layers, world)
}

/// Gives `wanted` settings their values, and says what is wrong with them; without the secrets when `offline`.
pub async fn look(
    declared: &Settings,
    wanted: &BTreeSet<String>,
    offline: bool,
    world: &World,
) -> Result<(Resolved, Vec<Problem>), Ending> {
    let open = open(declared, world).await?;
    let layers = if offline {
        open.layers
            .iter()
            .flatten()
            .chain([&open.set])
            .cloned()
            .collect()
    } else {
        layers(declared, &open, world).await?
    };
    Ok(settings::resolve(declared, &open.graph, &layers, wanted))
}

/// Every layer, lowest precedence first.
async fn layers(declared: &Settings, open: &Open, world: &World) -> Result<Vec<Layer>, Ending> {
    let mut layers = Vec::new();
    for (source, layer) in declared.sources.iter().zip(&open.layers) {
        match source {
            SourceSpec::Secret(source) => layers.push(secret(source, declared, open, world).await?),
            _ => layers.extend(layer.clone()),
        }
    }
    layers.push(open.set.clone());
    Ok(layers)
}

/// Values that may be used: from here on secrets are redacted. What is wrong is one error.
fn accept(
    resolved: Resolved,
    problems: Vec<Problem>,
    layers: &[Layer],
    world: &World,
) -> Result<Resolved, Ending> {
    let (errors, warnings): (Vec<Problem>, Vec<Problem>) =
        problems.into_iter().partition(Problem::is_error);
    for warning in warnings {
        world.tell(Event::Warning(warning.to_string()));
    }
    if !errors.is_empty() {
        return Err(refused(&errors).into());
    }
    let tainted = resolved.iter().filter(|(_, setting)| setting.tainted);
    let redactor = Redactor::new(tainted.map(|(_, setting)| &setting.value));
    world.outlet.redaction.set(redactor);
    let given = layers.iter().filter(|layer| !layer.values.is_empty());
    let from: Vec<String> = given.map(|layer| layer.origin.to_string()).collect();
    world.tell(Event::Settings {
        count: resolved.iter().count(),
        from: if from.is_empty() {
            "defaults alone".to_owned()
        } else {
            from.join(", ")
        },
    });
    Ok(resolved)
}

/// Everything that is wrong in one error, a line each.
pub fn refused(problems: &[Problem]) -> RunError {
    let lines: Vec<String> = problems
        .iter()
        .map(|problem| format!("\n  {problem}"))
        .collect();
    let doing = match problems.len() {
        1 => "cannot use the settings, 1 is wrong".to_owned(),
        n => format!("cannot use the settings, {n} are wrong"),
    };
    RunError::new(Exit::CONFIG, doing, lines.concat())
}

/// `--set` on the command line.
fn set(settings: &Settings, world: &World) -> Result<Layer, RunError> {
    let mut layer = Layer::new(Origin::Set);
    for (key, value) in &world.set {
        let doing = || format!("cannot use --set {key}=…");
        match settings.keys.get(key) {
            None => {
                let known = settings.keys.keys().map(String::as_str);
                let near = crate::diag::nearest(key, known)
                    .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                let cause = format!("the setting is not declared{near}");
                return Err(RunError::new(Exit::USAGE, doing(), cause));
            }
            Some(declared) if declared.value.is_some() => {
                let cause = "the setting is derived, and takes no value from outside";
                return Err(RunError::new(Exit::USAGE, doing(), cause));
            }
            Some(_) => {
                layer
                    .values
                    .insert(key.clone(), Some(Secret::new(value.as_str())));
            }
        }
    }
    Ok(layer)
}

/// The declared keys that the container's environment has.
fn environment(settings: &Settings, world: &World) -> Result<Layer, RunError> {
    let mut layer = Layer::new(Origin::Environment);
    for (name, value) in &world.environment {
        let Some(name) = name
            .to_str()
            .filter(|name| settings.keys.contains_key(*name))
        else {
            continue;
        };
        let Some(value) = value.to_str() else {
            let doing = format!("cannot use the environment's {name}");
            return Err(RunError::new(Exit::CONFIG, doing, "its value is not UTF-8"));
        };
        layer
            .values
            .insert(name.to_owned(), Some(Secret::new(value)));
    }
    Ok(layer)
}

async fn file(source: &FileSource, path: &str, world: &World) -> Result<Option<Layer>, Ending> {
    let doing = || format!("cannot read the settings file {path}");
    let wrong = |cause: String| RunError::new(Exit::CONFIG, doing(), cause);
    let format = Format::of(path)
        .ok_or_else(|| wrong("its name ends in none of .json, .toml, .yaml".to_owned()))?;
    let text = match read(path, world).await? {
        Ok(text) => text,
        Err(error) if source.optional && error.is_missing() => return Ok(None),
        Err(error) => {
            return Err(RunError::new(error.exit(), doing(), error.why.to_string()).into());
        }
    };
    document::layer(Origin::File(path.to_owned()), &text, format, &source.map)
        .map(Some)
        .map_err(|cause| wrong(cause).into())
}

/// Reads a file; a stop does not wait for a pipe that nobody writes, or for a disk that is gone.
async fn read(path: &str, world: &World) -> Result<Result<String, files::ReadError>, Ending> {
    let path = PathBuf::from(path);
    let text = files::aside(move || files::read_limited(&path, files::LIMIT));
    tokio::select! {
        biased;
        () = world.shutdown.requested() => Err(Ending::Stopped),
        text = text => Ok(text?),
    }
}

/// The first line that a program prints.
async fn command(
    source: &CommandSource,
    settings: &Settings,
    open: &Open,
    world: &World,
) -> Result<Option<Layer>, Ending> {
    let mut words = Vec::new();
    for word in &source.command.0 {
        words.push(open.text(settings, word)?);
    }
    let line = source.command.line();
    let origin = Origin::Command(line.clone());
    let failed = |cause: String| {
        let doing = format!("cannot get {} from `{line}`", source.key);
        match source.optional {
            true => Ok(None),
            false => Err(Ending::Failed(RunError::new(Exit::CONFIG, doing, cause))),
        }
    };
    let mut launch = Launch::new(words.remove(0));
    launch.args = words.into_iter().map(Into::into).collect();
    launch.environment = world.environment.clone();
    launch.output = Output::Pipe;
    let captured = child::capture(world, launch, Some(source.timeout.0), &world.shutdown).await;
    let (run, text) = match captured {
        Ok(captured) => captured,
        Err(error) => return failed(error.cause),
    };
    match run {
        Run::Stopped => Err(Ending::Stopped),
        Run::TimedOut => failed(format!("it took longer than {}", source.timeout)),
        Run::Ended(ended) if !ended.is_success() => failed(format!("it {ended}")),
        Run::Ended(_) => {
            let text = String::from_utf8_lossy(&text);
            let mut layer = Layer::new(origin);
            let value = text.lines().next().unwrap_or("").trim();
            layer
                .values
                .insert(source.key.clone(), Some(Secret::new(value)));
            Ok(Some(layer))
        }
    }
}

/// A secret from Secrets Manager, or from a file.
async fn secret(
    source: &SecretSource,
    settings: &Settings,
    open: &Open,
    world: &World,
) -> Result<Layer, Ending> {
    let name = open.text(settings, &source.secret)?;
    if name.trim().is_empty() {
        let doing = format!("cannot read the secret `{}`", source.secret.raw);
        return Err(RunError::new(Exit::CONFIG, doing, "its name is empty")
            .with_help("set it to a secret's name, or to file:PATH for a JSON file")
            .into());
    }
    let region = source
        .region
        .as_ref()
        .map(|text| open.text(settings, text))
        .transpose()?;
    let placeholder = source
        .placeholder
        .as_ref()
        .map(|text| open.text(settings, text))
        .transpose()?;
    let (origin, text) = match name.strip_prefix("file:") {
        Some(path) => (
            Origin::SecretFile(path.to_owned()),
            secret_file(path, world).await?,
        ),
        None => fetched(source, name, region, world).await?,
    };
    let read = document::secret(origin.clone(), &text, placeholder.as_deref())
        .map_err(|cause| RunError::new(Exit::CONFIG, format!("cannot use {origin}"), cause))?;
    for key in &read.duplicates {
        world.tell(Event::Warning(format!(
            "{key} stands twice in {origin}; the last one counts"
        )));
    }
    Ok(read.layer)
}

/// A secret from Secrets Manager, with the version that it had.
async fn fetched(
    source: &SecretSource,
    name: String,
    region: Option<String>,
    world: &World,
) -> Result<(Origin, Secret), Ending> {
    let request = SecretRequest {
        name: name.clone(),
        region,
        endpoint: None,
        limits: Limits {
            connect: source.connect_timeout.0,
            attempt: source.attempt_timeout.0,
            total: source.timeout.0,
            ..Limits::default()
        },
    };
    let fetched = tokio::select! {
        biased;
        () = world.shutdown.requested() => return Err(Ending::Stopped),
        fetched = vault::fetch(&request) => fetched.map_err(|error| meant_a_file(error, &name))?,
    };
    let version = fetched.version;
    Ok((Origin::Secret { name, version }, fetched.text))
}

/// The error of a secret that could not be had, where a file has just its name.
fn meant_a_file(error: RunError, name: &str) -> RunError {
    if !files::is_file(Path::new(name)) {
        return error;
    }
    let hint = format!("there is a file of this name: did you mean file:{name}?");
    let help = match &error.help {
        Some(help) => format!("{hint} Else {help}"),
        None => hint,
    };
    error.with_help(help)
}

async fn secret_file(path: &str, world: &World) -> Result<Secret, Ending> {
    let text = read(path, world).await?;
    text.map(Secret::new).map_err(|error| {
        let doing = format!("cannot read the secret file {path}");
        RunError::new(error.exit(), doing, error.why.to_string()).into()
    })
}
