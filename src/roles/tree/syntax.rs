//! Why a text is not YAML, in our words: the parser speaks of its own grammar, which says nothing to an author.
//!
//! Most of these mistakes are one of few traps, which are looked for in the text around the place.

use cgap_yaml::ScanError;

use super::read::Stop;
use super::traps::{self, bracket, cut};
use crate::diag::{Code, Diagnostic};
use crate::source::{Place, Source};

/// The one diagnostic of a text that is not YAML.
pub fn explain(source: &Source, stop: &Stop) -> Diagnostic {
    let place = match stop {
        Stop::Syntax(error) => {
            let at = offset_of(source, error);
            source.place(at..at + 1)
        }
        Stop::Limit(place)
        | Stop::Recursive(place)
        | Stop::Documents(place)
        | Stop::Tag(place)
        | Stop::Merge(place) => place.part(0..1),
    };
    if let Some(tab) = tab(source, &place) {
        return tab;
    }
    let limit = |message: &str| Diagnostic::new(Code::YamlLimit, place.clone(), message);
    let syntax = |message: &str, help: &str| {
        Diagnostic::new(Code::YamlSyntax, place.clone(), message).help(help)
    };
    match stop {
        Stop::Limit(_) => limit(TOO_LARGE),
        Stop::Recursive(_) => limit("an alias stands inside the value that it names"),
        Stop::Documents(_) => documents(source, place),
        Stop::Tag(_) => syntax(
            "a value that does not fit its tag",
            "remove the tag (`!!…`)",
        ),
        Stop::Merge(_) => syntax(
            "`<<` takes in the keys of a mapping, and this is none",
            "name a mapping (`<<: *name`) or a list of them",
        ),
        Stop::Syntax(error) => {
            let sentence = error.info();
            if sentence.contains("recursion limit") {
                return limit(TOO_LARGE);
            }
            traps::find(source, &place, &sentence)
                .unwrap_or_else(|| grammar(source, place, &sentence))
        }
    }
}

const TOO_LARGE: &str = "the file is too deep or too large once its aliases are expanded";

/// The byte offset of an error; the parser counts lines from 1 and columns from 0.
fn offset_of(source: &Source, error: &ScanError) -> usize {
    let mark = error.marker();
    let line = source.line(mark.line());
    let text = &source.text()[line.start..];
    let column = text.char_indices().nth(mark.col());
    line.start + column.map_or(text.len(), |(at, _)| at)
}

/// A tab where YAML wants blanks.
fn tab(source: &Source, place: &Place) -> Option<Diagnostic> {
    let tab_in = |line: std::ops::Range<usize>| {
        let text = &source.text()[line.clone()];
        let blanks = text.len() - text.trim_start_matches([' ', '\t', '-']).len();
        text[..blanks].find('\t').map(|tab| line.start + tab)
    };
    let number = place.start().0;
    let tab = tab_in(source.line(number)).or_else(|| tab_in(source.line(number + 1)))?;
    let message = "YAML does not allow a tab in indentation";
    Some(
        Diagnostic::new(Code::YamlTab, source.place(tab..tab + 1), message)
            .label("a tab")
            .help("indent with blanks; most editors can convert tabs to blanks"),
    )
}

fn documents(source: &Source, place: Place) -> Diagnostic {
    let before = cut(source.text(), 0..place.range.start);
    let mark = before.rfind("\n---").map(|at| source.place(at + 1..at + 4));
    Diagnostic::new(
        Code::YamlSyntax,
        mark.unwrap_or(place),
        "the file has more than one YAML document",
    )
    .help("keep one document; remove the `---` between them")
}

const UNFIT: &str = "this line does not fit the indentation above it";

