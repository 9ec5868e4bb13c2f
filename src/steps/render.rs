//! `render`: a template becomes a file, whole or not at all.

use super::{StepKind, TemplateUse};
use crate::roles::scalar::{Mode, Text};
use crate::roles::shape::{record, words};
use crate::template::file::Rules;

record! {
    /// Renders a template into a file.
    pub struct Render as "a render step" {
        /// The template and where it goes.
        render: Spec => {"source": "ini-templates/cgap_any_alpha.ini", "destination": "production.ini"},
    }
}

record! {
    /// A template and where it goes.
    pub struct Spec as "a render step" {
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
}
