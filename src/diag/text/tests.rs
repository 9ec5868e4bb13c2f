use super::*;
use crate::diag::Code;
use crate::source::Source;

const ROLES: &str = "\
version: 1
roles:
  portal:
    services:
      app:
        comand: [pserve, \"${port}\"]
        replicas: five
      app:
        command: nginx
";

fn roles() -> Source {
    Source::new("roles.yaml", ROLES)
}

/// The first place of `what`.
fn at(source: &Source, what: &str) -> Place {
    let at = source.text().find(what).expect("the text is there");
    source.place(at..at + what.len())
}

fn all(list: impl IntoIterator<Item = Diagnostic>) -> Diagnostics {
    let mut found = Diagnostics::new();
    list.into_iter().for_each(|d| found.push(d));
    found
}

/// One diagnostic's block without colours.
fn drawn(diagnostic: Diagnostic, width: Option<usize>) -> String {
    let style = Style {
        colour: false,
        width,
    };
    let text = render(&all([diagnostic]), &style);
    let (block, summary) = text.rsplit_once("\n\n").expect("a block and a summary");
    assert!(summary.starts_with("1 "), "{summary}");
    format!("{block}\n")
}

/// A block with a title that does not matter: what is below it.
fn below(place: Place, label: &str) -> String {
    let block = drawn(
        Diagnostic::new(Code::BadValue, place, "x").label(label),
        None,
    );
    block
        .strip_prefix("error[bad-value]: x\n")
        .expect("the title")
        .to_owned()
}

#[test]
fn nothing_found_is_nothing_printed() {
    assert_eq!(render(&Diagnostics::new(), &Style::default()), "");
}

#[test]
fn a_plain_one() {
    let diagnostic = Diagnostic::new(
        Code::UnknownKey,
        at(&roles(), "comand"),
        "unknown key `comand` in a service",
    );
    assert_eq!(
        render(
            &all([diagnostic.label("did you mean `command`?")]),
            &Style::default()
        ),
        "\
error[unknown-key]: unknown key `comand` in a service
 --> roles.yaml:6:9
  |
6 |         comand: [pserve, \"${port}\"]
  |         ^^^^^^ did you mean `command`?

1 error in roles.yaml
"
    );
}

#[test]
fn a_second_place_and_help_of_two_lines() {
    let source = roles();
    let second = ROLES.rfind("app").unwrap_or_default();
    let diagnostic = Diagnostic::new(
        Code::DuplicateKey,
        source.place(second..second + 3),
        "the key `app` stands twice",
    )
    .related(at(&source, "app"), "first defined here")
    .help("remove one\nor rename it");
    assert_eq!(
        drawn(diagnostic, None),
        "\
error[duplicate-key]: the key `app` stands twice
 --> roles.yaml:8:7
  |
5 |       app:
  |       --- first defined here
...
8 |       app:
  |       ^^^
  |
  = help: remove one
          or rename it
"
    );
}

#[test]
fn a_second_place_in_another_file_or_far_away_has_its_own_heading() {
    let source = Source::new("roles.yaml", format!("a: 1\n{}b: 2\n", "#\n".repeat(500)));
    let template = Source::new("templates/any.ini", "[app]\nx = ${Y}");
    let diagnostic = Diagnostic::new(
        Code::UnknownSetting,
        at(&template, "Y"),
        "unknown setting `Y`",
    )
    .related(at(&source, "a"), "rendered here")
    .related(at(&source, "b"), "and here");
    assert_eq!(
        drawn(diagnostic, None),
        "\
error[unknown-setting]: unknown setting `Y`
   --> templates/any.ini:2:7
    |
  2 | x = ${Y}
    |       ^
    |
   ::: roles.yaml:1:1
    |
  1 | a: 1
    | - rendered here
    |
   ::: roles.yaml:502:1
    |
502 | b: 2
    | - and here
"
    );
}

#[test]
fn all_are_sorted_by_place_and_counted() {
    let source = roles();
    let other = Source::new("a.ini", "x = $HOME");
    let found = all([
        Diagnostic::new(Code::BadValue, at(&source, "five"), "not a number"),
        Diagnostic::new(Code::BadValue, at(&source, "replicas"), "not there"),
        Diagnostic::new(Code::BareDollar, at(&other, "$HOME"), "a bare `$HOME`"),
        Diagnostic::new(
            Code::FileUnreadable,
            None,
            "cannot read versions.json: permission denied",
        )
        .help("let it be read by the user that runs this program"),
    ]);
    assert_eq!(
        render(&found, &Style::default()),
        "\
error[file-unreadable]: cannot read versions.json: permission denied
 |
 = help: let it be read by the user that runs this program

warning[bare-dollar]: a bare `$HOME`
 --> a.ini:1:5
  |
1 | x = $HOME
  |     ^^^^^

error[bad-value]: not there
 --> roles.yaml:7:9
  |
7 |         replicas: five
  |         ^^^^^^^^

error[bad-value]: not a number
 --> roles.yaml:7:19
  |
7 |         replicas: five
  |                   ^^^^

3 errors, 1 warning in 2 files
"
    );
}

#[test]
fn the_summary_counts_only_what_is_there() {
    let lone = Diagnostic::new(Code::FileUnreadable, None, "cannot read x");
    assert_eq!(
        render(&all([lone]), &Style::default()),
        "error[file-unreadable]: cannot read x\n\n1 error\n"
    );
    let source = roles();
    let warnings = ["a", "p"].map(|w| Diagnostic::new(Code::BareDollar, at(&source, w), "x"));
    let text = render(&all(warnings), &Style::default());
    assert!(text.ends_with("\n\n2 warnings in roles.yaml\n"), "{text}");
}

#[test]
fn colours_only_on_request() {
    let found = all([Diagnostic::new(Code::BareDollar, at(&roles(), "five"), "x").help("y")]);
    let colour = render(
        &found,
        &Style {
            colour: true,
            width: None,
        },
    );
    let title = "\u{1b}[1m\u{1b}[33mwarning[bare-dollar]\u{1b}[0m\u{1b}[1m: x\u{1b}[0m\n";
    assert!(colour.starts_with(title), "{colour:?}");
    let mut stripped = String::new();
    for (number, part) in colour.split('\u{1b}').enumerate() {
        let text = if number == 0 {
            part
        } else {
            part.split_once('m').map_or("", |p| p.1)
        };
        stripped.push_str(text);
    }
    let plain = render(&found, &Style::default());
    assert_eq!(stripped, plain);
    assert!(!plain.contains('\u{1b}'));
}

#[test]
fn carriage_returns_tabs_and_wide_characters_keep_the_caret_in_place() {
    let source = Source::new("t", "a:\r\n\té: 日本 x\r\nlast: no");
    let expected = [
        ("\r\n", " --> t:1:3\n  |\n1 | a:\n  |   ^ here\n"),
        ("\t", " --> t:2:1\n  |\n2 |     é: 日本 x\n  | ^^^^ here\n"),
        ("é", " --> t:2:2\n  |\n2 |     é: 日本 x\n  |     ^ here\n"),
        (
            "日本",
            " --> t:2:5\n  |\n2 |     é: 日本 x\n  |        ^^^^ here\n",
        ),
        (
            "x\r\n",
            " --> t:2:8\n  |\n2 |     é: 日本 x\n  |             ^ here\n",
        ),
        ("no", " --> t:3:7\n  |\n3 | last: no\n  |       ^^ here\n"),
    ];
    for (what, text) in expected {
        assert_eq!(below(at(&source, what), "here"), text, "{what:?}");
    }
}

#[test]
fn a_place_of_no_length_and_the_end_of_a_file() {
    let source = roles();
    let colon = ROLES.find(':').unwrap_or_default();
    assert_eq!(
        below(source.place(colon..colon), "a blank is missing"),
        " --> roles.yaml:1:8\n  |\n1 | version: 1\n  |        ^ a blank is missing\n"
    );
    let end = ROLES.len();
    assert_eq!(
        below(source.place(end..end), "more was expected"),
        "  --> roles.yaml:10:1
   |
 9 |         command: nginx
10 |
   | ^ more was expected
"
    );
    let open = Source::new("t", "a: [");
    assert_eq!(
        below(open.place(4..4), ""),
        " --> t:1:5\n  |\n1 | a: [\n  |     ^\n"
    );
    let empty = Source::new("t", "");
    assert_eq!(below(empty.place(0..0), "empty"), "");
}

#[test]
fn a_blank_line_is_seen_with_the_line_before_and_no_other() {
    let source = Source::new("t", "a:\n\nb: 2\nc: 3\nd: 4\n");
    let diagnostic = Diagnostic::new(Code::YamlSyntax, source.place(3..3), "x");
    let text = drawn(diagnostic.related(at(&source, "d"), "before this"), None);
    let expected = "error[yaml-syntax]: x
 --> t:2:1
  |
1 | a:
2 |
  | ^
...
5 | d: 4
  | - before this
";
    assert_eq!(text, expected);
}

#[test]
fn a_place_of_several_lines() {
    let source = roles();
    let from = ROLES.find("services").unwrap_or_default();
    assert_eq!(
        below(source.place(from..ROLES.len()), "this mapping"),
        " --> roles.yaml:4:5
  |
4 | /     services:
5 | |       app:
6 | |         comand: [pserve, \"${port}\"]
7 | |         replicas: five
8 | |       app:
9 | |         command: nginx
  | |______________________^ this mapping
"
    );
    let inner = ROLES.find("five").unwrap_or_default();
    let expected = " --> roles.yaml:7:19
  |
7 |           replicas: five
  |  ___________________^
8 | |       app:
  | |__________^
";
    assert_eq!(below(source.place(inner..inner + 16), ""), expected);
    let long = Source::new("t", format!("k:\n{}", "  - x\n".repeat(1000)));
    let expected = " --> t:1:1\n  |\n1 | k:\n  | ^^ a long list\n";
    assert_eq!(
        below(long.place(0..long.text().len()), "a long list"),
        expected
    );
}

#[test]
fn a_line_of_a_hundred_kilobytes_is_cut_around_the_caret() {
    let (x, y) = ("x".repeat(50_000), "y".repeat(50_000));
    let source = Source::new(
        "gac.json",
        format!("{{\"a\": \"{x}\", \"b\": [], \"c\": \"{y}\"}}"),
    );
    let diagnostic = Diagnostic::new(Code::GacType, at(&source, "[]"), "a list under `b`")
        .related(at(&source, "\"a\""), "unlike this");
    let expected = format!(
        "\
error[gac-type]: a list under `b`
 --> gac.json:1:50016
  |
1 | ...{}\", \"b\": [], \"c\": \"{}...
  |                                               ^^
  |
 ::: gac.json:1:2
  |
1 | {{\"a\": \"{}...
  |  --- unlike this
",
        &x[..35],
        &y[..77],
        &x[..123],
    );
    assert_eq!(drawn(diagnostic, None), expected);
    let huge = drawn(
        Diagnostic::new(Code::GacType, source.place(6..90_000), "all"),
        Some(80),
    );
    assert!(
        huge.contains(" --> gac.json:1:7\n") && huge.lines().all(|line| line.len() <= 80),
        "{huge}"
    );
}

#[test]
fn a_narrow_terminal_folds_text_and_moves_long_labels_down() {
    let diagnostic = Diagnostic::new(
        Code::UnknownKey,
        at(&roles(), "comand"),
        "unknown key `comand` in a service of the role portal",
    )
    .label("did you mean `command` or `environment`?")
    .help("a service has command, depends_on, replicas, port and restart");
    assert_eq!(
        drawn(diagnostic, Some(48)),
        "\
error[unknown-key]: unknown key `comand` in a
                    service of the role portal
 --> roles.yaml:6:9
  |
6 |         comand: [pserve, \"${port}\"]
  |         ^^^^^^
  |
  = note: did you mean `command` or
          `environment`?
  = help: a service has command, depends_on,
          replicas, port and restart
"
    );
}

#[test]
fn nothing_in_a_file_reaches_the_terminal_as_a_command() {
    let evil = "\u{1b}]0;t\u{7}\u{9b}31m\u{202e}\u{feff}\u{fdd0}1:2\u{0}\u{7f}\u{2028}";
    let source = Source::new(format!("{evil}.yaml"), format!("k: {evil} # {evil}\n"));
    let diagnostic = Diagnostic::new(Code::BadValue, at(&source, "k"), format!("bad {evil}"))
        .label(evil)
        .related(source.place(3..4), evil)
        .help(evil);
    let text = render(&all([diagnostic]), &Style::default());
    let shown = "␛]0;t␇\u{fffd}31m\u{fffd}\u{fffd}\u{fffd}1:2␀␡\u{fffd}";
    assert_eq!(text.matches(shown).count(), 8, "{text}");
    assert!(text.contains(&format!(" --> {shown}.yaml:1:1\n")), "{text}");
    let obeyed = |c: &char| c.is_control() && *c != '\n' || "\u{202e}\u{feff}\u{2028}".contains(*c);
    assert_eq!(text.chars().find(obeyed), None);
}

/// Every place in a text with everything that is hard, at several widths: the heading is right, the caret stands under
/// its character, and no line is wider than the terminal.
#[test]
fn every_place_of_a_hard_text_is_drawn_right() {
    let long = "é".repeat(150);
    let hard = format!("\u{feff}a:\r\n\t日 b\n\n \u{1b}c\r\n{long}日日\t{long}\n\r\nz");
    for (number, source) in [
        Source::new("t", hard.clone()),
        Source::new("t", hard + "\n"),
    ]
    .iter()
    .enumerate()
    {
        let bounds: Vec<_> = source.text().char_indices().map(|(at, _)| at).collect();
        for (from, to) in bounds
            .iter()
            .flat_map(|from| [0, 1, 2, 40, 400].map(|n| (*from, from + n)))
        {
            for width in [1, 60] {
                let place = source.place(from..to);
                let (line, column) = place.start();
                let diagnostic = Diagnostic::new(Code::BadValue, place.clone(), "x").label("here");
                let text = drawn(diagnostic, Some(width));
                let what = format!("{number}: {from}..{to} of {width}\n{text}");
                assert!(text.contains(&format!("> t:{line}:{column}\n")), "{what}");
                assert!(
                    text.lines()
                        .all(|l| window::width(l) <= width.max(NARROWEST) + 1),
                    "{what}"
                );
                if place.trimmed().end().0 == line {
                    caret_is_right(&place, &text, &what);
                }
            }
        }
    }
}

/// The text before the caret's column is the text before the place, as far as it is shown.
fn caret_is_right(place: &Place, text: &str, what: &str) {
    let caret = text.lines().find(|l| l.contains('^')).expect(what);
    let gutter = format!("{} | ", place.start().0);
    let code = text
        .lines()
        .find_map(|l| l.strip_prefix(&gutter))
        .unwrap_or_default();
    let column = caret.find('^').expect(what) - gutter.len();
    let mut used = 0;
    let before: String = code
        .chars()
        .take_while(|c| {
            let fits = used < column;
            used += if *c == '日' { 2 } else { 1 };
            fits
        })
        .collect();
    let source = &place.source;
    let line = source.line(place.start().0);
    let to = place.range.start.min(line.end);
    let expected = safe(&source.text()[line.start..to]);
    let seen = before.strip_prefix("...").unwrap_or(&before);
    let seen = if seen.len() < before.len() {
        seen.trim_start()
    } else {
        seen
    };
    assert!(
        expected.trim_end().ends_with(seen.trim_end()),
        "{expected:?} {before:?} {what}"
    );
    if !before.starts_with("...") {
        assert_eq!(expected.trim_end(), before.trim_end(), "{what}");
    }
}
