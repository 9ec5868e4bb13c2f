//! `# runner: allow(code) because …`: silences a code on its line, or on the next one where the comment stands alone.
//!
//! Only what is a judgement can be allowed: every warning, and the few errors of [`ERRORS`] with which a role could
//! run. A comment that silences nothing is reported, so that none outlives its reason.

use std::ops::Range;

use crate::diag::{Code, Diagnostic, Diagnostics, Severity, nearest};
use crate::source::Source;

/// Errors that an author may know better than we do.
const ERRORS: &[Code] = &[
    Code::SecretVisible,
    Code::StopBudget,
    Code::EcsSize,
    Code::FileUnreadable,
    Code::PortClash,
    Code::PortUnlisted,
    Code::PortUnused,
    Code::IniPlace,
    Code::DuplicateDestination,
    Code::CommandMissing,
];

/// Codes that are found only on request, or only in some places: an allow for them is not unused elsewhere.
const ON_REQUEST: &[Code] = &[
    Code::FileUnreadable,
    Code::CommandMissing,
    Code::GacDuplicate,
    Code::GacUnknown,
    Code::GacValue,
];

/// One code of one comment.
struct Allow {
    code: Code,
    /// Bytes of the code in the comment.
    place: Range<usize>,
    /// The line that it is about.
    line: usize,
    used: bool,
}

/// Takes out what the comments of `roles` and of `templates` allow, and adds what is wrong with the comments where
/// `judge` says so: once, however many checks come later.
pub fn apply<'a>(
    roles: &'a Source,
    templates: impl IntoIterator<Item = &'a Source>,
    judge: bool,
    diagnostics: &mut Diagnostics,
) {
    let yaml = (roles, comments(roles.text()));
    let others = templates
        .into_iter()
        .map(|source| (source, lines(source.text())));
    for (source, comments) in std::iter::once(yaml).chain(others) {
        let mut allows = Vec::new();
        let mut faults = Vec::new();
        for comment in comments {
            read(source, comment, &mut allows, &mut faults);
        }
        allows.sort_by_key(|allow| allow.line);
        diagnostics.retain(|diagnostic| match &diagnostic.place {
            Some(place) if place.source == *source => {
                !silenced(&mut allows, diagnostic.code, place.start().0)
            }
            _ => true,
        });
        if !judge {
            continue;
        }
        for fault in faults {
            diagnostics.push(fault);
        }
        for allow in allows {
            if !allow.used && !ON_REQUEST.contains(&allow.code) {
                let message = format!(
                    "nothing on line {} has the code `{}`",
                    allow.line, allow.code
                );
                diagnostics.push(
                    Diagnostic::new(Code::UnusedAllow, source.place(allow.place), message)
                        .help("remove the comment"),
                );
            }
        }
    }
}

/// Whether a code is allowed on a line; `allows` are in the order of the file, so that a generated file with many of
/// both takes no minute.
fn silenced(allows: &mut [Allow], code: Code, line: usize) -> bool {
    let from = allows.partition_point(|allow| allow.line < line);
    let on_line = allows[from..]
        .iter_mut()
        .take_while(|allow| allow.line == line);
    let mut silenced = false;
    for allow in on_line.filter(|allow| allow.code == code) {
        allow.used = true;
        silenced = true;
    }
    silenced
}

const FORM: &str = "write `runner: allow(code) because …`";

/// Reads one comment; one that does not speak to runner is passed over.
fn read(
    source: &Source,
    comment: Range<usize>,
    allows: &mut Vec<Allow>,
    faults: &mut Vec<Diagnostic>,
) {
    let text = &source.text()[comment.clone()];
    let Some(at) = text.find("runner:") else {
        return;
    };
    let rest = text[at + 7..].trim_start();
    let word_start = text.len() - rest.len();
    let word_end = rest
        .find(|c: char| !c.is_ascii_alphabetic())
        .unwrap_or(rest.len());
    if nearest(&rest[..word_end], ["allow"]).is_none() {
        // An ordinary comment about runner.
        return;
    }
    let whole = word_start..text.trim_end().len();
    let mut fault = |message: &str| {
        let place = place(source, &comment, whole.clone());
        faults.push(Diagnostic::new(Code::BadAllow, place, message).help(FORM));
    };
    let codes = rest[word_end..]
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'));
    let Some((codes, reason)) = codes.filter(|_| &rest[..word_end] == "allow") else {
        return fault("this comment speaks to runner, and cannot be read");
    };
    let reason = reason.trim_start().strip_prefix("because").unwrap_or("");
    if reason.trim_matches(['.', '…', ' ', '-', '>']).is_empty() {
        fault("an allow says why");
    }
    let line = about(source, &comment);
    let mut start = word_start + word_end + 1;
    for written in codes.split(',') {
        let code = written.trim();
        let at = start + (written.len() - written.trim_start().len());
        start += written.len() + 1;
        let place = place(source, &comment, at..at + code.len());
        match known(code) {
            Ok(code) => allows.push(Allow {
                code,
                place: place.range,
                line,
                used: false,
            }),
            Err((message, cure)) => {
                let mut diagnostic = Diagnostic::new(Code::BadAllow, place, message);
                diagnostic.help = cure;
                faults.push(diagnostic);
            }
        }
    }
}

