//! One expression: its syntax, the names it uses, its value. The only importer of minijinja.
//!
//! The filters and tests below are all there are; each is deterministic and does no I/O.

use std::ops::Range;
use std::sync::LazyLock;

use minijinja::value::ValueKind;
use minijinja::{Environment, Value, filters, tests};

use super::scan::{self, Kind};
use super::{Fault, Item, Scope};
use crate::diag::{Code, nearest};

/// The filters that an expression may use, for docs and for "did you mean".
pub const FILTERS: &[&str] = &[
    "bool",
    "capitalize",
    "default",
    "first",
    "float",
    "int",
    "join",
    "last",
    "length",
    "lower",
    "replace",
    "round",
    "split",
    "string",
    "title",
    "tojson",
    "trim",
    "upper",
    "urlencode",
];

/// The tests (`X is …`) that an expression may use.
pub const TESTS: &[&str] = &["endingwith", "in", "startingwith"];

/// Words of the expression language itself.
const WORDS: &[&str] = &[
    "and", "else", "false", "False", "if", "in", "is", "none", "None", "not", "or", "true", "True",
];

/// The work that one expression may do; some thousand times what a real one needs.
const FUEL: u64 = 50_000;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::empty();
    env.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
    env.set_fuel(Some(FUEL));
    env.set_debug(false);
    env.add_filter("bool", filters::bool);
    env.add_filter("capitalize", filters::capitalize);
    env.add_filter("default", default);
    env.add_filter("first", filters::first);
    env.add_filter("float", filters::float);
    env.add_filter("int", filters::int);
    env.add_filter("join", filters::join);
    env.add_filter("last", filters::last);
    env.add_filter("length", filters::length);
    env.add_filter("lower", filters::lower);
    env.add_filter("replace", filters::replace);
    env.add_filter("round", filters::round);
    env.add_filter("split", filters::split);
    env.add_filter("string", filters::string);
    env.add_filter("title", filters::title);
    env.add_filter("tojson", to_json);
    env.add_filter("trim", filters::trim);
    env.add_filter("upper", filters::upper);
    env.add_filter("urlencode", |text: String| percent_encode(&text));
    env.add_test("endingwith", tests::is_endingwith);
    env.add_test("in", tests::is_in);
    env.add_test("startingwith", tests::is_startingwith);
    env
});

/// `X|default('y')`: y where X is empty, as a setting is never undefined.
fn default(value: &Value, other: Option<Value>) -> Value {
    if value.is_true() {
        value.clone()
    } else {
        other.unwrap_or_else(|| Value::from(""))
    }
}

fn to_json(value: &Value) -> Result<String, minijinja::Error> {
    serde_json::to_string(value)
        .map_err(|_| minijinja::Error::new(minijinja::ErrorKind::BadSerialization, "not JSON"))
}

/// Every byte but RFC 3986's unreserved ones as `%XX`, so that the text can stand in any part of a URL.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte as char);
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A checked expression; names and their places are known, values are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    source: String,
    /// Each use of a name, in the order of the text.
    names: Vec<Range<usize>>,
    /// The whole expression is one name: no need to compile anything.
    bare: bool,
}

