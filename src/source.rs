//! Texts that people wrote, and places in them.
//!
//! A [`Place`] is a byte range in one [`Source`]; lines and columns are computed only to be shown.
//! Columns count characters, as editors do, and start at 1.

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
}

impl Source {
    /// `name` is the path as the person wrote it; it is what diagnostics print.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let text = text.into();
        let lines = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            inner: Arc::new(Inner {
                name: name.into(),
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

    /// The place of `range`, clamped to the text.
    pub fn place(&self, range: Range<usize>) -> Place {
        let end = range.end.min(self.text().len());
        Place {
            source: self.clone(),
            range: range.start.min(end)..end,
        }
    }

    /// Line and column, both from 1, of a byte offset.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let line = self.inner.lines.partition_point(|&start| start <= offset);
        let start = self.inner.lines[line - 1];
        let offset = offset.min(self.text().len());
        let column = self
            .text()
            .get(start..offset)
            .map_or(0, |t| t.chars().count());
        (line, column + 1)
    }
}

/// A byte range in a [`Source`].
#[derive(Clone, PartialEq, Eq)]
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
    }
}
