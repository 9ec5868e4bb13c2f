//! The events of a YAML text, by granit-parser, each with its bytes.
//!
//! A package of its own for one reason: the program is built for size, and this part of it for speed. The parser is
//! generic, so it is compiled where it is used, which is here.

use std::ops::Range;

pub use granit_parser::{Event, Marker, ScalarStyle, ScanError, Tag};
use granit_parser::{Options, Parser, StrInput};

/// What stands in a text, one by one.
pub struct Events<'a> {
    parser: Parser<'a, StrInput<'a>>,
    at: Range<usize>,
}

impl<'a> Events<'a> {
    /// The events of `text`; comments are none.
    pub fn new(text: &'a str) -> Self {
        let mut options = Options::default();
        options.set_emit_comments(false);
        Self {
            parser: Parser::new_from_str_with_options(text, options),
            at: 0..0,
        }
    }

    /// The next event of a document's content; none at the end.
    ///
    /// Errors: the text is not YAML. Nothing comes behind an error.
    #[inline(never)]
    #[allow(clippy::should_implement_trait, reason = "an event may be an error")]
    pub fn next(&mut self) -> Result<Option<Event<'a>>, ScanError> {
        while let Some(event) = self.parser.next_event() {
            let (event, span) = event?;
            let offset = |mark: Marker| mark.byte_offset().unwrap_or_default();
            self.at = offset(span.start)..offset(span.end);
            match event {
                Event::Scalar(..)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..)
                | Event::MappingEnd
                | Event::Alias(_) => return Ok(Some(event)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The bytes of the last event.
    pub fn at(&self) -> Range<usize> {
        self.at.clone()
    }
}
