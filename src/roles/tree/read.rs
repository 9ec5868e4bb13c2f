//! From the parser's events to a tree: places, anchors and their aliases, merge keys, keys that stand twice, limits.
//!
//! An alias becomes a copy of what its anchor marks, and every part of the copy stands where the alias does. What is
//! merged with `<<` comes behind a mapping's own keys and never replaces one.

use std::collections::HashMap;

use cgap_yaml::{Event, Events, ScalarStyle, ScanError, Tag};

use super::scalar::{self, Kind};
use super::{Key, LONG, Node, Value};
use crate::diag::{Code, Diagnostic};
use crate::source::{Place, Source};

/// Deeper than any file that a person writes, and well inside the stack.
const MAX_DEPTH: usize = 32;

/// Nodes that aliases may add, and that anchors may mark. A file of roles has a handful of aliases; what is far
/// beyond that is a bomb, found early.
const MAX_COPIED: usize = 100_000;
const MAX_MARKED: usize = 1_000_000;

/// Bytes of the texts that aliases add.
const MAX_COPIED_BYTES: usize = super::MAX_BYTES;

/// Why reading ended early.
#[derive(Debug)]
pub enum Stop {
    /// It is not YAML.
    Syntax(ScanError),
    /// Too deep, or too large once its aliases are expanded.
    Limit(Place),
    /// An alias inside what it names.
    Recursive(Place),
    /// A second document begins.
    Documents(Place),
    /// A value does not fit its tag.
    Tag(Place),
    /// What `<<` names is no mapping.
    Merge(Place),
}

/// What an anchor marks.
enum Anchor {
    /// Its end is not read yet.
    Open,
    Marked(Node, Size),
}

/// What a copy of a node costs.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

struct Reading<'a> {
    source: &'a Source,
    events: Events<'a>,
    depth: usize,
    anchors: HashMap<usize, Anchor>,
    marked: usize,
    copied: Size,
    found: Vec<Diagnostic>,
    /// Entries and items of all that is open, so that each list is made once and in its size.
    entries: Vec<(Key, Node)>,
    items: Vec<Node>,
}

/// The one document of a text, with what is wrong in it.
pub fn document(source: &Source) -> Result<(Node, Vec<Diagnostic>), Stop> {
    let mut reading = Reading {
        source,
        events: Events::new(source.text()),
        depth: 0,
        anchors: HashMap::new(),
        marked: 0,
        copied: Size::default(),
        found: Vec::new(),
        entries: Vec::new(),
        items: Vec::new(),
    };
    let tree = match reading.next()? {
        Some(event) => reading.node(event)?,
        None => Node::new(Value::Null, reading.place()),
    };
    match reading.next()? {
        Some(_) => Err(Stop::Documents(reading.place())),
        None => Ok((tree, reading.found)),
    }
}

