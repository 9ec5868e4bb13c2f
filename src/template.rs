//! Texts with `${ expr }` in them: parsed once, checked offline, rendered when settings are known.
//!
//! Everything outside `${ }` is literal: there are no blocks and no comments, `$${` stands for `${`, and `$NAME`
//! without braces is text. An expression is minijinja's, over texts: a name that is not there is an error.
//! Errors name the place and the kind of the fault and never a value, which may be secret.

mod elsewhere;
pub mod expression;
pub mod file;
mod scan;

use std::ops::Range;

pub use expression::{Condition, Expression};

use crate::diag::Code;
use crate::secret::Secret;

/// What is wrong in a template, before it has a place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The kind of mistake.
    pub code: Code,
    /// Bytes of the template's text.
    pub range: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Fault {
    /// A fault without advice.
    pub fn new(code: Code, range: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            code,
            range,
            message: message.into(),
            help: None,
        }
    }

    /// The same fault with advice.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same fault in a text of which this template is a part that starts at `offset`.
    #[must_use]
    pub fn shifted(mut self, offset: usize) -> Self {
        self.range = self.range.start + offset..self.range.end + offset;
        self
    }
}

/// What a name stands for while a template is rendered.
#[derive(Debug, Clone)]
pub enum Item {
    /// A setting's value.
    Text(Secret),
    /// A port or a replica's number.
    Number(i64),
}

/// Where names are looked up.
pub type Scope<'a> = &'a dyn Fn(&str) -> Option<Item>;

/// A parsed text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    /// With the place of the whole `${ … }`; in a box, as most pieces are literal.
    Expression(Box<(Expression, Range<usize>)>),
}

impl Template {
    /// Parses a text; what is wrong is collected, and left out of the template.
    pub fn parse(text: &str) -> (Template, Vec<Fault>) {
        if !text.as_bytes().contains(&b'$') {
            let literal = || Piece::Literal(text.to_owned());
            let pieces = (!text.is_empty()).then(literal).into_iter().collect();
            return (Template { pieces }, Vec::new());
        }
        let mut faults = Vec::new();
        let pieces = scan::pieces(text)
            .into_iter()
            .filter_map(|piece| match piece {
                scan::Piece::Literal(text) => Some(Piece::Literal(text)),
                scan::Piece::Unclosed(range) => {
                    faults.push(
                        Fault::new(
                            Code::ExpressionSyntax,
                            range,
                            "this `${` has no `}` that closes it",
                        )
                        .help("write `$${` for a literal `${`"),
                    );
                    None
                }
                scan::Piece::Expression { whole, inner } => {
                    match Expression::parse(&text[inner.clone()]) {
                        Ok(expression) => Some(Piece::Expression(Box::new((expression, whole)))),
                        Err(fault) => {
                            faults.push(fault.shifted(inner.start));
                            None
                        }
                    }
                }
            })
            .collect();
        (Template { pieces }, faults)
    }

    /// Every name that an expression uses, with its place in the text; the order of the text.
    pub fn names(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.expressions()
            .flat_map(|(expression, whole)| expression.names_at(whole.start + 2))
    }

    /// The text itself where no expression is in it.
    pub fn literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The text before the first expression.
    pub fn literal_start(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Literal(text)) => text,
            _ => "",
        }
    }

    /// The text after the last expression.
    pub fn literal_end(&self) -> &str {
        match self.pieces.last() {
            Some(Piece::Literal(text)) => text,
            _ => "",
        }
    }

    /// The text; an error names the place in the template.
    pub fn render(&self, scope: Scope<'_>) -> Result<Secret, Fault> {
        self.render_with(scope, |value, _| Ok(value))
            .map(Secret::new)
    }

    /// The text, each expression's value passed through `each`.
    fn render_with(
        &self,
        scope: Scope<'_>,
        mut each: impl FnMut(String, &Range<usize>) -> Result<String, Fault>,
    ) -> Result<String, Fault> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Expression(piece) => {
                    let (expression, whole) = &**piece;
                    let value = expression
                        .text(scope)
                        .map_err(|fault| fault.shifted(whole.start + 2))?;
                    text.push_str(&each(value, whole)?);
                }
            }
        }
        Ok(text)
    }

    fn expressions(&self) -> impl Iterator<Item = (&Expression, &Range<usize>)> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Literal(_) => None,
            Piece::Expression(piece) => Some((&piece.0, &piece.1)),
        })
    }
}

