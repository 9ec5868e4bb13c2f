//! The few lines and columns of a file that are shown around a caret.
//!
//! A window holds only [`safe`] characters and no tab, so that one column of text is one column of the terminal, and its
//! marks are byte ranges in its own text. It never reads more of a line than it shows.

use std::ops::Range;

use crate::source::{Place, Source};

/// Where a line was cut.
const CUT: &str = "...";

/// Some lines as they are shown.
pub(super) struct Window {
    /// The place that the heading names: the first mark's.
    pub(super) place: Place,
    /// The number of the first line.
    pub(super) line: usize,
    /// Each line with LF.
    pub(super) text: String,
    /// What is underlined.
    pub(super) marks: Vec<Mark>,
    /// Lines without a mark that are to be seen all the same.
    pub(super) context: Vec<Range<usize>>,
}

/// An underlined part of a window's text.
pub(super) struct Mark {
    pub(super) primary: bool,
    pub(super) range: Range<usize>,
    pub(super) label: String,
}

impl Window {
    /// A window of so many columns on places of one file; there must be at least one place.
    pub(super) fn new(places: &[(bool, &Place, &str)], columns: usize) -> Self {
        let place = places[0].1.clone();
        let source = &place.source;
        let last = places
            .iter()
            .map(|(_, place, _)| place.end().0)
            .max()
            .unwrap_or(1);
        let first = places
            .iter()
            .map(|(_, place, _)| line_before(place))
            .min()
            .unwrap_or(last);
        // Brackets beside places of several lines take two columns each.
        let brackets = places
            .iter()
            .filter(|(_, place, _)| place.start().0 != place.end().0)
            .count();
        let columns = columns.saturating_sub(2 * brackets).max(20);

        let mut text = String::new();
        let mut ranges: Vec<_> = places.iter().map(|_| 0..0).collect();
        let mut context = Vec::new();
        let mut previous = 0;
        for number in first..=last {
            let start = text.len();
            let cut = Cut::new(source, number, places, columns);
            cut.write(source, &mut text);
            for ((_, place, _), range) in places.iter().zip(&mut ranges) {
                if place.start().0 == number {
                    range.start = start + cut.position(source, place.range.start);
                    if line_before(place) < number {
                        // The window's last line end is in it, or the gutter would be counted a line short.
                        context.push(previous..text.len() - usize::from(number < last));
                    }
                }
                if place.end().0 == number {
                    range.end = start + cut.position(source, place.range.end);
                }
            }
            previous = start;
        }
        let marks = places
            .iter()
            .zip(ranges)
            .map(|((primary, _, label), range)| Mark {
                primary: *primary,
                range,
                label: label.split('\n').map(safe).collect::<Vec<_>>().join("\n"),
            });
        Self {
            line: first,
            marks: marks.collect(),
            context,
            text,
            place,
        }
    }

    /// Takes out the labels that would reach over the right edge, or that have several lines.
    pub(super) fn take_long_labels(&mut self, columns: usize) -> Vec<String> {
        let mut taken = Vec::new();
        for mark in &mut self.marks {
            let line = self.text[..mark.range.end]
                .rfind('\n')
                .map_or(0, |at| at + 1);
            let needed = width(&self.text[line..mark.range.end]) + 1 + width(&mark.label);
            if needed > columns || mark.label.contains('\n') {
                taken.push(std::mem::take(&mut mark.label));
            }
        }
        taken
    }
}

/// The line before a place if its own is blank, else its own. A caret under nothing says nothing, and it is what an
/// unexpected end of the file gives.
fn line_before(place: &Place) -> usize {
    let line = place.start().0;
    let blank = place.source.text()[place.source.line(line)]
        .trim()
        .is_empty();
    if blank {
        line.saturating_sub(1).max(1)
    } else {
        line
    }
}

/// The part of a line that is shown: bytes of the source.
struct Cut {
    line: Range<usize>,
    kept: Range<usize>,
}

impl Cut {
    /// Keeps what fits around the places' parts in this line, from the line's start if that leaves the caret in sight.
    fn new(
        source: &Source,
        number: usize,
        places: &[(bool, &Place, &str)],
        columns: usize,
    ) -> Self {
        let line = source.line(number);
        let text = source.text();
        if span(text[line.clone()].chars(), columns).0 == line.len() {
            return Self {
                kept: line.clone(),
                line,
            };
        }
        let starts = places
            .iter()
            .filter(|(_, p, _)| p.start().0 == number)
            .map(|(_, p, _)| p.range.start);
        let ending = places.iter().filter(|(_, p, _)| p.end().0 == number);
        let ends = ending.clone().map(|(_, p, _)| p.range.end);
        let focus = starts
            .clone()
            .chain(ends.clone())
            .min()
            .unwrap_or(line.start)
            .min(line.end);
        let focus_end = starts.chain(ends).max().unwrap_or(focus).min(line.end);
        let label = ending
            .map(|(_, _, label)| width(label) + 1)
            .max()
            .unwrap_or(0);

        let room = columns.saturating_sub(2 * CUT.len());
        let spare = room.saturating_sub(span(text[focus..focus_end].chars(), room).1 + label);
        let back = |room| focus - span(text[line.start..focus].chars().rev(), room).0;
        let mut start = back(spare);
        if start > line.start {
            start = back(spare.max(8).min(room / 3));
        }
        let (bytes, used) = span(text[start..line.end].chars(), room);
        let end = start + bytes;
        // Near the line's end there is room left over: it goes to what stands before.
        start -= span(text[line.start..start].chars().rev(), room - used).0;
        Self {
            line,
            kept: start..end,
        }
    }

    /// Where a byte of the source stands in the shown line.
    fn position(&self, source: &Source, at: usize) -> usize {
        let at = at.clamp(self.kept.start, self.kept.end);
        let cut = if self.kept.start > self.line.start {
            CUT.len()
        } else {
            0
        };
        cut + safe(&source.text()[self.kept.start..at]).len()
    }

    fn write(&self, source: &Source, text: &mut String) {
        if self.kept.start > self.line.start {
            text.push_str(CUT);
        }
        text.push_str(&safe(&source.text()[self.kept.clone()]));
        if self.kept.end < self.line.end {
            text.push_str(CUT);
        }
        text.push('\n');
    }
}

/// How many bytes and columns of these characters fit into `room` columns.
fn span(chars: impl Iterator<Item = char>, room: usize) -> (usize, usize) {
    let (mut bytes, mut used) = (0, 0);
    for c in chars {
        let needed = columns_of(c);
        if used + needed > room {
            break;
        }
        used += needed;
        bytes += c.len_utf8();
    }
    (bytes, used)
}

/// The columns that a text takes at most.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// At most so many columns: what may be wide (the scripts from Hangul on) is taken for wide.
fn columns_of(c: char) -> usize {
    match c {
        '\t' => 4,
        '\0'..'\u{1100}' | '\u{2010}'..'\u{2028}' | '\u{2400}'..'\u{2427}' | '\u{fffd}' => 1,
        _ => 2,
    }
}

/// The text without anything that a terminal obeys or that a reader cannot see: tabs become four blanks, control
/// characters their pictures, and what reorders or hides text the replacement character.
pub(super) fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => safe.push_str("    "),
            '\0'..' ' => safe.extend(char::from_u32(0x2400 + u32::from(c))),
            '\u{7f}' => safe.push('\u{2421}'),
            '\u{80}'..='\u{9f}'
            | '\u{61c}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fdd0}'..='\u{fdef}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}' => safe.push('\u{fffd}'),
            _ => safe.push(c),
        }
    }
    safe
}