/// The line that a comment is about: its own, or the next where it stands alone.
fn about(source: &Source, comment: &Range<usize>) -> usize {
    let (line, _) = source.line_column(comment.start);
    let before = &source.text()[source.line(line).start..comment.start];
    let alone = before.trim().is_empty() && is_comment(&source.text()[comment.clone()]);
    if alone { line + 1 } else { line }
}

/// The code of that name, if it can be allowed; else what is wrong, and the cure.
fn known(name: &str) -> Result<Code, (String, Option<String>)> {
    match Code::ALL.iter().find(|code| code.name() == name) {
        Some(code) if code.severity() == Severity::Warning || ERRORS.contains(code) => Ok(*code),
        Some(_) => Err((
            format!("`{name}` cannot be allowed: nothing would run with it"),
            None,
        )),
        None => {
            let near = nearest(name, Code::ALL.iter().map(|code| code.name()));
            let cure = match near {
                Some(near) => format!("did you mean `{near}`?"),
                None => "a diagnostic shows its code in brackets: error[code]".to_owned(),
            };
            Err((format!("there is no code `{name}`"), Some(cure)))
        }
    }
}

fn place(source: &Source, comment: &Range<usize>, range: Range<usize>) -> crate::source::Place {
    source.place(comment.start + range.start..comment.start + range.end)
}

/// Whether a whole line is a comment in one of the usual languages of templates.
fn is_comment(line: &str) -> bool {
    ["#", ";", "//", "--", "<!--", "/*", "'", "%"]
        .iter()
        .any(|mark| line.trim_start().starts_with(mark))
}

/// The lines that could speak to runner, of a text in any language.
fn lines(text: &str) -> Vec<Range<usize>> {
    let mut start = 0;
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        if line.contains("runner:") {
            lines.push(start..start + line.trim_end().len());
        }
        start += line.len();
    }
    lines
}

/// The comments of a YAML text that could speak to runner, from their `#` to the line's end.
fn comments(text: &str) -> Vec<Range<usize>> {
    let mut comments = Vec::new();
    // In nearly every file none speaks to it.
    if memchr::memmem::find(text.as_bytes(), b"runner:").is_none() {
        return comments;
    }
    let mut quote = None;
    // The indentation of the key whose block text (`|` or `>`) is being passed over.
    let mut block: Option<usize> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let at = start;
        start += line.len();
        let content = line.trim_end();
        let indent = content.len() - content.trim_start_matches([' ', '-']).len();
        let blanks = content.len() - content.trim_start_matches(' ').len();
        match block {
            Some(parent) if content.is_empty() || blanks > parent => continue,
            _ => block = None,
        }
        let comment = comment_in(content, &mut quote);
        let code = content[..comment.unwrap_or(content.len())].trim_end();
        let last = code.rsplit([' ', '\t']).next().unwrap_or("");
        if quote.is_none()
            && last.starts_with(['|', '>'])
            && last[1..]
                .chars()
                .all(|c| matches!(c, '+' | '-' | '0'..='9'))
        {
            // Text below `- key: |` is indented deeper than the key, below `- |` deeper than the dash.
            block = Some(if code.contains(':') {
                indent.max(blanks)
            } else {
                blanks
            });
        }
        if let Some(comment) = comment
            && content[comment..].contains("runner:")
        {
            comments.push(at + comment..at + content.len());
        }
    }
    comments
}

/// Where the comment of a line begins; `quote` is the quote that is open before the line, and then behind it.
fn comment_in(line: &str, quote: &mut Option<char>) -> Option<usize> {
    let mut before = ' ';
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (*quote, c) {
            _ if escaped => escaped = false,
            (Some('"'), '\\') => escaped = true,
            (Some(open), c) if c == open => *quote = None,
            (Some(_), _) => {}
            // A quote opens a text where a value can begin, and again where it stands twice in one.
            (None, '"' | '\'')
                if matches!(before, ' ' | '[' | '{' | ',' | ':' | '(') || before == c =>
            {
                *quote = Some(c);
            }
            (None, '#') if matches!(before, ' ' | '\t') => return Some(at),
            (None, _) => {}
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_found_outside_of_texts_alone() {
        let text = "a: 1 # runner: one\n\
                    b: \"# runner: no\" # runner: two\n\
                    c: 'it''s # runner: no'\n\
                    d: |\n  # runner: no\n\n  x\n\
                    # runner: three\n\
                    e: x#runner: no\n\
                    f: \"a\n  # runner: no\" # runner: four\n\
                    - g: >-\n    # runner: no\n  # runner: five\n";
        let found: Vec<_> = comments(text)
            .into_iter()
            .map(|range| &text[range])
            .collect();
        let words = ["one", "two", "three", "four", "five"];
        assert_eq!(found, words.map(|word| format!("# runner: {word}")));
    }
}
