//! Template files: the `.ini` rules, and the rule that leaves out keys with empty values.
//!
//! For an `.ini` each value has `%` doubled, so that PasteDeploy (Python's `ConfigParser` interpolation) reads back
//! exactly the value; a value with a line break is refused, as it could bring sections and keys of its own. Where
//! doubling would be read back doubled ([DEFAULT], `set x =`, logging formats, section and key names) an
//! expression is a mistake that `validate` finds.

use std::ops::Range;

use super::{Fault, Scope, Template};
use crate::diag::Code;
use crate::secret::Secret;

/// How a file is rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Rules {
    /// Values are escaped for an `.ini`.
    pub ini: bool,
    /// A `key = ${…}` line whose value came out empty is left out.
    pub omit_empty: bool,
}

/// A parsed template file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    parts: Vec<Part>,
    rules: Rules,
}

/// One line, or the whole file where no rule looks at lines.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    start: usize,
    text: String,
    template: Template,
}

impl File {
    /// Parses a template file; what is wrong is collected with places in `text`.
    pub fn parse(text: &str, rules: Rules) -> (File, Vec<Fault>) {
        let mut faults = Vec::new();
        let mut parts = Vec::new();
        let whole = vec![(0, text.to_owned())];
        let by_line = rules.ini || rules.omit_empty;
        for (start, text) in if by_line { lines(text) } else { whole } {
            let (template, found) = Template::parse(&text);
            faults.extend(found.into_iter().map(|fault| fault.shifted(start)));
            parts.push(Part {
                start,
                text,
                template,
            });
        }
        let file = File { parts, rules };
        if rules.ini {
            faults.extend(file.misplaced());
        }
        (file, faults)
    }

    /// Every name with its place in the file.
    pub fn names(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.parts.iter().flat_map(|part| {
            part.template
                .names()
                .map(|(name, at)| (name, at.start + part.start..at.end + part.start))
        })
    }

    /// The rendered file; a fault has its place in the template.
    pub fn render(&self, scope: Scope<'_>) -> Result<Secret, Fault> {
        let mut out = String::new();
        for part in &self.parts {
            let line = part
                .template
                .render_with(scope, |value, at| self.checked(value, part, at))
                .map_err(|fault| fault.shifted(part.start))?;
            let omitted =
                self.rules.omit_empty && has_only_a_variable(&part.text) && is_empty(&line);
            if !omitted {
                out.push_str(&line);
            }
        }
        Ok(Secret::new(out))
    }

    fn checked(&self, value: String, part: &Part, at: &Range<usize>) -> Result<String, Fault> {
        if !self.rules.ini {
            return Ok(value);
        }
        if value.contains(['\r', '\n']) {
            let expression = &part.text[at.clone()];
            return Err(Fault::new(
                Code::BadValue,
                at.clone(),
                format!(
                    "the value of `{expression}` has a line break, which could add keys to the file"
                ),
            )
            .help("correct the value where it comes from; `runner explain` says where that is"));
        }
        Ok(value.replace('%', "%%"))
    }

    /// Expressions where an escaped value would not be read back as it was.
    fn misplaced(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut section = "";
        let mut key = "";
        for part in &self.parts {
            let line = part.text.trim_end();
            if line.starts_with(['#', ';']) || line.is_empty() {
                continue;
            }
            let header = line.starts_with('[');
            if header {
                section = line.trim_start_matches('[').split(']').next().unwrap_or("");
                key = "";
            }
            let key_end = match line.find(['=', ':']) {
                Some(end) if !header && !line.starts_with([' ', '\t']) => end,
                _ => 0,
            };
            if key_end > 0 {
                key = line[..key_end].trim();
            }
            let place = if header {
                Some("a section's name".to_owned())
            } else if section == "DEFAULT" {
                Some("the section [DEFAULT]".to_owned())
            } else if key.starts_with("set ") || key.starts_with("get ") {
                Some(format!("`{key} =`"))
            } else if section.starts_with("formatter_") {
                Some("a logging format".to_owned())
            } else {
                None
            };
            for (_, whole) in part.template.expressions() {
                let place = if whole.start < key_end {
                    Some("a key's name")
                } else {
                    place.as_deref()
                };
                if let Some(place) = place {
                    faults.push(
                        Fault::new(
                            Code::IniPlace,
                            whole.start + part.start..whole.end + part.start,
                            format!("an expression in {place}, where `%` cannot be escaped"),
                        )
                        .help(
                            "move it to an ordinary key, or say `escape: none` in the render step",
                        ),
                    );
                }
            }
        }
        faults
    }
}

/// The lines with their places. CRLF and CR become LF, as for Python's text files; a last line without an end stays
/// without.
fn lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let rest = &text[start..];
        let (content, end) = match rest.find(['\r', '\n']) {
            Some(at) if rest[at..].starts_with("\r\n") => (at, at + 2),
            Some(at) => (at, at + 1),
            None => (rest.len(), rest.len()),
        };
        let newline = if end > content { "\n" } else { "" };
        lines.push((start, format!("{}{newline}", &rest[..content])));
        start += end;
    }
    lines
}

