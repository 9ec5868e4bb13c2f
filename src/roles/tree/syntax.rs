//! Why a text is not YAML, in our words: the parser speaks of its own grammar, which says nothing to an author.
//!
//! Most of these mistakes are one of few traps, which are looked for in the text around the place.

use std::ops::Range;

use cgap_yaml::ScanError;

use super::read::Stop;
use crate::diag::{Code, Diagnostic};
use crate::source::{Place, Source};
use crate::template;

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
            trap(source, &place).unwrap_or_else(|| grammar(source, place, &sentence))
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

/// Mistakes that are known by the text around the place.
fn trap(source: &Source, place: &Place) -> Option<Diagnostic> {
    let text = source.text();
    let at = place.range.start;
    let syntax = |place: Place, message: &str, help: String| {
        Some(Diagnostic::new(Code::YamlSyntax, place, message).help(help))
    };
    let line = source.line(place.start().0);
    // `{ value: ${X} }`: the parser stops at the brace behind the dollar, or later in what it takes for a mapping.
    let dollar = cut(text, line.start..(at + 1).min(line.end).max(line.start))
        .rfind("${")
        .map(|found| line.start + found)
        .filter(|dollar| is_bare(&text[line.start..*dollar]) && bracket(text, *dollar).is_some());
    if let Some(dollar) = dollar {
        let rest = &text[dollar..line.end];
        let end = template::expression_end(rest).unwrap_or(2);
        let value = word_before(&text[line.start..dollar]);
        let after = rest[end..].find([' ', ',', '}', ']']);
        let end = after.map_or(rest.len(), |after| end + after);
        let whole = source.place(dollar - value.len()..dollar + end);
        let quote = if whole.text().contains('"') {
            '\''
        } else {
            '"'
        };
        let help = format!("put the value in quotes: {quote}{}{quote}", whole.text());
        return syntax(
            whole,
            "inside `{ }` and `[ ]` YAML reads the braces of `${ }` as its own",
            help,
        );
    }
    // A character that YAML does not have; the parser names the start of its scalar.
    let strange = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{85}');
    let token = cut(text, at..line.end.max(at));
    if let Some((found, c)) = token.char_indices().find(|(_, c)| strange(*c)) {
        let place = source.place(at + found..at + found + c.len_utf8());
        let message = format!(
            "a control character (U+{:04X}) cannot stand in YAML",
            u32::from(c)
        );
        let help = "remove it; inside double quotes it can be written as `\\x07` or `\\u0007`";
        let help = help.replace("07", &format!("{:02x}", u32::from(c)));
        return syntax(place, &message, help);
    }
    None
}

/// A part of a text; a character that the range would cut is taken whole.
fn cut(text: &str, range: Range<usize>) -> &str {
    let end = text.ceil_char_boundary(range.end);
    &text[text.floor_char_boundary(range.start.min(end))..end]
}

/// Whether the quotes before a place in its line are all closed.
fn is_bare(before: &str) -> bool {
    ['"', '\'']
        .iter()
        .all(|quote| before.matches(*quote).count().is_multiple_of(2))
}

/// The plain text directly before a place.
fn word_before(before: &str) -> &str {
    let start = before.rfind([' ', '[', '{', ',', ':']);
    &before[start.map_or(0, |at| at + 1)..]
}

/// The innermost bracket that is open at `to`; quotes and comments are stepped over.
fn bracket(text: &str, to: usize) -> Option<usize> {
    let mut open = Vec::new();
    let mut quote = None;
    let mut before = '\n';
    let mut comment = false;
    let text = cut(text, 0..to);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (_, '\n') if comment => comment = false,
            _ if comment => {}
            (Some('"'), _) if before == '\\' => {
                before = ' ';
                continue;
            }
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            // A quote opens a text only where a value can begin: `it's` has none.
            (None, '\'' | '"')
                if matches!(before, ' ' | '\n' | '[' | '{' | ',' | ':') || before == c =>
            {
                quote = Some(c);
            }
            (None, '#') if matches!(before, ' ' | '\n' | '\t') => comment = true,
            (None, '[' | '{') if !open.is_empty() || matches!(before, ' ' | '\n') => {
                open.push(at);
            }
            (None, ']' | '}') => {
                open.pop();
            }
            (None, _) => {}
        }
        before = c;
    }
    open.pop()
}

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
        "this line does not fit the indentation above it",
        "the entries of one list or mapping begin in the same column, and each key ends in `:`",
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
        let line = source.line(place.start().0);
        let help = quoted(&source.text()[line]);
        return make("a text goes on after its closing quote", &help);
    }
    let known = PLAIN
        .iter()
        .find(|(parts, _, _)| parts.iter().any(|part| has(part)));
    if let Some((_, message, help)) = known {
        return make(message, help);
    }
    Diagnostic::new(Code::YamlSyntax, place.clone(), sentence)
}