/// What the parser says, what we say, and the cure.
const PLAIN: &[(&[&str], &str, &str)] = &[
    (
        &["mapping values are not allowed", "illegal placement of ':'"],
        "a `:` that would make a key, where no key can be",
        "put the value in quotes if the colon belongs to it; if not, look at the indentation",
    ),
    (
        &["misplaced bracket"],
        "this bracket closes nothing",
        "remove it, or open it before",
    ),
    (
        &["block sequence entries"],
        "a list with `- ` cannot begin on the line of its key",
        "begin it on the next line, or write it as [a, b]",
    ),
    (
        &["unknown anchor"],
        "an alias of an anchor that is not there",
        "an alias `*name` stands for what was marked with `&name` above; put it in quotes if it is a text",
    ),
    (
        &[
            "did not find expected key",
            "expected '-' indicator",
            "simple key",
            "indent",
        ],
        UNFIT,
        "the entries of one list or mapping begin in the same column, and each key ends in `:`",
    ),
    (
        &["directive", "YAML major version"],
        "this `%` line cannot stand here",
        "remove it; if it is meant, nothing stands above it and `---` below",
    ),
    (
        &["document start"],
        "the document is at its end here, and something follows",
        "roles.yaml is one mapping, `key: value`; a `%` line at its start needs a line with `---` below it",
    ),
    (
        &["handle wasn't declared"],
        "a tag that nobody declared",
        "remove the tag (`!…`), or put the value in quotes",
    ),
    (
        &["BOM"],
        "a byte order mark (U+FEFF) stands inside the file",
        "remove it; editors do not show it",
    ),
    (
        &["escape"],
        "an escape that double quotes do not have",
        "write `\\\\` for a backslash, or use single quotes",
    ),
    (
        &["expected ',' or"],
        "a `,` or the closing bracket is missing here",
        "two entries have a comma between them",
    ),
    (
        &[
            "cannot start any token",
            "reserved",
            "unexpected character",
            "any token",
            "scanning an anchor or alias",
        ],
        "a value cannot begin with this character",
        "put the value in quotes",
    ),
];

/// A bracket that is open at a place far behind it.
fn unclosed(source: &Source, place: &Place, sentence: &str) -> Option<Diagnostic> {
    let (text, at) = (source.text(), place.range.start);
    let told = sentence.contains("unclosed bracket");
    let open = if told && cut(text, at..text.len()).starts_with(['[', '{']) {
        at
    } else {
        bracket(text, at)?
    };
    let (line, _) = source.line_column(open);
    let ended = ["EOF", "eof"].iter().any(|end| sentence.contains(end));
    (told || ended || line < place.start().0).then(|| {
        let place = source.place(open..open + 1);
        let close = if place.text() == "[" { ']' } else { '}' };
        let message = format!("this `{}` is not closed", place.text());
        let help = format!("close it with `{close}`; a comma stands between two entries");
        Diagnostic::new(Code::YamlSyntax, place, message).help(help)
    })
}

/// How the value of a line is quoted that has a quote of its own.
fn quoted(line: &str) -> String {
    let value = line.split_once(": ").map_or(line, |(_, value)| value);
    let value = value.trim().trim_start_matches("- ");
    let within = |quote: char| {
        let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.is_empty()).then_some(inner)
    };
    if let Some(inner) = within('\'') {
        let inner = inner.replace('\'', "''");
        return format!("in single quotes a quote is written twice: '{inner}'");
    }
    if within('"').is_some() {
        return "in double quotes a quote is written `\\\"`".to_owned();
    }
    if value.contains('\'') && value.contains('"') {
        return "write it with `>-` and the text on the next line".to_owned();
    }
    let quote = if value.contains('"') { "'" } else { "\"" };
    format!("put the whole value in quotes: {quote}{value}{quote}")
}

/// What is left: the parser's sentence, in other words where we have them.
fn grammar(source: &Source, place: Place, sentence: &str) -> Diagnostic {
    let make = |message: &str, help: &str| {
        Diagnostic::new(Code::YamlSyntax, place.clone(), message).help(help)
    };
    let has = |part: &str| sentence.contains(part);
    if has("unclosed quote") || has("unexpected document indicator") {
        return make(
            "this quote is not closed",
            "close it; in single quotes a quote is written twice: 'it''s'",
        );
    }
    if let Some(diagnostic) = unclosed(source, &place, sentence) {
        return diagnostic;
    }
    if has("trailing content after") {
        if let Some(open) = traps::late_quote(source, &place) {
            return open;
        }
        let line = source.line(place.start().0);
        let help = quoted(&source.text()[line]);
        return make("a text goes on after its closing quote", &help);
    }
    let known = PLAIN
        .iter()
        .find(|(parts, _, _)| parts.iter().any(|part| has(part)));
    if let Some((_, message, help)) = known {
        let mut diagnostic = make(message, help);
        if *message == UNFIT {
            diagnostic.place = Some(traps::line_start(source, &place));
        }
        return diagnostic;
    }
    Diagnostic::new(Code::YamlSyntax, place.clone(), sentence)
}
