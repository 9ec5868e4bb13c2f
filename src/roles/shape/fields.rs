//! A mapping's entries, taken out one by one; what nobody takes is unknown, what is not there may be missing.

use serde_json::Value as Json;

use super::super::tree::{Key, Node, Value};
use super::{Reader, Record, Shape};
use crate::diag::{Code, Diagnostic};
use crate::source::Place;

/// The entries of one mapping, taken out one by one.
pub struct Fields<'a> {
    entries: &'a [(Key, Node)],
    taken: Vec<&'static str>,
    missing: Vec<&'static str>,
    place: Place,
}

impl<'a> Fields<'a> {
    /// The entries of `node`; none, and a diagnostic, when it is not a mapping. Nothing counts as an empty one.
    pub fn of(node: &'a Node, what: &str, reader: &mut Reader<'_>) -> Option<Self> {
        let entries = match &node.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Null => &[],
            _ => {
                reader.wrong_type(node, &format!("{what} (a mapping)"));
                return None;
            }
        };
        Some(Self {
            entries,
            taken: Vec::with_capacity(24),
            missing: Vec::new(),
            place: reader.place().unwrap_or_else(|| node.place.clone()),
        })
    }

    /// Whether the mapping has the key.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(k, _)| k.name == key)
    }

    /// Takes a key out, if it is there.
    fn entry(&mut self, key: &'static str) -> Option<&'a (Key, Node)> {
        self.taken.push(key);
        self.entries.iter().find(|(k, _)| k.name == key)
    }

    /// Reads a key, which must be there unless its type may be absent.
    pub fn read<T: Shape>(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<T> {
        let given = match self.entry(key) {
            Some((name, node)) => reader.under(key, &name.place, |reader| T::read(node, reader)),
            None if T::absent().is_none() => {
                self.missing.push(key);
                None
            }
            None => None,
        };
        given
            .or_else(T::absent)
            .or_else(|| T::stand_in(&self.place))
    }

    /// Reads a key; where it is not there, or wrong, the default counts.
    pub fn read_or<T: Shape>(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
        default: impl FnOnce() -> Option<T>,
    ) -> Option<T> {
        self.entry(key)
            .and_then(|(name, node)| reader.under(key, &name.place, |reader| T::read(node, reader)))
            .or_else(default)
    }

    /// Where a key stands right that is unknown here, or which keys there are.
    fn place_of_unknown(&self, at: usize, what: &str, reader: &Reader<'_>) -> String {
        let name = &self.entries[at].0.name;
        if let Some(c) = name.chars().find(|c| c.is_whitespace() && !c.is_ascii()) {
            let code = u32::from(c);
            return format!(
                "U+{code:04X} in it looks like a blank and is none: type a blank instead"
            );
        }
        if let Some(place) = belongs(name, what) {
            return format!("it belongs to {place}");
        }
        let known = |(key, _): &&(Key, Node)| self.taken.contains(&key.name.as_str());
        let above = self.entries[..at].iter().rev().find(known);
        if let Some((above, _)) = above.filter(|(_, node)| matches!(node.value, Value::Null)) {
            return format!(
                "indent it if it belongs to `{}`, which is empty",
                above.name
            );
        }
        if self.taken.contains(&reader.key()) {
            let key = reader.key();
            return format!(
                "`{key}` is read as the name of {what} here: does it stand too far left?"
            );
        }
        format!("{what} has: {}", self.taken.join(", "))
    }

    /// Says which keys nobody took, with the nearest one that there is, and which are missing. A key that was
    /// meant for a missing one is one mistake, not two.
    pub fn finish(mut self, what: &str, reader: &mut Reader<'_>) {
        for (at, (key, _)) in self.entries.iter().enumerate() {
            if self.taken.contains(&key.name.as_str()) {
                continue;
            }
            let diagnostic = Diagnostic::new(
                Code::UnknownKey,
                key.place.clone(),
                format!("unknown key `{}` in {what}", key.name),
            );
            let free = self.taken.iter().copied().filter(|name| !self.has(name));
            let meant = reader.meant(key, &free.collect::<Vec<_>>());
            self.missing.retain(|missing| Some(*missing) != meant);
            reader.diagnostics.push(match meant {
                Some(name) => diagnostic.label(format!("did you mean `{name}`?")),
                None => diagnostic.help(self.place_of_unknown(at, what, reader)),
            });
            // Where its part of the file stands too far left or right, the key around it is not missing as well.
            if meant.is_none() && belongs(&key.name, what).is_some() {
                self.missing.clear();
            }
        }
        let keys: Vec<_> = self.missing.iter().map(|key| format!("`{key}`")).collect();
        if !keys.is_empty() {
            let message = match keys.as_slice() {
                [key] => format!("the key {key} is missing in {what}"),
                _ => format!("the keys {} are missing in {what}", keys.join(", ")),
            };
            let place = self.place;
            reader
                .diagnostics
                .push(Diagnostic::new(Code::MissingKey, place, message));
        }
    }
}

/// The free key that is called so elsewhere, or that goes on where the found one ends.
pub fn elsewhere(found: &str, free: &[&'static str]) -> Option<&'static str> {
    let same = ELSEWHERE
        .iter()
        .filter(|(other, _)| other.eq_ignore_ascii_case(found));
    let mut ours = same.filter_map(|(_, ours)| free.iter().copied().find(|key| key == ours));
    let begun = || {
        let mut longer = free.iter().copied().filter(|key| key.starts_with(found));
        let only = longer.next().filter(|_| found.len() >= 3);
        only.filter(|_| longer.next().is_none())
    };
    ours.next().or_else(begun)
}

/// What Compose, Kubernetes, GitHub Actions, systemd and supervisord call what we call otherwise.
const ELSEWHERE: &[(&str, &str)] = &[
    ("after", "depends_on"),
    ("args", "command"),
    ("autorestart", "restart"),
    ("chmod", "mode"),
    ("cmd", "command"),
    ("command", "steps"),
    ("count", "replicas"),
    ("cron", "every"),
    ("cwd", "working_dir"),
    ("deadletter", "dead_letter"),
    ("delay", "interval"),
    ("dest", "destination"),
    ("directory", "working_dir"),
    ("dlq", "dead_letter"),
    ("dst", "destination"),
    ("endpoint_url", "endpoint"),
    ("entrypoint", "command"),
    ("env", "environment"),
    ("exec", "command"),
    ("execstart", "command"),
    ("exitcodes", "success_exit_codes"),
    ("from", "source"),
    ("grace_period", "stop_timeout"),
    ("group_id", "group"),
    ("healthcheck", "liveness"),
    ("ignore_errors", "continue_on_error"),
    ("instances", "replicas"),
    ("livenessProbe", "liveness"),
    ("needs", "depends_on"),
    ("numprocs", "replicas"),
    ("output", "destination"),
    ("path", "destination"),
    ("perm", "mode"),
    ("permissions", "mode"),
    ("ports", "port"),
    ("readinessProbe", "readiness"),
    ("requires", "depends_on"),
    ("run", "command"),
    ("scale", "replicas"),
    ("schedule", "every"),
    ("secret_name", "secret"),
    ("shell", "steps"),
    ("signal", "stop_signal"),
    ("size", "bytes"),
    ("sleep", "interval"),
    ("src", "source"),
    ("stop_grace_period", "stop_timeout"),
    ("stopsignal", "stop_signal"),
    ("stopwaitsecs", "stop_timeout"),
    ("target", "destination"),
    ("template", "source"),
    ("to", "destination"),
    ("uri", "url"),
    ("vars", "environment"),
    ("visibility", "visibility_timeout"),
    ("wait", "wait_time"),
    ("when", "if"),
    ("workdir", "working_dir"),
    ("workers", "concurrency"),
    ("working_directory", "working_dir"),
];

/// Reads a whole record from a mapping.
pub fn read_record<R: Record>(node: &Node, reader: &mut Reader<'_>) -> Option<R> {
    if !matches!(node.value, Value::Map(_) | Value::Null) {
        let help = match short::<R>(node) {
            Some(short) => format!("write {short}"),
            None => format!("{} has: {}", R::WHAT, R::KEYS.join(", ")),
        };
        reader.wrong_type_help(node, &format!("{} (a mapping)", R::WHAT), Some(help));
        return None;
    }
    let mut fields = Fields::of(node, R::WHAT, reader)?;
    let record = R::take(&mut fields, reader);
    fields.finish(R::WHAT, reader);
    record
}

/// What a key belongs to that stands a level too far out.
fn belongs(key: &str, what: &str) -> Option<&'static str> {
    let place = match (what, key) {
        ("roles.yaml", "services" | "loops" | "queues") => {
            "a role: below `roles:` and the role's name"
        }
        ("roles.yaml", "sources" | "keys" | "assert") => "`settings:`",
        ("a role", "command" | "replicas" | "port" | "restart" | "readiness" | "liveness") => {
            "a service: below `services:` and the service's name"
        }
        ("a role", "steps" | "interval" | "every") => "a loop: below `loops:` and the loop's name",
        ("a role", "queue" | "handler" | "dead_letter") => {
            "a queue: below `queues:` and the queue's name"
        }
        _ => return None,
    };
    Some(place)
}

/// The mapping that a lone value stands for.
fn short<R: Record>(node: &Node) -> Option<String> {
    let value = node.scalar()?;
    let url = value.starts_with("http://") || value.starts_with("https://");
    let of_url = ["http", "url"].into_iter().filter(|_| url);
    let key = of_url.chain(R::SHORT).find(|key| R::KEYS.contains(key))?;
    let written = node.place.text();
    // `KEY: required` is short for more than a text.
    if R::KEYS.contains(&value) {
        return Some(format!("`{{ {value}: true }}`"));
    }
    let plain = !written.contains(['\n', '{', '}', '[', ']', ',']) && written.len() <= 60;
    plain.then(|| match written.contains(' ') {
        true => format!("`{key}: {written}` below it"),
        false => format!("`{{ {key}: {written} }}`"),
    })
}

/// A record as it would be if nothing stood in it.
pub fn empty_record<R: Record>(place: &Place) -> Option<R> {
    default_of(&Json::Object(serde_json::Map::new()), place, R::take)
}

/// The value that a default of the language is.
pub fn default_value<T: Shape>(json: &Json) -> Option<T> {
    let source = crate::source::Source::new("the default", "");
    let mut unheard = crate::diag::Diagnostics::new();
    let node = Node::from_json(json, &source.place(0..0));
    T::read(&node, &mut Reader::new(&mut unheard))
}

fn default_of<R>(
    json: &Json,
    place: &Place,
    take: fn(&mut Fields<'_>, &mut Reader<'_>) -> Option<R>,
) -> Option<R> {
    let mut unheard = crate::diag::Diagnostics::new();
    let mut reader = Reader::new(&mut unheard);
    let node = Node::from_json(json, place);
    take(&mut Fields::of(&node, "", &mut reader)?, &mut reader)
}
