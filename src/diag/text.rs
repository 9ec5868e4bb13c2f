//! Diagnostics for people: rustc's look, with the line, a caret and the cure; the only importer of annotate-snippets.
//!
//! annotate-snippets draws; this module decides what it sees. It gets a *window*: the few lines and columns around the
//! caret, so that a minified line of a megabyte costs and prints no more than a short one, and only [`safe`]
//! characters, so that a file cannot move the cursor or reorder what is read. The numbers of a window's columns are not
//! those of the file, so each place is written as [`MARK`] and put in afterwards.

mod window;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

use self::window::{Window, safe, width};
use super::{Diagnostic, Diagnostics, Severity};
use crate::source::Place;

/// How to draw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether to use ANSI colours: for a terminal without `NO_COLOR`.
    pub colour: bool,
    /// The terminal's columns, at least 40; none (a file, a pipe) folds no text and cuts source lines at 140.
    pub width: Option<usize>,
}

/// Source lines are cut at this width where nobody knows the terminal's.
const WIDTH: usize = 140;
/// No terminal is taken for narrower than this.
const NARROWEST: usize = 40;
/// Secondary places within so many lines share the primary one's drawing; longer places are shown by their first line.
const NEAR: usize = 100;
/// Stands for a place until the drawing is done: a noncharacter, which [`safe`] lets nothing else be.
const MARK: char = '\u{fdd0}';

/// A block for each diagnostic, sorted by place, and a line that counts them; empty when nothing was found.
pub fn render(diagnostics: &Diagnostics, style: &Style) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics.sorted() {
        text.push_str(&block(diagnostic, style));
        text.push_str("\n\n");
    }
    if !diagnostics.is_empty() {
        text.push_str(&summary(diagnostics));
        text.push('\n');
    }
    text
}

/// "2 errors, 1 warning in roles.yaml".
fn summary(diagnostics: &Diagnostics) -> String {
    let counted = |severity: Severity| match diagnostics.count(severity) {
        0 => None,
        1 => Some(format!("1 {}", severity.name())),
        n => Some(format!("{n} {}s", severity.name())),
    };
    let counts = [Severity::Error, Severity::Warning].map(counted);
    let counts = counts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let sorted = diagnostics.sorted();
    let mut files: Vec<_> = sorted
        .iter()
        .filter_map(|d| Some(d.place.as_ref()?.source.name()))
        .collect();
    files.dedup();
    match files.as_slice() {
        [] => counts,
        [one] => format!("{counts} in {}", safe(one)),
        more => format!("{counts} in {} files", more.len()),
    }
}

/// One diagnostic, without a line end.
fn block(diagnostic: &Diagnostic, style: &Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    // Of a file that is empty, or could not be read, there is nothing to draw.
    let drawing = diagnostic
        .place
        .as_ref()
        .filter(|place| !place.source.text().is_empty())
        .map(|place| Drawing::new(place, diagnostic, style));
    let drawing = drawing.unwrap_or_default();

    let head = diagnostic.severity.name().len() + diagnostic.code.name().len() + "[]: ".len();
    let title = fold(&diagnostic.message, head, style);
    let mut group = Group::with_title(level.primary_title(title).id(diagnostic.code.name()));
    for window in &drawing.windows {
        let annotations = window.marks.iter().map(|mark| {
            let label = Some(mark.label.as_str()).filter(|label| !label.is_empty());
            annotation(mark.primary, mark.range.clone()).label(label)
        });
        let kept = window
            .context
            .iter()
            .cloned()
            .map(|range| AnnotationKind::Visible.span(range));
        let snippet = Snippet::source(window.text.as_str())
            .line_start(window.line)
            .path(MARK.to_string());
        group = group.element(snippet.annotations(annotations.chain(kept)));
    }
    let margin = drawing.gutter + "= note: ".len();
    for note in &drawing.notes {
        group = group.element(Level::NOTE.message(fold(note, margin, style)));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(fold(help, margin, style)));
    }
    let renderer = if style.colour {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    // Windows are cut already, and by better knowledge: they must not be cut again.
    let drawn = renderer
        .term_width(10 * WIDTH.max(style.width.unwrap_or(0)))
        .render(&[group]);
    put_places(&drawn, drawing.windows.iter().map(|window| &window.place))
}

