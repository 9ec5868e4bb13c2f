//! Texts that people wrote, and places in them.
//!
//! A [`Place`] is a byte range in one [`Source`]; lines and columns are computed only to be shown.
//! Columns count characters, as editors do, and start at 1. A place never cuts a character in two.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// One file as it was read: roles.yaml, a template or a GAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    inner: Arc<Inner>,
}

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    name: String,
    text: String,
    /// The byte offset of each line's first character.
    lines: Vec<usize>,
    /// Whether a byte is a character: then a column is a subtraction, also in a line of a megabyte.
    ascii: bool,
}

impl Source {
    /// `name` is the path as the person wrote it; it is what diagnostics print.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let lines = std::iter::once(0)
            .chain(memchr::memchr_iter(b'\n', text.as_bytes()).map(|at| at + 1))
            .collect();
        Self {
            inner: Arc::new(Inner {
                name: name.into(),
                ascii: text.is_ascii(),
                text,
                lines,
            }),
        }
    }

    /// The path as the person wrote it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.inner.text
    }

    /// The place of `range`, clamped to the text and widened to whole characters.
    pub fn place(&self, range: Range<usize>) -> Place {
        let end = self.text().ceil_char_boundary(range.end);
        Place {
            source: self.clone(),
            range: self.text().floor_char_boundary(range.start.min(end))..end,
        }
    }

    /// The bytes of a line, its end (LF or CRLF) left out; `number` counts from 1, and one behind the last line
    /// is taken for the last.
    pub fn line(&self, number: usize) -> Range<usize> {
        let lines = &self.inner.lines;
        let number = number.clamp(1, lines.len());
        let start = lines[number - 1];
        let Some(&next) = lines.get(number) else {
            return start..self.text().len();
        };
        let line = &self.text()[start..next - 1];
        start..start + line.strip_suffix('\r').unwrap_or(line).len()
    }

    /// Line and column, both from 1, of a byte offset.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let line = self.inner.lines.partition_point(|&start| start <= offset);
        let start = self.inner.lines[line - 1];
        let offset = self.text().floor_char_boundary(offset);
        let before = &self.text()[start..offset];
        let column = if self.inner.ascii {
            before.len()
        } else {
            before.chars().count()
        };
        (line, column + 1)
    }
}

/// By name: two files of one name and different texts are rare, and only a little slower.
impl Hash for Source {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.name.hash(state);
    }
}

/// A byte range in a [`Source`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The text that the range is in.
    pub source: Source,
    /// Bytes from the start of the text.
    pub range: Range<usize>,
}

impl Place {
    /// Line and column of the first character, both from 1.
    pub fn start(&self) -> (usize, usize) {
        self.source.line_column(self.range.start)
    }

    /// Line and column just behind the last character, both from 1.
    pub fn end(&self) -> (usize, usize) {
        self.source.line_column(self.range.end)
    }

    /// The text at this place.
    pub fn text(&self) -> &str {
        self.source.text().get(self.range.clone()).unwrap_or("")
    }

    /// This place without line ends (and the blanks around them) at its end: what a person would underline. A
    /// YAML block, for one, ends only where the next key begins.
    pub fn trimmed(&self) -> Place {
        let text = self.text();
        let kept = text.trim_end().len();
        if text[kept..].contains('\n') {
            self.part(0..kept)
        } else {
            self.clone()
        }
    }

    /// A part of this place: `range` counts from this place's start.
    pub fn part(&self, range: Range<usize>) -> Place {
        self.source
            .place(self.range.start + range.start..self.range.start + range.end)
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl std::fmt::Display for Place {
    /// `file:line:column`, which terminals and editors make a link of.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (line, column) = self.start();
        write!(f, "{}:{line}:{column}", self.source.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_start_at_one() {
        let source = Source::new("a", "é: x\nb");
        assert_eq!(source.line_column(0), (1, 1));
        assert_eq!(source.line_column(4), (1, 4));
        assert_eq!(source.line_column(6), (2, 1));
        assert_eq!(source.place(6..99).text(), "b");
        assert_eq!(source.line_column(99), (2, 2));
        assert_eq!(Source::new("a", "").line_column(0), (1, 1));
        assert_eq!(Source::new("a", "k: v\nab").line_column(6), (2, 2));
    }

    #[test]
    fn a_place_never_cuts_a_character() {
        let source = Source::new("a", "aéb");
        let place = source.place(2..2);
        assert_eq!((place.range.clone(), place.text()), (1..3, "é"));
        assert_eq!(source.place(9..12).range, 4..4);
        assert_eq!(source.line_column(2), (1, 2));
    }

    #[test]
    fn a_line_is_without_its_end() {
        let source = Source::new("a", "one\r\ntwo\n\nlast");
        let line = |n| &source.text()[source.line(n)];
        assert_eq!(
            [line(1), line(2), line(3), line(4)],
            ["one", "two", "", "last"]
        );
        assert_eq!((line(0), line(9)), ("one", "last"));
    }

    #[test]
    fn trimming_takes_line_ends_and_nothing_else() {
        let source = Source::new("a", "k: v \r\n  \nx\t");
        assert_eq!(source.place(0..10).trimmed().text(), "k: v");
        assert_eq!(source.place(0..5).trimmed().text(), "k: v ");
        assert_eq!(source.place(4..10).trimmed().range, 4..4);
        assert_eq!(source.place(10..12).trimmed().text(), "x\t");
    }
}