impl<'a> Reading<'a> {
    /// The next event of a document's content; none at the end.
    fn next(&mut self) -> Result<Option<Event<'a>>, Stop> {
        self.events.next().map_err(Stop::Syntax)
    }

    /// The place of the last event, without the line ends that a block has at its end.
    fn place(&self) -> Place {
        let mut range = self.events.at();
        let text = &self.source.text()[range.clone()];
        if !text.ends_with(|c: char| c.is_ascii_graphic()) {
            range.end = range.start + text.trim_end().len();
        }
        Place {
            source: self.source.clone(),
            range,
        }
    }

    /// The node that begins with an event, the last that was read.
    fn node(&mut self, event: Event<'a>) -> Result<Node, Stop> {
        let place = self.place();
        let (anchor, value) = match event {
            Event::Alias(anchor) => return self.alias(anchor, place),
            Event::Scalar(text, style, anchor, tag) => {
                let kind = Kind::of(tag.as_deref());
                let value = scalar::value(text, style, kind);
                (anchor, value.ok_or_else(|| Stop::Tag(place.clone()))?)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(anchor, tag.as_deref(), Kind::List, &place)?;
                (anchor, Value::List(self.list()?))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.open(anchor, tag.as_deref(), Kind::Map, &place)?;
                let told = self.found.len();
                let map = self.map()?;
                (anchor, self.braces(&place, told).unwrap_or(Value::Map(map)))
            }
            // The parser's events are balanced: no end comes where a node must begin.
            _ => (0, Value::Null),
        };
        let node = Node::new(value, place);
        if anchor != 0 {
            self.mark(anchor, &node)?;
        }
        Ok(node)
    }

    /// Goes a step deeper.
    fn open(
        &mut self,
        anchor: usize,
        tag: Option<&Tag>,
        is: Kind,
        place: &Place,
    ) -> Result<(), Stop> {
        let kind = Kind::of(tag);
        if kind != is && !matches!(kind, Kind::Any | Kind::Plain) {
            return Err(Stop::Tag(place.clone()));
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Stop::Limit(place.clone()));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Anchor::Open);
        }
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Node>, Stop> {
        let start = self.items.len();
        while let Some(event) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            let item = self.node(event)?;
            self.items.push(item);
        }
        self.depth -= 1;
        Ok(self.items.drain(start..).collect())
    }

    fn map(&mut self) -> Result<Vec<(Key, Node)>, Stop> {
        let start = self.entries.len();
        let mut merged = Vec::new();
        while let Some(event) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let merge = is_merge(&event);
            let key = self.node(event)?;
            let told = self.found.len();
            let Some(event) = self.next()? else { break };
            let value = self.node(event)?;
            if merge {
                merge_from(value, &mut merged)?;
                continue;
            }
            match name(key) {
                Ok(key) => self.entries.push((key, value)),
                Err(diagnostic) => {
                    // What is wrong below such a key is told when the key is mended.
                    self.found.truncate(told);
                    self.found.push(*diagnostic);
                }
            }
        }
        self.depth -= 1;
        let mut entries: Vec<(Key, Node)> = self.entries.drain(start..).collect();
        self.once(&mut entries);
        if !merged.is_empty() {
            entries.extend(merged);
            let firsts = firsts(&entries);
            keep(&mut entries, &firsts);
        }
        Ok(entries)
    }

    /// `{{ x }}`, as templates of others have it: a text, so that it is told once.
    fn braces(&mut self, start: &Place, told: usize) -> Option<Value> {
        let whole = self.source.place(start.range.start..self.events.at().end);
        let inner = whole.text().strip_prefix("{{")?.strip_suffix("}}")?.trim();
        let message = "`{{ }}` is for templates of others, and YAML reads it as two mappings";
        self.found.truncate(told);
        self.found.push(
            Diagnostic::new(Code::YamlSyntax, whole.clone(), message)
                .help(format!("write \"${{{inner}}}\", in quotes, for a setting")),
        );
        Some(Value::Text(whole.text().to_owned()))
    }

    /// Says which keys stand twice, and keeps the first of them.
    fn once(&mut self, entries: &mut Vec<(Key, Node)>) {
        let firsts = firsts(entries);
        if firsts.iter().enumerate().all(|(at, first)| at == *first) {
            return;
        }
        for (at, first) in firsts.iter().enumerate().filter(|(at, first)| at != *first) {
            let (key, first) = (&entries[at].0, &entries[*first].0);
            let message = format!("the key `{}` stands twice in this mapping", key.name);
            self.found.push(
                Diagnostic::new(Code::DuplicateKey, key.place.clone(), message)
                    .label("again here")
                    .related(first.place.clone(), "first defined here"),
            );
        }
        keep(entries, &firsts);
    }

    fn mark(&mut self, anchor: usize, node: &Node) -> Result<(), Stop> {
        let size = size(node);
        self.marked += size.nodes;
        if self.marked > MAX_MARKED {
            return Err(Stop::Limit(node.place.clone()));
        }
        self.anchors
            .insert(anchor, Anchor::Marked(node.clone(), size));
        Ok(())
    }

    fn alias(&mut self, anchor: usize, place: Place) -> Result<Node, Stop> {
        let Some(Anchor::Marked(node, size)) = self.anchors.get(&anchor) else {
            // The parser knows every anchor, so this one is open.
            return Err(Stop::Recursive(place));
        };
        self.copied.nodes += size.nodes;
        self.copied.bytes += size.bytes;
        if self.copied.nodes > MAX_COPIED
            || self.copied.bytes > MAX_COPIED_BYTES
            || self.depth + size.depth > MAX_DEPTH
        {
            return Err(Stop::Limit(place));
        }
        let mut node = node.clone();
        stand(&mut node, &place);
        Ok(node)
    }
}

