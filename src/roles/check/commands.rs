//! Programs that the roles run, for `--check-commands`: looked up where the file is used, in the image.

use crate::diag::{Code, Diagnostic, Diagnostics, nearest};
use crate::roles::Roles;
use crate::roles::scalar::{Command, Text};
use crate::roles::shape::Written;
use crate::settings::spec::SourceSpec;
use crate::steps::Kind;

/// Adds every program that `found(name, folder)` does not find; `folder` is the working folder where the file names
/// one. Only names without expressions are asked for, and none whose `PATH` the file sets.
pub fn check(
    roles: &Roles,
    known: &[String],
    found: impl Fn(&str, Option<&str>) -> bool,
    diagnostics: &mut Diagnostics,
) {
    for (command, folder) in programs(roles) {
        let Some(name) = command.0.first().and_then(Text::literal) else {
            continue;
        };
        let folder = match folder {
            None => None,
            Some(folder) => match folder.literal() {
                Some(literal) => Some(literal),
                None => continue,
            },
        };
        if name.is_empty() || found(name, folder) {
            continue;
        }
        let word = &command.0[0];
        let place = Written::new(&word.place, &word.raw).part(0..word.raw.len());
        let diagnostic = Diagnostic::new(
            Code::CommandMissing,
            place,
            format!("the program `{name}` is not found"),
        );
        let near = nearest(name, known.iter().map(String::as_str));
        diagnostics.push(match (name.contains('/'), near) {
            (true, _) => diagnostic.help("there is no such file that may be executed; a relative path counts from the working folder"),
            (false, Some(near)) => diagnostic.label(format!("did you mean `{near}`?")),
            (false, None) => diagnostic.help("no folder of PATH has it; run this check inside the image"),
        });
    }
}

/// Every command with the working folder that it starts in.
fn programs(roles: &Roles) -> Vec<(&Command, Option<&Text>)> {
    let mut all = Vec::new();
    for source in &roles.file.settings.sources {
        if let SourceSpec::Command(source) = source
            && !source.optional
        {
            all.push((&source.command, None));
        }
    }
    for (_, step) in roles.steps() {
        if let Kind::Command(step) = &step.kind
            && !step.environment.contains_key("PATH")
        {
            all.push((&step.command, step.working_dir.as_ref()));
        }
    }
    for role in roles.file.roles.values() {
        for service in role.services.values() {
            if service.environment.contains_key("PATH") {
                continue;
            }
            let folder = service.working_dir.as_ref();
            all.push((&service.command, folder));
            let probes = [&service.readiness, &service.liveness]
                .into_iter()
                .flatten();
            all.extend(probes.filter_map(|probe| Some((probe.exec.as_ref()?, folder))));
        }
        for queue in role.queues.values() {
            let handler = &queue.handler;
            if handler.environment.contains_key("PATH") {
                continue;
            }
            let commands = [&handler.command, &handler.worker].into_iter().flatten();
            all.extend(commands.map(|command| (command, handler.working_dir.as_ref())));
        }
    }
    all
}
