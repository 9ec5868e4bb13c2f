//! Mistakes in YAML that are known by the text around the place where the parser gave up.

use std::ops::Range;

use crate::diag::{Code, Diagnostic};
use crate::source::{Place, Source};
use crate::template;

/// The trap that somebody fell into, if it is one of those we know; `sentence` is the parser's.
pub fn find(source: &Source, place: &Place, sentence: &str) -> Option<Diagnostic> {
    let has = |parts: &[&str]| parts.iter().any(|part| sentence.contains(part));
    let colon = has(&["mapping values are not allowed", "illegal placement of ':'"]);
    let entry = has(&[
        "expected key",
        "expected '-' indicator",
        "simple key",
        "indent",
    ]);
    conflict(source, place)
        .or_else(|| dollar(source, place))
        .or_else(|| control(source, place))
        .or_else(|| strange_blank(source, place))
        .or_else(|| block(source, place))
        .or_else(|| dash(source, place).filter(|_| colon || entry))
        .or_else(|| self::colon(source, place).filter(|_| colon))
}

fn syntax(place: Place, message: &str, help: String) -> Option<Diagnostic> {
    Some(Diagnostic::new(Code::YamlSyntax, place, message).help(help))
}

/// `{ value: ${X} }`: the parser stops at the brace behind the dollar, or later in what it takes for a mapping.
fn dollar(source: &Source, place: &Place) -> Option<Diagnostic> {
    let text = source.text();
    let at = place.range.start;
    let line = source.line(place.start().0);
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
    None
}

/// A character that YAML does not have; the parser names the start of its scalar.
fn control(source: &Source, place: &Place) -> Option<Diagnostic> {
    let text = source.text();
    let at = place.range.start;
    let line = source.line(place.start().0);
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

/// Lines around a place, itself first.
fn around(source: &Source, place: &Place) -> [Range<usize>; 3] {
    let number = place.start().0;
    [number, number.saturating_sub(1), number + 1].map(|number| source.line(number))
}

fn conflict(source: &Source, place: &Place) -> Option<Diagnostic> {
    let marks = ["<<<<<<<", "=======", ">>>>>>>"];
    let is_mark = |line: &Range<usize>| {
        let text = &source.text()[line.clone()];
        marks.iter().any(|mark| text.starts_with(mark))
    };
    let line = around(source, place).into_iter().find(is_mark)?;
    syntax(
        source.place(line.start..line.start + 7),
        "a merge conflict that nobody has resolved",
        "keep one of the two versions, and remove the lines with `<<<`, `===` and `>>>`".to_owned(),
    )
}

/// A blank that people see and YAML takes for a letter, as copied from a web page.
fn strange_blank(source: &Source, place: &Place) -> Option<Diagnostic> {
    let is_strange = |c: char| {
        let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}');
        hidden || c.is_whitespace() && !c.is_ascii()
    };
    let [here, above, _] = around(source, place);
    let (at, c) = [here, above].into_iter().find_map(|line| {
        let mut chars = source.text()[line.clone()].char_indices();
        let (at, c) = chars.find(|(_, c)| is_strange(*c))?;
        Some((line.start + at, c))
    })?;
    let message = format!("this looks like a blank and is U+{:04X}", u32::from(c));
    let help = "type a blank in its place, or remove it".to_owned();
    syntax(source.place(at..at + c.len_utf8()), &message, help)
}

/// `{% if %}`, which only templates of others have.
fn block(source: &Source, place: &Place) -> Option<Diagnostic> {
    let start = line_start(source, place);
    let rest = &source.text()[start.range.start..];
    let mark = ["{%", "{{", "{#"]
        .into_iter()
        .find(|mark| rest.starts_with(mark))?;
    syntax(
        source.place(start.range.start..start.range.start + 2),
        &format!("`{mark}` begins nothing in roles.yaml, which is no template"),
        "a setting is `${NAME}` in a text, and a step may have an `if:`".to_owned(),
    )
}