/// `<<`, as YAML 1.1 has it and everybody uses it.
fn is_merge(event: &Event<'_>) -> bool {
    let Event::Scalar(text, style, _, tag) = event else {
        return false;
    };
    let tagged = |tag: &Tag| {
        tag.suffix_in_namespace("tag:yaml.org,2002:")
            .is_some_and(|name| name == "merge")
    };
    text == "<<" && tag.as_deref().map_or(*style == ScalarStyle::Plain, tagged)
}

/// The entries of what `<<` names: a mapping, or a list of them.
fn merge_from(node: Node, merged: &mut Vec<(Key, Node)>) -> Result<(), Stop> {
    match node.value {
        Value::Null => {}
        Value::Map(entries) => merged.extend(entries),
        Value::List(items) => {
            for item in items {
                merge_from(item, merged)?;
            }
        }
        Value::Text(_) | Value::Number(_) | Value::Bool(_) => return Err(Stop::Merge(node.place)),
    }
    Ok(())
}

fn name(node: Node) -> Result<Key, Box<Diagnostic>> {
    let name = match node.value {
        Value::Text(name) | Value::Number(name) => name,
        Value::Bool(value) => value.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) => {
            let message = format!("a key must be a text, this is {}", node.kind());
            return Err(Box::new(Diagnostic::new(
                Code::WrongType,
                node.place,
                message,
            )));
        }
    };
    Ok(Key {
        name,
        place: node.place,
    })
}

/// For each entry the first one of its name; nothing where each is the first.
fn firsts(entries: &[(Key, Node)]) -> Vec<usize> {
    let mut firsts = Vec::new();
    let name = |at: usize| entries[at].0.name.as_str();
    if entries.len() < LONG {
        let first = |at: usize| (0..at).find(|earlier| name(*earlier) == name(at));
        if (0..entries.len()).any(|at| first(at).is_some()) {
            firsts.extend((0..entries.len()).map(|at| first(at).unwrap_or(at)));
        }
        return firsts;
    }
    let mut known = HashMap::with_capacity(entries.len());
    firsts.extend((0..entries.len()).map(|at| *known.entry(name(at)).or_insert(at)));
    firsts
}

/// Keeps the entries that are the first of their names.
fn keep(entries: &mut Vec<(Key, Node)>, firsts: &[usize]) {
    let mut places = firsts.iter().enumerate();
    entries.retain(|_| places.next().is_none_or(|(at, first)| at == *first));
}

fn size(node: &Node) -> Size {
    let mut size = Size {
        nodes: 1,
        ..Size::default()
    };
    let mut add = |child: &Node, key: usize| {
        let child = self::size(child);
        size.nodes += child.nodes + usize::from(key > 0);
        size.bytes += child.bytes + key;
        size.depth = size.depth.max(child.depth);
    };
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| add(item, 0)),
        Value::Map(entries) => {
            for (key, node) in entries {
                add(node, key.name.len().max(1));
            }
        }
        Value::Text(text) | Value::Number(text) => size.bytes += text.len(),
        Value::Null | Value::Bool(_) => {}
    }
    size.depth += usize::from(matches!(node.value, Value::List(_) | Value::Map(_)));
    size
}

/// Moves a whole copy to a place.
fn stand(node: &mut Node, place: &Place) {
    node.place = place.clone();
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| stand(item, place)),
        Value::Map(entries) => {
            for (key, node) in entries {
                key.place = place.clone();
                stand(node, place);
            }
        }
        Value::Null | Value::Text(_) | Value::Number(_) | Value::Bool(_) => {}
    }
}
