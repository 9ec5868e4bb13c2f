//! The words of a command: how a line is split with no shell, and what looks as if a shell were meant.

use std::ops::Range;

use crate::template;

/// One word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Without quotes and backslashes.
    pub text: String,
    /// Bytes of the line.
    pub range: Range<usize>,
    /// Whether nothing of it is quoted: a shell would find its operators.
    pub bare: bool,
}

/// Words between blanks; quotes group, a backslash takes the next character, `${ }` stays whole.
pub fn split(line: &str) -> Result<Vec<Word>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut rest = line;
    let mut quote = None;
    while let Some(c) = rest.chars().next() {
        let at = line.len() - rest.len();
        let begin = || Word {
            text: String::new(),
            range: at..at,
            bare: true,
        };
        if rest.starts_with("${") && quote != Some('\'') {
            let end = template::expression_end(rest).ok_or("a `${` has no `}` that closes it")?;
            let word = word.get_or_insert_with(begin);
            word.text.push_str(&rest[..end]);
            word.range.end = at + end;
            rest = &rest[end..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if quote.is_none() && c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let word = word.get_or_insert_with(begin);
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.bare = false;
            }
            (Some('"') | None, '\\') => {
                let next = rest.chars().next().ok_or("a backslash stands at the end")?;
                rest = &rest[next.len_utf8()..];
                word.text.push(next);
                word.bare = false;
            }
            (_, c) => word.text.push(c),
        }
        word.range.end = line.len() - rest.len();
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

/// A word in quotes where a shell would need them.
pub fn shown(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '\'', '"', '\t', '\n', ';', '&', '|', '<', '>']) {
        format!("'{}'", word.replace('\'', "'\\''"))
    } else {
        word.to_owned()
    }
}

/// The words as a shell's line, in which operators are operators.
pub fn line(words: &[&str]) -> String {
    let word = |word: &&str| match is_operator(word) {
        true => (*word).to_owned(),
        false => shown(word),
    };
    let words: Vec<String> = words.iter().map(word).collect();
    words.join(" ")
}

/// The first word of a line that a shell would take for an operator, and what the operator is.
pub fn operator_of_line(words: &[Word]) -> Option<(usize, &str)> {
    let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    let found = words.iter().enumerate().skip(1).find_map(|(at, word)| {
        let text = word.text.as_str();
        let ends = text.ends_with(';') && !text.contains("${");
        let operator = match text {
            _ if !word.bare => return None,
            _ if is_operator(text) || redirects(text) => text,
            _ if ends => ";",
            _ => return None,
        };
        (!is_meant(&texts, at, operator)).then_some((at, operator))
    });
    // `cd folder; app`: the very first word may end in it too.
    let first = || {
        words
            .first()
            .filter(|word| word.bare && word.text.len() > 1)
    };
    found.or_else(|| Some((0, ";")).filter(|_| first().is_some_and(|w| w.text.ends_with(';'))))
}

/// The first word of a list that nobody writes but for a shell. A list's words may be anything, and their quotes say
/// nothing: what may be an option's value or a program's own language is left alone.
pub fn operator_of_list<'a>(words: &[&'a str]) -> Option<(usize, &'a str)> {
    let named = words.iter().enumerate().skip(1);
    let mut operators = named.filter(|(_, word)| is_operator(word) || redirects_error(word));
    operators.find_map(|(at, word)| {
        let value = word.len() == 1 && (words[at - 1].starts_with('-') || at == 1);
        (!value && !is_meant(words, at, word)).then_some((at, *word))
    })
}

fn is_operator(word: &str) -> bool {
    const OPERATORS: &[&str] = &[
        "|", "||", "|&", "&", "&&", ";", ">", ">>", "<", "<<", "<<<", "1>", "2>", "2>>", "&>",
    ];
    OPERATORS.contains(&word) || redirects_error(word)
}

/// `2>&1`, `>&2`, `2>/dev/null`.
fn redirects_error(word: &str) -> bool {
    let rest = word.trim_start_matches(['1', '2', '&']);
    let target = rest.strip_prefix(">>").or_else(|| rest.strip_prefix('>'));
    word.len() - rest.len() <= 1 && target.is_some_and(|to| matches!(to, "&1" | "&2" | "/dev/null"))
}

/// `>log`, `2>log`, `<input`.
fn redirects(word: &str) -> bool {
    let rest = word.strip_prefix(['1', '2', '&']).unwrap_or(word);
    rest.starts_with('>') || (word.starts_with('<') && !word.contains('>'))
}

/// Whether the program has a meaning of its own for the operator.
fn is_meant(words: &[&str], at: usize, operator: &str) -> bool {
    let program = words[0].rsplit('/').next().unwrap_or_default();
    let executes = |word: &&str| word.starts_with("-exec") || word.starts_with("-ok");
    matches!(program, "[" | "test" | "expr")
        || (operator == ";" && words[..at].iter().any(executes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(line: &str) -> Vec<String> {
        let words = split(line).unwrap();
        for word in &words {
            assert!(line.get(word.range.clone()).is_some(), "{line}");
        }
        words.into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn a_line_is_split_as_a_shell_would() {
        assert_eq!(
            texts(r#"a "b c" 'd"e' f\ g ''"#),
            ["a", "b c", "d\"e", "f g", ""]
        );
        assert_eq!(texts("x ${a or 'b c'}y  z"), ["x", "${a or 'b c'}y", "z"]);
        assert!(split("a 'b").is_err() && split("a\\").is_err() && split("${a").is_err());
        let words = split("é 'b c' d").unwrap();
        assert_eq!((words[1].range.clone(), words[1].bare), (3..8, false));
        assert_eq!((words[2].range.clone(), words[2].bare), (9..10, true));
    }

    #[test]
    fn operators_of_a_line_are_found_where_they_are_not_quoted() {
        let operator = |line: &str| {
            let words = split(line).unwrap();
            operator_of_line(&words).map(|(at, operator)| format!("{at} {operator}"))
        };
        for (line, expected) in [
            ("app | tee log", "1 |"),
            ("app 2>&1", "1 2>&1"),
            ("app >log", "1 >log"),
            ("app 2>/dev/null", "1 2>/dev/null"),
            ("cd a && app", "2 &&"),
            ("echo a; echo b", "1 ;"),
            ("cd; app", "0 ;"),
            ("find . -name x | xargs rm", "4 |"),
        ] {
            assert_eq!(operator(line).as_deref(), Some(expected), "{line}");
        }
        for line in [
            "grep '|' file",
            "grep \\| file",
            "find . -exec rm {} ;",
            "curl http://h/?a=1&b=2",
            "test a > b",
            "echo <b>",
            "app --x=a>b ${A|upper}",
            "sh -c 'a | b > c'",
        ] {
            assert_eq!(operator(line), None, "{line}");
        }
    }

    #[test]
    fn operators_of_a_list_are_found_where_they_can_be_nothing_else() {
        for (words, expected) in [
            (&["app", "x", "|", "tee"][..], Some(2)),
            (&["cd", "a", "&&", "app"], Some(2)),
            (&["app", "2>&1"], Some(1)),
            (&["echo", "hello", ">", "file"], Some(2)),
            (&["cut", "-d", "|", "file"], None),
            (&["tr", "|", ","], None),
            (&["find", ".", "-exec", "rm", "{}", ";"], None),
            (&["/usr/bin/[", "a", ">", "b", "]"], None),
            (&["sh", "-c", "a | b"], None),
            (&["|"], None),
        ] {
            assert_eq!(
                operator_of_list(words).map(|(at, _)| at),
                expected,
                "{words:?}"
            );
        }
    }
}