/// `-command: x`.
fn dash(source: &Source, place: &Place) -> Option<Diagnostic> {
    let [here, above, _] = around(source, place);
    [above, here].into_iter().find_map(|line| {
        let text = &source.text()[line.clone()];
        let entry = text.trim_start();
        let rest = entry.strip_prefix('-')?;
        let begins = rest.starts_with(|c: char| c.is_alphabetic() || matches!(c, '"' | '\''));
        let at = line.start + text.len() - entry.len();
        let help = format!("write `- {}`", rest.trim_end());
        let message = "a blank must stand behind this `-`";
        begins.then(|| syntax(source.place(at..at + 1), message, help))?
    })
}

/// A `:` where none can be: because of what is before it in its line, or of the line above.
fn colon(source: &Source, place: &Place) -> Option<Diagnostic> {
    let number = place.start().0;
    let text = |number: usize| &source.text()[source.line(number)];
    let before = &source.text()[source.line(number).start..place.range.start];
    if let Some((key, _)) = before.split_once(": ") {
        let value = text(number).split_once(": ").map_or("", |(_, value)| value);
        let short = value.len() <= 60 && !value.contains(['"', '\\', '#']);
        let help = match short {
            true => format!(
                "put the value in quotes: {}: \"{}\"",
                key.trim_start(),
                value.trim_end()
            ),
            false => "put the value in quotes".to_owned(),
        };
        return syntax(place.clone(), "a second `:` in one line", help);
    }
    let said = |number: &usize| {
        let line = text(*number).trim_start();
        !line.is_empty() && !line.starts_with('#')
    };
    let above = (1..number).rev().take(20).find(said)?;
    let line = source.line(above);
    let entry = text(above).trim_end();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let deeper = indent(before) > indent(entry);
    let word = entry.trim_start();
    if let Some((key, value)) = word.split_once(':').filter(|(_, value)| !value.is_empty()) {
        let at = line.start + indent(entry) + key.len();
        let place = source.place(at..at + 1);
        if !value.starts_with([' ', '\t']) {
            let help = format!("write `{key}: {value}`");
            return syntax(place, "a blank must stand behind this `:`", help);
        }
        let message = "this line stands deeper than the one above, which has a value already";
        let help = format!("begin it in the same column as `{key}`");
        return deeper.then(|| {
            syntax(
                line_start(source, &source.place(source.line(number))),
                message,
                help,
            )
        })?;
    }
    let end = line.start + entry.len();
    let missing = deeper && !word.contains([':', '"', '\'', '[', '{']) && !word.starts_with("- ");
    let help = format!("write `{word}:`, as what stands deeper belongs to it");
    missing.then(|| {
        syntax(
            source.place(end - word.len()..end),
            "a key without its `:`",
            help,
        )
    })?
}

/// The first letter of the line in which a place begins.
pub fn line_start(source: &Source, place: &Place) -> Place {
    let line = source.line(place.start().0);
    let text = &source.text()[line.clone()];
    let at = line.start + text.len() - text.trim_start().len();
    source.place(at..at + 1)
}

/// A quote that is closed by the one that was to open the next text, lines below.
pub fn late_quote(source: &Source, place: &Place) -> Option<Diagnostic> {
    let (open, close) = Marks::before(source.text(), place.range.start).quote?;
    let (first, last) = (source.line_column(open).0, source.line_column(close).0);
    (first < last).then(|| {
        let quote = source.place(open..open + 1);
        let message = format!("this quote is closed only in line {last}");
        let help = "close it in its own line; a quote inside is written `\\\"` in double quotes and `''` in single ones";
        syntax(quote, &message, help.to_owned())
    })?
}

