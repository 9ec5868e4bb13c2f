//! Diagnostics as GitHub Actions workflow commands: each becomes an annotation in the diff of a pull request.
//!
//! One line a diagnostic, escaped as the runner's own toolkit does it (`%`, CR and LF everywhere, `:` and `,` in
//! properties too). An annotation shows no second place and no help, so these stand in its message. GitHub shows ten
//! errors and ten warnings a step and drops the rest. A place of several lines has no columns: GitHub allows them
//! only within one line.
//! Source: docs.github.com, "Workflow commands for GitHub Actions"; actions/toolkit, packages/core/src/command.ts.

use std::fmt::Write;

use super::{Diagnostic, Diagnostics};

/// `::error file=…,line=…,endLine=…,col=…,endColumn=…,title=code::message`, a line each; empty when nothing was found.
pub fn render(diagnostics: &Diagnostics) -> String {
    diagnostics.sorted().into_iter().map(one).collect()
}

fn one(diagnostic: &Diagnostic) -> String {
    let mut place = String::new();
    if let Some(at) = diagnostic.place.as_ref().map(|p| p.trimmed()) {
        let ((line, column), (end_line, end_column)) = (at.start(), at.end());
        let name = at.source.name();
        // Annotations are matched with the diff by the path from the repository's root, which has no `./`.
        let file = property(name.strip_prefix("./").unwrap_or(name));
        let _ = write!(place, "file={file},line={line},endLine={end_line},");
        if line == end_line {
            let _ = write!(place, "col={column},endColumn={end_column},");
        }
    }
    let mut message = diagnostic.message.clone();
    if !diagnostic.label.is_empty() {
        let _ = write!(message, "\n{}", diagnostic.label);
    }
    for (place, label) in &diagnostic.related {
        let _ = write!(message, "\n{place}: {label}");
    }
    if let Some(help) = &diagnostic.help {
        let _ = write!(message, "\nhelp: {help}");
    }
    format!(
        "::{} {place}title={}::{}\n",
        diagnostic.severity.name(),
        property(diagnostic.code.name()),
        data(&message)
    )
}

fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Code;
    use crate::source::Source;

    fn rendered(diagnostic: Diagnostic) -> String {
        let mut found = Diagnostics::new();
        found.push(diagnostic);
        render(&found)
    }

    #[test]
    fn nothing_found_is_nothing_printed() {
        assert_eq!(render(&Diagnostics::new()), "");
    }

    #[test]
    fn one_line_each_with_all_that_helps_in_the_message() {
        let source = Source::new("./roles.yaml", "app: 1\napp: 2\n");
        let diagnostic = Diagnostic::new(
            Code::DuplicateKey,
            source.place(7..10),
            "the key `app` stands twice",
        )
        .label("100% the same")
        .related(source.place(0..3), "first defined here")
        .help("remove one");
        assert_eq!(
            rendered(diagnostic),
            "::error file=roles.yaml,line=2,endLine=2,col=1,endColumn=4,title=duplicate-key::the key `app` stands \
             twice%0A100%25 the same%0A./roles.yaml:1:1: first defined here%0Ahelp: remove one\n"
        );
    }

    #[test]
    fn text_from_files_cannot_start_another_command() {
        let source = Source::new("a,b:c%\n::error.yaml", "x\n");
        let diagnostic = Diagnostic::new(
            Code::BareDollar,
            source.place(0..1),
            "odd\r\n::set-env name=X::1",
        );
        assert_eq!(
            rendered(diagnostic),
            "::warning file=a%2Cb%3Ac%25%0A%3A%3Aerror.yaml,line=1,endLine=1,col=1,endColumn=2,title=bare-dollar::\
             odd%0D%0A::set-env name=X::1\n"
        );
    }

    #[test]
    fn no_place_has_a_title_only_and_several_lines_have_no_columns() {
        let nowhere = Diagnostic::new(Code::FileUnreadable, None, "cannot read roles.yaml");
        assert_eq!(
            rendered(nowhere),
            "::error title=file-unreadable::cannot read roles.yaml\n"
        );
        let source = Source::new("roles.yaml", "a:\n  b: 1\n  c: 2\nd: 3\n");
        let block = Diagnostic::new(Code::WrongType, source.place(0..17), "a mapping");
        assert_eq!(
            rendered(block),
            "::error file=roles.yaml,line=1,endLine=3,title=wrong-type::a mapping\n"
        );
    }
}