/// Where the `${ … }` that a text begins with ends; none when nothing closes it.
pub fn expression_end(text: &str) -> Option<usize> {
    scan::closing_brace(text, 2).map(|end| end + 1)
}

/// Each `$NAME` without braces in a text, which the original expanded and we do not.
pub fn bare_dollars(text: &str) -> Vec<Range<usize>> {
    scan::bare_dollars(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(name: &str) -> Option<Item> {
        match name {
            "A" => Some(Item::Text(Secret::new("alpha"))),
            "EMPTY" => Some(Item::Text(Secret::new(""))),
            "B" => Some(Item::Text(Secret::new("${A} %s {{ x }} $5"))),
            "port" => Some(Item::Number(6543)),
            _ => None,
        }
    }

    fn render(text: &str) -> Result<String, String> {
        let (template, faults) = Template::parse(text);
        if let Some(fault) = faults.first() {
            return Err(format!("{}: {}", fault.code, &text[fault.range.clone()]));
        }
        template
            .render(&scope)
            .map(|s| s.expose().to_owned())
            .map_err(|f| format!("{}: {}", f.message, &text[f.range]))
    }

    #[test]
    fn texts_around_expressions_stay_as_they_are() {
        for (text, expected) in [
            ("", ""),
            ("a ${A} b", "a alpha b"),
            ("${B}", "${A} %s {{ x }} $5"),
            ("$${A} ${A}", "${A} alpha"),
            (
                "$$A $A $ %(here)s {% x %} {# y #} {{ z }}",
                "$$A $A $ %(here)s {% x %} {# y #} {{ z }}",
            ),
            ("${EMPTY or A ~ '-x'}", "alpha-x"),
            ("${'}'}${\"{\"}", "}{"),
            ("http_port=${port} ${port + 1}", "http_port=6543 6544"),
            ("${A == 'alpha'} ${not A}", "true false"),
            (
                "${A|upper} ${'a b/c'|urlencode} ${A|tojson}",
                "ALPHA a%20b%2Fc \"alpha\"",
            ),
            ("${'x' if EMPTY else 'y'}", "y"),
        ] {
            assert_eq!(render(text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn faults_have_a_place_and_show_no_value() {
        for (text, expected) in [
            ("x ${A", "expression-syntax: ${A"),
            ("${A:-b}", "expression-syntax: :-"),
            ("${}", "expression-syntax: "),
            ("${A|upperr}", "unknown-filter: upperr"),
            ("${debug()}", "unknown-filter: debug"),
            ("${A is weird}", "unknown-filter: weird"),
            ("${A < 5}", "text-comparison: A < 5"),
            ("${GONE}", "`GONE` is not defined: GONE"),
            ("${none}", "the value is nothing: none"),
            ("${A.x}", "the value is not defined: A.x"),
            ("${[A]}", "the value is a list: [A]"),
            ("${A|int + 1}", "invalid operation: A|int + 1"),
        ] {
            assert_eq!(render(text), Err(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn names_are_known_with_their_places() {
        let text = "${A} ${X or Y ~ 'Z'} $${N} ${A|default(W)} ${X.y}";
        let (template, faults) = Template::parse(text);
        assert_eq!(faults, []);
        let names: Vec<_> = template
            .names()
            .map(|(name, range)| (name.to_owned(), text[range].to_owned()))
            .collect();
        for (name, at) in &names {
            assert_eq!(name, at);
        }
        let names: Vec<_> = names.iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(names, ["A", "X", "Y", "A", "W", "X"]);
    }

    #[test]
    fn endless_work_is_stopped() {
        assert!(render("${'x' * 1000000000}").is_err());
    }
}
