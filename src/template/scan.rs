//! Where the expressions of a text are, and the tokens of an expression: no meaning yet.

use std::ops::Range;

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is to be written, `$${` already turned into `${`.
    Literal(String),
    /// `whole` is `${ … }`, `inner` what is between.
    Expression {
        whole: Range<usize>,
        inner: Range<usize>,
    },
    /// A `${` that nothing closes.
    Unclosed(Range<usize>),
}

/// Cuts a text into its parts.
pub fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut at = 0;
    while let Some(dollar) = text[at..].find('$').map(|d| at + d) {
        literal.push_str(&text[at..dollar]);
        let rest = &text[dollar..];
        if rest.starts_with("$${") {
            literal.push_str("${");
            at = dollar + 3;
        } else if rest.starts_with("${") {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            match closing_brace(text, dollar + 2) {
                Some(end) => {
                    pieces.push(Piece::Expression {
                        whole: dollar..end + 1,
                        inner: dollar + 2..end,
                    });
                    at = end + 1;
                }
                None => {
                    pieces.push(Piece::Unclosed(dollar..line_end(text, dollar)));
                    return pieces;
                }
            }
        } else {
            literal.push('$');
            at = dollar + 1;
        }
    }
    literal.push_str(&text[at..]);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

fn line_end(text: &str, from: usize) -> usize {
    text[from..].find('\n').map_or(text.len(), |at| from + at)
}

/// The `}` that ends an expression: quotes and nested brackets are stepped over.
pub fn closing_brace(text: &str, from: usize) -> Option<usize> {
    let mut open = Vec::new();
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text[from..].char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(q), c) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '{' | '(' | '[') => open.push(c),
            (None, '}') if open.is_empty() => return Some(from + at),
            (None, '}' | ')' | ']') => {
                open.pop();
            }
            (None, _) => {}
        }
    }
    None
}

/// A token of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A name or a word such as `and`.
    Word,
    /// A number.
    Number,
    /// A quoted text.
    Text,
    /// One character, or two as in `<=`.
    Sign,
}

/// The tokens of an expression with their places.
pub fn tokens(text: &str) -> Vec<(Kind, Range<usize>)> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let (kind, len) = if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        } else if c.is_alphabetic() || c == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            (Kind::Word, end.unwrap_or(rest.len()))
        } else if c.is_ascii_digit() {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.')));
            (Kind::Number, end.unwrap_or(rest.len()))
        } else if matches!(c, '\'' | '"') {
            (Kind::Text, quoted(rest, c))
        } else if ["<=", ">=", "==", "!=", "//", "**"]
            .iter()
            .any(|s| rest.starts_with(s))
        {
            (Kind::Sign, 2)
        } else {
            (Kind::Sign, c.len_utf8())
        };
        tokens.push((kind, at..at + len));
        at += len;
    }
    tokens
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Each `$NAME` without braces.
pub fn bare_dollars(text: &str) -> Vec<Range<usize>> {
    text.match_indices('$')
        .filter_map(|(at, _)| {
            let rest = &text[at + 1..];
            let starts = rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            let end = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            starts.then_some(at..at + 1 + end)
        })
        .collect()
}
