//! Where in the file a part of a scalar's text stands: what is folded over lines or has escapes is not written as it
//! is read.

use std::ops::Range;

use crate::source::Place;

/// A scalar's text beside what the file has for it.
pub struct Written<'a> {
    place: &'a Place,
    /// From these bytes of the text on, the file has it at these bytes of the place; empty where nobody can say.
    steps: Vec<(usize, usize)>,
}

impl<'a> Written<'a> {
    /// `raw` is what the scalar at `place` says.
    pub fn new(place: &'a Place, raw: &str) -> Self {
        let text = place.text();
        let folded = || {
            let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
            let quoted = quote.and_then(|_| aligned(raw, text, quote));
            quoted.or_else(|| aligned(raw, text, None))
        };
        let steps = match text.find(raw) {
            Some(_) if raw.is_empty() => Vec::new(),
            Some(at) => vec![(0, at)],
            None => folded().unwrap_or_default(),
        };
        Self { place, steps }
    }

    /// The place of a part; the whole scalar's where nobody can say.
    pub fn part(&self, range: Range<usize>) -> Place {
        let last = range.end.max(range.start + 1) - 1;
        let Some((start, end)) = self.at(range.start).zip(self.at(last)) else {
            return self.place.clone();
        };
        let end = if range.is_empty() { start } else { end + 1 };
        self.place.part(start..end)
    }

    fn at(&self, at: usize) -> Option<usize> {
        let step = self.steps.partition_point(|(from, _)| *from <= at);
        let (from, to) = self.steps.get(step.checked_sub(1)?)?;
        Some(to + at - from)
    }
}

/// Goes through both texts side by side; none where they part.
fn aligned(raw: &str, text: &str, quote: Option<char>) -> Option<Vec<(usize, usize)>> {
    let mut steps: Vec<(usize, usize)> = Vec::new();
    let (mut from, mut to) = (0, quote.map_or(0, char::len_utf8));
    while from < raw.len() {
        let (read, written) = (&raw[from..], &text[to..]);
        let line_end = ["\\\n", "\\\r\n"]
            .iter()
            .any(|end| written.starts_with(end));
        if quote == Some('"') && line_end {
            to += 1 + blanks(&written[1..]);
            continue;
        }
        if steps.last().is_none_or(|(a, b)| from - a != to - b) {
            steps.push((from, to));
        }
        let c = read.chars().next()?;
        let (reads, writes) = match written.chars().next() {
            // The line ends behind a block may be left out of its place.
            None if read.trim().is_empty() => (read.len(), 0),
            None => return None,
            Some('\\') if quote == Some('"') => (c.len_utf8(), escape(written)?),
            Some('\'') if quote == Some('\'') && written.starts_with("''") => (1, 2),
            Some(w) if w.is_whitespace() && quote == Some('"') => folded(written),
            Some(w) if w.is_whitespace() && c.is_whitespace() => (blanks(read), blanks(written)),
            Some(w) if w == c => (c.len_utf8(), c.len_utf8()),
            Some(_) => return None,
        };
        from += reads;
        to += writes;
        if !raw.is_char_boundary(from) || !text.is_char_boundary(to) {
            return None;
        }
    }
    Some(steps)
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

/// How much of the text, and how much of the file, a fold in double quotes takes: one line end is a blank, more are
/// one less.
fn folded(written: &str) -> (usize, usize) {
    let blank = &written[..blanks(written)];
    match blank.matches('\n').count() {
        0 => (blank.len(), blank.len()),
        lines => ((lines - 1).max(1), blank.len()),
    }
}

/// The length of an escape.
fn escape(written: &str) -> Option<usize> {
    let letter = written[1..].chars().next()?;
    let digits = match letter {
        'x' => 2,
        'u' => 4,
        'U' => 8,
        _ => 0,
    };
    Some(1 + letter.len_utf8() + digits).filter(|len| *len <= written.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Diagnostics;
    use crate::roles::tree;
    use crate::source::Source;

    /// What stands at the places of `parts` in the scalar under `k`.
    fn parts(text: &str, parts: &[&str]) -> Vec<String> {
        let tree = tree::parse(&Source::new("r", text), &mut Diagnostics::new()).unwrap();
        let node = tree.get("k").unwrap();
        let raw = node.scalar().unwrap();
        let written = Written::new(&node.place, raw);
        let at = |part: &&str| raw.rfind(*part).unwrap();
        let place = |part| written.part(at(part)..at(part) + part.len());
        let places = parts.iter().map(place);
        places.map(|place| place.text().to_owned()).collect()
    }

    #[test]
    fn a_part_is_found_where_it_stands() {
        for text in [
            "k: a A é B a C\n",
            "k: a A\n   é B a\n\n   C\nz: 1\n",
            "k: >-\n  a A é\n  B\n\n    a\n  C\nz: 1\n",
            "k: |2\n    a A é\n  B a\n  C\n\n\nz: 1\n",
            "k: |\n  \"a A é\n  B a\n  C\"\n",
            "k: >+\n  a A é B\n  a C\n\n\nz: 1\n",
            "k: 'a A it''s é\n    B a\n\n  C'\n",
            "k: \"a A \\u00e9 é\\\n    B \\t\\x41 a\n\n  C\"\n",
            "k: \"a A é  \r\n    B\\n\\\r\n  \\ a C\"\r\n",
        ] {
            assert_eq!(parts(text, &["B", "C", "é"]), ["B", "C", "é"], "{text}");
        }
    }

    #[test]
    fn what_goes_over_lines_is_one_place() {
        assert_eq!(
            parts("k: >-\n  a ${A\n  or B} b\n", &["${A or B}"]),
            ["${A\n  or B}"]
        );
        let place = Source::new("r", "*a").place(0..2);
        assert_eq!(Written::new(&place, "text").part(0..2).text(), "*a");
    }
}
