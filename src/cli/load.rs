//! Reading roles.yaml and its templates from disk, and checking them.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::roles::tree::MAX_BYTES;
use crate::roles::{self, Roles, Templates, check};
use crate::source::Source;

/// What was read, as far as it could be, and everything that is wrong with it.
pub struct Loaded {
    /// The roles; none where roles.yaml is not there or is not YAML.
    pub roles: Option<Roles>,
    /// The templates that its steps render.
    pub templates: Templates,
    /// What is wrong.
    pub diagnostics: Diagnostics,
}

/// Reads and checks everything.
pub fn load(config: &Path) -> Loaded {
    let mut diagnostics = Diagnostics::new();
    let mut templates = Templates::new();
    let roles = match read(config) {
        Ok(source) => roles::read(&source, &mut diagnostics),
        Err(diagnostic) => {
            diagnostics.push(*diagnostic);
            None
        }
    };
    if let Some(roles) = &roles {
        templates = read_templates(roles);
        check::check(roles, &templates, &mut diagnostics);
    }
    Loaded {
        roles,
        templates,
        diagnostics,
    }
}

fn read_templates(roles: &Roles) -> Templates {
    roles
        .templates()
        .into_iter()
        .filter_map(|(_, template)| template.source.literal())
        .map(|path| {
            let read = read(Path::new(path)).map_err(|diagnostic| {
                let message = diagnostic.message;
                let why = message.strip_prefix(path).unwrap_or(&message);
                why.trim_start_matches(':').trim_start().to_owned()
            });
            (path.to_owned(), read)
        })
        .collect()
}

/// Reads one text file that a person wrote.
pub fn read(path: &Path) -> Result<Source, Box<Diagnostic>> {
    let name = path.display().to_string();
    let failed = |code, message: String, help: Option<&str>| {
        let mut diagnostic = Diagnostic::new(code, None, message);
        diagnostic.help = help.map(str::to_owned);
        Box::new(diagnostic)
    };
    let unreadable = |error: std::io::Error| {
        let (why, help) = match error.kind() {
            ErrorKind::NotFound => ("there is no such file", None),
            ErrorKind::PermissionDenied => ("permission was refused", None),
            ErrorKind::IsADirectory => ("it is a folder", None),
            _ => ("it cannot be read", Some(error.to_string())),
        };
        let why = help.as_deref().unwrap_or(why);
        failed(Code::FileUnreadable, format!("{name}: {why}"), None)
    };
    // One byte more than allowed is enough to know; a device that never ends cannot fill the memory.
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        let message = format!("{name} is over 4 MiB ({MAX_BYTES} bytes)");
        return Err(failed(Code::FileTooLarge, message, None));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Source::new(name, text)),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..at]
                .iter()
                .filter(|b| **b == b'\n')
                .count()
                + 1;
            let message =
                format!("{name} is not UTF-8: line {line} has a byte that no character has");
            Err(failed(
                Code::FileNotUtf8,
                message,
                Some("save the file as UTF-8"),
            ))
        }
    }
}