impl Expression {
    /// Checks the text of one expression; the fault's place counts from the text's start.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        let tokens = scan::tokens(source);
        if let [(Kind::Word, range)] = tokens.as_slice()
            && !WORDS.contains(&&source[range.clone()])
        {
            return Ok(Self {
                source: source.to_owned(),
                names: vec![range.clone()],
                bare: true,
            });
        }
        if tokens.is_empty() {
            return Err(Fault::new(
                Code::ExpressionSyntax,
                0..source.len(),
                "the expression is empty",
            )
            .help("write the name of a setting, such as ${BS_ENV}"));
        }
        fits(source, &tokens)?;
        let compiled = ENVIRONMENT
            .compile_expression(source)
            .map_err(|error| syntax(source, &error))?;
        words_exist(source, &tokens)?;
        comparisons_fit(source, &tokens)?;
        let undeclared = compiled.undeclared_variables(false);
        let names = tokens
            .iter()
            .enumerate()
            .filter(|(at, (kind, range))| {
                *kind == Kind::Word
                    && undeclared.contains(&source[range.clone()])
                    && !preceded_by(source, &tokens, *at, &[".", "|"])
            })
            .map(|(_, (_, range))| range.clone())
            .collect();
        Ok(Self {
            source: source.to_owned(),
            names,
            bare: false,
        })
    }

    /// The expression as written, without blanks around it.
    pub fn source(&self) -> &str {
        self.source.trim()
    }

    /// Each use of a name with its place, when this expression's text starts at `offset`.
    pub fn names_at(&self, offset: usize) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.names.iter().map(move |range| {
            let at = range.start + offset..range.end + offset;
            (&self.source[range.clone()], at)
        })
    }

    /// The value as text. Booleans are `true` and `false`; nothing, lists and mappings are errors.
    pub fn text(&self, scope: Scope<'_>) -> Result<String, Fault> {
        if self.bare {
            return match self.lookup(scope)? {
                Item::Text(secret) => Ok(secret.expose().to_owned()),
                Item::Number(number) => Ok(number.to_string()),
            };
        }
        let value = self.value(scope)?;
        let not_text = |what: &str| Err(self.fault(format!("the value is {what}")));
        match value.kind() {
            ValueKind::String => Ok(value.as_str().unwrap_or_default().to_owned()),
            ValueKind::Bool => Ok(if value.is_true() { "true" } else { "false" }.to_owned()),
            ValueKind::Number => Ok(value.to_string()),
            ValueKind::Undefined => not_text("not defined"),
            ValueKind::None => not_text("nothing"),
            ValueKind::Seq | ValueKind::Iterable => not_text("a list"),
            _ => not_text("not a text"),
        }
    }

    fn lookup(&self, scope: Scope<'_>) -> Result<Item, Fault> {
        let name = self.source.trim();
        scope(name).ok_or_else(|| {
            let message = format!("`{name}` is not defined");
            Fault::new(Code::UnknownSetting, 0..self.source.len(), message)
        })
    }

    fn value(&self, scope: Scope<'_>) -> Result<Value, Fault> {
        let mut context = std::collections::BTreeMap::new();
        for range in &self.names {
            let name = &self.source[range.clone()];
            let value = match scope(name) {
                Some(Item::Text(secret)) => Value::from(secret.expose()),
                Some(Item::Number(number)) => Value::from(number),
                None => {
                    let message = format!("`{name}` is not defined");
                    return Err(Fault::new(Code::UnknownSetting, range.clone(), message));
                }
            };
            context.insert(name, value);
        }
        ENVIRONMENT
            .compile_expression(&self.source)
            .and_then(|compiled| compiled.eval(Value::from(context)))
            // The detail of an error may quote a value; its kind does not.
            .map_err(|error| self.fault(error.kind().to_string()))
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(Code::ExpressionSyntax, 0..self.source.len(), message)
    }
}

/// A bare expression under `if:` or `that:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition(Expression);

impl Condition {
    /// Checks the text of a condition.
    pub fn parse(source: &str) -> Result<Self, Fault> {
        Expression::parse(source).map(Self)
    }

    /// The condition as written.
    pub fn source(&self) -> &str {
        self.0.source()
    }

    /// Each use of a name with its place.
    pub fn names(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.0.names_at(0)
    }

    /// Whether it holds: a bare name does when it is not empty.
    ///
    /// A bare name whose value reads like "no" is an error: whoever wrote `FLAG=false` did not mean "yes".
    pub fn holds(&self, scope: Scope<'_>) -> Result<bool, Fault> {
        if !self.0.bare {
            return self.0.value(scope).map(|value| value.is_true());
        }
        match self.0.lookup(scope)? {
            Item::Number(number) => Ok(number != 0),
            Item::Text(text) => {
                let name = self.source();
                let value = text.expose().trim().to_ascii_lowercase();
                if matches!(value.as_str(), "false" | "no" | "0" | "off") {
                    let fault = self.0.fault(format!(
                        "`{name}` is set, so the condition would hold, but its value reads like \"no\""
                    ));
                    return Err(fault.help(format!(
                        "leave {name} empty, or compare it: {name}|lower in ['true', 'yes', '1', 'on']"
                    )));
                }
                Ok(!text.is_empty())
            }
        }
    }
}

