//! `render`: a template becomes a file, whole or not at all.

use std::path::Path;
use std::time::Duration;

use super::{Failure, StepKind, TemplateUse};
use crate::engine::steps::{Cx, fault_error, within};
use crate::outcome::{Exit, RunError};
use crate::roles::scalar::{Mode, Text};
use crate::roles::shape::{record, words};
use crate::secret::Secret;
use crate::sys::files;
use crate::sys::user::{group_id, owner_id};
use crate::template::file::{File, Rules};

record! {
    /// Renders a template into a file.
    pub struct Render as "a render step" {
        /// The template and where it goes.
        render: Spec => {"source": "ini-templates/cgap_any_alpha.ini", "destination": "production.ini"},
    }
}

record! {
    /// A template and where it goes.
    pub struct Spec as "a render step" short "source" {
        /// The template's path.
        source: Text => "ini-templates/cgap_any_alpha.ini",
        /// The file that is written: whole, or not at all.
        destination: Text => "production.ini",
        /// The file's mode, set before the first byte is written.
        mode: Mode = "0600" => "0640",
        /// The file's owner, a name or a number; by default the user that runner runs as.
        owner: Option<Text> => "nginx",
        /// The file's group.
        group: Option<Text> => "nginx",
        /// Whether a `key = ${…}` line whose value came out empty is left out.
        omit_empty: bool = false => true,
        /// How values are escaped: by default `ini` where the destination ends in `.ini`, else `none`.
        escape: Option<Escape> => "none",
    }
}

words! {
    /// How a value is escaped.
    pub enum Escape {
        /// `%` is doubled and a line break refused, so that PasteDeploy reads back exactly the value.
        Ini = "ini",
        /// Not at all.
        None = "none",
    }
}

impl StepKind for Render {
    const KEY: &'static str = "render";

    fn line(&self) -> String {
        let spec = &self.render;
        format!("render {} to {}", spec.source.raw, spec.destination.raw)
    }

    fn template(&self) -> Option<TemplateUse<'_>> {
        let spec = &self.render;
        let ini = match spec.escape {
            Some(escape) => escape == Escape::Ini,
            None => spec.destination.raw.ends_with(".ini"),
        };
        Some(TemplateUse {
            source: &spec.source,
            destination: &spec.destination,
            rules: Rules {
                ini,
                omit_empty: spec.omit_empty,
            },
        })
    }

    fn destination(&self) -> Option<&Text> {
        Some(&self.render.destination)
    }

    async fn exec(&self, cx: &Cx, limit: Option<Duration>) -> Result<(), Failure> {
        let spec = &self.render;
        let text = rendered(self, cx)?;
        let target = Target {
            path: cx.text(&spec.destination)?,
            mode: spec.mode,
            owner: spec.owner.as_ref().map(|text| cx.text(text)).transpose()?,
            group: spec.group.as_ref().map(|text| cx.text(text)).transpose()?,
        };
        write(target, text.expose().as_bytes().to_vec(), cx, limit).await
    }
}

/// The text that the step would write.
pub fn rendered(step: &Render, cx: &Cx) -> Result<Secret, RunError> {
    let source = &step.render.source;
    let path = cx.text(source)?;
    // Parsed with the plan; one whose path is only now known is read now.
    let file = match (cx.plan.templates.get(&path), step.template()) {
        (Some(file), _) => file.clone(),
        (None, Some(template)) => {
            let doing = || format!("cannot render `{path}`");
            let text = files::read_limited(Path::new(&path), files::LIMIT)
                .map_err(|error| RunError::new(error.exit(), doing(), error.why.to_string()))?;
            let (file, faults) = File::parse(&text, template.rules);
            if let Some(fault) = faults.first() {
                return Err(fault_error(&format!("`{path}`"), fault));
            }
            file
        }
        (None, None) => {
            return Err(RunError::new(
                Exit::SOFTWARE,
                "cannot render",
                "no template",
            ));
        }
    };
    file.render(&|name| cx.item(name))
        .map_err(|fault| fault_error(&format!("`{path}`"), &fault))
}

/// A file to be written.
pub struct Target {
    /// Its path.
    pub path: String,
    /// Its mode.
    pub mode: Mode,
    /// Its owner, by name or number.
    pub owner: Option<String>,
    /// Its group, by name or number.
    pub group: Option<String>,
}

/// Writes a file, whole or not at all; a stop does not wait for the disk.
pub async fn write(
    target: Target,
    bytes: Vec<u8>,
    cx: &Cx,
    limit: Option<Duration>,
) -> Result<(), Failure> {
    let doing = format!("cannot write `{}`", target.path);
    let wrong = |cause| RunError::new(Exit::CONFIG, doing.clone(), cause);
    let owner = target
        .owner
        .as_deref()
        .map(owner_id)
        .transpose()
        .map_err(wrong)?;
    let group = target
        .group
        .as_deref()
        .map(group_id)
        .transpose()
        .map_err(wrong)?;
    let work = files::aside(move || {
        files::write_whole(Path::new(&target.path), &bytes, target.mode.0, owner, group)
    });
    within(cx, limit, || doing.clone(), async { work.await? }).await
}