/// Letters, digits and the characters from `.` to `_` in ASCII: what a key is made of in the original's rule.
fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || (b'.'..=b'_').contains(&byte)
}

/// `^[ \t]*[A-Za-z][A-Za-z0-9.-_]*[ \t]*` before an `=`.
fn is_key(before: &str) -> bool {
    let key = before.trim_matches([' ', '\t']).as_bytes();
    key.first().is_some_and(u8::is_ascii_alphabetic) && key.iter().all(|b| is_key_byte(*b))
}

/// The original's first test: a key, `=`, and a variable at the start of the value.
fn has_only_a_variable(line: &str) -> bool {
    line.match_indices('=').any(|(at, _)| {
        let value = line[at + 1..].trim_start_matches([' ', '\t']);
        let name = value
            .strip_prefix('$')
            .map(|rest| rest.strip_prefix('{').unwrap_or(rest));
        is_key(&line[..at])
            && name.is_some_and(|name| name.starts_with(|c: char| c.is_ascii_alphabetic()))
    })
}

/// The original's second test: a key, `=`, and nothing but blanks and line ends.
fn is_empty(line: &str) -> bool {
    line.match_indices('=').any(|(at, _)| {
        is_key(&line[..at])
            && line[at + 1..]
                .bytes()
                .all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::Item;

    const INI: Rules = Rules {
        ini: true,
        omit_empty: true,
    };

    fn render(text: &str, value: &str) -> Result<String, Fault> {
        let (file, faults) = File::parse(text, INI);
        assert_eq!(faults, [], "{text}");
        let value = Secret::new(value);
        let scope = |name: &str| match name {
            "E" => Some(Item::Text(value.clone())),
            "_E" => Some(Item::Text(value.clone())),
            _ => None,
        };
        file.render(&scope).map(|text| text.expose().to_owned())
    }

    #[test]
    fn lines_are_left_out_as_the_original_does() {
        for line in [
            "a = ${E}",
            "A/09:x;y<z>?@[q]\\^ = ${E}",
            "a=b=${E}",
            "a== ${E}",
            "a = ${E}${E}",
            "a = ${E} ${E}",
            "a = ${E}\t",
            "  a = ${E}",
            "a=${E}",
            "a = ${E}\n",
        ] {
            assert_eq!(render(line, "").as_deref(), Ok(""), "{line}");
        }
        for line in [
            "a-06 = ${E}",
            "_10 = ${E}",
            "01 = ${E}",
            "a40,x = ${E}",
            "é = ${E}",
            "a == ${E}",
            "a = \"${E}\"",
            "a = ${E}x",
            "a = ${E} ; comment",
            "a = %${E}",
            "a = $${E}",
            "a = ${_E}",
            "a25 =",
            "# a = ${E}",
            "    ${E}",
            "a : ${E}",
        ] {
            let expected = line
                .replace("$${", "\u{1}")
                .replace("${E}", "")
                .replace("${_E}", "");
            assert_eq!(
                render(line, ""),
                Ok(expected.replace('\u{1}', "${")),
                "{line}"
            );
        }
        for value in [" ", "\t", " \t "] {
            assert_eq!(render("a = ${E}\n", value).as_deref(), Ok(""), "{value:?}");
        }
        for value in ["\u{b}", "\u{a0}", "\u{2028}", "x"] {
            assert_eq!(render("a = ${E}\n", value), Ok(format!("a = {value}\n")));
        }
    }

    #[test]
    fn line_ends_become_those_of_unix_and_places_stay() {
        assert_eq!(
            render("a = 1\r\nb = 2\rc = ${E}", "x").as_deref(),
            Ok("a = 1\nb = 2\nc = x")
        );
        let text = "a = 1\r\nb = ${E}\r\n";
        assert_eq!(&text[render(text, "1\n2").unwrap_err().range], "${E}");
    }

    #[test]
    fn percent_is_doubled_in_values_only() {
        assert_eq!(
            render("x = %(here)s/${E}\n", "50%(a)s").as_deref(),
            Ok("x = %(here)s/50%%(a)s\n")
        );
    }

    #[test]
    fn a_line_break_is_refused_at_the_expression() {
        let text = "[a]\nx = ${E}\n";
        let fault = render(text, "v\n[evil]").unwrap_err();
        assert_eq!(&text[fault.range], "${E}");
        assert!(!fault.message.contains("evil"));
    }

    #[test]
    fn expressions_that_cannot_be_escaped_are_found() {
        let text = "[DEFAULT]\na = ${E}\n[x ${E}]\nset b = ${E}\n${E} = c\n[formatter_y]\nformat = ${E}\n[z]\nok = ${E}\n";
        let (_, faults) = File::parse(text, INI);
        let lines: Vec<_> = faults
            .iter()
            .map(|f| text[..f.range.start].matches('\n').count() + 1)
            .collect();
        assert_eq!(lines, [2, 3, 4, 5, 7], "{faults:?}");
    }
}