/// What other languages write, and what we write.
const FOREIGN: &[(&str, &str)] = &[
    ("&&", "write `and`"),
    ("||", "write `or`"),
    ("===", "write `==`"),
    ("?", "write `A if CONDITION else B`"),
    ("!", "write `not`"),
    ("=", "write `==` to compare"),
];

/// A sign of another language at the place where the parser stopped, or at the token before it.
fn foreign(source: &str, tokens: &[(Kind, Range<usize>)], stopped: usize) -> Option<Fault> {
    let mut starts = tokens.iter().map(|(_, at)| at.start);
    let token = starts.find(|at| *at + 1 >= stopped).unwrap_or(stopped);
    [stopped, token].into_iter().find_map(|start| {
        let rest = source.get(start..)?.trim_start();
        let ours = rest.starts_with("==") && !rest.starts_with("===") || rest.starts_with("!=");
        let (sign, help) = FOREIGN
            .iter()
            .find(|(sign, _)| !ours && rest.starts_with(sign))?;
        let start = source.len() - rest.len();
        let message = format!("expressions have no `{sign}`");
        let range = start..start + sign.len();
        Some(Fault::new(Code::ExpressionSyntax, range, message).help(*help))
    })
}

/// Words and signs that one expression may have, and how deep they may nest: the parser's stack has an end.
const MAX_TOKENS: usize = 500;
const MAX_DEPTH: usize = 30;

fn fits(source: &str, tokens: &[(Kind, Range<usize>)]) -> Result<(), Fault> {
    let mut depth = 0_usize;
    let mut deepest = 0;
    // Brackets, and what stands before its operand and so nests in a row.
    let mut row = 0;
    for (_, range) in tokens {
        match &source[range.clone()] {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            "not" | "-" | "if" | "else" | "**" => row += 1,
            _ => {}
        }
        deepest = deepest.max(depth + row);
    }
    if tokens.len() <= MAX_TOKENS && deepest <= MAX_DEPTH {
        return Ok(());
    }
    Err(Fault::new(
        Code::ExpressionSyntax,
        0..source.len(),
        "the expression is too long or too deep",
    )
    .help("make a setting of a part of it, with `value:`"))
}

/// The parser's error in our words.
fn syntax(source: &str, error: &minijinja::Error) -> Fault {
    let range = error
        .range()
        .filter(|range| range.start <= range.end && range.end <= source.len())
        .unwrap_or(0..source.len());
    // The parser may point into a character.
    let range = source.floor_char_boundary(range.start)..source.ceil_char_boundary(range.end);
    let detail = error.detail().unwrap_or("this is not an expression");
    let tokens = scan::tokens(source);
    if detail.starts_with("unexpected end of input") {
        return unfinished(source, &tokens, range);
    }
    if let Some(fault) = super::elsewhere::form(source) {
        return fault;
    }
    if let Some(fault) = foreign(source, &tokens, range.start) {
        return fault;
    }
    misplaced(
        source.get(range.clone()).unwrap_or("").trim(),
        detail,
        range,
    )
}

/// An expression that ends too early.
fn unfinished(source: &str, tokens: &[(Kind, Range<usize>)], range: Range<usize>) -> Fault {
    let (at, message) = match tokens.last() {
        Some((_, at)) => {
            let word = &source[at.clone()];
            let message = format!("the expression ends where `{word}` needs something behind it");
            (at.clone(), message)
        }
        None => (range, "the expression is empty".to_owned()),
    };
    Fault::new(Code::ExpressionSyntax, at, message)
}