fn annotation<'a>(primary: bool, range: std::ops::Range<usize>) -> Annotation<'a> {
    if primary {
        AnnotationKind::Primary.span(range)
    } else {
        AnnotationKind::Context.span(range)
    }
}

/// Writes the true places over `MARK:line:column`, in the order in which they were drawn.
fn put_places<'a>(drawn: &str, places: impl Iterator<Item = &'a Place>) -> String {
    let mut parts = drawn.split(MARK);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (part, place) in parts.zip(places) {
        text.push_str(&safe(&place.to_string()));
        text.push_str(part.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit()));
    }
    text
}

/// What is to be drawn of one diagnostic's places.
#[derive(Default)]
struct Drawing {
    /// The primary place's first.
    windows: Vec<Window>,
    /// Labels for which there is no room beside their caret.
    notes: Vec<String>,
    /// The columns left of the source text.
    gutter: usize,
}

impl Drawing {
    fn new(place: &Place, diagnostic: &Diagnostic, style: &Style) -> Self {
        let related = diagnostic
            .related
            .iter()
            .map(|(place, label)| (place, label.as_str()));
        let all: Vec<_> = std::iter::once((place, diagnostic.label.as_str()))
            .chain(related)
            .map(|(place, label)| (shown(place), label))
            .collect();
        let lines = all.iter().map(|(place, _)| place.end().0);
        let digits = lines.max().unwrap_or(1).to_string().len();
        let mut drawing = Self {
            gutter: digits + " | ".len(),
            ..Self::default()
        };
        let columns = style.width.unwrap_or(WIDTH).max(NARROWEST) - drawing.gutter;

        let mut groups: Vec<Vec<(bool, &Place, &str)>> = Vec::new();
        for (number, (place, label)) in all.iter().enumerate() {
            let mark = (number == 0, place, *label);
            match groups.iter_mut().find(|group| fits(group, place, columns)) {
                Some(group) => group.push(mark),
                None => groups.push(vec![mark]),
            }
        }
        for group in groups {
            let mut window = Window::new(&group, columns);
            drawing.notes.extend(window.take_long_labels(columns));
            drawing.windows.push(window);
        }
        drawing
    }
}

/// The part of a place that is shown: without line ends behind it, and not more lines than a person looks at.
fn shown(place: &Place) -> Place {
    let place = place.trimmed();
    let (first, last) = (place.start().0, place.end().0);
    if last - first <= NEAR {
        return place;
    }
    let end = place.source.line(first).end;
    place.source.place(place.range.start..end)
}

/// Whether a place can be seen in one window with others: same file, near, and not far along the same line.
fn fits(group: &[(bool, &Place, &str)], place: &Place, columns: usize) -> bool {
    group.iter().all(|(_, other, _)| {
        let near = other
            .start()
            .0
            .abs_diff(place.end().0)
            .max(other.end().0.abs_diff(place.start().0));
        let one_line = other.start().0 == place.start().0 || other.end().0 == place.end().0;
        let from = other.range.start.min(place.range.start);
        let to = other.range.end.max(place.range.end);
        let narrow =
            || to - from <= 4 * columns && width(&place.source.text()[from..to]) <= columns / 2;
        other.source == place.source && near <= NEAR && (!one_line || narrow())
    })
}

/// Breaks lines at blanks so that text that starts in column `margin` keeps inside a terminal. Without a terminal, or
/// where there would be hardly any room, nothing is broken.
fn fold(text: &str, margin: usize, style: &Style) -> String {
    let text = text.split('\n').map(safe).collect::<Vec<_>>().join("\n");
    let columns = style
        .width
        .unwrap_or(usize::MAX)
        .max(NARROWEST)
        .saturating_sub(margin);
    if style.width.is_none() || columns < NARROWEST / 2 {
        return text;
    }
    let mut folded = String::new();
    for line in text.split('\n') {
        let mut used = 0;
        for word in line.split_inclusive(' ') {
            let needed = width(word.trim_end());
            if used > 0 && used + needed > columns {
                folded.truncate(folded.trim_end_matches(' ').len());
                folded.push('\n');
                used = 0;
            }
            folded.push_str(word);
            used += width(word);
        }
        folded.push('\n');
    }
    folded.pop();
    folded
}

#[cfg(test)]
mod tests;
