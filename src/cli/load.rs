//! Reading roles.yaml and its templates from disk, and checking them.

use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::diag::{Code, Diagnostic, Diagnostics};
use crate::roles::check::Depth;
use crate::roles::scalar::Text;
use crate::roles::tree::MAX_BYTES;
use crate::roles::{self, Roles, Templates, check, gac};
use crate::secret::Secret;
use crate::settings::document::{self, Format};
use crate::settings::layers::{Layer, Origin};
use crate::settings::spec::SourceSpec;
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

/// Reads and checks everything, as far as `depth` goes.
pub fn load(config: &Path, depth: Depth) -> Loaded {
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
        check::check(roles, &templates, depth, &mut diagnostics);
        if depth == Depth::Whole {
            check::listed::check(roles, &read_listings(roles), &mut diagnostics);
        }
    }
    let mut loaded = Loaded {
        roles,
        templates,
        diagnostics,
    };
    allow(&mut loaded, depth == Depth::Whole);
    loaded
}

/// Takes out what comments allow.
fn allow(loaded: &mut Loaded, judge: bool) {
    if let Some(roles) = &loaded.roles {
        let templates = loaded.templates.values().flatten();
        let source = &roles.tree.place.source;
        roles::allow::apply(source, templates, judge, &mut loaded.diagnostics);
    }
}

/// Adds every program that is not found here.
pub fn check_commands(loaded: &mut Loaded) {
    let Some(roles) = &loaded.roles else { return };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let executable = |path: &Path| {
        fs::metadata(path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let mut names: Vec<String> = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names.dedup();
    let found = |name: &str, folder: Option<&str>| {
        if name.contains('/') {
            return executable(&Path::new(folder.unwrap_or(".")).join(name));
        }
        folders.iter().any(|folder| executable(&folder.join(name)))
    };
    check::commands::check(roles, &names, found, &mut loaded.diagnostics);
    allow(loaded, false);
}

/// Adds everything that is wrong with a GAC; `-` is standard input.
pub fn check_gac(loaded: &mut Loaded, file: &str, set: &[(String, String)]) {
    let (name, path) = match file {
        "-" => ("stdin", "/dev/stdin"),
        path => (path, path),
    };
    let text = match read(Path::new(path)) {
        Ok(source) => Secret::new(source.text()),
        Err(mut diagnostic) => {
            diagnostic.message = diagnostic.message.replacen(path, name, 1);
            // Its place would show a line of it, and a line of a GAC may hold anything.
            diagnostic.place = Some(Source::new(name, "").place(0..0));
            loaded.diagnostics.push(*diagnostic);
            return;
        }
    };
    let Some(roles) = &loaded.roles else { return };
    let (below, mut above) = layers(roles);
    let mut given = Layer::new(Origin::Set);
    for (key, value) in set {
        given
            .values
            .insert(key.clone(), Some(Secret::new(value.as_str())));
    }
    above.push(given);
    let check = gac::Check {
        roles,
        templates: &loaded.templates,
        below,
        above,
    };
    gac::check(name, &text, check, &mut loaded.diagnostics);
    allow(loaded, false);
}

/// What the other sources give here: files that are there, and variables that are set.
fn layers(roles: &Roles) -> (Vec<Layer>, Vec<Layer>) {
    let settings = &roles.file.settings;
    let mut below = Vec::new();
    let mut above = Vec::new();
    let mut behind = false;
    for source in &settings.sources {
        let layer = match source {
            SourceSpec::Environment => {
                let mut layer = Layer::new(Origin::Environment);
                for name in settings.keys.keys() {
                    if let Ok(value) = std::env::var(name) {
                        layer.values.insert(name.clone(), Some(Secret::new(value)));
                    }
                }
                layer
            }
            SourceSpec::File(file) => {
                let path = file.file.literal().unwrap_or_default();
                let (Some(format), Ok(text)) = (Format::of(path), read(Path::new(path))) else {
                    continue;
                };
                let origin = Origin::File(path.to_owned());
                match document::layer(origin, text.text(), format, &file.map) {
                    Ok(layer) => layer,
                    Err(_) => continue,
                }
            }
            SourceSpec::Secret(_) => {
                behind = true;
                continue;
            }
            SourceSpec::Command(_) => continue,
        };
        if behind { &mut above } else { &mut below }.push(layer);
    }
    (below, above)
}

fn read_templates(roles: &Roles) -> Templates {
    roles
        .templates()
        .into_iter()
        .filter(|(_, template)| !template.source.is_stand_in())
        .filter_map(|(_, template)| template.source.literal())
        .map(read_one)
        .collect()
}

/// The files that are to list the ports of services.
fn read_listings(roles: &Roles) -> Templates {
    let roles = roles.file.roles.values();
    let services = roles.flat_map(|role| role.services.values());
    let files = services.flat_map(|service| &service.listed_in);
    files.filter_map(Text::literal).map(read_one).collect()
}

/// A file's path and text, or why it cannot be read.
fn read_one(path: &str) -> (String, Result<Source, String>) {
    let read = read(Path::new(path)).map_err(|diagnostic| {
        let message = diagnostic.message;
        let why = message.strip_prefix(path).unwrap_or(&message);
        why.trim_start_matches(':').trim_start().to_owned()
    });
    (path.to_owned(), read)
}

/// Reads one text file that a person wrote.
pub fn read(path: &Path) -> Result<Source, Box<Diagnostic>> {
    let name = path.display().to_string();
    // Collectors of findings want a place for each: the file's start.
    let failed = |code, message: String| {
        let start = Source::new(name.as_str(), "").place(0..0);
        Box::new(Diagnostic::new(code, start, message))
    };
    let unreadable = |error: std::io::Error| {
        let (why, help) = match error.kind() {
            ErrorKind::NotFound => ("there is no such file", None),
            ErrorKind::PermissionDenied => ("permission was refused", None),
            ErrorKind::IsADirectory => ("it is a folder", None),
            _ => ("it cannot be read", Some(error.to_string())),
        };
        let why = help.as_deref().unwrap_or(why);
        failed(Code::FileUnreadable, format!("{name}: {why}"))
    };
    // One byte more than allowed is enough to know; a device that never ends cannot fill the memory.
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        let message = format!("{name} is over 4 MiB ({MAX_BYTES} bytes)");
        return Err(failed(Code::FileTooLarge, message));
    }
    match String::from_utf8(bytes) {
        // A byte order mark is no part of the text: columns count without it.
        Ok(text) => match text.strip_prefix('\u{feff}') {
            Some(rest) => Ok(Source::new(name, rest)),
            None => Ok(Source::new(name, text)),
        },
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let wide = [&[0xff, 0xfe], &[0xfe, 0xff]]
                .iter()
                .any(|mark| error.as_bytes().starts_with(*mark));
            let help = match wide {
                true => "save the file as UTF-8; this is UTF-16",
                false => "save the file as UTF-8",
            };
            let source = Source::new(name.as_str(), String::from_utf8_lossy(error.as_bytes()));
            let line = source.line_column(at).0;
            let message =
                format!("{name} is not UTF-8: line {line} has a byte that no character has");
            let diagnostic = Diagnostic::new(Code::FileNotUtf8, source.place(at..at + 1), message);
            Err(Box::new(diagnostic.help(help)))
        }
    }
}