/// A text that cannot stand where it stands.
fn misplaced(text: &str, detail: &str, range: Range<usize>) -> Fault {
    let joins = detail == "unexpected input after expression";
    let message = match detail {
        _ if text.is_empty() => "this is not an expression".to_owned(),
        "unexpected character" => format!("`{text}` cannot stand in an expression"),
        _ if joins => format!("nothing joins `{text}` to what is before it"),
        _ => format!("`{text}` cannot stand here"),
    };
    let fault = Fault::new(Code::ExpressionSyntax, range, message);
    match joins {
        true => fault.help("texts are joined by `~`, and quoted where they are not names"),
        false => fault,
    }
}

/// Filters, tests and functions must be ones that exist.
fn words_exist(source: &str, tokens: &[(Kind, Range<usize>)]) -> Result<(), Fault> {
    for (at, (kind, range)) in tokens.iter().enumerate() {
        if *kind != Kind::Word {
            continue;
        }
        let word = &source[range.clone()];
        let called = tokens
            .get(at + 1)
            .is_some_and(|(_, r)| &source[r.clone()] == "(");
        let (what, known) = if preceded_by(source, tokens, at, &["|"]) {
            ("filter", FILTERS)
        } else if preceded_by(source, tokens, at, &["is"]) && word != "not"
            || preceded_by(source, tokens, at, &["not"])
                && at >= 2
                && preceded_by(source, tokens, at - 1, &["is"])
        {
            ("test", TESTS)
        } else if called && !WORDS.contains(&word) {
            ("function", &[][..])
        } else {
            continue;
        };
        if !known.contains(&word) {
            let fault = Fault::new(
                Code::UnknownFilter,
                range.clone(),
                format!("there is no {what} `{word}`"),
            );
            return Err(match nearest(word, known.iter().copied()) {
                Some(name) => fault.help(format!("did you mean `{name}`?")),
                None if what == "function" && FILTERS.contains(&word) => {
                    fault.help(format!("`{word}` is a filter: write X|{word}"))
                }
                None if word == "defined" || word == "none" || word == "undefined" => fault.help(
                    "a declared setting always has a value; its name alone asks whether that is not empty",
                ),
                None if known.is_empty() => fault.help("expressions have filters, no functions"),
                None => fault.help(format!("there are: {}", known.join(", "))),
            });
        }
    }
    Ok(())
}