/// A part of a text; a character that the range would cut is taken whole.
pub fn cut(text: &str, range: Range<usize>) -> &str {
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
pub fn bracket(text: &str, to: usize) -> Option<usize> {
    Marks::before(text, to).open.pop()
}

/// Brackets and quotes before a place.
#[derive(Default)]
struct Marks {
    /// Brackets that are not closed.
    open: Vec<usize>,
    /// The last quote that was closed, and where.
    quote: Option<(usize, usize)>,
}

impl Marks {
    fn before(text: &str, to: usize) -> Self {
        let mut marks = Self::default();
        let mut quote: Option<(char, usize)> = None;
        let mut before = '\n';
        let mut comment = false;
        for (at, c) in cut(text, 0..to).char_indices() {
            match (quote, c) {
                (_, '\n') if comment => comment = false,
                _ if comment => {}
                (Some(('"', _)), _) if before == '\\' => {
                    before = ' ';
                    continue;
                }
                (Some((q, open)), c) if c == q => {
                    quote = None;
                    marks.quote = Some((open, at));
                }
                (Some(_), _) => {}
                // A quote opens a text only where a value can begin: `it's` has none.
                (None, '\'' | '"')
                    if matches!(before, ' ' | '\n' | '[' | '{' | ',' | ':') || before == c =>
                {
                    quote = Some((c, at));
                }
                (None, '#') if matches!(before, ' ' | '\n' | '\t') => comment = true,
                (None, '[' | '{') if !marks.open.is_empty() || matches!(before, ' ' | '\n') => {
                    marks.open.push(at);
                }
                (None, ']' | '}') => {
                    marks.open.pop();
                }
                (None, _) => {}
            }
            before = c;
        }
        marks
    }
}

#[cfg(test)]
mod tests {
    use crate::diag::Diagnostics;
    use crate::roles::tree::parse;
    use crate::source::Source;

    #[test]
    fn a_trap_is_told_at_its_place() {
        for (text, place, message) in [
            ("a: 1\n<<<<<<< HEAD\nb: 1\n", "2:1", "a merge conflict"),
            (
                "a: 1\nb:\u{a0}{c: {d: 1}}\n",
                "2:3",
                "this looks like a blank and is U+00A0",
            ),
            ("a: 1\n{% if x %}\nb: 1\n", "2:1", "`{%` begins nothing"),
            ("a: {{ b }}\n", "1:4", "`{{ }}` is for templates"),
            (
                "a:\n  -b: 1\n  - c: 2\n",
                "2:3",
                "a blank must stand behind this `-`",
            ),
            ("a:1\nb: 2\n", "1:2", "a blank must stand behind this `:`"),
            ("a:\n  b\n    c: 1\n", "2:3", "a key without its `:`"),
            ("a: 1\n  b: 2\n", "2:3", "this line stands deeper"),
            ("a: note: this\n", "1:8", "a second `:` in one line"),
            (
                "a: \"x\nb: 2\nc: \"y\"\n",
                "1:4",
                "this quote is closed only in line 3",
            ),
            ("a:\n  - b\n - c\n", "3:2", "this line does not fit"),
            ("a: & b\n", "1:4", "a value cannot begin with this"),
            ("%YAML 1.2\na: 1\n", "2:1", "the document is at its end"),
            ("a: 1\n%YAML 1.2\n", "2:1", "this `%` line cannot"),
            ("a: !e!b c\n", "1:4", "a tag that nobody declared"),
            ("a: 1\n\u{feff}b: 2\n", "2:1", "this looks like a blank"),
        ] {
            let mut found = Diagnostics::new();
            parse(&Source::new("r", text), &mut found);
            let list = found.sorted();
            assert_eq!(list.len(), 1, "{text}: {list:#?}");
            let at = list[0].place.as_ref().unwrap().to_string();
            assert_eq!(at, format!("r:{place}"), "{text}: {}", list[0].message);
            assert!(
                list[0].message.starts_with(message),
                "{text}: {}",
                list[0].message
            );
            assert!(list[0].help.is_some(), "{text}");
        }
    }
}