/// A setting is text. `X < 5` would compare it with a number, `X == 5` and `X == true` would never hold, and
/// `X - Y` would fail: none of them is what was meant.
fn comparisons_fit(source: &str, tokens: &[(Kind, Range<usize>)]) -> Result<(), Fault> {
    for (at, window) in tokens.windows(3).enumerate() {
        let [(left, l), (kind, sign), (right, r)] = window else {
            continue;
        };
        if *kind != Kind::Sign {
            continue;
        }
        let sign = &source[sign.clone()];
        let text_left = *left == Kind::Word && is_text(source, tokens, at);
        let text_right = *right == Kind::Word
            && is_text(source, tokens, at + 2)
            && !follows(source, tokens, at + 2, &["|", "(", ".", "["]);
        let name = if text_left {
            &source[l.clone()]
        } else {
            &source[r.clone()]
        };
        let other = if text_left { (right, r) } else { (left, l) };
        let shown = &source[other.1.clone()];
        let number = *other.0 == Kind::Number;
        let truth = matches!(shown, "true" | "True" | "false" | "False");
        let fault = |message: String| Fault::new(Code::TextComparison, l.start..r.end, message);
        if !text_left && !text_right {
            continue;
        }
        match sign {
            "<" | ">" | "<=" | ">=" if number => {
                let message =
                    format!("`{name}` is a text, and a text has no order beside a number");
                return Err(fault(message).help(format!("write {name}|int")));
            }
            "==" | "!=" if number || truth => {
                let what = if number { "a number" } else { "a truth value" };
                let message = format!("`{name}` is a text, and a text never equals {what}");
                let cure = match (number, shown) {
                    (true, _) => format!("write {name} {sign} '{shown}'"),
                    (false, _) => format!(
                        "{name} alone holds where it is not empty; or compare texts: {name}|lower {sign} '{}'",
                        shown.to_lowercase()
                    ),
                };
                return Err(fault(message).help(cure));
            }
            // `*` repeats a text, which is something.
            "-" | "/" | "//" | "%" | "**" => {
                let message = format!("`{name}` is a text, and `{sign}` needs numbers");
                return Err(fault(message).help(match sign {
                    "-" => {
                        format!("write {name}|int for a number; `~` joins texts; no name has a `-`")
                    }
                    _ => format!("write {name}|int for a number"),
                }));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the word at `at` is a setting by itself: no filter has made something else of it, and it is none of the
/// names that are numbers.
fn is_text(source: &str, tokens: &[(Kind, Range<usize>)], at: usize) -> bool {
    let word = &source[tokens[at].1.clone()];
    let text_filters = [
        "capitalize",
        "lower",
        "replace",
        "string",
        "title",
        "trim",
        "upper",
        "urlencode",
    ];
    if preceded_by(source, tokens, at, &["|"]) {
        return text_filters.contains(&word);
    }
    !matches!(word, "port" | "replica")
        && !WORDS.contains(&word)
        && !preceded_by(source, tokens, at, &[".", "is"])
}

fn follows(source: &str, tokens: &[(Kind, Range<usize>)], at: usize, signs: &[&str]) -> bool {
    let next = tokens.get(at + 1).map(|(_, range)| &source[range.clone()]);
    next.is_some_and(|next| signs.contains(&next))
}

fn preceded_by(source: &str, tokens: &[(Kind, Range<usize>)], at: usize, words: &[&str]) -> bool {
    at.checked_sub(1)
        .and_then(|before| tokens.get(before))
        .is_some_and(|(_, range)| words.contains(&&source[range.clone()]))
}

#[cfg(test)]
mod unit {
    use super::*;
    use crate::secret::Secret;

    fn holds(source: &str, value: &str) -> Result<bool, String> {
        let value = Secret::new(value);
        Condition::parse(source)
            .and_then(|c| c.holds(&|name| (name == "X").then(|| Item::Text(value.clone()))))
            .map_err(|fault| fault.help.unwrap_or(fault.message))
    }

    #[test]
    fn a_bare_name_holds_when_it_is_not_empty_and_a_no_is_an_error() {
        assert_eq!(holds("X", "TRUE"), Ok(true));
        assert_eq!(holds("X", ""), Ok(false));
        assert!(holds("X", "False").unwrap_err().contains("compare it"));
        assert_eq!(holds("not X", ""), Ok(true));
        assert_eq!(holds("X == 'prod'", "prod"), Ok(true));
        assert_eq!(holds("X|int > 3", "10"), Ok(true));
        assert_eq!(holds("3 < X|int", "10"), Ok(true));
        assert_eq!(
            holds("X is startingwith 'pr' and X is not endingwith 'x'", "prod"),
            Ok(true)
        );
        assert_eq!(holds("X in ['a', 'b']", "b"), Ok(true));
        assert!(holds("X > 3", "10").unwrap_err().contains("X|int"));
    }

    #[test]
    fn every_listed_filter_and_test_exists() {
        for filter in FILTERS {
            assert!(
                Expression::parse(&format!("X|{filter}")).is_ok(),
                "{filter}"
            );
            let unknown = ENVIRONMENT
                .compile_expression(&format!("'1'|{filter}"))
                .and_then(|e| e.eval(()))
                .is_err_and(|e| e.kind() == minijinja::ErrorKind::UnknownFilter);
            assert!(!unknown, "{filter}");
        }
        for test in TESTS {
            let text = format!("'a' is {test}('a')");
            assert!(
                ENVIRONMENT
                    .compile_expression(&text)
                    .unwrap()
                    .eval(())
                    .is_ok()
            );
        }
    }
}
